//! Dates as `JSON.stringify` writes them.

use std::ops::RangeInclusive;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// What a `Date` of JavaScript can hold: 100 million days to either side of 1970.
const DATES_MS: RangeInclusive<i64> = -100_000_000 * DAY_MS..=100_000_000 * DAY_MS;

/// Appends a moment, in milliseconds since 1970, as a JSON string with its date and time in UTC
/// (ISO 8601); `null` when JavaScript has no date for it.
pub(super) fn write(out: &mut Vec<u8>, since_1970_ms: i64) {
    if !DATES_MS.contains(&since_1970_ms) {
        return out.extend_from_slice(b"null");
    }
    let (year, month, day) = civil(since_1970_ms.div_euclid(DAY_MS));
    // Years of other than four digits have a sign and six.
    let year = match year {
        0..=9_999 => format!("{year:04}"),
        _ => format!("{year:+07}"),
    };
    let of_day_ms = since_1970_ms.rem_euclid(DAY_MS);
    let (hour, minute) = (of_day_ms / 3_600_000, of_day_ms / 60_000 % 60);
    let (second, millisecond) = (of_day_ms / 1_000 % 60, of_day_ms % 1_000);
    let date = format!("\"{year}-{month:02}-{day:02}");
    let time = format!("T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z\"");
    out.extend_from_slice(date.as_bytes());
    out.extend_from_slice(time.as_bytes());
}

/// Year, month and day of a day that is counted from 1 January 1970.
///
/// The calendar repeats every 400 years, which are 146,097 days. Within them years are counted
/// from March, so that a leap day is the last of its year and months have 153 days in every five.
fn civil(since_1970_days: i64) -> (i64, i64, i64) {
    let days = since_1970_days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, years_more) = match month_from_march {
        0..=9 => (month_from_march + 3, 0),
        _ => (month_from_march - 9, 1),
    };
    (400 * era + year_of_era + years_more, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(since_1970_ms: i64) -> String {
        let mut out = Vec::new();
        write(&mut out, since_1970_ms);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn moments_are_written_as_json_stringify_writes_them() {
        for (since_1970_ms, meant) in [
            (0, "\"1970-01-01T00:00:00.000Z\""),
            (-1, "\"1969-12-31T23:59:59.999Z\""),
            (960_854_400_000, "\"2000-06-13T00:00:00.000Z\""),
            (951_827_696_789, "\"2000-02-29T12:34:56.789Z\""),
            (5_364_710_055_678, "\"2140-01-01T13:14:15.678Z\""),
            (253_402_300_799_999, "\"9999-12-31T23:59:59.999Z\""),
            (253_402_300_800_000, "\"+010000-01-01T00:00:00.000Z\""),
            (-62_167_219_200_000, "\"0000-01-01T00:00:00.000Z\""),
            (-62_167_219_200_001, "\"-000001-12-31T23:59:59.999Z\""),
            (8_640_000_000_000_000, "\"+275760-09-13T00:00:00.000Z\""),
            (-8_640_000_000_000_000, "\"-271821-04-20T00:00:00.000Z\""),
        ] {
            assert_eq!(text(since_1970_ms), meant);
        }
    }

    #[test]
    fn a_moment_that_javascript_has_no_date_for_is_null() {
        for since_1970_ms in [8_640_000_000_000_001, -8_640_000_000_000_001, i64::MAX, i64::MIN] {
            assert_eq!(text(since_1970_ms), "null");
        }
    }

    #[test]
    fn every_day_of_a_thousand_years_follows_the_one_before() {
        let is_leap = |year| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = |year, month| match month {
            2 if is_leap(year) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let (mut year, mut month, mut day) = (1_500, 1, 1);
        // 470 years before 1970, of which 114 were leap years.
        for since_1970_days in -171_664..200_000 {
            assert_eq!(civil(since_1970_days), (year, month, day));
            day += 1;
            if day > length(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }
}
