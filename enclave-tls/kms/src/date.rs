//! Dates as SigV4 writes them.

/// `20150830T123600Z`. A time outside the years 1970 to 9999 is taken for the nearest one inside: no service accepts it anyway.
pub(crate) fn amz_date(unix: i64) -> String {
    let unix = unix.clamp(0, MAX_UNIX);
    let (year, month, day) = civil(unix.div_euclid(DAY));
    let second = unix.rem_euclid(DAY);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Year, month and day of a day counted from 1970-01-01. As Howard Hinnant derives it: years begin in March, so that the leap day is
/// a year's last.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "callers give years 1970 to 9999: nothing here leaves an i64"
)]
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

const DAY: i64 = 86_400;
/// The last second of the year 9999.
const MAX_UNIX: i64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use enclave_https::date::rfc3339;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_as_signatures_write_them() {
        for (unix, text) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_440_938_160, "20150830T123600Z"),
            (4_107_542_399, "21000228T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
            (MAX_UNIX, "99991231T235959Z"),
            (i64::MIN, "19700101T000000Z"),
            (i64::MAX, "99991231T235959Z"),
        ] {
            assert_eq!(amz_date(unix), text);
        }
    }

    proptest! {
        /// Another reads the day that was written.
        #[test]
        fn a_day_is_the_same_both_ways(day in 0i64..=2_932_896) {
            let (year, month, of_month) = civil(day);
            prop_assert_eq!(rfc3339(&format!("{year:04}-{month:02}-{of_month:02}T00:00:00Z")), day.checked_mul(DAY));
        }
    }
}
