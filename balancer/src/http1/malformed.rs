//! Why a head was refused: one word for the log, one sentence for a person, one status.

/// What is wrong with a head. The connection it came on cannot be used again: where the next
/// message begins is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// Not `METHOD SP target SP HTTP/1.x CRLF` (RFC 9112 §3).
    #[error("the request line is not `METHOD target HTTP/1.1` with single spaces")]
    RequestLine,
    /// Not a token, or a known method in the wrong case, which some servers would fold.
    #[error("the method is not a token, or a known one that is not in upper case")]
    Method,
    /// No method of that length is known to anybody.
    #[error("the method is longer than 32 bytes")]
    MethodTooLong,
    /// Bytes that no target may have, or a form that this method does not take (RFC 9112 §3.2).
    #[error("the target has bytes or a form that is not allowed here")]
    Target,
    /// Above `max_target`.
    #[error("the target is longer than `max_uri`")]
    TargetTooLong,
    /// Not `HTTP/` digit `.` digit.
    #[error("the version is not written as `HTTP/1.1`")]
    Version,
    /// Neither 1.0 nor 1.1.
    #[error("the version is neither HTTP/1.0 nor HTTP/1.1")]
    VersionUnsupported,
    /// Not `HTTP/1.x SP 3DIGIT [SP reason] CRLF`, or a status outside 100 to 599.
    #[error("the status line is not `HTTP/1.1 200 reason`")]
    StatusLine,
    /// LF without CR before it.
    #[error("a line ends with LF alone")]
    BareLf,
    /// CR without LF after it.
    #[error("a CR is not followed by LF")]
    BareCr,
    /// NUL, DEL or another control character.
    #[error("a field value or reason has a control character")]
    Control,
    /// A line that begins with white space (RFC 9112 §5.2).
    #[error("a line begins with white space")]
    Folded,
    /// White space in a name or between name and colon (RFC 9112 §5.1).
    #[error("a field name has white space in or after it")]
    SpaceInName,
    /// Empty, or with a byte that is not of a token.
    #[error("a field name is empty or no token")]
    FieldName,
    /// A line that ends before its colon.
    #[error("a field line has no colon")]
    NoColon,
    /// `Content_Length` and the like: gateways that map `_` and `-` alike would believe it.
    #[error("a field name passes for one that frames the message")]
    Disguised,
    /// Above `max_head`.
    #[error("the head is larger than `max_header_size`")]
    HeadTooLarge,
    /// Above `max_fields`.
    #[error("the head has more fields than `max_fields`")]
    TooManyFields,
    /// HTTP/1.1 without Host (RFC 9112 §3.2).
    #[error("there is no Host")]
    HostMissing,
    /// Two or more.
    #[error("there is more than one Host")]
    HostRepeated,
    /// Empty, or with bytes that no host and port can have.
    #[error("Host or the target's authority is not a host with an optional port")]
    HostInvalid,
    /// The absolute form names another host than Host does.
    #[error("the target names another host than Host")]
    HostMismatch,
    /// Not 1 to 19 digits.
    #[error("Content-Length is not a number")]
    ContentLength,
    /// Two or more, even if they agree.
    #[error("there is more than one Content-Length")]
    ContentLengthRepeated,
    /// Both Content-Length and Transfer-Encoding.
    #[error("there are both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    /// Not `chunked` and not a list of known codings that ends with it.
    #[error("Transfer-Encoding is not `chunked`")]
    TransferEncoding,
    /// Two or more.
    #[error("there is more than one Transfer-Encoding")]
    TransferEncodingRepeated,
    /// A proper list such as `gzip, chunked`, which we do not decode.
    #[error("Transfer-Encoding has a coding other than `chunked`")]
    TransferCoding,
    /// HTTP/1.0 knows no Transfer-Encoding (RFC 9112 §6.1).
    #[error("Transfer-Encoding came with HTTP/1.0")]
    TransferEncodingVersion,
    /// Not a list of tokens, or too long a list.
    #[error("Connection is not a short list of tokens")]
    Connection,
    /// Connection names a field that frames or routes the message, to have it removed.
    #[error("Connection names a field that frames or routes the message")]
    ConnectionNames,
    /// An expectation other than `100-continue`.
    #[error("Expect is not `100-continue`")]
    Expectation,
    /// HTTP/2 without TLS (RFC 7540 §3.2, which RFC 9113 has withdrawn): who takes it up reads all
    /// that follows in another way than who does not.
    #[error("an upgrade to HTTP/2 without TLS")]
    UpgradeHttp2,
    /// A 101 that does not say to what.
    #[error("a 101 without `Connection: upgrade` and Upgrade")]
    UpgradeMissing,
}

impl Malformed {
    /// The status of the answer to such a request. (To such an answer it is always 502.)
    pub fn status(self) -> u16 {
        match self {
            Malformed::TargetTooLong => 414,
            Malformed::Expectation => 417,
            Malformed::HeadTooLarge | Malformed::TooManyFields => 431,
            Malformed::MethodTooLong | Malformed::TransferCoding => 501,
            Malformed::VersionUnsupported => 505,
            _ => 400,
        }
    }

    /// The word for the log.
    pub fn word(self) -> &'static str {
        match self {
            Malformed::RequestLine => "request_line",
            Malformed::Method => "method",
            Malformed::MethodTooLong => "method_too_long",
            Malformed::Target => "target",
            Malformed::TargetTooLong => "target_too_long",
            Malformed::Version => "version",
            Malformed::VersionUnsupported => "version_unsupported",
            Malformed::StatusLine => "status_line",
            Malformed::BareLf => "bare_lf",
            Malformed::BareCr => "bare_cr",
            Malformed::Control => "control_character",
            Malformed::Folded => "folded_line",
            Malformed::SpaceInName => "space_in_name",
            Malformed::FieldName => "field_name",
            Malformed::NoColon => "no_colon",
            Malformed::Disguised => "disguised_name",
            Malformed::HeadTooLarge => "head_too_large",
            Malformed::TooManyFields => "too_many_fields",
            Malformed::HostMissing => "host_missing",
            Malformed::HostRepeated => "host_repeated",
            Malformed::HostInvalid => "host_invalid",
            Malformed::HostMismatch => "host_mismatch",
            Malformed::ContentLength => "content_length",
            Malformed::ContentLengthRepeated => "content_length_repeated",
            Malformed::LengthAndEncoding => "length_and_encoding",
            Malformed::TransferEncoding => "transfer_encoding",
            Malformed::TransferEncodingRepeated => "transfer_encoding_repeated",
            Malformed::TransferCoding => "transfer_coding",
            Malformed::TransferEncodingVersion => "transfer_encoding_version",
            Malformed::Connection => "connection",
            Malformed::ConnectionNames => "connection_names",
            Malformed::Expectation => "expectation",
            Malformed::UpgradeHttp2 => "upgrade_http2",
            Malformed::UpgradeMissing => "upgrade_missing",
        }
    }
}
