//! With real processes, and nothing but the port and the files to look at.

use std::fs;
use std::path::Path;
use std::time::Instant;

use scaler::ports::{InstanceState, Mark};

use super::record::{Identity, Phase, Record};
use super::*;

const CEILING: Duration = Duration::from_secs(20);

/// A folder whose instances are gone when it is.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Folder(path)
    }

    fn records(&self) -> Vec<Record> {
        record::load(&self.0).unwrap_or_default()
    }

    fn process(&self, id: &BackendId) -> Identity {
        let record = self.records().into_iter().find(|record| *record.id == *id.0);
        record.unwrap().process.unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for record in self.records() {
            child::marked(&record.id).iter().for_each(child::kill_one);
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that is none of the provider's, gone with the test.
struct Stranger(std::process::Child);

impl Stranger {
    fn start() -> Stranger {
        let mut sleep = std::process::Command::new("sleep");
        Stranger(sleep.arg("1000").stdout(std::process::Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn settings(folder: &Folder, command: &[&str]) -> ProcessSettings {
    ProcessSettings {
        pool: PoolName("burst".into()),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        env: BTreeMap::new(),
        addresses: "127.61.0.0/24".parse().unwrap(),
        port: 8080,
        boot_delay: Duration::ZERO,
        grace: Duration::from_secs(10),
        folder: folder.0.clone(),
    }
}

fn start(settings: ProcessSettings) -> ProcessProvider {
    ProcessProvider::start(settings).unwrap()
}

/// Tests run beside each other, each in a thread of its own name: an installation each.
fn request(provider: &ProcessProvider, decision: u64, count: u32) -> LaunchRequest {
    let installation = std::thread::current().name().unwrap_or_default().to_owned();
    let mark = Mark {
        site: "test".into(),
        pool: PoolName("burst".into()),
        installation: format!("{installation}-{}", std::process::id()).into(),
        epoch: 1,
        decision,
        attempt: 0,
    };
    LaunchRequest { mark, count, offer: provider.abilities().offers[0].clone() }
}

/// The state of each instance, in the order of their ids.
fn states(instances: &[Instance]) -> Vec<InstanceState> {
    instances.iter().map(|instance| instance.state).collect()
}

/// Asks until the list is as expected.
async fn until(provider: &ProcessProvider, expected: &[InstanceState]) -> Vec<Instance> {
    let began = Instant::now();
    loop {
        let found = provider.list().await.unwrap();
        if states(&found) == expected {
            return found;
        }
        assert!(began.elapsed() < CEILING, "{expected:?} did not come: {found:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

use InstanceState::{Pending, Running, Terminated};

#[tokio::test]
async fn an_instance_is_launched_listed_and_terminated() {
    let folder = Folder::new("whole-life");
    let script = "echo at $TIDEGATE_ADDRESS as $0 with ${CARGO:-nothing}; exec sleep 1000";
    let provider = start(settings(&folder, &["sh", "-c", script, "{id}"]));
    let launched = provider.launch(&request(&provider, 1, 2)).await.unwrap();
    assert_eq!(states(&launched), [Running, Running]);
    let addresses: Vec<_> = launched.iter().map(|i| i.address.unwrap().to_string()).collect();
    assert_eq!(addresses, ["127.61.0.1:8080", "127.61.0.2:8080"]);
    assert_eq!(launched[0].mark, Some(request(&provider, 1, 2).mark));
    assert_eq!(&*launched[0].kind, "process/sh");
    let process = folder.process(&launched[0].id);
    let log = output::file(&folder.0, &launched[0].id.0);
    let began = Instant::now();
    while fs::read_to_string(&log).unwrap().is_empty() && began.elapsed() < CEILING {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let words = format!("at 127.61.0.1:8080 as {} with nothing\n", launched[0].id);
    assert_eq!(fs::read_to_string(&log).unwrap(), words);

    provider.terminate(&[launched[0].id.clone()]).await.unwrap();
    until(&provider, &[Terminated, Running]).await;
    assert!(!Path::new(&format!("/proc/{}", process.pid)).exists(), "it is still to be waited for");
    provider.terminate(&[launched[0].id.clone(), BackendId("unknown".into())]).await.unwrap();
}

#[tokio::test]
async fn an_instance_inherits_none_of_our_sockets() {
    let folder = Folder::new("descriptors");
    let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let provider = start(settings(&folder, &["sleep", "1000"]));
    let launched = provider.launch(&request(&provider, 1, 1)).await.unwrap();
    let process = folder.process(&launched[0].id);
    let own: Vec<_> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .collect();
    let is_socket = |target: &PathBuf| target.to_string_lossy().starts_with("socket:");
    assert!(own.iter().any(is_socket));
    let entries = fs::read_dir(format!("/proc/{}/fd", process.pid)).unwrap();
    let theirs: Vec<_> = entries.filter_map(|e| fs::read_link(e.unwrap().path()).ok()).collect();
    assert!(!theirs.is_empty() && !theirs.iter().any(is_socket), "{theirs:?}");
}

#[tokio::test]
async fn a_repeated_token_gives_the_same_instances_and_nothing_new() {
    let folder = Folder::new("token");
    let provider = start(settings(&folder, &["sleep", "1000"]));
    let first = provider.launch(&request(&provider, 7, 2)).await.unwrap();
    assert_eq!(provider.launch(&request(&provider, 7, 2)).await.unwrap(), first);
    let other = provider.launch(&request(&provider, 7, 3)).await.unwrap_err();
    assert_eq!(other.word(), "token_reused");

    provider.terminate(&[first[0].id.clone()]).await.unwrap();
    until(&provider, &[Terminated, Running]).await;
    let again = provider.launch(&request(&provider, 7, 2)).await.unwrap();
    assert_eq!(states(&again), [Terminated, Running]);
    let next = provider.launch(&request(&provider, 8, 1)).await.unwrap();
    assert_eq!(next[0].address.unwrap().to_string(), "127.61.0.3:8080");
}

#[tokio::test]
async fn instances_outlive_the_provider_and_are_found_again() {
    let folder = Folder::new("restart");
    let provider = start(settings(&folder, &["sleep", "1000"]));
    let launched = provider.launch(&request(&provider, 1, 2)).await.unwrap();
    let process = folder.process(&launched[0].id);
    drop(provider);
    assert!(child::is_alive(&process));

    let provider = start(settings(&folder, &["sleep", "1000"]));
    // The thread of the one before may hold the folder a moment longer.
    let found = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            if let Ok(found) = provider.list().await {
                return found;
            }
        }
    });
    assert_eq!(found.await.unwrap(), launched);
    assert_eq!(folder.process(&launched[0].id), process);
    assert_eq!(provider.launch(&request(&provider, 1, 2)).await.unwrap(), launched);
    provider.terminate(&[launched[0].id.clone()]).await.unwrap();
    until(&provider, &[Terminated, Running]).await;
    assert!(!child::is_alive(&process));
}

#[tokio::test]
async fn an_instance_that_crashes_is_noticed_and_said() {
    let folder = Folder::new("crash");
    let provider = start(settings(&folder, &["sh", "-c", "exit 3"]));
    provider.launch(&request(&provider, 1, 1)).await.unwrap();
    until(&provider, &[Terminated]).await;
    let why = folder.records()[0].end.clone().unwrap();
    assert!(why.contains("by itself") && why.contains('3'), "{why}");
}

#[tokio::test]
async fn one_that_does_not_listen_is_killed_with_all_its_children() {
    let folder = Folder::new("stubborn");
    let script = "trap '' TERM; (trap '' TERM; sleep 1000) & echo ready; while :; do wait; done";
    let settings = ProcessSettings {
        grace: Duration::from_millis(300),
        ..settings(&folder, &["sh", "-c", script])
    };
    let provider = start(settings);
    let launched = provider.launch(&request(&provider, 1, 1)).await.unwrap();
    let log = output::file(&folder.0, &launched[0].id.0);
    let began = Instant::now();
    while fs::read_to_string(&log).unwrap().is_empty() && began.elapsed() < CEILING {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(child::marked(&launched[0].id.0).len() >= 2, "the shell and what it started");
    provider.terminate(&[launched[0].id.clone()]).await.unwrap();
    until(&provider, &[Terminated]).await;
    assert_eq!(child::marked(&launched[0].id.0), []);
}

#[tokio::test]
async fn a_time_to_boot_passes_before_it_runs_also_over_a_restart() {
    let folder = Folder::new("boot");
    let slow = ProcessSettings {
        boot_delay: Duration::from_millis(400),
        ..settings(&folder, &["sleep", "1000"])
    };
    let provider = start(slow.clone());
    let launched = provider.launch(&request(&provider, 1, 2)).await.unwrap();
    assert_eq!(states(&launched), [Pending, Pending]);
    assert!(folder.records().iter().all(|record| record.process.is_none()));
    provider.terminate(&[launched[1].id.clone()]).await.unwrap();
    drop(provider);

    let provider = start(slow);
    until(&provider, &[Running, Terminated]).await;
    assert!(folder.records()[0].process.is_some() || folder.records()[1].process.is_some());
}

#[tokio::test]
async fn no_more_than_there_are_addresses_is_launched() {
    let folder = Folder::new("addresses");
    let two = ProcessSettings {
        addresses: "127.61.1.0/30".parse().unwrap(),
        ..settings(&folder, &["sleep", "1000"])
    };
    let provider = start(two);
    assert_eq!(provider.abilities().quota, Some(2));
    let first = provider.launch(&request(&provider, 1, 3)).await.unwrap();
    assert_eq!(first.len(), 2);
    let refused = provider.launch(&request(&provider, 2, 1)).await.unwrap_err();
    assert_eq!(refused.word(), "quota");

    provider.terminate(&[first[0].id.clone()]).await.unwrap();
    until(&provider, &[Terminated, Running]).await;
    assert_eq!(provider.launch(&request(&provider, 1, 3)).await.unwrap().len(), 2);
    assert_eq!(provider.launch(&request(&provider, 2, 1)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_started_is_refused_at_once() {
    let folder = Folder::new("refused");
    let provider = start(settings(&folder, &["/no/such/program"]));
    let refused = provider.launch(&request(&provider, 1, 1)).await.unwrap_err();
    assert!(refused.to_string().contains("`/no/such/program`"), "{refused}");
    let mut strange = request(&provider, 2, 1);
    strange.offer.spec = "{}".into();
    assert_eq!(provider.launch(&strange).await.unwrap_err().word(), "refused");
    assert_eq!(provider.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_stranger_with_the_id_of_a_dead_instance_is_left_alone() {
    let folder = Folder::new("stranger");
    let provider = start(settings(&folder, &["sleep", "1000"]));
    let launched = provider.launch(&request(&provider, 1, 2)).await.unwrap();
    drop(provider);
    let mut stranger = Stranger::start();
    let mut records = folder.records();
    for record in &mut records {
        child::kill_one(record.process.as_ref().unwrap());
        // Starts are told apart by clock ticks of 10 ms, and both may fall into one here.
        let who = child::identify(stranger.0.id()).unwrap();
        record.process = Some(Identity { started: who.started - 1, ..who });
    }
    records[1].phase = Phase::Stopping;
    records.iter().for_each(|record| record.save(&folder.0).unwrap());

    let provider = start(settings(&folder, &["sleep", "1000"]));
    provider.terminate(&[launched[0].id.clone(), launched[1].id.clone()]).await.unwrap();
    until(&provider, &[Terminated, Terminated]).await;
    assert!(stranger.0.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn a_process_that_no_record_names_yet_is_found_by_its_mark() {
    let folder = Folder::new("unnamed");
    let provider = start(settings(&folder, &["sleep", "1000"]));
    let launched = provider.launch(&request(&provider, 1, 1)).await.unwrap();
    let process = folder.process(&launched[0].id);
    drop(provider);
    let mut record = folder.records().remove(0);
    (record.process, record.phase) = (None, Phase::Pending);
    record.save(&folder.0).unwrap();

    let provider = start(settings(&folder, &["sleep", "1000"]));
    assert_eq!(states(&provider.list().await.unwrap()), [Running]);
    assert_eq!(folder.process(&launched[0].id), process);
    assert_eq!(child::marked(&launched[0].id.0).len(), 1);
}

#[tokio::test]
async fn a_list_that_may_be_incomplete_is_an_error() {
    let folder = Folder::new("damaged");
    fs::create_dir_all(&folder.0).unwrap();
    fs::write(folder.0.join("p-1-0.json"), "{").unwrap();
    let provider = start(settings(&folder, &["sleep", "1000"]));
    assert_eq!(provider.list().await.unwrap_err().word(), "unclear");
    assert_eq!(provider.launch(&request(&provider, 1, 1)).await.unwrap_err().word(), "unclear");
    fs::remove_file(folder.0.join("p-1-0.json")).unwrap();
    fs::write(folder.0.join("p-1-0.new"), "{").unwrap();
    assert_eq!(provider.list().await.unwrap(), []);
}

#[tokio::test]
async fn two_cannot_keep_the_same_instances() {
    let folder = Folder::new("two");
    let first = start(settings(&folder, &["sleep", "1000"]));
    let launched = first.launch(&request(&first, 1, 1)).await.unwrap();
    let second = start(settings(&folder, &["sleep", "1000"]));
    let error = second.list().await.unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("another Tidegate"));
    drop(first);
    assert_eq!(second.list().await.unwrap(), launched);
}

#[tokio::test]
async fn what_it_prints_is_kept_within_bounds() {
    let folder = Folder::new("chatty");
    let script =
        "i=0; while [ $i -lt 3000 ]; do printf '%01000d\\n' $i; i=$((i+1)); done; exec sleep 1000";
    let provider = start(settings(&folder, &["sh", "-c", script]));
    let launched = provider.launch(&request(&provider, 1, 1)).await.unwrap();
    let began = Instant::now();
    let older = folder.0.join(format!("{}.log.old", launched[0].id));
    while !older.exists() {
        assert!(began.elapsed() < CEILING, "its output was never shortened");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(fs::metadata(&older).unwrap().len() <= output::MOST);
}

#[tokio::test]
async fn a_launch_of_which_only_a_part_fits_is_answered_with_that_part() {
    let folder = Folder::new("partly");
    let two = ProcessSettings {
        addresses: "127.61.2.0/30".parse().unwrap(),
        ..settings(&folder, &["sleep", "1000"])
    };
    let provider = start(two);
    // An address that no instance has, and that is not free all the same.
    let _stranger = std::net::TcpListener::bind("127.61.2.2:8080").unwrap();
    let launched = provider.launch(&request(&provider, 1, 2)).await.unwrap();
    assert_eq!(states(&launched), [Running]);
    assert_eq!(provider.launch(&request(&provider, 1, 2)).await.unwrap(), launched);
    assert_eq!(folder.records()[0].granted, 1);
    assert_eq!(provider.launch(&request(&provider, 2, 1)).await.unwrap_err().word(), "quota");
}

#[tokio::test]
async fn what_had_ended_before_the_machine_was_started_again_does_not_end_once_more() {
    let folder = Folder::new("reboot");
    let provider = start(settings(&folder, &["sleep", "1000"]));
    let launched = provider.launch(&request(&provider, 1, 2)).await.unwrap();
    provider.terminate(&[launched[0].id.clone()]).await.unwrap();
    until(&provider, &[Terminated, Running]).await;
    drop(provider);
    let mut records = folder.records();
    for record in &mut records {
        record.process.iter_mut().for_each(|process| process.boot = "another".to_owned());
        record.save(&folder.0).unwrap();
    }

    let provider = start(settings(&folder, &["sleep", "1000"]));
    until(&provider, &[Terminated, Terminated]).await;
    let end = |id: &BackendId| {
        let record = folder.records().into_iter().find(|record| record.id == *id.0).unwrap();
        record.end.unwrap()
    };
    assert_eq!(end(&launched[0].id), "terminated");
    assert_eq!(end(&launched[1].id), "the machine was started again");
}
