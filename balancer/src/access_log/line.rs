//! A request as one line.

use super::digits::{address, decimal, millis};
use super::redact::Redact;
use super::stamp::Stamp;
use super::{Format, Record, escape};
use crate::stats::Protocol;

/// Writes lines of one format. Keeps what is the same from one line to the next, so each worker
/// has its own.
#[derive(Debug)]
pub struct Formatter {
    format: Format,
    redact: Redact,
    stamp: Stamp,
}

impl Formatter {
    /// Lines of `format` in which query parameters of these names have no values.
    pub fn new(format: Format, redact_query: &[String]) -> Formatter {
        Formatter { format, redact: Redact::new(redact_query), stamp: Stamp::new() }
    }

    /// Appends the line of `record`, with the `\n` that ends it.
    pub fn line(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        match self.format {
            Format::Json => self.json(record, out),
            Format::Clf => self.common(record, out),
            Format::Combined => {
                self.common(record, out);
                out.extend_from_slice(b" \"");
                match record.referer {
                    Some(url) => self.redact.url(url, |piece| escape::quoted(piece, out)),
                    None => out.push(b'-'),
                }
                out.extend_from_slice(b"\" \"");
                escape::quoted(record.user_agent.unwrap_or(b"-"), out);
                out.push(b'"');
            }
        }
        out.push(b'\n');
    }

    /// What is absent is left out, so that a line about little is short.
    fn json(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"ts\":\"");
        out.extend_from_slice(self.stamp.iso(record.unix_ms));
        text(b"\",\"request_id\":\"", Some(record.request_id), out);
        text(b"\",\"trace_id\":\"", record.trace_id, out);
        text(b"\",\"listener\":\"", Some(record.listener.as_bytes()), out);
        text(b"\",\"route\":\"", record.route.map(str::as_bytes), out);
        text(b"\",\"pool\":\"", record.pool.map(str::as_bytes), out);
        text(b"\",\"backend\":\"", record.backend.map(str::as_bytes), out);
        out.extend_from_slice(b"\",\"client\":\"");
        address(record.client, out);
        text(b"\",\"method\":\"", Some(record.method), out);
        text(b"\",\"host\":\"", Some(record.host), out);
        text(b"\",\"path\":\"", Some(record.path), out);
        if let Some(query) = record.query {
            out.extend_from_slice(b"\",\"query\":\"");
            self.redact.query(query, |piece| escape::json(piece, out));
        }
        out.extend_from_slice(b"\",\"protocol\":\"");
        out.extend_from_slice(protocol(record.protocol));
        out.extend_from_slice(b"\",\"status\":");
        decimal(record.status.into(), out);
        out.extend_from_slice(b",\"outcome\":\"");
        out.extend_from_slice(record.outcome.word().as_bytes());
        if let Some(reason) = record.reason {
            out.extend_from_slice(b"\",\"reason\":\"");
            out.extend_from_slice(reason.as_bytes());
        }
        numbers(record, out);
        if let Some(agent) = record.user_agent {
            out.extend_from_slice(b",\"user_agent\":\"");
            escape::json(agent, out);
            out.push(b'"');
        }
        if let Some(url) = record.referer {
            out.extend_from_slice(b",\"referer\":\"");
            self.redact.url(url, |piece| escape::json(piece, out));
            out.push(b'"');
        }
        out.push(b'}');
    }

    fn common(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        address(record.client, out);
        out.extend_from_slice(b" - - [");
        out.extend_from_slice(self.stamp.clf(record.unix_ms));
        out.extend_from_slice(b"] \"");
        if record.method.is_empty() {
            out.push(b'-');
        } else {
            escape::quoted(record.method, out);
            out.push(b' ');
            escape::quoted(record.path, out);
            if let Some(query) = record.query {
                out.push(b'?');
                self.redact.query(query, |piece| escape::quoted(piece, out));
            }
            out.push(b' ');
            out.extend_from_slice(protocol(record.protocol));
        }
        out.extend_from_slice(b"\" ");
        // Apache's `%>s` and `%b`: three digits always, and `-` for no byte.
        if record.status == 0 {
            out.extend_from_slice(b"000")
        } else {
            decimal(record.status.into(), out)
        }
        out.push(b' ');
        if record.bytes_out == 0 { out.push(b'-') } else { decimal(record.bytes_out, out) }
    }
}

