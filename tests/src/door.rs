//! The door under test: the only place that knows how the program is started.
//!
//! The real binary runs as a child, so that a test sees what an operator would: the ready
//! message, the exit code, the signals. Listeners use port 0; the ready message tells the
//! address that the kernel chose.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use crate::backend::TestBackend;
use crate::client::TestClient;
use crate::{CEILING, within};

/// Starting a debug build on a busy machine takes longer than one event.
const START: Duration = Duration::from_secs(20);

/// A running door. Dropping it kills it.
#[derive(Debug)]
pub struct TestDoor {
    child: Child,
    folder: Arc<TestFolder>,
    output: Arc<Output>,
    listening: BTreeMap<String, Vec<SocketAddr>>,
}

impl TestDoor {
    /// The door with this configuration, ready. Fails the test with everything the program wrote
    /// when it exits instead.
    pub async fn start(configuration: &str) -> TestDoor {
        TestDoor::launch(configuration).ready().await
    }

    /// Waits until the program says that it is ready.
    pub async fn ready(mut self) -> TestDoor {
        let output = self.output.clone();
        within(START, output.until(|lines| lines.iter().any(|line| is_ready(line)))).await;
        let lines = output.lines();
        assert!(
            lines.iter().any(|line| is_ready(line)),
            "no ready message in\n{}",
            lines.join("\n")
        );
        for (name, addr) in lines.iter().filter_map(|line| listening(line)) {
            self.listening.entry(name).or_default().push(addr);
        }
        self
    }

    /// A door with one listener `web`, so many workers, and one pool `app` of these backends.
    /// They are checked often, and this waits until all of them take requests: each has been
    /// named in an event of the roster.
    pub async fn in_front_of(backends: &[&TestBackend], workers: usize) -> TestDoor {
        let door = TestDoor::start(&one_pool(backends, workers)).await;
        for backend in backends {
            let named = format!("backend={}", backend.name());
            let is_in = |line: &String| {
                line.contains("backend_in_rotation")
                    && line.split_whitespace().any(|word| word == named)
            };
            within(CEILING, door.output.until(|lines| lines.iter().any(is_in))).await;
            assert!(door.output.lines().iter().any(is_in), "{named} never took requests");
        }
        door
    }

    /// The door with this configuration, once the answers of all these backends to a check were
    /// taken in: a backend is asked a second time only then. Not all of them need take requests.
    pub async fn checked(configuration: &str, backends: &[&TestBackend]) -> TestDoor {
        let probes: Vec<usize> = backends.iter().map(|backend| backend.probe_count()).collect();
        let door = TestDoor::start(configuration).await;
        for (backend, probes) in backends.iter().zip(probes) {
            backend.probed(probes + 2).await;
        }
        door
    }

    /// The program started with this configuration; it may not get ready.
    pub fn launch(configuration: &str) -> TestDoor {
        TestDoor::launch_as(Command::new(binary()), configuration)
    }

    /// The same, where [`binary`] is not started directly: by a shell that sets limits first, or as
    /// another user. `run FILE` is added to the arguments.
    pub fn launch_as(program: Command, configuration: &str) -> TestDoor {
        let folder = TestFolder::new("door");
        folder.write("tidegate.toml", configuration);
        TestDoor::run(program, Arc::new(folder))
    }

    /// Another process with the file as it is now, which takes over from this one. It may not get
    /// ready.
    pub fn launch_successor(&self) -> TestDoor {
        let mut program = Command::new(binary());
        // In front of the file, which is what `run` adds.
        program.args(["run", "--take-over"]);
        TestDoor::run(program, self.folder.clone())
    }

    /// The program once more, with the file as it is now: after this one has ended.
    pub fn launch_again(&self) -> TestDoor {
        TestDoor::run(Command::new(binary()), self.folder.clone())
    }

