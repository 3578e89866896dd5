//! With real programs: shell scripts that behave, and some that do not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use scaler::ports::{InstanceState, Mark};

use super::*;

/// A folder with a program in it, gone with the test.
struct Program(PathBuf);

impl Program {
    fn new(script: &str) -> Program {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-exec-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        // Run by an interpreter: a file that was just written may not be run while another thread
        // forks with it open.
        fs::write(folder.join("pool.sh"), script).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        Program(folder)
    }

    fn provider(&self, timeout: Duration) -> ExecProvider {
        let file = self.0.join("pool.sh").to_string_lossy().into_owned();
        ExecProvider::new(ExecSettings {
            pool: pool(),
            command: vec!["sh".to_owned(), file],
            env: BTreeMap::from([("FOLDER".to_owned(), self.0.to_string_lossy().into_owned())]),
            timeout,
        })
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const SOON: Duration = Duration::from_secs(20);

fn pool() -> PoolName {
    PoolName("vmware".into())
}

fn request(decision: u64, count: u32) -> LaunchRequest {
    let mark = Mark {
        site: "kg-sports".into(),
        pool: pool(),
        installation: "5f0c".into(),
        epoch: 1,
        decision,
        attempt: 0,
    };
    let offer = Offer { name: NAME.into(), spec: "{}".into(), is_spot: false };
    LaunchRequest { mark, count, offer }
}

/// What a provider makes of a program that writes this, in one word and in whole.
async fn list_of(text: &str) -> Result<Vec<Instance>, (String, String)> {
    let program = Program::new(&format!("cat > /dev/null; cat <<'END'\n{text}\nEND\n"));
    program.provider(SOON).list().await.map_err(|error| words_of(&error))
}

fn words_of(error: &ProviderError) -> (String, String) {
    let source = std::error::Error::source(error).map(ToString::to_string);
    (error.word().to_owned(), source.unwrap_or_else(|| error.to_string()))
}

#[tokio::test]
async fn a_program_launches_lists_and_terminates() {
    let program = Program::new(
        r#"request=$(cat); echo "$request" >> $FOLDER/asked
           one='{"id":"vm-1","state":"running","address":"10.0.0.7:8080","zone":"a",
                 "mark":"kg-sports/vmware/5f0c/1/17/0","launched_at":"2026-11-21T10:00:00Z","kind":"small"}'
           case "$request" in
             *terminate*) echo '{}' ;;
             *) echo "{\"instances\":[$one]}" ;;
           esac"#,
    );
    let provider = program.provider(SOON);
    let launched = provider.launch(&request(17, 2)).await.unwrap();
    let [one] = &launched[..] else { panic!("{launched:?}") };
    assert_eq!((one.id.to_string(), one.state), ("vm-1".to_owned(), InstanceState::Running));
    assert_eq!(one.address.unwrap().to_string(), "10.0.0.7:8080");
    assert_eq!((one.zone.as_deref(), &*one.kind), (Some("a"), "small"));
    assert_eq!(one.mark, Some(request(17, 2).mark));
    assert_eq!(provider.list().await.unwrap(), launched);
    provider.terminate(std::slice::from_ref(&one.id)).await.unwrap();

    let token = request(17, 2).token();
    let asked = format!(
        r#"{{"version":1,"action":"launch","pool":"vmware","launch":{{"count":2,"token":"{token}","mark":"kg-sports/vmware/5f0c/1/17/0"}}}}
{{"version":1,"action":"list","pool":"vmware"}}
{{"version":1,"action":"terminate","pool":"vmware","instances":["vm-1"]}}
"#
    );
    assert_eq!(program.file("asked"), asked);
}

