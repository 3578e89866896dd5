//! What sections about AWS share.

use std::time::Duration;

use infra::aws::{Identity, Place};

use super::Build;
use crate::config::text::values as say;
use crate::config::view::View;

/// How calls of this section get there.
pub(super) fn place(
    build: &mut Build<'_>,
    view: View<'_>,
    region: Option<&str>,
    timeout: Duration,
) -> Place {
    let endpoint = view.given("endpoint").and_then(|node| {
        let text = node.text()?;
        if !is_endpoint(text) {
            build.say(node.span, say::endpoint(text));
        }
        Some(text.to_owned())
    });
    Place { region: region.map(str::to_owned), endpoint, timeout, identity: Identity::Found }
}

/// The rest is the SDK's to understand; a path and a port may be in it.
fn is_endpoint(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        rest.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[')
            && rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_a_scheme_and_a_host_and_no_password() {
        for good in
            ["https://sns.eu-west-2.amazonaws.com", "http://127.0.0.1:4566/", "http://[::1]:1"]
        {
            assert!(is_endpoint(good), "{good}");
        }
        for bad in ["", "127.0.0.1:4566", "https://", "ftp://a", "https:// a", "http://me:secret@a"]
        {
            assert!(!is_endpoint(bad), "{bad}");
        }
    }
}
