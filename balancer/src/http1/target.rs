//! The parts of a request target (RFC 9112 §3.2).
use crate::http1::head::{Method, RequestHead, Span, TargetForm};
use crate::http1::malformed::Malformed;
use crate::http1::scan;

/// Fills in form, path, query and authority from `head.target`, whose bytes are all visible
/// ASCII and none a `#`. The origin form, which is nearly all, has been dealt with.
#[inline(never)]
pub(super) fn split(bytes: &[u8], head: &mut RequestHead) -> Result<(), Malformed> {
    let target = head.target.of(bytes);
    let (start, end) = (head.target.start as usize, head.target.end as usize);
    head.path = Span::new(end, end);
    if head.method == Method::Connect {
        head.form = TargetForm::Authority;
        head.authority = Some(head.target);
        host_and_port(target).ok_or(Malformed::Target).map(|_| ())
    } else if head.method == Method::Options && target == b"*" {
        head.form = TargetForm::Asterisk;
        Ok(())
    } else {
        absolute(target, start, head)
    }
}

/// The two hosts agree if they are equal but for case and a port that is the scheme's own.
pub(super) fn agree(authority: &[u8], host: &[u8], default_port: &[u8]) -> bool {
    let strip = |host| host_and_port(host).filter(|(_, port)| *port == default_port);
    let bare = |host| strip(host).map_or(host, |(name, _)| name);
    bare(authority).eq_ignore_ascii_case(bare(host))
}

/// The port that goes without saying in this target.
pub(super) fn default_port(target: &[u8]) -> &'static [u8] {
    match target.get(4) {
        Some(b':') => b"80",
        _ => b"443",
    }
}

fn absolute(target: &[u8], start: usize, head: &mut RequestHead) -> Result<(), Malformed> {
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| {
        target.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    });
    let Some(scheme) = scheme else { return Err(Malformed::Target) };
    let rest = &target[scheme.len()..];
    let len = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(len);
    if authority.is_empty() || !scan::all_host(authority) {
        return Err(Malformed::HostInvalid);
    }
    let begin = start + scheme.len();
    head.form = TargetForm::Absolute;
    head.authority = Some(Span::new(begin, begin + len));
    path_and_query(rest, begin + len, head);
    Ok(())
}

fn path_and_query(target: &[u8], start: usize, head: &mut RequestHead) {
    let end = start + target.len();
    match memchr::memchr(b'?', target) {
        Some(mark) => {
            head.path = Span::new(start, start + mark);
            head.query = Some(Span::new(start + mark + 1, end));
        }
        None => head.path = Span::new(start, end),
    }
}

/// `host:port` with 1 to 5 digits.
fn host_and_port(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memrchr(b':', text)?;
    let (host, port) = (&text[..colon], &text[colon + 1..]);
    let is_port = (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit);
    let is_host = !host.is_empty() && scan::all_host(host);
    (is_port && is_host).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_agree_but_for_case_and_the_default_port() {
        for (authority, host, expected) in [
            ("a.example", "A.EXAMPLE", true),
            ("a.example:80", "a.example", true),
            ("a.example", "a.example:80", true),
            ("a.example:8080", "a.example:8080", true),
            ("a.example:8080", "a.example", false),
            ("a.example:443", "a.example", false),
            ("a.example", "a.example.", false),
            ("[::1]:80", "[::1]", true),
            ("[::80]", "[:", false),
        ] {
            let agreed = agree(authority.as_bytes(), host.as_bytes(), b"80");
            assert_eq!(agreed, expected, "{authority} and {host}");
        }
    }
}
