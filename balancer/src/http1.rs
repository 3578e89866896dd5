//! The HTTP/1.1 codec: bytes in, byte ranges and verdicts out (RFC 9110, RFC 9112).
//!
//! | question                                         | answered by            |
//! |--------------------------------------------------|------------------------|
//! | What does the client ask, and where does it end? | [`parse_request`]      |
//! | What does the backend answer?                    | [`parse_response`]     |
//! | Which bytes of a chunked body are data?          | [`ChunkDecoder`]       |
//! | How is a length or a chunk written?              | [`write_decimal`], [`encode_chunk_head`] |
//!
//! Nothing here waits, reads a clock or owns a socket, so the same code runs under any driver and
//! can be fuzzed as it is. A head is never copied: what was parsed are ranges into the caller's
//! buffer, and the caller's head structs are reused, so steady state does not allocate.
//!
//! **Strict by construction.** What two parsers could read differently is refused, even where the
//! RFC lets a recipient guess: bare LF, folds, a repeated `Content-Length`, any
//! `Transfer-Encoding` but `chunked`. Policy (routing, limits of a body, which fields we write
//! ourselves) is not decided here.
pub mod chunked;
pub mod encode;
mod facts;
mod fields;
pub mod head;
pub mod malformed;
pub mod name;
#[cfg(test)]
mod properties;
pub mod request;
pub mod response;
mod scan;
mod target;

pub use chunked::{BadChunk, ChunkDecoder, Decoded};
pub use encode::{encode_chunk_head, write_decimal};
pub use head::{
    FieldLine, Framing, Limits, Method, RequestHead, ResponseHead, Span, TargetForm, Version,
};
pub use malformed::Malformed;
pub use name::Known;
pub use request::parse_request;
pub use response::parse_response;
