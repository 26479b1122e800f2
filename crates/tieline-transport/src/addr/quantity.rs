//! Sizes and durations as people write them: `64K`, `10GiB`, `200ms`, `1.5s`.
//!
//! The invariant: what [`size`] and [`duration`] print is read back as exactly the same value.

use std::fmt;
use std::time::Duration;

/// Units of size, largest first; the first name of a row is the one that is printed.
const SIZES: [(u64, &[&str]); 9] = [
    (1 << 40, &["T", "TiB"]),
    (1_000_000_000_000, &["TB"]),
    (1 << 30, &["G", "GiB"]),
    (1_000_000_000, &["GB"]),
    (1 << 20, &["M", "MiB"]),
    (1_000_000, &["MB"]),
    (1 << 10, &["K", "k", "KiB"]),
    (1_000, &["KB", "kB"]),
    (1, &["", "B"]),
];

/// Units of time in nanoseconds, largest first.
const TIMES: [(u64, &str); 6] = [
    (3_600_000_000_000, "h"),
    (60_000_000_000, "m"),
    (1_000_000_000, "s"),
    (1_000_000, "ms"),
    (1_000, "us"),
    (1, "ns"),
];

/// Reads a size in bytes (or any count): digits and a unit. `K`, `M`, `G`, `T` (or `KiB` …) are powers of 1024, as in
/// `dd` and `ls`; `KB`, `MB`, `GB`, `TB` are powers of 1000; without a unit it is the number itself.
///
/// ```
/// use tieline_transport::addr::quantity::{parse_size, size};
/// assert_eq!(parse_size("64K").unwrap(), 65_536);
/// assert_eq!(parse_size("10GiB").unwrap(), 10 << 30);
/// assert_eq!(size(65_536).to_string(), "64K");
/// ```
///
/// # Errors
/// If it is not of that form, or does not fit 64 bits.
pub fn parse_size(text: &str) -> Result<u64, QuantityError> {
    let (digits, unit) = split(text);
    let factor = SIZES.iter().find(|(_, names)| names.contains(&unit)).map(|(factor, _)| *factor);
    let value = digits.parse::<u64>().ok();
    match (value, factor) {
        (Some(value), Some(factor)) => value.checked_mul(factor).ok_or_else(|| refused(text, "does not fit 64 bits")),
        (None, Some(_)) if !digits.is_empty() && !digits.contains('.') => Err(refused(text, "does not fit 64 bits")),
        _ => Err(refused(text, "is not a size; write digits and a unit, such as 4096, 64K, 1M or 10GiB")),
    }
}

/// Shows a size in the largest binary unit that divides it.
#[must_use]
pub fn size(bytes: u64) -> impl fmt::Display {
    let binary = SIZES.iter().filter(|(factor, _)| factor.is_power_of_two());
    let (factor, names) =
        binary.copied().find(|(factor, _)| bytes >= *factor && bytes.is_multiple_of(*factor)).unwrap_or((1, &[""]));
    Printed { value: bytes / factor, unit: names[0] }
}

/// Reads a duration: digits, perhaps with a decimal part, and one of the units `ns`, `us`, `ms`, `s`, `m`, `h`.
///
/// ```
/// use std::time::Duration;
/// use tieline_transport::addr::quantity::{duration, parse_duration};
/// assert_eq!(parse_duration("1.5s").unwrap(), Duration::from_millis(1500));
/// assert_eq!(duration(Duration::from_millis(1500)).to_string(), "1500ms");
/// assert!(parse_duration("5").is_err(), "five of what?");
/// ```
///
/// # Errors
/// If it is not of that form, has no unit, is finer than a nanosecond, or is longer than 584 years.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let malformed = "is not a duration; write a number and a unit (ns, us, ms, s, m, h), such as 5s or 200ms";
    let (number, unit) = split(text);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(refused(text, malformed));
    }
    if unit.is_empty() {
        return Err(refused(text, format!("has no unit; write {text}s for seconds or {text}ms for milliseconds")));
    }
    let Some((nanos, _)) = TIMES.iter().find(|(_, name)| *name == unit) else {
        return Err(refused(text, malformed));
    };
    let too_long = || refused(text, "is longer than 584 years");
    let whole = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(*nanos)).ok_or_else(too_long)?;
    let part = fraction_of(fraction, *nanos).ok_or_else(|| refused(text, "is finer than a nanosecond"))?;
    whole.checked_add(part).map(Duration::from_nanos).ok_or_else(too_long)
}

/// Shows a duration in the largest unit that divides it. Beyond 584 years it shows that bound.
#[must_use]
pub fn duration(duration: Duration) -> impl fmt::Display {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    if nanos == 0 {
        return Printed { value: 0, unit: "s" };
    }
    let (factor, unit) = TIMES.iter().copied().find(|(factor, _)| nanos.is_multiple_of(*factor)).unwrap_or((1, "ns"));
    Printed { value: nanos / factor, unit }
}

/// The text is not a size or duration; `Display` says why and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuantityError {
    text: String,
    why: String,
}

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.text, self.why)
    }
}

impl std::error::Error for QuantityError {}

struct Printed {
    value: u64,
    unit: &'static str,
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.value, self.unit)
    }
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// `0.FRACTION` of `unit` nanoseconds, if that is a whole number of them.
fn fraction_of(fraction: &str, unit: u64) -> Option<u64> {
    let digits = fraction.trim_end_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    // 13 decimals of an hour are exact nanoseconds at the finest; more can never be whole.
    let scale = 10_u128.checked_pow(u32::try_from(digits.len()).ok().filter(|len| *len <= 13)?)?;
    let scaled = digits.parse::<u128>().ok()? * u128::from(unit);
    scaled.is_multiple_of(scale).then(|| u64::try_from(scaled / scale).ok()).flatten()
}

fn refused(text: &str, why: impl Into<String>) -> QuantityError {
    QuantityError { text: text.to_owned(), why: why.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_in_every_unit() {
        let given = [("0", 0), ("7B", 7), ("1k", 1024), ("2KB", 2000), ("3MiB", 3 << 20), ("4T", 4 << 40)];
        for (text, value) in given {
            assert_eq!(parse_size(text), Ok(value), "{text}");
        }
        for wrong in ["", "K", "1.5K", "-1", "+1", " 1", "1 K", "1X", "18446744073709551616", "16777216T", "1KK"] {
            assert!(parse_size(wrong).is_err(), "{wrong:?} was taken");
        }
        assert_eq!(parse_size("18446744073709551615"), Ok(u64::MAX));
    }

    #[test]
    fn durations_in_every_unit() {
        let given = [("1ns", 1), ("2us", 2_000), ("0.25ms", 250_000), ("1.5h", 5_400_000_000_000), ("0s", 0)];
        for (text, nanos) in given {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for wrong in ["", "5", "s", ".5s", "1.s", "1.2.3s", "-1s", "1sec", "0.5ns", "99999999999999h", "1e3s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(value: u64) {
            prop_assert_eq!(parse_size(&size(value).to_string()), Ok(value));
            let nanos = Duration::from_nanos(value);
            prop_assert_eq!(parse_duration(&duration(nanos).to_string()), Ok(nanos));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = (parse_size(&text), parse_duration(&text));
        }
    }
}
