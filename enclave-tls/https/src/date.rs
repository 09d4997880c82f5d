//! Dates as HTTP and JSON write them, in seconds since 1970, UTC.

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, IMF-fixdate: the only form that is sent). The day of the week is not compared.
#[must_use]
pub fn http_date(text: &str) -> Option<i64> {
    let (_weekday, date) = text.split_once(", ")?;
    let mut parts = date.split(' ');
    let day = number(parts.next()?, 2)?;
    let month = parts.next()?;
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()?;
    let year = number(parts.next()?, 4)?;
    let time = second_of_day(parts.next()?)?;
    let ends = parts.next() == Some("GMT") && parts.next().is_none();
    ends.then(|| unix(year, month.checked_add(1)?, day, time)).flatten()
}

/// Reads `1994-11-06T08:49:37Z` (RFC 3339), with a fraction of a second, which is dropped, or with an offset.
#[must_use]
pub fn rfc3339(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't'])?;
    let mut parts = date.split('-');
    let year = number(parts.next()?, 4)?;
    let month = number(parts.next()?, 2)?;
    let day = number(parts.next()?, 2)?;
    let zone = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at_checked(zone)?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let is_fraction = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let ends = parts.next().is_none() && is_fraction;
    let local = ends.then(|| unix(year, month, day, second_of_day(time)?)).flatten()?;
    local.checked_sub(offset(zone)?)
}

/// Seconds east of UTC.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let (hour, minute) = zone.get(1..)?.split_once(':')?;
    let (hour, minute) = (number(hour, 2)?, number(minute, 2)?);
    let seconds = hour.checked_mul(3_600)?.checked_add(minute.checked_mul(60)?)?;
    let is_offset = hour < 24 && minute < 60;
    is_offset.then_some(if zone.starts_with('-') {
        seconds.checked_neg()?
    } else {
        seconds
    })
}

/// `08:49:37`, or a leap second.
fn second_of_day(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let hour = number(parts.next()?, 2)?;
    let minute = number(parts.next()?, 2)?;
    let second = number(parts.next()?, 2)?;
    let possible = parts.next().is_none() && hour < 24 && minute < 60 && second <= 60;
    let seconds = hour.checked_mul(3_600)?.checked_add(minute.checked_mul(60)?)?;
    possible.then_some(seconds.checked_add(second)?)
}

fn unix(year: i64, month: i64, day: i64, time: i64) -> Option<i64> {
    let possible = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    possible
        .then(|| days(year, month, day).checked_mul(DAY)?.checked_add(time))
        .flatten()
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Counted from 1970-01-01, as Howard Hinnant derives it: years begin in March, so that the leap day is a year's last.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "callers give years of four digits: nothing here leaves an i64"
)]
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

const DAY: i64 = 86_400;
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_date_of_a_reply() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for text in [
            "",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37:00 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }

    #[test]
    fn the_date_of_a_json_document() {
        for (text, unix) in [
            ("1994-11-06T08:49:37Z", 784_111_777),
            ("1994-11-06t08:49:37z", 784_111_777),
            ("1994-11-06T08:49:37.5Z", 784_111_777),
            ("1994-11-06T09:49:37.000000001+01:00", 784_111_777),
            ("1994-11-05T23:19:37-09:30", 784_111_777),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(rfc3339(text), Some(unix), "{text}");
        }
        for text in [
            "",
            "1994-11-06",
            "1994-11-06T08:49:37",
            "1994-11-06 08:49:37Z",
            "1994-11-06T08:49Z",
            "1994-11-06T08:49:37.Z",
            "1994-11-06T08:49:37.1x",
            "1994-11-06T08:49:37ZZ",
            "1994-11-06T08:49:37+01",
            "1994-11-06T08:49:37+24:00",
            "1994-13-06T08:49:37Z",
            "1994-00-06T08:49:37Z",
            "1994-11-32T08:49:37Z",
            "1994-11-6T08:49:37Z",
            "1969-11-06T08:49:37Z",
            "-1994-11-06T08:49:37Z",
            "1994-11-06-01T08:49:37Z",
        ] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9TZ:+. -]{0,30}|.{0,40}") {
            let _ = http_date(&text);
            let _ = rfc3339(&text);
        }
    }
}
