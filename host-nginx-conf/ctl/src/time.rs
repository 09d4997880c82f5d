//! Seconds since 1970 as a date that people and programs read (RFC 3339, UTC).

use std::time::{SystemTime, UNIX_EPOCH};

/// `2026-01-31T23:59:59Z`; a time outside the years 0 to 9999 as the number it is.
pub(crate) fn utc(seconds: i64) -> String {
    if !YEARS_0_TO_9999.contains(&seconds) {
        return format!("@{seconds}");
    }
    let (year, month, day) = civil(seconds.div_euclid(DAY));
    let second = seconds.rem_euclid(DAY);
    let (hour, minute, second) = (second.div_euclid(3600), second.div_euclid(60) % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// What this machine's clock says, in seconds since 1970.
pub(crate) fn now() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(_) => 0,
    }
}

/// The whole days from one time to a later one; less than none where it is an earlier one.
pub(crate) fn days(from: i64, to: i64) -> i64 {
    to.saturating_sub(from).div_euclid(DAY)
}

/// How long ago, in the largest unit that is one at least: `3 days`, `1 hour`.
pub(crate) fn ago(from: i64, to: i64) -> String {
    let seconds = to.saturating_sub(from).max(0);
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds.div_euclid(60), "minute"),
        3_600..DAY => (seconds.div_euclid(3_600), "hour"),
        _ => (seconds.div_euclid(DAY), "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// The date of a day since 1970, by the proleptic Gregorian calendar: 400 years have 146,097 days, and a year that begins in
/// March has its leap day at its end.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "the caller keeps the day within the years 0 to 9999"
)]
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468; // from 0000-03-01
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day + 2) / 153;
    let day = day - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (era * 400 + year + i64::from(month <= 2), month, day)
}

const DAY: i64 = 86_400;
const YEARS_0_TO_9999: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_in_their_largest_unit() {
        for (seconds, text) in [
            (-5, "0 seconds"),
            (1, "1 second"),
            (119, "1 minute"),
            (7_200, "2 hours"),
            (172_799, "1 day"),
        ] {
            assert_eq!(ago(0, seconds), text);
        }
        assert_eq!((days(0, DAY), days(0, DAY - 1), days(1, 0)), (1, 0, -1));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (253_402_300_800, "@253402300800"),
            (i64::MAX, "@9223372036854775807"),
            (i64::MIN, "@-9223372036854775808"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }
}
