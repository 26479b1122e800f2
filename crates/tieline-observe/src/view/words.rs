//! Figures and lists in words.

use std::time::Duration;

use crate::model::{Fill, Unit};

/// A number of bytes in at most five characters: `512`, `4K`, `4.9K`, `64K`, `1.5G`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [char; 6] = ['K', 'M', 'G', 'T', 'P', 'E'];
    if bytes < 1024 {
        return bytes.to_string();
    }
    let exponent = (bytes.ilog2() / 10) as usize;
    let unit = 1_u64 << (10 * exponent);
    let (whole, rest) = (bytes / unit, bytes % unit);
    // One decimal, rounded down: what is not full never looks full.
    let tenths = u128::from(rest) * 10 / u128::from(unit);
    let letter = UNITS[exponent - 1];
    if tenths == 0 || whole >= 100 { format!("{whole}{letter}") } else { format!("{whole}.{tenths}{letter}") }
}

/// A number with a comma between each three digits.
#[must_use]
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count and its noun: `1 process`, `2 processes`.
#[must_use]
pub fn count(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// `a`, `a and b`, `a, b and c`.
#[must_use]
pub fn and(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// A length of time, roughly: `40 ms`, `3 s`, `12 min`, `4 h`, `9 days`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// The part in use, in whole per cent, rounded down; `None` without a capacity. What is nearly full never says 100.
#[must_use]
pub fn percent(fill: &Fill) -> Option<u64> {
    let capacity = fill.capacity.filter(|&capacity| capacity > 0)?;
    u64::try_from(u128::from(fill.used) * 100 / u128::from(capacity)).ok()
}

/// How full something is, for a column: `0/64K`, `4.9K/64K 7%`, `3/10 messages 30%`.
#[must_use]
pub fn fill(fill: &Fill) -> String {
    let figure = |number| if fill.unit == Unit::Bytes { bytes(number) } else { number.to_string() };
    let mut text = figure(fill.used);
    if let Some(capacity) = fill.capacity {
        text += &format!("/{}", figure(capacity));
    }
    match fill.unit {
        Unit::Messages => text += " msg",
        Unit::Connections => text += " conn",
        Unit::Pages => text += " pages",
        _ => {}
    }
    if let Some(percent) = percent(fill).filter(|&percent| percent > 0) {
        text += &format!(" {percent}%");
    }
    text
}

/// The noun of a unit, for a sentence.
#[must_use]
pub fn unit(unit: Unit, count: u64) -> &'static str {
    match (unit, count == 1) {
        (Unit::Bytes, true) => "byte",
        (Unit::Bytes, false) => "bytes",
        (Unit::Messages, true) => "message",
        (Unit::Messages, false) => "messages",
        (Unit::Connections, true) => "connection",
        (Unit::Connections, false) => "connections",
        (Unit::Pages, true) => "page",
        (Unit::Pages, false) => "pages",
        (Unit::Count, _) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_never_too_large() {
        let told = [0, 1023, 1024, 5000, 65535, 65536, 110_000, u64::MAX].map(bytes);
        assert_eq!(told, ["0", "1023", "1K", "4.8K", "63.9K", "64K", "107K", "15.9E"]);
        assert_eq!([7, 1234, 1_234_567].map(number), ["7", "1,234", "1,234,567"]);
        assert_eq!(count(1, "pipe", "pipes"), "1 pipe");
        assert_eq!(and(&["a".into(), "b".into(), "c".into()]), "a, b and c");
        let times = [40, 3_000, 720_000, 14_400_000, 777_600_000].map(|ms| duration(Duration::from_millis(ms)));
        assert_eq!(times, ["40 ms", "3 s", "12 min", "4 h", "9 days"]);
    }

    #[test]
    fn a_fill_says_what_it_counts() {
        let of = |used, capacity, unit| fill(&Fill { used, capacity, unit });
        assert_eq!(of(65_535, Some(65_536), Unit::Bytes), "63.9K/64K 99%");
        assert_eq!(of(0, Some(65_536), Unit::Bytes), "0/64K");
        assert_eq!(of(5_000, None, Unit::Bytes), "4.8K");
        assert_eq!(of(3, Some(10), Unit::Messages), "3/10 msg 30%");
        assert_eq!(of(2, Some(0), Unit::Connections), "2/0 conn");
    }
}