    fn run(mut program: Command, folder: Arc<TestFolder>) -> TestDoor {
        let file = folder.path.join("tidegate.toml");
        // One pipe for both streams, so that their lines stay in order.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        if program.get_args().all(|argument| argument != "run") {
            program.arg("run");
        }
        let child = program
            .arg(&file)
            // Relative paths of the configuration end up there, and no service manager of the
            // machine that runs the tests is told anything.
            .current_dir(&folder.path)
            .env_remove("NOTIFY_SOCKET")
            .env_remove("LISTEN_FDS")
            .stdin(Stdio::null())
            .stdout(writer.try_clone().expect("a pipe"))
            .stderr(writer)
            .spawn()
            .expect("the program starts");
        // It holds the writing ends; without them the pipe closes with the child.
        drop(program);
        let output = Arc::new(Output::default());
        output.follow(reader);
        TestDoor { child, folder, output, listening: BTreeMap::new() }
    }

    /// The first address of a listener.
    #[track_caller]
    pub fn addr(&self, listener: &str) -> SocketAddr {
        self.addrs(listener)[0]
    }

    /// All addresses of a listener, in the order of the ready message.
    #[track_caller]
    pub fn addrs(&self, listener: &str) -> &[SocketAddr] {
        let known = self.listening.get(listener);
        known.unwrap_or_else(|| panic!("no `{listener}` among {:?}", self.listening))
    }

    /// A connection to the listener `web`.
    #[track_caller]
    pub fn client(&self) -> impl Future<Output = TestClient> {
        TestClient::connect(self.addr("web"))
    }

    /// Where the configuration lies; the program may write here too.
    pub fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// Writes another configuration into its file; the program reads it when it is told to.
    pub fn configure(&self, configuration: &str) {
        self.folder.write("tidegate.toml", configuration);
    }

    /// `tidegate reload` at the socket `admin.sock` of [`TestDoor::folder`]: exit code, standard
    /// output and standard error.
    #[track_caller]
    pub fn reload(&self) -> impl Future<Output = (i32, String, String)> + use<> {
        self.ask(&["reload"])
    }

    /// Any command with `--socket`, like [`TestDoor::reload`].
    #[track_caller]
    pub fn ask(&self, words: &[&str]) -> impl Future<Output = (i32, String, String)> + use<> {
        let mut command = Command::new(binary());
        command.args(words).arg("--socket").arg(self.folder.path.join("admin.sock"));
        within(START, async move {
            let output = tokio::task::spawn_blocking(move || command.output());
            let output = output.await.expect("no panic").expect("the program starts");
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let code = output.status.code().unwrap_or(-1);
            (code, text(&output.stdout), text(&output.stderr))
        })
    }

    /// The process, for looking at its memory and descriptors.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything written to standard output and error so far.
    pub fn output(&self) -> String {
        self.output.lines().join("\n")
    }

    /// How many lines contain `text` so far.
    pub fn times(&self, text: &str) -> usize {
        self.output.lines().iter().filter(|line| line.contains(text)).count()
    }

    /// Waits for a line that contains `text`, and returns it.
    #[track_caller]
    pub fn logged<'a>(&'a self, text: &'a str) -> impl Future<Output = String> + 'a {
        within(CEILING, async move {
            self.output.until(|lines| lines.iter().any(|line| line.contains(text))).await;
            let lines = self.output.lines();
            let found = lines.into_iter().find(|line| line.contains(text));
            found.unwrap_or_else(|| panic!("the door exited without `{text}`:\n{}", self.output()))
        })
    }

    /// Waits until so many lines contain `text`, for something that takes its time.
    #[track_caller]
    pub fn logged_in<'a>(
        &'a self,
        limit: Duration,
        text: &'a str,
        times: usize,
    ) -> impl Future<Output = ()> + 'a {
        let count = move |lines: &[String]| lines.iter().filter(|line| line.contains(text)).count();
        within(limit, async move {
            self.output.until(|lines| count(lines) >= times).await;
            let found = count(&self.output.lines());
            assert!(found >= times, "`{text}` came {found} times");
        })
    }

    /// Waits until so many lines contain `text`.
    #[track_caller]
    pub fn logged_times<'a>(
        &'a self,
        text: &'a str,
        times: usize,
    ) -> impl Future<Output = ()> + 'a {
        self.logged_in(CEILING, text, times)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let sent = rustix::process::kill_process(pid.expect("a child has an id"), signal);
        sent.expect("the child is not waited for yet");
    }

    /// SIGTERM, and the exit status.
    pub async fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.exited().await
    }

    /// Waits for the program to end by itself.
    #[track_caller]
    pub fn exited(&mut self) -> impl Future<Output = ExitStatus> {
        within(START, async move {
            self.output.until(|_| false).await;
            self.child.wait().expect("a child of ours")
        })
    }
}

impl Drop for TestDoor {
    fn drop(&mut self) {
        // Fails only when it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let written = self.output();
            #[expect(clippy::print_stderr, reason = "shown beside the failed assertion")]
            {
                eprintln!("---- the door wrote\n{written}\n----");
            }
        }
    }
}

/// The configuration of [`TestDoor::in_front_of`], for tests that add to it.
pub fn one_pool(backends: &[&TestBackend], workers: usize) -> String {
    let entry = |backend: &&TestBackend| {
        format!("{{ id = \"{}\", address = \"{}\" }}", backend.name(), backend.addr())
    };
    let backends: Vec<String> = backends.iter().map(entry).collect();
    format!(
        r#"
schema = 1
workers = {workers}
[site]
name = "test"
[listeners.web]
bind = ["127.0.0.1:0"]
[pools.app]
kind = "static"
backends = [{}]
[pools.app.health]
path = "/healthz"
interval = "50ms"
healthy_after = 1
[[routes]]
name = "all"
match = {{ path_prefix = "/" }}
to = {{ pool = "app" }}
"#,
        backends.join(", ")
    )
}

/// The program itself, as built together with the running test.
pub fn binary() -> PathBuf {
    beside("tidegate-under-test")
}

/// A program of this package, as built together with the running test.
pub fn beside(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let binary = profile.join(name);
    assert!(binary.exists(), "`{}` is built with the tests of this package", binary.display());
    binary
}

fn is_ready(line: &str) -> bool {
    line.split_whitespace().any(|word| word.trim_matches(['"', ',']) == "ready")
}

