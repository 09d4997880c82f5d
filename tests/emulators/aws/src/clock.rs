//! The time, and AWS's two ways of writing it.

use std::time::{SystemTime, UNIX_EPOCH};

/// The emulator's clock: the machine's, moved.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    offset_seconds: i64,
}

impl Clock {
    /// So many seconds ahead.
    #[must_use]
    pub fn new(offset_seconds: i64) -> Self {
        Self { offset_seconds }
    }

    /// Milliseconds since 1970, UTC.
    #[must_use]
    pub fn now_ms(self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let milliseconds = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        milliseconds.saturating_add_signed(self.offset_seconds.saturating_mul(1_000))
    }

    /// Seconds since 1970, UTC.
    #[must_use]
    pub fn now(self) -> i64 {
        i64::try_from(self.now_ms() / 1_000).unwrap_or(i64::MAX)
    }
}

/// `20150830T123600Z`.
#[must_use]
pub fn amz_date(unix: i64) -> String {
    let moment = Moment::of(unix);
    let Moment { year, month, day, .. } = moment;
    let [hour, minute, second] = moment.time;
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
#[must_use]
pub fn http_date(unix: i64) -> String {
    let moment = Moment::of(unix);
    let Moment { year, day, .. } = moment;
    let [hour, minute, second] = moment.time;
    let weekday = name(&WEEKDAYS, unix.div_euclid(DAY).saturating_add(4).rem_euclid(7));
    let month = name(&MONTHS, moment.month.saturating_sub(1));
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// Reads what [`amz_date`] writes, and nothing else.
#[must_use]
pub fn parse_amz_date(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let (hour, minute, second) = (number(9..11)?, number(11..13)?, number(13..15)?);
    let unix = days_from_civil(year, month, day) * DAY + hour * 3_600 + minute * 60 + second;
    // What was read must be what is written: the separators, the ranges, the month's length.
    (amz_date(unix) == text).then_some(unix)
}

struct Moment {
    year: i64,
    month: i64,
    day: i64,
    time: [i64; 3],
}

impl Moment {
    /// Howard Hinnant's `civil_from_days`: years begin in March, so that the leap day is the last.
    fn of(unix: i64) -> Self {
        let days = unix.div_euclid(DAY) + DAYS_BEFORE_1970;
        let era = days.div_euclid(DAYS_IN_ERA);
        let day_of_era = days.rem_euclid(DAYS_IN_ERA);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let second = unix.rem_euclid(DAY);
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted + 2) / 5 + 1,
            time: [second / 3_600, second / 60 % 60, second % 60],
        }
    }
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * DAYS_IN_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - DAYS_BEFORE_1970
}

fn name(names: &[&'static str], index: i64) -> &'static str {
    usize::try_from(index)
        .ok()
        .and_then(|index| names.get(index))
        .copied()
        .unwrap_or_default()
}

const DAY: i64 = 86_400;
/// From March 0000 to 1970.
const DAYS_BEFORE_1970: i64 = 719_468;
const DAYS_IN_ERA: i64 = 146_097;
const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_aws_writes_them() {
        assert_eq!(amz_date(1_440_938_160), "20150830T123600Z");
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(1_709_164_800), "Thu, 29 Feb 2024 00:00:00 GMT");
    }

    #[test]
    fn only_whole_dates_are_read() {
        for unix in [0, 951_782_399, 951_782_400, 1_440_938_160, 4_107_542_400] {
            assert_eq!(parse_amz_date(&amz_date(unix)), Some(unix));
        }
        for bad in [
            "",
            "20150830T123600",
            "20150830 123600Z",
            "20150230T000000Z",
            "20150830T240000Z",
            "20150830T12360+Z",
        ] {
            assert_eq!(parse_amz_date(bad), None, "{bad}");
        }
    }
}
