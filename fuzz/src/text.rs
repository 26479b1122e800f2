//! Parsers of text that comes from command lines, configuration and other programs.
//!
//! Each takes or refuses; what it takes prints as a text that reads back as the same value, and what it refuses is
//! named in the error.

use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::time::Duration;

use tieline_os::process::Pid;
use tieline_os::signal::Signal;
use tieline_os::sysv::Key;
use tieline_os::{Mode, vsock};
use tieline_transport::addr::Address;
use tieline_transport::addr::quantity::{duration, parse_duration, parse_size, size};
use tieline_transport::frame::Framing;

/// Transport addresses. Two lines give two addresses; the options of the second are put on the first.
pub fn address(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (first, second) = text.split_once('\n').map_or((text, None), |(first, second)| (first, Some(second)));
    let first = read_address(first);
    let second = second.and_then(read_address);
    if let (Some(first), Some(second)) = (first, second)
        && let Ok(joined) = first.with_options(second.options().clone())
    {
        assert_eq!((joined.target(), joined.options()), (first.target(), second.options()));
        assert_eq!(joined.to_string().parse().as_ref(), Ok(&joined));
    }
}

fn read_address(text: &str) -> Option<Address> {
    match text.parse::<Address>() {
        Ok(address) => {
            let printed = address.to_string();
            assert_eq!(printed.parse().as_ref(), Ok(&address), "{text:?} prints as {printed:?}");
            assert!(printed.starts_with(&format!("{}:", address.scheme())));
            // A peer whose own name is part of the address must be readable too: `parse` has looked at it.
            assert_eq!(address.bind().is_some(), address.options().bind.is_some(), "{printed:?}");
            assert_eq!(Address::new(address.target().clone(), address.options().clone()).as_ref(), Ok(&address));
            Some(address)
        }
        Err(error) => {
            assert_eq!(error.text(), text);
            assert!(text.is_char_boundary(error.position()), "{text:?}: {error}");
            assert!(!error.what().is_empty() && !error.how().is_empty());
            names_it(&error, text);
            None
        }
    }
}

/// Framings, such as `line,4K`.
pub fn framing(data: &[u8]) {
    if let Some((framing, _)) = round_trip::<Framing>(data) {
        assert!(framing.max_len() > 0);
    }
}

/// Sizes and durations.
pub fn quantity(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match parse_size(text) {
        Ok(bytes) => assert_eq!(parse_size(&size(bytes).to_string()), Ok(bytes), "{text:?}"),
        Err(error) => names_it(&error, text),
    }
    if let Some(number) = small_number(text) {
        assert_eq!(parse_size(text).ok(), u64::try_from(number).ok(), "{text:?}");
    }
    match parse_duration(text) {
        Ok(time) => {
            assert_eq!(parse_duration(&duration(time).to_string()), Ok(time), "{text:?}");
            assert_nanoseconds(text, time);
        }
        Err(error) => names_it(&error, text),
    }
}

/// The value is what its decimal digits say, counted in nanoseconds without a fraction in between.
fn assert_nanoseconds(text: &str, time: Duration) {
    let unit_at = text.find(|letter: char| letter.is_ascii_alphabetic()).expect("a duration has a unit");
    let (number, unit) = text.split_at(unit_at);
    let unit: u128 = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        other => panic!("{other:?} was taken as a unit"),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let part = part.trim_end_matches('0');
    let scale = u32::try_from(part.len()).ok().and_then(|digits| 10_u128.checked_pow(digits));
    // Beyond this many digits nothing but a whole number of nanoseconds could have been taken, and it was.
    let Some(scale) = scale.filter(|scale| *scale < 1 << 60) else { return };
    let digits: u128 = format!("{whole}{part}").parse().expect("digits");
    assert_eq!(time.as_nanos() * scale, digits * unit, "{text:?}");
}

