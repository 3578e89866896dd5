//! `HealthCheckRequest` and `HealthCheckResponse` as bytes: a gRPC frame (one byte "compressed",
//! four bytes length) around a protobuf message (<https://protobuf.dev/programming-guides/encoding/>).

/// Most bytes of an answer; the message that is defined has two after the frame's five.
pub(super) const LONGEST: usize = 1024;

/// `ServingStatus.SERVING`.
pub(super) const SERVING: u64 = 1;

/// Field 1 of either message with its wire type: a text in the request, a varint in the answer.
const SERVICE: u8 = 1 << 3 | 2;
const STATUS: u64 = 1 << 3;

/// Asks about `service`. An empty one is not written, as protobuf leaves out its default.
pub(super) fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(SERVICE);
        put_varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    // A configured text is far below 4 GiB.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], &message].concat()
}

/// The status in a frame that is one uncompressed answer and nothing else; fields that we do
/// not know are passed over, and one that is missing is 0.
pub(super) fn serving_status(frame: &[u8]) -> Option<u64> {
    let (&[0, a, b, c, d], mut message) = frame.split_first_chunk::<5>()? else { return None };
    if message.len() != usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()? {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match key & 7 {
            0 => {
                let value = varint(&mut message)?;
                if key == STATUS {
                    status = value;
                }
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

/// The name of a status other than [`SERVING`].
pub(super) fn word(status: u64) -> &'static str {
    match status {
        0 => "UNKNOWN",
        SERVING => "SERVING",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "a status that is not defined",
    }
}

fn put_varint(message: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        message.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    message.push(u8::try_from(value).unwrap_or(0));
}

/// At most ten bytes, seven bits each, the lowest first.
fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for place in 0..10u32 {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f).checked_shl(7 * place)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_written_with_its_length_and_none_is_an_empty_message() {
        assert_eq!(request(""), [0, 0, 0, 0, 0]);
        assert_eq!(request("app"), b"\0\0\0\0\x05\x0a\x03app");
        let long = request(&"x".repeat(200));
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
    }

    #[test]
    fn a_status_is_found_among_fields_that_nobody_knows() {
        assert_eq!(serving_status(b"\0\0\0\0\x02\x08\x01"), Some(SERVING));
        assert_eq!(serving_status(b"\0\0\0\0\0"), Some(0));
        let others = b"\0\0\0\0\x17\x12\x02hi\x19abcdefgh\x08\x02\x1dabcd\x10\x96\x01";
        assert_eq!(serving_status(others), Some(2));
    }

    #[test]
    fn what_is_cut_too_long_or_compressed_is_no_answer() {
        for frame in [
            &b""[..],
            b"\0\0\0\0",
            b"\x01\0\0\0\x02\x08\x01",
            b"\0\0\0\0\x03\x08\x01",
            b"\0\0\0\0\x01\x08\x01",
            b"\0\0\0\0\x01\x08",
            b"\0\0\0\0\x02\x12\x09",
            b"\0\0\0\0\x02\x0b\x01",
            b"\0\0\0\0\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(serving_status(frame), None, "{frame:?}");
        }
    }
}