/// From the closing quote of `outcome` or `reason` to the last of the numbers.
fn numbers(record: &Record<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\",\"bytes_in\":");
    decimal(record.bytes_in, out);
    out.extend_from_slice(b",\"bytes_out\":");
    decimal(record.bytes_out, out);
    if let Some(us) = record.queue_us {
        out.extend_from_slice(b",\"t_queue_ms\":");
        millis(us.into(), out);
    }
    if let Some(us) = record.connect_us {
        out.extend_from_slice(b",\"t_connect_ms\":");
        millis(us.into(), out);
    }
    if let Some(us) = record.ttfb_us {
        out.extend_from_slice(b",\"t_ttfb_ms\":");
        millis(us.into(), out);
    }
    out.extend_from_slice(b",\"t_total_ms\":");
    millis(record.total_us, out);
    out.extend_from_slice(b",\"retries\":");
    decimal(record.retries.into(), out);
}

#[inline]
fn text(key: &[u8], value: Option<&[u8]>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        out.extend_from_slice(key);
        escape::json(value, out);
    }
}

fn protocol(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Http10 => b"HTTP/1.0",
        Protocol::Http11 => b"HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::outcome::Outcome;

    fn record() -> Record<'static> {
        Record {
            unix_ms: 1_795_165_589_123,
            trace_id: Some(b"4bf92f3577b34da6a3ce929d0e0e4736"),
            request_id: b"0af7651916cd43dd8448eb211c80319c",
            listener: "web",
            route: Some("app"),
            pool: Some("onprem"),
            backend: Some("10.0.0.7:8080"),
            client: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)),
            method: b"GET",
            host: b"www.example.org",
            path: b"/a/b",
            query: Some(b"q=1&token=abc"),
            protocol: Protocol::Http11,
            status: 200,
            outcome: Outcome::Ok,
            reason: None,
            bytes_in: 0,
            bytes_out: 5_120,
            queue_us: Some(2_500),
            connect_us: Some(312),
            ttfb_us: Some(4_007),
            total_us: 1_004_050,
            retries: 1,
            user_agent: Some(b"Mozilla/5.0 (X11; Linux)"),
            referer: Some(b"https://example.org/x?token=abc"),
        }
    }

    /// What is known of a connection whose first bytes are no request.
    fn fragment() -> Record<'static> {
        Record {
            trace_id: None,
            route: None,
            pool: None,
            backend: None,
            method: b"",
            host: b"",
            path: b"",
            query: None,
            status: 400,
            outcome: Outcome::BadRequest,
            reason: Some("request_line"),
            bytes_out: 0,
            queue_us: None,
            connect_us: None,
            ttfb_us: None,
            total_us: 90,
            retries: 0,
            user_agent: None,
            referer: None,
            ..record()
        }
    }

    fn line(format: Format, record: &Record<'_>) -> String {
        let mut out = Vec::new();
        Formatter::new(format, &["token".into()]).line(record, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_has_every_field_under_its_documented_name() {
        let expected = concat!(
            r#"{"ts":"2026-11-20T09:06:29.123Z","request_id":"0af7651916cd43dd8448eb211c80319c","#,
            r#""trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","listener":"web","route":"app","#,
            r#""pool":"onprem","backend":"10.0.0.7:8080","client":"203.0.113.9","method":"GET","#,
            r#""host":"www.example.org","path":"/a/b","query":"q=1&token=***","#,
            r#""protocol":"HTTP/1.1","status":200,"outcome":"ok","bytes_in":0,"bytes_out":5120,"#,
            r#""t_queue_ms":2.500,"t_connect_ms":0.312,"t_ttfb_ms":4.007,"#,
            r#""t_total_ms":1004.050,"retries":1,"#,
            r#""user_agent":"Mozilla/5.0 (X11; Linux)","#,
            r#""referer":"https://example.org/x?token=***"}"#,
            "\n"
        );
        assert_eq!(line(Format::Json, &record()), expected);
    }

    #[test]
    fn json_leaves_out_what_is_not_there() {
        let expected = concat!(
            r#"{"ts":"2026-11-20T09:06:29.123Z","request_id":"0af7651916cd43dd8448eb211c80319c","#,
            r#""listener":"web","client":"203.0.113.9","method":"","host":"","path":"","#,
            r#""protocol":"HTTP/1.1","status":400,"outcome":"bad_request","#,
            r#""reason":"request_line","bytes_in":0,"bytes_out":0,"t_total_ms":0.090,"retries":0}"#,
            "\n"
        );
        assert_eq!(line(Format::Json, &fragment()), expected);
    }

    #[test]
    fn combined_and_common_are_what_their_readers_know() {
        let common = concat!(
            "203.0.113.9 - - [20/Nov/2026:09:06:29 +0000] ",
            "\"GET /a/b?q=1&token=*** HTTP/1.1\" 200 5120"
        );
        assert_eq!(line(Format::Clf, &record()), format!("{common}\n"));
        let expected =
            format!("{common} \"https://example.org/x?token=***\" \"Mozilla/5.0 (X11; Linux)\"\n");
        assert_eq!(line(Format::Combined, &record()), expected);
        let expected = "203.0.113.9 - - [20/Nov/2026:09:06:29 +0000] \"-\" 400 - \"-\" \"-\"\n";
        assert_eq!(line(Format::Combined, &fragment()), expected);
    }

    #[test]
    fn attacks_on_the_log_stay_inside_their_string() {
        let attacks: [&[u8]; 8] = [
            b"/\r\n{\"ts\":\"forged\",\"status\":200}",
            b"\",\"status\":200,\"x\":\"",
            b"\\",
            b"\\\"",
            b"\x1b]0;title\x07",
            b"${jndi:ldap://x}\x00",
            b"\" 200 1\n1.2.3.4 - - [",
            "\u{85}\u{2028}\u{2029}\u{9b}31m".as_bytes(),
        ];
        for attack in attacks {
            let hostile = Record {
                method: attack,
                host: attack,
                path: attack,
                query: Some(attack),
                request_id: attack,
                user_agent: Some(attack),
                referer: Some(attack),
                ..record()
            };
            check_all_formats(&hostile);
            let json: Value = serde_json::from_str(&line(Format::Json, &hostile)).unwrap();
            for key in ["method", "host", "path", "request_id", "user_agent"] {
                assert_eq!(json[key].as_str(), std::str::from_utf8(attack).ok(), "{key}");
            }
            assert_eq!(json["status"], 200);
        }
    }

    /// One line, no control character, and the form of its format.
    #[track_caller]
    fn check_all_formats(record: &Record<'_>) {
        let expected: Value = serde_json::from_str(&line(Format::Json, record)).unwrap();
        assert!(expected.is_object());
        for (format, quotes) in
            [(Format::Json, None), (Format::Clf, Some(2)), (Format::Combined, Some(6))]
        {
            let line = line(format, record);
            let inside = line.strip_suffix('\n').unwrap();
            assert!(!inside.chars().any(char::is_control), "{inside:?}");
            if let Some(quotes) = quotes {
                let bare = inside.replace("\\\\", "").replace("\\\"", "");
                assert_eq!(bare.matches('"').count(), quotes, "{inside}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_clients_send_each_line_is_one_valid_line(
            method: Vec<u8>, host: Vec<u8>, path: Vec<u8>, query: Option<Vec<u8>>,
            agent: Option<Vec<u8>>, referer: Option<Vec<u8>>, v6: u128,
            status: u16, bytes_out: u64, total_us: u64, unix_ms in 0..253_402_300_800_000_u64,
            outcome in 0..Outcome::ALL.len(),
        ) {
            check_all_formats(&Record {
                method: &method,
                host: &host,
                path: &path,
                query: query.as_deref(),
                user_agent: agent.as_deref(),
                referer: referer.as_deref(),
                client: IpAddr::V6(v6.into()),
                outcome: Outcome::ALL[outcome],
                status,
                bytes_out,
                total_us,
                unix_ms,
                ..record()
            });
        }
    }
}