/// Permission bits: octal digits, at most 777.
pub fn mode(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let significant = text.trim_start_matches('0');
    let fits =
        !text.is_empty() && significant.len() <= 3 && significant.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    let read = round_trip::<Mode>(data);
    assert_eq!(read.is_some(), fits, "{text:?}");
    if let Some((mode, _)) = read {
        let value = significant.bytes().fold(0, |value, digit| value * 8 + u16::from(digit - b'0'));
        assert_eq!(mode.bits(), value);
    }
}

/// Process ids.
pub fn pid(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let expected = small_number(text).and_then(|number| i32::try_from(number).ok()).filter(|number| *number > 0);
    let read = round_trip::<Pid>(data);
    assert_eq!(read.map(|(pid, _)| pid.as_raw()), expected, "{text:?}");
}

/// Signals: names, numbers, and places in the real-time range.
pub fn signal(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let read = round_trip::<Signal>(data).map(|(signal, _)| signal);
    if let Some(number) = small_number(text) {
        let expected = i32::try_from(number).ok().filter(|number| (1..=64).contains(number));
        assert_eq!(read.map(Signal::number), expected, "{text:?}");
    }
    if let Some(signal) = read {
        let swapped: String = text
            .chars()
            .map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
            .collect();
        assert_eq!(swapped.parse(), Ok(signal), "case matters in {text:?}");
    }
}

/// System V keys, decimal and hexadecimal.
pub fn sysv_key(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = hexadecimal.map_or((text, 10_u32), |digits| (digits, 16));
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(rest) if radix == 10 => (true, rest),
        _ => (false, digits),
    };
    let value = digits.chars().try_fold(0_i64, |value, digit| {
        Some((value * i64::from(radix) + i64::from(digit.to_digit(radix)?)).min(1 << 40))
    });
    let value = value.filter(|_| !digits.is_empty()).map(|value| if negative { -value } else { value });
    let expected = value.filter(|value| (i64::from(i32::MIN)..=i64::from(u32::MAX)).contains(value));
    let read = round_trip::<Key>(data);
    assert_eq!(read.map(|(key, _)| key.number().cast_unsigned()), expected.map(|value| value as u32), "{text:?}");
}

/// Addresses of virtual machines' sockets.
pub fn vsock_address(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let number = |digits| small_number(digits).and_then(|number| u32::try_from(number).ok());
    let expected = text.split_once(':').and_then(|(cid, port)| Some((number(cid)?, number(port)?)));
    let read = round_trip::<vsock::Address>(data);
    assert_eq!(read.map(|(address, _)| (address.cid, address.port)), expected, "{text:?}");
}

/// Parses, and if that succeeds prints and parses again. Answers the value and its text.
fn round_trip<T: FromStr<Err: Display> + Display + Debug + PartialEq>(data: &[u8]) -> Option<(T, String)> {
    let text = str::from_utf8(data).ok()?;
    match text.parse::<T>() {
        Ok(value) => {
            let printed = value.to_string();
            match printed.parse::<T>() {
                Ok(again) => assert_eq!(again, value, "{text:?} prints as {printed:?}"),
                Err(error) => panic!("{text:?} prints as {printed:?}, which is refused: {error}"),
            }
            Some((value, printed))
        }
        Err(error) => {
            names_it(&error, text);
            None
        }
    }
}

/// An error says which text it is about, on one line.
fn names_it(error: &impl Display, text: &str) {
    let sentence = error.to_string();
    assert!(sentence.contains(&format!("{text:?}")), "{sentence} does not name {text:?}");
    assert!(!sentence.contains('\n'), "{sentence:?}");
}

/// The number that the text is if it consists of ASCII digits; above all limits it is cut.
fn small_number(text: &str) -> Option<u128> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u128::from(byte - b'0'));
    let value =
        text.bytes().try_fold(0_u128, |value, byte| Some(value.saturating_mul(10).saturating_add(digit(byte)?)))?;
    (!text.is_empty()).then_some(value)
}
