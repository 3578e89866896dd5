//! People are told: from an event of the door to a program that delivers it.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::door::TestFolder;
use tests::{TestBackend, TestDoor};

const LIMIT: Duration = Duration::from_secs(30);

/// One pool, one backend, a sink that writes into `folder`, and one that always fails.
fn configuration(backend: &TestBackend, folder: &TestFolder) -> String {
    let told = folder.path.join("told");
    format!(
        "schema = 1\nworkers = 1\n[site]\nname = \"kg-sports\"\n[admin]\nunix = \"admin.sock\"\n[listeners.web]\n\
         bind = \"127.0.0.1:0\"\n[pools.app]\nbackends = [{{ id = \"a\", address = \"{}\" }}]\n\
         [[routes]]\nname = \"all\"\nto = {{ pool = \"app\" }}\n\
         [alerts.sinks.pager]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", \"cat >> {}\"]\n\
         [alerts.sinks.broken]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", \"exit 1\"]\n\
         retry = {{ max = 1, backoff = \"10ms..10ms\" }}\n\
         [[alerts.rules]]\nwhen = [\"backend_in_rotation\", \"config_reloaded\"]\n\
         severity = \"critical\"\nto = [\"pager\", \"broken\"]\n",
        backend.addr(),
        told.display()
    )
}

/// The messages so far, once there are as many as wanted.
async fn told(folder: &TestFolder, count: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let text = fs::read_to_string(folder.path.join("told")).unwrap_or_default();
        if text.lines().count() >= count && text.ends_with('\n') {
            return text
                .lines()
                .map(|line| serde_json::from_str(line).expect("a sink gets JSON"))
                .collect();
        }
        assert!(began.elapsed() < LIMIT, "{count} messages did not come: {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_event_that_a_rule_names_is_told_and_a_sink_that_fails_is_said() {
    let folder = TestFolder::new("alerts");
    let backend = TestBackend::start("a").await;
    let door = TestDoor::start(&configuration(&backend, &folder)).await;
    let first = told(&folder, 1).await.remove(0);
    assert_eq!(
        (&first["kind"], &first["severity"]),
        (&"backend_in_rotation".into(), &"critical".into())
    );
    assert_eq!((&first["site"], &first["pool"]), (&"kg-sports".into(), &"app".into()));
    let line = door.logged("alert_lost").await;
    assert!(line.contains("broken"), "{line}");

    let (code, _, errors) = door.reload().await;
    assert_eq!(code, 0, "{errors}");
    let both = told(&folder, 2).await;
    assert_eq!(both[1]["kind"], "config_reloaded");
}
