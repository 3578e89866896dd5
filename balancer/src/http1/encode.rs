//! Numbers as they stand in a head and before a chunk, written without allocation.

/// Writes `number` in decimal to the front of `out` and returns the bytes written, 1 to 20.
///
/// ```
/// let mut out = [0; 20];
/// let len = balancer::http1::write_decimal(1024, &mut out);
/// assert_eq!(&out[..len], b"1024");
/// ```
pub fn write_decimal(number: u64, out: &mut [u8; 20]) -> usize {
    write_digits(number, 10, out)
}

/// Writes the line before a chunk of `len` bytes (size in hexadecimal, CRLF) to the front of
/// `out` and returns the bytes written, 3 to 18. The data and another CRLF follow it
/// (RFC 9112 §7.1). A length of 0 is the *last* chunk.
///
/// ```
/// let mut out = [0; 20];
/// let len = balancer::http1::encode_chunk_head(255, &mut out);
/// assert_eq!(&out[..len], b"ff\r\n");
/// ```
pub fn encode_chunk_head(len: usize, out: &mut [u8; 20]) -> usize {
    let digits = write_digits(len as u64, 16, out);
    // At most 16 digits of a u64 in hexadecimal, so there is room for two more.
    out[digits] = b'\r';
    out[digits + 1] = b'\n';
    digits + 2
}

/// `base` is 10 or 16, so 20 digits are enough for any `number`.
fn write_digits(number: u64, base: u64, out: &mut [u8; 20]) -> usize {
    let mut len = 1;
    let mut rest = number / base;
    while rest > 0 {
        len += 1;
        rest /= base;
    }
    let mut rest = number;
    for place in out[..len].iter_mut().rev() {
        // A remainder of at most 15.
        *place = b"0123456789abcdef"[usize::try_from(rest % base).unwrap_or(0)];
        rest /= base;
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_library_writes_them() {
        let edges = [0, 1, 9, 10, 15, 16, 99, 100, 4095, 4096, u64::MAX / 10, u64::MAX];
        for number in edges {
            let mut out = [b'x'; 20];
            let len = write_decimal(number, &mut out);
            assert_eq!(&out[..len], number.to_string().as_bytes());
            let len = encode_chunk_head(usize::try_from(number).unwrap(), &mut out);
            assert_eq!(&out[..len], format!("{number:x}\r\n").as_bytes());
        }
    }
}
