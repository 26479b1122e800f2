//! Times as `ctime(3)` writes them.

use std::time::SystemTime;

use tieline_os::LocalTime;

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// What stands where the kernel has no time.
const NOT_SET: &str = "Not set";

/// The first 24 characters of `ctime`, as in `Thu Nov 24 18:22:48 1986`.
pub(crate) fn full(moment: Option<SystemTime>) -> String {
    let Some(moment) = moment else { return NOT_SET.to_owned() };
    match LocalTime::of(moment) {
        Ok(at) => format!(
            "{} {} {:2} {:02}:{:02}:{:02} {}",
            WEEKDAYS[usize::from(at.weekday % 7)],
            MONTHS[usize::from(at.month.clamp(1, 12) - 1)],
            at.day,
            at.hour,
            at.minute,
            at.second,
            at.year
        ),
        Err(_) => NOT_SET.to_owned(),
    }
}

/// Sixteen characters from behind the weekday: date and time, and the space in front of the year.
pub(crate) fn short(moment: Option<SystemTime>) -> String {
    match moment {
        Some(_) => full(moment).chars().skip(4).take(16).collect(),
        None => NOT_SET.to_owned(),
    }
}
