//! A moment as the wall clock of this place shows it.

use std::time::SystemTime;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::clock as sys;

/// A date and a time of day in the system's time zone, or in the one that the variable `TZ` names.
///
/// ```
/// use tieline_os::LocalTime;
/// let now = LocalTime::of(std::time::SystemTime::now())?;
/// assert!((1..=12).contains(&now.month) && (1..=31).contains(&now.day));
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalTime {
    /// The year; 0 is the one before year 1.
    pub year: i64,
    /// From 1, January, to 12.
    pub month: u8,
    /// From 1 to 31.
    pub day: u8,
    /// From 0, Sunday, to 6.
    pub weekday: u8,
    /// From 0 to 23.
    pub hour: u8,
    /// From 0 to 59.
    pub minute: u8,
    /// From 0 to 60, a leap second.
    pub second: u8,
    /// How many seconds the clock is ahead of UTC; negative west of Greenwich.
    pub utc_offset_seconds: i64,
}

impl LocalTime {
    /// The date and time of `moment`; parts of a second are cut off.
    ///
    /// It reads the time zone's rules from files the first time.
    ///
    /// # Errors
    /// `TooLarge`: the moment is so far away that its year, or its distance from 1970, is no number for the C library.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/localtime.html>; ctime(3).
    #[doc(alias = "localtime_r")]
    pub fn of(moment: SystemTime) -> Result<Self> {
        const OPERATION: &str = "tell the local time of";
        let too_far = |errno| Error::new(OPERATION, errno).on("a moment far away").sorted_as(ErrorKind::TooLarge);
        let seconds = match moment.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).ok(),
            // The second in which it lies begins earlier.
            Err(before) => {
                let before = before.duration();
                let whole = before.as_secs() + u64::from(before.subsec_nanos() > 0);
                0_i64.checked_sub_unsigned(whole)
            }
        };
        let seconds = seconds.and_then(|seconds| libc::time_t::try_from(seconds).ok());
        let raw = sys::local(seconds.ok_or_else(|| too_far(rustix::io::Errno::OVERFLOW))?).map_err(too_far)?;
        let small = |number: i32| u8::try_from(number).unwrap_or(0);
        Ok(Self {
            year: i64::from(raw.tm_year) + 1900,
            month: small(raw.tm_mon + 1),
            day: small(raw.tm_mday),
            weekday: small(raw.tm_wday),
            hour: small(raw.tm_hour),
            minute: small(raw.tm_min),
            second: small(raw.tm_sec),
            #[allow(clippy::useless_conversion, reason = "a long has 32 bits on some architectures")]
            utc_offset_seconds: raw.tm_gmtoff.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Whatever the zone of this machine, its clock shows UTC plus the offset.
    #[test]
    fn the_clock_is_ahead_of_utc_by_its_offset() {
        for seconds in [0_u64, 1, 951_782_399, 951_782_400, 1_700_000_000, 4_102_444_799] {
            let at = LocalTime::of(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
            let shown = i64::try_from(seconds).unwrap() + at.utc_offset_seconds;
            assert_eq!(i64::from(at.second), shown.rem_euclid(60), "{at:?}");
            assert_eq!(i64::from(at.minute), shown.div_euclid(60).rem_euclid(60), "{at:?}");
            assert_eq!(i64::from(at.hour), shown.div_euclid(3600).rem_euclid(24), "{at:?}");
            // 1 January 1970 was a Thursday.
            assert_eq!(i64::from(at.weekday), (shown.div_euclid(86400) + 4).rem_euclid(7), "{at:?}");
        }
    }

    #[test]
    fn moments_before_1970_and_far_away_have_an_answer() {
        let before = LocalTime::of(SystemTime::UNIX_EPOCH - Duration::from_millis(500)).unwrap();
        assert_eq!(before.second, 59, "{before:?}");
        let far = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::MAX / 4));
        assert_eq!(LocalTime::of(far.unwrap()).unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
