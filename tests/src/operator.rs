//! Somebody who may open the admin socket of a door.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::backend::TestBackend;
use crate::door::{TestDoor, TestFolder, binary};
use crate::wire::{Body, Framing, Wire};
use crate::{CEILING, within};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Where the socket is, in a folder that goes with it.
#[derive(Debug)]
pub struct Operator {
    folder: TestFolder,
}

impl Operator {
    /// A door with this configuration and a socket for operators, once all these backends were
    /// checked.
    pub async fn of(configuration: &str, backends: &[&TestBackend]) -> (TestDoor, Operator) {
        let operator = Operator::alone();
        let door = TestDoor::checked(&operator.with_socket(configuration), backends).await;
        (door, operator)
    }

    /// One whose door is still to be started, with [`Operator::with_socket`].
    pub fn alone() -> Operator {
        Operator { folder: TestFolder::new("operator") }
    }

    /// The configuration with the socket: what a reload reads must have it too.
    pub fn with_socket(&self, configuration: &str) -> String {
        format!("{configuration}[admin]\nunix = \"{}\"\n", self.socket().display())
    }

    /// Path of the socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path.join("admin.sock")
    }

    /// Status and JSON of one request; `null` where there is no body.
    pub async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let (status, text) = over_unix(&self.socket(), &request).await;
        let json = match &*text {
            "" => Value::Null,
            text => serde_json::from_str(text).expect("JSON"),
        };
        (status, json)
    }

    /// The JSON at a path, which must be there.
    #[track_caller]
    pub fn get<'a>(&'a self, path: &'a str) -> impl Future<Output = Value> + 'a {
        within(CEILING, async move {
            let (status, json) = self.ask("GET", path, "").await;
            assert_eq!(status, 200, "{path}: {json}");
            json
        })
    }

    /// The JSON at a path once it is as wanted.
    #[track_caller]
    pub fn until<'a>(
        &'a self,
        path: &'a str,
        is_so: impl Fn(&Value) -> bool + 'a,
    ) -> impl Future<Output = Value> + 'a {
        within(CEILING * 4, async move {
            loop {
                let (_, json) = self.ask("GET", path, "").await;
                if is_so(&json) {
                    return json;
                }
                tokio::time::sleep(LOOK).await; // a poll with a ceiling
            }
        })
    }

    /// The first event of this kind.
    #[track_caller]
    pub fn told<'a>(&'a self, kind: &'a str) -> impl Future<Output = Value> + 'a {
        within(CEILING * 4, async move {
            loop {
                let all = self.get("/v1/events").await;
                let mut events = all["events"].as_array().into_iter().flatten();
                if let Some(found) = events.find(|event| event["event"] == kind) {
                    return found.clone();
                }
                let path = format!("/v1/events?since={}&wait_seconds=2", all["next"]);
                self.ask("GET", &path, "").await;
            }
        })
    }

    /// Runs a command of the program against the socket.
    pub fn command(&self, args: &[&str]) -> impl Future<Output = Output> + use<> {
        let mut command = Command::new(binary());
        command.args(args).arg("--socket").arg(self.socket());
        async move {
            let output = tokio::task::spawn_blocking(move || command.output());
            output.await.expect("no panic").expect("the program starts")
        }
    }
}

/// One request over a Unix socket, and the status and body of its answer.
pub async fn over_unix(socket: &Path, request: &str) -> (u16, String) {
    let stream = UnixStream::connect(socket).await.expect("a door listens");
    let mut wire = Wire::new(stream);
    wire.stream.write_all(request.as_bytes()).await.expect("a door reads");
    let head = within(CEILING * 2, wire.head()).await;
    let head = head.expect("a head").expect("an answer");
    let status = head.start.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.expect("a status");
    let mut body = Body::default();
    let framing = match status {
        204 => return (status, String::new()),
        _ => head.framing().expect("one framing").unwrap_or(Framing::UntilClose),
    };
    within(CEILING * 2, wire.body(framing, &mut body)).await.expect("a whole body");
    (status, body.text())
}