#[tokio::test]
async fn what_it_says_of_itself_becomes_an_error_of_its_kind() {
    for (text, word) in [
        (r#"{"error":{"kind":"throttled","retry_after_s":5}}"#, "throttled"),
        (r#"{"error":{"kind":"no_capacity"}}"#, "no_capacity"),
        (r#"{"error":{"kind":"quota","reason":"vcpus"}}"#, "quota"),
        (r#"{"error":{"kind":"denied"}}"#, "denied"),
        (r#"{"error":{"kind":"refused","reason":"no such template"}}"#, "refused"),
        (r#"{"error":{"kind":"token_reused"}}"#, "token_reused"),
    ] {
        assert_eq!(list_of(text).await.unwrap_err().0, word, "{text}");
    }
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_none() {
    for (text, why) in [
        ("Welcome to vSphere", "expected value"),
        ("", "EOF"),
        ("{}", "no `instances`"),
        (r#"{"instances":[],"error":{"kind":"quota"}}"#, "`error` and `instances`"),
        (r#"{"error":{"kind":"tired"}}"#, "unknown variant"),
        (r#"{"instances":[{"id":"a b","state":"running"}]}"#, "no id"),
        (r#"{"instances":[{"id":"","state":"running"}]}"#, "no id"),
        (r#"{"instances":[{"id":"a","state":"well"}]}"#, "unknown variant"),
        (r#"{"instances":[{"id":"a","state":"running","address":"10.0.0.1"}]}"#, "address"),
        (r#"{"instances":[{"id":"a","state":"running","address":"0.0.0.0:80"}]}"#, "nobody"),
        (r#"{"instances":[{"id":"a","state":"running","mark":"x"}]}"#, "none of ours"),
        (r#"{"instances":[{"id":"a","state":"running","launched_at":"now"}]}"#, "no time"),
        (r#"{"instances":[{"id":"a","state":"running","mark":"s/other/i/1/2/3"}]}"#, "of pool"),
        (r#"{"instances":[{"id":"a","state":"running"},{"id":"a","state":"pending"}]}"#, "twice"),
        (r#"{"instances":[{"id":"a","state":"running","adress":"x"}]}"#, "unknown field"),
    ] {
        let (word, source) = list_of(text).await.unwrap_err();
        assert_eq!(word, "unclear", "{text}");
        assert!(source.contains(why), "{text}: {source}");
    }
}

#[tokio::test]
async fn a_launch_is_believed_only_if_it_is_the_one_that_was_asked_for() {
    for (instances, why) in [
        (r#""#, "no instance"),
        (r#"{"id":"a","state":"running"}"#, "another mark"),
        (r#"{"id":"a","state":"running","mark":"kg-sports/vmware/5f0c/1/16/0"}"#, "another mark"),
        (
            r#"{"id":"a","state":"running","mark":"kg-sports/vmware/5f0c/1/17/0"},
               {"id":"b","state":"running","mark":"kg-sports/vmware/5f0c/1/17/0"}"#,
            "2 instances for a launch of 1",
        ),
    ] {
        let program = Program::new(&format!("echo '{{\"instances\":[{instances}]}}'"));
        let error = program.provider(SOON).launch(&request(17, 1)).await.unwrap_err();
        let (word, source) = words_of(&error);
        assert!(word == "unclear" && source.contains(why), "{instances}: {source}");
    }
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_all_that_it_started() {
    let program = Program::new("sleep 1000 & echo $! > $FOLDER/child; echo $$ > $FOLDER/own; wait");
    let error = program.provider(Duration::from_secs(2)).list().await.unwrap_err();
    assert!(words_of(&error).1.contains("within 2s"), "{error:?}");
    let gone = |file: &str| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", program.file(file).trim()));
        !stat.is_ok_and(|stat| !stat.contains(") Z "))
    };
    let began = std::time::Instant::now();
    while !(gone("own") && gone("child")) {
        assert!(began.elapsed() < SOON, "it is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_flood_is_stopped_and_a_failure_is_told_in_its_own_words() {
    let flood = Program::new("exec cat /dev/zero");
    let error = flood.provider(SOON).list().await.unwrap_err();
    assert!(words_of(&error).1.contains("more than"), "{error:?}");

    let failing = Program::new("echo; echo 'no route to the manager' >&2; exit 3");
    let (word, source) = words_of(&failing.provider(SOON).list().await.unwrap_err());
    assert_eq!(word, "unclear");
    assert!(source.contains("3") && source.contains("no route to the manager"), "{source}");
}

#[tokio::test]
async fn one_that_is_not_there_has_done_nothing() {
    let program = Program::new("");
    let mut provider = program.provider(SOON);
    provider.settings.command = vec!["/no/such/program".to_owned()];
    let error = provider.launch(&request(1, 1)).await.unwrap_err();
    assert_eq!(error.word(), "refused");
}

#[tokio::test]
async fn a_child_that_holds_its_pipes_open_holds_nothing_up() {
    let program = Program::new("sleep 30 & echo '{\"instances\":[]}'");
    let began = std::time::Instant::now();
    assert_eq!(program.provider(Duration::from_secs(25)).list().await.unwrap(), []);
    assert!(began.elapsed() < SOON);
}

#[tokio::test]
async fn after_three_bad_answers_it_is_left_alone_and_then_tried_again() {
    let program = Program::new(
        "echo x >> $FOLDER/runs; test -e $FOLDER/well && echo '{\"instances\":[]}' || echo no",
    );
    let mut provider = program.provider(SOON);
    let short = Duration::from_secs(1);
    provider.trust = Mutex::new(Trust::new((short, short)));
    for _ in 0..3 {
        assert_eq!(provider.list().await.unwrap_err().word(), "unclear");
    }
    let (word, source) = words_of(&provider.list().await.unwrap_err());
    assert!(word == "unclear" && source.contains("left alone"), "{source}");
    assert_eq!(program.file("runs").lines().count(), 3);

    fs::write(program.0.join("well"), "").unwrap();
    let began = std::time::Instant::now();
    while provider.list().await.is_err() {
        assert!(began.elapsed() < SOON, "it is never asked again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(program.file("runs").lines().count(), 4);
}

#[tokio::test]
async fn a_message_is_told_whole_and_a_failure_is_told_with_its_reason() {
    use notifier::{ExecNotifier, NotifierSettings};
    use scaler::ports::{Message, Notifier, NotifyError, Severity};

    let program = Program::new("cat >> $1; test -e $2 || { echo 'the line is cut' >&2; exit 1; }");
    let path = |name: &str| program.0.join(name).to_string_lossy().into_owned();
    let notifier = |name: &str| {
        let command = vec!["sh".to_owned(), path(name), path("told"), path("well")];
        ExecNotifier::new(NotifierSettings { command, env: BTreeMap::new(), timeout: SOON })
    };
    let message = Message {
        key: "kg/app/backend_ejected".to_owned(),
        sequence: 7,
        at: "2026-11-21T10:00:00Z".parse().unwrap(),
        state: scaler::ports::State::Fired,
        severity: Severity::Critical,
        kind: "backend_ejected".into(),
        site: "kg".into(),
        pool: None,
        title: "t".to_owned(),
        text: "a\nb".to_owned(),
        fields: vec![("reason".into(), "\"x\"".to_owned())],
    };
    let error = notifier("pool.sh").tell(&message).await.unwrap_err();
    let NotifyError::Later { source, .. } = error else { panic!("{error:?}") };
    assert!(source.to_string().contains("the line is cut"), "{source}");
    fs::write(program.0.join("well"), "").unwrap();
    notifier("pool.sh").tell(&message).await.unwrap();
    let whole = r#"{"version":1,"key":"kg/app/backend_ejected","sequence":7,"at":"2026-11-21T10:00:00Z","state":"fired","severity":"critical","kind":"backend_ejected","site":"kg","pool":null,"title":"t","text":"a\nb","fields":{"reason":"\"x\""}}"#;
    assert_eq!(program.file("told"), format!("{whole}\n{whole}\n"));

    let gone = ExecNotifier::new(NotifierSettings {
        command: vec!["/no/such/program".to_owned()],
        env: BTreeMap::new(),
        timeout: SOON,
    });
    assert!(matches!(gone.tell(&message).await, Err(NotifyError::Never { .. })));
}

#[test]
fn its_quarantine_doubles_until_it_is_well_again() {
    let mut trust = Trust::new(PAUSE);
    let now = Instant::now();
    assert_eq!((trust.is_bad(now), trust.is_bad(now)), (None, None));
    let pauses: Vec<u64> = (0..7).map(|_| trust.is_bad(now).unwrap().as_secs()).collect();
    assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
    assert_eq!(trust.left(now + Duration::from_secs(299)), Some(Duration::from_secs(1)));
    assert_eq!(trust.left(now + Duration::from_secs(300)), None);
    assert!(trust.is_good() && !trust.is_good());
    assert_eq!(trust.is_bad(now), None);
}
