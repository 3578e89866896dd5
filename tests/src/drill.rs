//! Backends that are processes, for drills that kill, freeze and restart them under load.
//!
//! What they tell (`tests/drill/backend.rs`) is collected while they run: how often each POST was
//! executed, and when each of them was probed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};

use crate::door::beside;
use crate::{CEILING, within};

pub mod cable;

/// Whether the long forms are to run (`make drills`).
pub fn is_drill() -> bool {
    std::env::var_os("TIDEGATE_DRILL").is_some()
}

/// A number of a short form, and of a drill.
pub fn rounds(short: usize, drill: usize) -> usize {
    if is_drill() { drill } else { short }
}

/// Enough for ten thousand clients.
const DESCRIPTORS: u64 = 1 << 15;
const MOST_CLIENTS: usize = 10_000;
/// Clients that a door does without so that there are descriptors for everybody else.
const OTHERS: usize = 500;

/// As many descriptors as may be, here and in what is started from here. Says for how many clients,
/// up to ten thousand, a door then has room: two descriptors for each, and some for others.
pub fn raise_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Nofile).maximum;
    let all = |most| Rlimit { current: most, maximum: most };
    // More than the hard limit only the mighty may have.
    let is_enough = hard.is_none_or(|hard| hard >= DESCRIPTORS);
    let raised = !is_enough && setrlimit(Resource::Nofile, all(Some(DESCRIPTORS))).is_ok();
    if !raised {
        setrlimit(Resource::Nofile, all(hard)).expect("up to the hard limit everybody may");
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(DESCRIPTORS);
    let clients = usize::try_from(files / 2).unwrap_or(usize::MAX).saturating_sub(OTHERS);
    if clients < MOST_CLIENTS && is_drill() {
        tell(&format!("{files} descriptors are enough for {clients} clients only"));
    }
    clients.min(MOST_CLIENTS)
}

/// Says a figure of a drill, or what it left out.
#[expect(clippy::print_stderr, reason = "the figures of a drill, and what it left out")]
pub fn tell(text: &str) {
    eprintln!("{text}");
}

/// What a backend has told.
#[derive(Debug, Default)]
struct Told {
    /// How often each POST was executed.
    posts: BTreeMap<String, usize>,
    probes: Vec<Instant>,
}

/// One backend on a port that stays its own. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    addr: SocketAddr,
    manner: Vec<String>,
    is_far: bool,
    child: Option<(Child, JoinHandle<()>)>,
    told: Arc<Mutex<Told>>,
    /// Bound and never listening, so that nobody else gets the port while the backend is dead.
    _reserved: Option<Socket>,
}

impl Process {
    /// A running backend; `manner` is what its program understands (`delay=300`).
    pub fn start(name: &'static str, manner: &[&str]) -> Process {
        let reserved = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        reserved.set_reuse_address(true).expect("an option of every socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        reserved.bind(&any.into()).expect("a free port");
        let addr = reserved.local_addr().ok().and_then(|addr| addr.as_socket());
        let mut process = Process {
            name,
            addr: addr.expect("a bound socket has an address"),
            manner: manner.iter().map(|word| (*word).to_owned()).collect(),
            is_far: false,
            child: None,
            told: Arc::default(),
            _reserved: Some(reserved),
        };
        process.revive();
        process
    }

    /// The same in a network of its own, where it listens on every address. Needs to be root.
    fn start_far(name: &'static str, address: &str, manner: &[&str]) -> Process {
        let mut process = Process {
            name,
            addr: format!("{address}:8080").parse().expect("an address"),
            manner: manner.iter().map(|word| (*word).to_owned()).collect(),
            is_far: true,
            child: None,
            told: Arc::default(),
            _reserved: None,
        };
        process.revive();
        process
    }

    /// Its id in the configuration.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where it listens when it runs.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Starts it once more.
    pub fn revive(&mut self) {
        let program = beside("drill-backend");
        let (mut command, addr) = match self.is_far {
            false => (Command::new(program), self.addr),
            true => {
                let mut command = Command::new("unshare");
                command.arg("--net").arg(program);
                (command, SocketAddr::from(([0, 0, 0, 0], self.addr.port())))
            }
        };
        let mut child = command
            .arg(addr.to_string())
            .args(&self.manner)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut pipe = BufReader::new(child.stdout.take().expect("asked for"));
        let mut ready = String::new();
        pipe.read_line(&mut ready).expect("a pipe of ours");
        assert_eq!(ready, "ready\n", "`{}` did not start", self.name);
        let told = self.told.clone();
        let reader = std::thread::spawn(move || listen(pipe, &told));
        self.child = Some((child, reader));
    }

    /// SIGKILL; its connections are gone when this returns.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// SIGTERM, and its end: what is under way is answered first. Nothing if it does not run.
    pub fn end(&mut self) {
        if self.child.is_some() {
            self.signal(Signal::TERM);
            self.wait();
        }
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").0.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a child has an id"), signal).expect("it is not waited for yet");
    }

    fn wait(&mut self) {
        let Some((mut child, reader)) = self.child.take() else { return };
        child.wait().expect("a child of ours");
        reader.join().expect("no reader panics");
    }

    /// Waits until it has executed another POST: the door sends to it.
    pub async fn takes_requests(&self) {
        self.takes_requests_within(CEILING).await;
    }

    /// The same, within so long.
    pub async fn takes_requests_within(&self, limit: Duration) {
        let posts = || self.told.lock().expect("no reader panics").posts.len();
        let before = posts();
        within(limit, async {
            while posts() == before {
                tokio::time::sleep(Duration::from_millis(1)).await; // a poll with a ceiling
            }
        })
        .await;
    }

    /// When it was probed.
    pub fn probes(&self) -> Vec<Instant> {
        self.told.lock().expect("no reader panics").probes.clone()
    }

    /// How often it executed each POST.
    pub fn posts(&self) -> BTreeMap<String, usize> {
        self.told.lock().expect("no reader panics").posts.clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn listen(pipe: BufReader<ChildStdout>, told: &Mutex<Told>) {
    for line in pipe.lines().map_while(Result::ok) {
        let mut told = told.lock().expect("nobody panics with it");
        match line.strip_prefix("post ") {
            Some(id) => *told.posts.entry(id.to_owned()).or_default() += 1,
            None => told.probes.push(Instant::now()),
        }
    }
}

/// A door in front of these with what is shipped: checks, balancing, retries, limits. `more` is
/// appended to the only route.
pub fn configuration(backends: &[&Process], workers: usize, more: &str) -> String {
    let entry = |backend: &&Process| {
        format!("{{ id = \"{}\", address = \"{}\" }}", backend.name, backend.addr)
    };
    let backends: Vec<String> = backends.iter().map(entry).collect();
    format!(
        "schema = 1\nworkers = {workers}\n[site]\nname = \"test\"\n\
         [listeners.web]\nbind = [\"127.0.0.1:0\"]\n\
         [pools.app]\nbackends = [{}]\n[pools.app.health]\npath = \"/healthz\"\n\
         [[routes]]\nname = \"all\"\nto = {{ pool = \"app\" }}\n{more}\n",
        backends.join(", ")
    )
}
