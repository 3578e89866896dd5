//! `[listeners.*]`

use super::{DURATION, Kind, Shape, awaited, key, later, word, word_later};

pub(crate) static LISTENER: Shape = Shape {
    keys: &[
        key("bind", Kind::Many(&Kind::ListenAddress), "Addresses and ports to accept on.")
            .required(),
        key(
            "protocols",
            Kind::List(&Kind::Word(&[
                word("http/1.1"),
                word_later("h2"),
                word_later("h2c"),
                word_later("h3"),
            ])),
            "What is spoken on it.",
        )
        .or_else("[\"http/1.1\"] without tls, [\"h2\", \"http/1.1\"] with"),
        key(
            "redirect_to",
            Kind::Listener,
            "Answer every request with a redirect to https on the port of this listener.",
        ),
        key(
            "max_connections",
            Kind::Integer(1, 10_000_000),
            "Open connections; one more is answered with 503.",
        )
        .or_else("from the limit of open files"),
        key(
            "max_connections_per_address",
            Kind::Integer(1, 10_000_000),
            "Open connections of one address, of one /64 with IPv6. It is the address that connects, \
             also that of a trusted proxy, which stands for all its clients; with the PROXY protocol it is \
             the one named there.",
        )
        .or_else("no limit"),
        key(
            "max_header_size",
            Kind::Size("1KiB", "1MiB"),
            "Request line and header fields together; 431 beyond it.",
        )
        .or("32KiB"),
        key("max_fields", Kind::Integer(1, 10_000), "Header fields; 431 beyond it.").or("100"),
        key(
            "max_uri",
            Kind::Size("64B", "1MiB"),
            "The request target; 414 beyond it. No more than `max_header_size`.",
        )
        .or("8KiB"),
        key("max_body", Kind::SizeOrNone, "The request body; 413 beyond it.").or("none"),
        key(
            "trusted_proxies",
            Kind::Many(&Kind::Cidr),
            "Peers whose `X-Forwarded-*`, `Forwarded`, `traceparent` and request id are passed on; the client is who their `X-Forwarded-For` names, or without that field their `Forwarded`.",
        ),
        key(
            "forwarded",
            Kind::Word(&[word("x-forwarded"), word("forwarded"), word("both"), word("off")]),
            "Which fields tell backends who the client is. Where that is `Forwarded` alone, the `X-Forwarded-For` of a trusted proxy goes on in it and not by itself.",
        )
        .or("x-forwarded"),
        key("paths", Kind::Table(&PATHS), "What is let through in a path.").or("{}"),
        key("timeouts", Kind::Table(&TIMEOUTS), "How long a client may take.").or("{}"),
        key(
            "allow",
            Kind::Many(&Kind::Cidr),
            "Client addresses that may use it; the rest gets 403.",
        )
        .or_else("everybody"),
        key(
            "deny",
            Kind::Many(&Kind::Cidr),
            "Client addresses that get 403, whatever `allow` says.",
        ),
        key(
            "proxy_protocol",
            Kind::Table(&PROXY_PROTOCOL),
            "Who begins each connection with a PROXY protocol header, version 1 or 2.",
        )
        .or_else("nobody"),
        awaited(
            "tls",
            Kind::Table(&TLS),
            "Certificates and versions. A listener with it is not opened before it is supported.",
        ),
    ],
};

static PATHS: Shape = Shape {
    keys: &[
        key("merge_slashes", Kind::Flag, "`//` becomes `/`.").or("true"),
        key(
            "allow_encoded_slash",
            Kind::Flag,
            "Let `%2F` through as it is instead of answering 400.",
        )
        .or("false"),
        key(
            "allow_backslash",
            Kind::Flag,
            "Let `%5C` and `\\` through as they are instead of answering 400.",
        )
        .or("false"),
    ],
};

static TIMEOUTS: Shape = Shape {
    keys: &[
        later("tls", DURATION, "For the TLS handshake.").or("5s"),
        key(
            "request_headers",
            DURATION,
            "From the first byte of a request to the end of its head; 408 beyond it.",
        )
        .or("5s"),
        key("idle", DURATION, "For a connection without a request; closed beyond it.").or("75s"),
    ],
};

static PROXY_PROTOCOL: Shape = Shape {
    keys: &[key(
        "from",
        Kind::Many(&Kind::Cidr),
        "Peers that must send the header. From others it is a malformed request.",
    )
    .required()],
};

static TLS: Shape = Shape {
    keys: &[
        key("min_version", Kind::Word(&[word("1.2"), word("1.3")]), "Oldest version accepted.")
            .or("1.2"),
        key("acme", Kind::Table(&ACME), "Certificates obtained and renewed by the program itself."),
        key("certificates", Kind::List(&Kind::Table(&CERTIFICATE)), "Certificates from files."),
        key("client_ca", Kind::File, "Authorities whose client certificates are accepted."),
        key(
            "client_certificates",
            Kind::Word(&[word("required"), word("optional")]),
            "Whether a client must show one.",
        )
        .or("required"),
        key(
            "sni_unknown",
            Kind::Word(&[word("default"), word("refuse")]),
            "What happens to a name without a certificate.",
        )
        .or("default"),
    ],
};

static ACME: Shape = Shape {
    keys: &[
        key("email", Kind::Text, "Whom the authority writes to."),
        key("domains", Kind::Many(&Kind::Host), "Names to obtain certificates for.").required(),
    ],
};

pub(crate) static CERTIFICATE: Shape = Shape {
    keys: &[
        key("cert", Kind::File, "The chain, PEM.").required(),
        key("key", Kind::Secret, "The private key, PEM.").required(),
    ],
};
