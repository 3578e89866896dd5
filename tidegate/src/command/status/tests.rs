//! The command against an admin socket.

use std::path::Path;

use super::*;
use crate::admin::tests::{Fake, Scratch};
use crate::admin::view::BackendState;
use crate::admin::{Addresses, Admin, Bound, Inherited};

fn args(socket: &Path, json: bool) -> Args {
    Args { json, watch: false, socket: Socket { path: Some(socket.to_owned()) } }
}

async fn started(scratch: &Scratch) -> Admin {
    let wanted = Addresses { unix: Some(scratch.socket()), ..Addresses::default() };
    let bound = Bound::bind(&wanted, Inherited::default()).await.unwrap();
    let mut admin = bound.serve(Fake::new(BackendState::Down));
    admin.open();
    admin
}

#[tokio::test]
async fn a_running_door_is_shown() {
    let scratch = Scratch::new("status");
    let admin = started(&scratch).await;
    let socket = scratch.socket();
    let page = page(&args(&socket, false), screen::Style::default()).await.unwrap();
    assert!(page.starts_with("Coping: 4210 requests a second, 1 of 2 backends serve.\n"), "{page}");
    admin.stop().await;
}

#[tokio::test]
async fn json_has_status_and_pools_in_one_object() {
    let scratch = Scratch::new("status-json");
    let admin = started(&scratch).await;
    let socket = scratch.socket();
    let page = page(&args(&socket, true), screen::Style::default()).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&page).unwrap();
    assert_eq!(
        (json["site"].as_str(), json["pools"][0]["name"].as_str()),
        (Some("test"), Some("app"))
    );
    admin.stop().await;
}

/// The message for a socket in this state.
async fn error(socket: &Path) -> String {
    page(&args(socket, false), screen::Style::default()).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_door_that_is_not_there_is_said_with_what_to_do() {
    let scratch = Scratch::new("status-none");
    let socket = scratch.socket();
    let expected = format!(
        "no door is running: nobody answers on `{}`\nstart one with `tidegate run FILE`, or name \
         its socket (`[admin] unix`) with `--socket PATH`",
        socket.display()
    );
    assert_eq!(error(&socket).await, expected);
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert_eq!(error(&socket).await, expected);
}

#[tokio::test]
async fn something_else_on_the_socket_is_not_taken_for_a_door() {
    let scratch = Scratch::new("status-other");
    let socket = scratch.socket();
    let other = tokio::net::UnixListener::bind(&socket).unwrap();
    let answer = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let (mut stream, _) = other.accept().await.unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
    });
    let error = error(&socket).await;
    assert!(error.contains("does not answer as a door does"), "{error}");
    answer.await.unwrap();
}

#[test]
fn a_socket_that_may_not_be_opened_is_said_with_what_to_do() {
    // Root may open everything, so this cannot be had from the system in every place.
    let error = AskError::Denied("/run/tidegate/admin.sock".into()).to_string();
    assert_eq!(
        error,
        "you may not open `/run/tidegate/admin.sock`; run this as a member of the socket's group, \
         or with sudo"
    );
}
