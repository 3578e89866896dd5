//! Times as text. Computed once per second; between two requests of one second only the
//! milliseconds change.

use super::digits::pair;

/// `2026-11-20T09:06:29.123Z`
const ISO: usize = 24;
/// `20/Nov/2026:09:06:29 +0000`
const CLF: usize = 26;

/// Remembers the text of the last second.
#[derive(Debug)]
pub(super) struct Stamp {
    second: u64,
    iso: [u8; ISO],
    clf: [u8; CLF],
}

impl Stamp {
    pub(super) fn new() -> Stamp {
        let mut stamp = Stamp { second: 0, iso: [0; ISO], clf: [0; CLF] };
        stamp.write(0);
        stamp
    }

    /// RFC 3339 in UTC, to the millisecond.
    #[inline]
    pub(super) fn iso(&mut self, unix_ms: u64) -> &[u8; ISO] {
        self.turn(unix_ms);
        let [tens, ones] = pair(unix_ms);
        self.iso[20..23].copy_from_slice(&[pair(unix_ms / 100 % 10)[1], tens, ones]);
        &self.iso
    }

    /// As between the brackets of the common log format, in UTC.
    #[inline]
    pub(super) fn clf(&mut self, unix_ms: u64) -> &[u8; CLF] {
        self.turn(unix_ms);
        &self.clf
    }

    #[inline]
    fn turn(&mut self, unix_ms: u64) {
        if unix_ms / 1000 != self.second {
            self.write(unix_ms / 1000);
        }
    }

    #[cold]
    fn write(&mut self, second: u64) {
        self.second = second;
        let (year, month, day) = civil(second / 86_400);
        let clock = second % 86_400;
        let [hour, minute, second] = [clock / 3_600, clock / 60 % 60, clock % 60].map(pair);
        let (century, years, day) = (pair(year / 100), pair(year), pair(day));
        let name = MONTHS[month.clamp(1, 12) as usize - 1];
        let month = pair(month);

        fill(
            &mut self.iso,
            &[
                &century, &years, b"-", &month, b"-", &day, b"T", &hour, b":", &minute, b":",
                &second, b".000Z",
            ],
        );
        fill(
            &mut self.clf,
            &[
                &day, b"/", name, b"/", &century, &years, b":", &hour, b":", &minute, b":",
                &second, b" +0000",
            ],
        );
    }
}

const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Writes the parts one after another; they are as long together as `text`.
fn fill(text: &mut [u8], parts: &[&[u8]]) {
    for (place, &byte) in text.iter_mut().zip(parts.iter().copied().flatten()) {
        *place = byte;
    }
}

/// Year, month and day of a day since 1970-01-01 in the Gregorian calendar. Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`, for days from 1970 on.
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers from `date -u -d @SECONDS`.
    #[track_caller]
    fn check(unix_ms: u64, iso: &str, clf: &str) {
        let mut stamp = Stamp::new();
        assert_eq!(std::str::from_utf8(stamp.iso(unix_ms)), Ok(iso));
        assert_eq!(std::str::from_utf8(stamp.clf(unix_ms)), Ok(clf));
    }

    #[test]
    fn days_of_all_kinds_have_their_date() {
        check(0, "1970-01-01T00:00:00.000Z", "01/Jan/1970:00:00:00 +0000");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z", "29/Feb/2000:00:00:00 +0000");
        check(951_868_799_999, "2000-02-29T23:59:59.999Z", "29/Feb/2000:23:59:59 +0000");
        check(1_709_251_199_007, "2024-02-29T23:59:59.007Z", "29/Feb/2024:23:59:59 +0000");
        check(1_767_225_599_120, "2025-12-31T23:59:59.120Z", "31/Dec/2025:23:59:59 +0000");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z", "01/Mar/2100:00:00:00 +0000");
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut before = civil(0);
        for day in 1..146_097 {
            let (year, month, date) = civil(day);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let follows = match before {
                (y, m, d) if (year, month) == (y, m) => date == d + 1,
                (y, 12, 31) => (year, month, date) == (y + 1, 1, 1),
                (_, 2, d) => d == if leap { 29 } else { 28 } && (month, date) == (3, 1),
                (_, m, d) => {
                    d == [31, 0, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
                        [usize::try_from(m).unwrap() - 1]
                        && (month, date) == (m + 1, 1)
                }
            };
            assert!(follows, "{before:?}, then {:?}", (year, month, date));
            before = (year, month, date);
        }
    }

    #[test]
    fn the_same_second_keeps_its_text_and_another_does_not() {
        let mut stamp = Stamp::new();
        for unix_ms in [1_000, 1_001, 1_999, 2_000, 1_500] {
            let expected = format!("1970-01-01T00:00:{:02}.{:03}Z", unix_ms / 1000, unix_ms % 1000);
            assert_eq!(stamp.iso(unix_ms), expected.as_bytes());
        }
    }
}