/// `... listening name=web address=127.0.0.1:41234 ...`
fn listening(line: &str) -> Option<(String, SocketAddr)> {
    let (_, fields) = line.split_once("listening ")?;
    let value = |key: &str| {
        let found = fields.split_whitespace().find_map(|word| word.strip_prefix(key));
        found.map(|value| value.trim_matches('"'))
    };
    Some((value("name=")?.to_owned(), value("address=")?.parse().ok()?))
}

/// What a child wrote, line by line.
#[derive(Debug)]
struct Output {
    lines: Mutex<Vec<String>>,
    /// Lines so far, and whether the pipe is open.
    version: watch::Sender<(usize, bool)>,
}

impl Default for Output {
    fn default() -> Output {
        Output { lines: Mutex::default(), version: watch::Sender::new((0, true)) }
    }
}

impl Output {
    /// Reads a pipe to its end on a thread of its own.
    fn follow(self: &Arc<Output>, pipe: impl Read + Send + 'static) {
        let output = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                output.lines.lock().expect("no reader panics").push(line);
                output.version.send_modify(|(lines, _)| *lines += 1);
            }
            output.version.send_modify(|(_, is_open)| *is_open = false);
        });
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no reader panics").clone()
    }

    /// Returns once the condition holds or the pipe is closed.
    async fn until(&self, condition: impl Fn(&[String]) -> bool) {
        let mut versions = self.version.subscribe();
        loop {
            let (_, is_open) = *versions.borrow_and_update();
            if !is_open || condition(&self.lines()) {
                return;
            }
            versions.changed().await.expect("the sender lives in `self`");
        }
    }
}

/// A folder of its own for a test, gone with it.
#[derive(Debug)]
pub struct TestFolder {
    /// Where it is.
    pub path: PathBuf,
}

impl TestFolder {
    /// Makes an empty folder; `name` only helps who looks.
    pub fn new(name: &str) -> TestFolder {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let unique = format!("tidegate-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(unique);
        // Left by a killed test whose process id has come round again.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder for temporary files");
        TestFolder { path }
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.path.join(name);
        fs::write(&file, text).expect("a folder of our own");
        file
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        // The door may still be writing into it; the system cleans up what stays.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_in_its_line_whatever_stands_before_it() {
        let expected = ("web".to_owned(), "127.0.0.1:41234".parse().unwrap());
        for line in [
            "listening name=web address=127.0.0.1:41234",
            "2026-01-01T00:00:00Z  INFO listening name=\"web\" address=127.0.0.1:41234 workers=2",
        ] {
            assert_eq!(listening(line), Some(expected.clone()), "{line}");
        }
        assert_eq!(listening("listening name=web"), None);
        assert_eq!(listening("name=web address=127.0.0.1:41234"), None);
    }

    #[test]
    fn only_the_word_ready_is_ready() {
        assert!(is_ready("2026-01-01T00:00:00Z INFO ready"));
        assert!(!is_ready("already listening"));
    }

    /// Something that behaves like the program, as far as the harness looks.
    fn fake(folder: &TestFolder, script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.arg(folder.write("program", script));
        shell
    }

    #[tokio::test]
    async fn a_door_is_ready_when_it_says_so_and_has_told_its_addresses() {
        let folder = TestFolder::new("fake");
        let script = "grep -q mark $2 || exit 3\n\
            trap 'echo bye; exit 0' TERM\n\
            echo 'listening name=web address=127.0.0.1:1'\n\
            echo 'listening name=web address=127.0.0.1:2' >&2\n\
            echo ready >&2\n\
            while :; do sleep 0.02; done";
        let door = TestDoor::launch_as(fake(&folder, script), "# mark").ready().await;
        let mut ports: Vec<u16> = door.addrs("web").iter().map(SocketAddr::port).collect();
        ports.sort_unstable();
        assert_eq!(ports, [1, 2]);
        let output = door.output.clone();
        assert!(door.stop().await.success());
        assert_eq!(output.lines().last().unwrap(), "bye");
    }

    #[tokio::test]
    #[should_panic(expected = "no ready message in\nport in use")]
    async fn a_program_that_exits_before_it_is_ready_fails_the_test_with_its_words() {
        let folder = TestFolder::new("fake");
        TestDoor::launch_as(fake(&folder, "echo port in use; exit 1"), "").ready().await;
    }

    #[tokio::test]
    async fn an_exit_code_is_told() {
        let folder = TestFolder::new("fake");
        let mut door = TestDoor::launch_as(fake(&folder, "echo why >&2; exit 78"), "");
        assert_eq!(door.exited().await.code(), Some(78));
        assert_eq!(door.logged("why").await, "why");
    }

    #[tokio::test]
    async fn output_is_read_line_by_line_until_the_pipe_closes() {
        let output = Arc::new(Output::default());
        output.follow(&b"one\ntwo\nthree"[..]);
        within(CEILING, output.until(|_| false)).await;
        assert_eq!(output.lines(), ["one", "two", "three"]);
    }
}
