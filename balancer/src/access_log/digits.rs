//! Numbers as text, without `core::fmt` (about ten times its speed on short numbers).

use std::net::IpAddr;

const PAIRS: [[u8; 2]; 100] = pairs();

const fn pairs() -> [[u8; 2]; 100] {
    let mut pairs = [[b'0'; 2]; 100];
    let mut n: u8 = 0;
    while n < 100 {
        pairs[n as usize] = [b'0' + n / 10, b'0' + n % 10];
        n += 1;
    }
    pairs
}

/// The two digits of a number below 100 (of its last two digits otherwise).
#[inline]
pub(super) fn pair(n: u64) -> [u8; 2] {
    PAIRS.get((n % 100) as usize).copied().unwrap_or([b'0'; 2])
}

/// `n` in decimal.
#[inline]
pub(super) fn decimal(n: u64, out: &mut Vec<u8>) {
    // Most numbers of a line are short.
    match n {
        0..10 => out.push(pair(n)[1]),
        10..100 => out.extend_from_slice(&pair(n)),
        _ => long(n, out),
    }
}

fn long(mut n: u64, out: &mut Vec<u8>) {
    let mut text = [0; 20];
    let mut at = text.len();
    while n >= 100 {
        at -= 2;
        text[at..at + 2].copy_from_slice(&pair(n));
        n /= 100;
    }
    at -= 2;
    text[at..at + 2].copy_from_slice(&pair(n));
    at += usize::from(n < 10);
    out.extend_from_slice(&text[at..]);
}

/// Microseconds as milliseconds, `1.234`.
#[inline]
pub(super) fn millis(us: u64, out: &mut Vec<u8>) {
    decimal(us / 1000, out);
    let [tens, ones] = pair(us);
    out.extend_from_slice(&[b'.', pair(us / 100 % 10)[1], tens, ones]);
}

/// An address as `Display` writes it.
pub(super) fn address(addr: IpAddr, out: &mut Vec<u8>) {
    match addr {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            decimal(a.into(), out);
            for octet in [b, c, d] {
                out.push(b'.');
                decimal(octet.into(), out);
            }
        }
        IpAddr::V6(v6) => {
            use std::io::Write;
            // The rules of RFC 5952 are not worth a second implementation.
            let written = write!(out, "{v6}");
            debug_assert!(written.is_ok(), "a Vec takes everything");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_at_the_edges_of_digits_are_whole() {
        for n in [0, 1, 9, 10, 99, 100, 101, 999, 1_000, 65_535, 99_999, u64::MAX - 1, u64::MAX] {
            assert_eq!(text(|out| decimal(n, out)), n.to_string());
        }
    }

    proptest! {
        #[test]
        fn any_number_and_address_is_written_as_display_does(n: u64, v4: u32, v6: u128) {
            prop_assert_eq!(text(|out| decimal(n, out)), n.to_string());
            let v4 = IpAddr::V4(v4.into());
            prop_assert_eq!(text(|out| address(v4, out)), v4.to_string());
            let v6 = IpAddr::V6(v6.into());
            prop_assert_eq!(text(|out| address(v6, out)), v6.to_string());
            prop_assert_eq!(text(|out| millis(n, out)), format!("{}.{:03}", n / 1000, n % 1000));
        }
    }
}
