//! The test cloud (`tests/cloud`): an AWS on loopback that a test starts, breaks and looks into.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{CEILING, TestClient};

/// Python reads some hundred modules from the disk, on a machine that compiles beside it.
const START: Duration = Duration::from_secs(120);

/// The first call of a service makes the cloud load it.
const ANSWER: Duration = Duration::from_secs(30);

/// A cloud of its own, gone when it is dropped, together with all instances.
#[derive(Debug)]
pub struct TestCloud {
    child: Child,
    /// When this closes, the cloud ends: also if the test was killed.
    stdin: Option<ChildStdin>,
    api: SocketAddr,
    imds: SocketAddr,
}

impl TestCloud {
    /// Starts one, without processes behind its instances.
    pub fn start() -> TestCloud {
        TestCloud::start_with(&[])
    }

    /// Starts one with this command behind each instance; `{ip}`, `{port}`, `{id}` and `{type}` are
    /// filled in.
    ///
    /// # Panics
    ///
    /// It does not get ready. The message says what to do when its environment was never made.
    pub fn start_with(backend: &[&str]) -> TestCloud {
        let python = python();
        assert!(python.exists(), "no `{}`: run `bash tests/cloud/setup` once", python.display());
        let mut command = Command::new(python);
        command.args(["-m", "cloudsim"]).current_dir(here().join("cloud"));
        if !backend.is_empty() {
            command.arg("--backend").args(backend);
        }
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("the test cloud does not start: {error}"));
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let ready = stdout.and_then(first_line);
        let addresses = ready.as_deref().and_then(addresses);
        let Some((api, imds)) = addresses else {
            let _ = child.kill();
            panic!("the test cloud did not get ready: {ready:?}");
        };
        TestCloud { child, stdin, api, imds }
    }

    /// Where its API is, for `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.api)
    }

    /// Where its metadata service is.
    pub fn imds(&self) -> SocketAddr {
        self.imds
    }

    /// What a program needs in its environment to take it for AWS.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }

    /// Uses a control, `/_sim/NAME` (`tests/cloud/README.md`).
    ///
    /// # Panics
    ///
    /// There is none of that name, or it does not like what it is given.
    pub async fn control(&self, name: &str, given: &Value) -> Value {
        let body = given.to_string();
        let text = self.post(&format!("/_sim/{name}"), "", "application/json", &body).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("`{name}`: {error}: {text}"))
    }

    /// Calls the API by the query protocol and gives the answer, XML.
    ///
    /// # Panics
    ///
    /// The answer is an error.
    pub async fn call(&self, service: &str, parameters: &[(&str, &str)]) -> String {
        let pair = |(name, value): &(&str, &str)| format!("{name}={}", encoded(value));
        let body = parameters.iter().map(pair).collect::<Vec<_>>().join("&");
        let scope = format!(
            "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request, \
             SignedHeaders=host, Signature=00\r\n"
        );
        self.post("/", &scope, "application/x-www-form-urlencoded", &body).await
    }

    /// Makes an SNS topic and gives its ARN. A name with `.fifo` at its end makes an ordered one.
    pub async fn topic(&self, name: &str) -> String {
        let mut parameters = vec![("Action", "CreateTopic"), ("Name", name)];
        if name.ends_with(".fifo") {
            parameters.push(("Attributes.entry.1.key", "FifoTopic"));
            parameters.push(("Attributes.entry.1.value", "true"));
        }
        let answer = self.call("sns", &parameters).await;
        element(&answer, "TopicArn")
    }

    /// Makes an SQS queue that gets, as they are, the messages of a topic that `filter` lets through,
    /// and gives its URL.
    pub async fn queue(&self, name: &str, topic: &str, filter: &str) -> String {
        let made = self.call("sqs", &[("Action", "CreateQueue"), ("QueueName", name)]).await;
        let queue = element(&made, "QueueUrl");
        let arn = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}");
        let subscribe = [
            ("Action", "Subscribe"),
            ("TopicArn", topic),
            ("Protocol", "sqs"),
            ("Endpoint", &arn),
            ("Attributes.entry.1.key", "RawMessageDelivery"),
            ("Attributes.entry.1.value", "true"),
            ("Attributes.entry.2.key", "FilterPolicy"),
            ("Attributes.entry.2.value", filter),
        ];
        self.call("sns", &subscribe).await;
        queue
    }

    /// What a queue has, at most ten messages of JSON.
    pub async fn received(&self, queue: &str) -> Vec<Value> {
        let receive =
            [("Action", "ReceiveMessage"), ("QueueUrl", queue), ("MaxNumberOfMessages", "10")];
        let answer = self.call("sqs", &receive).await;
        let bodies = answer.split("<Body>").skip(1).filter_map(|rest| rest.split('<').next());
        let plain =
            |text: &str| text.replace("&quot;", "\"").replace("&#34;", "\"").replace("&amp;", "&");
        let read = |text: &str| serde_json::from_str(&plain(text)).unwrap_or(Value::Null);
        bodies.map(read).collect()
    }

    /// Waits until a list of the cloud (`published`, `metrics`, `ledger`, `calls`) is as wanted.
    ///
    /// # Panics
    ///
    /// It is not within the time.
    pub async fn until(
        &self,
        name: &str,
        limit: Duration,
        is_wanted: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        let began = Instant::now();
        loop {
            let found = self.control(name, &Value::Null).await;
            let found = found.as_array().cloned().unwrap_or_default();
            if is_wanted(&found) {
                return found;
            }
            assert!(began.elapsed() < limit, "`{name}` did not become as wanted: {found:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn post(&self, path: &str, fields: &str, kind: &str, body: &str) -> String {
        let mut client = TestClient::connect(self.api).await;
        client.ceiling = ANSWER;
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{fields}Content-Type: {kind}\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}",
            self.api
        );
        let response = client.request(request).await;
        assert_eq!(response.status, 200, "{path} {body}: {}", response.text());
        response.text()
    }
}

impl Drop for TestCloud {
    /// Asked first, so that it takes its instances with it.
    fn drop(&mut self) {
        drop(self.stdin.take());
        let began = Instant::now();
        while began.elapsed() < CEILING {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where everything in it is.
pub const REGION: &str = "eu-west-2";

/// Whose everything in it is: moto's own.
const ACCOUNT: &str = "123456789012";

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn python() -> PathBuf {
    here().join("../target/test-cloud/bin/python")
}

/// What it says first, if that comes in time.
fn first_line(stdout: ChildStdout) -> Option<String> {
    let (send, line) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        // Whoever waits sees a line without end, or none.
        let _ = BufReader::new(stdout).read_line(&mut line);
        let _ = send.send(line);
    });
    line.recv_timeout(START).ok()
}

/// `ready api=127.0.0.1:1 imds=127.0.0.1:2`
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = line.strip_prefix("ready ")?.split_whitespace();
    let api = words.next()?.strip_prefix("api=")?.parse().ok()?;
    let imds = words.next()?.strip_prefix("imds=")?.parse().ok()?;
    Some((api, imds))
}

/// The text of the first element of that name in an answer of XML.
///
/// # Panics
///
/// There is none.
pub fn element(answer: &str, name: &str) -> String {
    let found = answer.split(&format!("<{name}>")).nth(1).and_then(|rest| rest.split('<').next());
    found.unwrap_or_else(|| panic!("no {name} in {answer}")).to_owned()
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let one = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}
