//! The time as RFC 3339 with nanoseconds, UTC.

use rustix::time::{ClockId, clock_gettime};

/// Now.
pub(crate) fn now() -> String {
    let time = clock_gettime(ClockId::Realtime);
    render(time.tv_sec, time.tv_nsec)
}

fn render(seconds: i64, nanoseconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
}

/// Date of a day since 1970-01-01 in the proleptic Gregorian calendar, counted in eras of 400 years from 1 March.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(render(0, 1), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(render(951_782_400, 0), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(render(1_767_225_599, 999_999_999), "2025-12-31T23:59:59.999999999Z");
    }
}
