//! Numbers on command lines, as the C library and util-linux read them, and sizes as util-linux prints them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use super::program::{Exit, Program};

/// What `strtol` and its like make of the front of a text.
struct Digits {
    negative: bool,
    /// `None` if it is more than 64 bits hold.
    magnitude: Option<u64>,
    /// How many bytes were read; 0 if there is no number.
    len: usize,
}

/// Reads white space, a sign, the prefix of the base, digits. Base 0 is 16 behind `0x`, 8 behind `0`, else 10.
fn digits(text: &[u8], base: u32) -> Digits {
    let white = text.iter().take_while(|byte| is_space(**byte)).count();
    let (negative, signed) = match text.get(white) {
        Some(b'-') => (true, white + 1),
        Some(b'+') => (false, white + 1),
        _ => (false, white),
    };
    let behind_sign = &text[signed..];
    let is_hex = matches!(behind_sign, [b'0', b'x' | b'X', digit, ..] if digit.is_ascii_hexdigit());
    let (base, start) = match base {
        0 if is_hex => (16, signed + 2),
        0 if behind_sign.first() == Some(&b'0') => (8, signed),
        0 => (10, signed),
        base => (base, signed),
    };
    let mut magnitude = Some(0_u64);
    let mut len = start;
    while let Some(digit) = text.get(len).and_then(|byte| char::from(*byte).to_digit(base)) {
        magnitude = magnitude.and_then(|so_far| so_far.checked_mul(base.into())?.checked_add(digit.into()));
        len += 1;
    }
    Digits { negative, magnitude, len: if len == start { 0 } else { len } }
}

/// White space in the C locale.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'\x0b'
}

/// Why a text is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoNumber {
    Malformed,
    OutOfRange,
}

/// `strtoul` of a whole text: a minus sign is allowed and wraps around.
pub(crate) fn unsigned_wrapping(text: &OsStr, base: u32) -> Result<u64, NoNumber> {
    let text = text.as_bytes();
    let number = digits(text, base);
    match number.magnitude {
        // The range is known before anybody looks at what stands behind the digits.
        None => Err(NoNumber::OutOfRange),
        Some(_) if number.len == 0 || number.len != text.len() => Err(NoNumber::Malformed),
        Some(magnitude) => Ok(if number.negative { magnitude.wrapping_neg() } else { magnitude }),
    }
}

/// `strtol` of a whole text, which is 64 bits wide.
fn signed(text: &OsStr, base: u32) -> Result<i64, NoNumber> {
    let text = text.as_bytes();
    let number = digits(text, base);
    let value = number.magnitude.and_then(|magnitude| {
        if number.negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
    });
    match value {
        None => Err(NoNumber::OutOfRange),
        Some(_) if number.len == 0 || number.len != text.len() => Err(NoNumber::Malformed),
        Some(value) => Ok(value),
    }
}

/// A decimal number of 32 bits. Anything else ends the program, with `complaint` in front of the text.
pub(crate) fn i32_or_err(program: &mut Program, text: &OsStr, complaint: &str) -> Result<i32, Exit> {
    let number = signed(text, 10).and_then(|number| i32::try_from(number).map_err(|_| NoNumber::OutOfRange));
    number.map_err(|why| refuse(program, text, complaint, why))
}

/// A number that is not negative and at most `max`, or the end of the program.
pub(crate) fn u64_or_err(
    program: &mut Program,
    text: &OsStr,
    base: u32,
    max: u64,
    complaint: &str,
) -> Result<u64, Exit> {
    let digits = digits(text.as_bytes(), base);
    let number = if digits.negative && digits.magnitude != Some(0) {
        Err(NoNumber::OutOfRange)
    } else {
        unsigned_wrapping(text, base)
    };
    let number = number.and_then(|number| if number <= max { Ok(number) } else { Err(NoNumber::OutOfRange) });
    number.map_err(|why| refuse(program, text, complaint, why))
}

/// A size with its suffix, or the end of the program.
pub(crate) fn size_or_err(program: &mut Program, text: &OsStr, complaint: &str) -> Result<u64, Exit> {
    // Of a malformed size, and only there, the system's word for it is told too.
    size(text.as_bytes()).map_err(|errno| program.err(errno, quoted(complaint, text)))
}

fn refuse(program: &mut Program, text: &OsStr, complaint: &str, why: NoNumber) -> Exit {
    match why {
        NoNumber::OutOfRange => program.err(Errno::RANGE, quoted(complaint, text)),
        NoNumber::Malformed => program.errx(quoted(complaint, text)),
    }
}

/// `complaint: 'text'`.
pub(crate) fn quoted(complaint: &str, text: &OsStr) -> Vec<u8> {
    [complaint.as_bytes(), b": '", text.as_bytes(), b"'"].concat()
}

/// The letters of suffixes, for the powers from 1.
const LETTERS: &[u8] = b"KMGTPEZY";

/// A size: digits, as C writes them, then `K`, `KiB` (1024) or `KB` (1000), or another letter for a higher power. In
/// front of a suffix there may be a decimal fraction.
fn size(text: &[u8]) -> Result<u64, Errno> {
    let number = digits(text, 0);
    // No number has a minus sign, not even zero.
    if text.iter().find(|byte| !is_space(**byte)) == Some(&b'-') || number.len == 0 {
        return Err(Errno::INVAL);
    }
    let whole = number.magnitude.ok_or(Errno::RANGE)?;
    let mut suffix = &text[number.len..];
    if suffix.is_empty() {
        return Ok(whole);
    }
    let mut fraction = Fraction { digits: 0, zeros: 0 };
    let base: u64 = loop {
        match suffix {
            [] => return Err(Errno::INVAL),
            [_, b'i', b'B' | b'b'] | [_] => break 1024,
            [_, b'B' | b'b'] => break 1000,
            // After nothing but zeros another fraction may follow.
            [b'.', behind @ ..] if fraction.digits == 0 => suffix = fraction.read(behind)?,
            _ => return Err(Errno::INVAL),
        }
    };
    let letter = suffix[0].to_ascii_uppercase();
    let power = LETTERS.iter().position(|known| *known == letter).ok_or(Errno::INVAL)? + 1;
    let mut size = whole;
    for _ in 0..power {
        size = size.checked_mul(base).ok_or(Errno::RANGE)?;
    }
    Ok(size.wrapping_add(fraction.of(unit(base, power))))
}

/// The unit of a suffix; one too large for 64 bits is the largest that is not.
fn unit(base: u64, power: usize) -> u64 {
    let mut unit = 1_u64;
    for _ in 0..power {
        unit = unit.checked_mul(base).unwrap_or(unit);
    }
    unit
}

/// The digits behind a decimal point.
struct Fraction {
    digits: u64,
    /// How many zeros stand before them.
    zeros: u32,
}

impl Fraction {
    /// Reads what stands behind the point, and answers what stands behind the digits.
    fn read<'a>(&mut self, text: &'a [u8]) -> Result<&'a [u8], Errno> {
        let zeros = text.iter().take_while(|byte| **byte == b'0').count();
        self.zeros = self.zeros.saturating_add(u32::try_from(zeros).unwrap_or(u32::MAX));
        let text = &text[zeros..];
        let number = if text.first().is_some_and(u8::is_ascii_digit) { digits(text, 10).len } else { 0 };
        self.digits = digits(&text[..number], 10).magnitude.ok_or(Errno::RANGE)?;
        Ok(&text[number..])
    }

    /// That part of `unit`, digit by digit from the last, each rounded down: this decides about the last bytes.
    fn of(&self, unit: u64) -> u64 {
        let mut digits = self.digits;
        let mut divisor = 10_u64;
        while divisor < digits {
            match divisor.checked_mul(10) {
                Some(larger) => divisor = larger,
                None => digits /= 10,
            }
        }
        for _ in 0..self.zeros {
            match divisor.checked_mul(10) {
                Some(larger) => divisor = larger,
                None if digits == 0 => break,
                None => digits /= 10,
            }
        }
        let mut sum = 0_u64;
        let mut place = 1_u64;
        while digits != 0 {
            let digit = digits % 10;
            let part = divisor.checked_div(place).and_then(|place| place.checked_div(digit)).unwrap_or(0);
            sum = sum.wrapping_add(unit.checked_div(part).unwrap_or(0));
            digits /= 10;
            place = place.wrapping_mul(10);
        }
        sum
    }
}

/// A size for people: one digit behind the point where that is not zero, and a letter, as in `1.5K`.
pub(crate) fn human(bytes: u64) -> String {
    let power = (1..=6).take_while(|power| bytes >> (10 * power) != 0).count();
    let letter = char::from(b"BKMGTPE"[power]);
    let shift = 10 * power;
    let (mut whole, rest) = (bytes >> shift, bytes & ((1 << shift) - 1));
    // Thousandths, without leaving 64 bits.
    let thousandths =
        if rest >= u64::MAX / 1000 { (rest / 1024 * 1000) >> (shift - 10) } else { (rest * 1000) >> shift };
    let mut tenths = (thousandths + 50) / 100;
    if tenths == 10 {
        whole += 1;
        tenths = 0;
    }
    if tenths == 0 { format!("{whole}{letter}") } else { format!("{whole}.{tenths}{letter}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_strtol_does() {
        let given = [
            ("12", 0, Ok(12)),
            (" \t\n\x0b\x0c\r+12", 10, Ok(12)),
            ("0x1F", 0, Ok(31)),
            ("0X1f", 0, Ok(31)),
            ("017", 0, Ok(15)),
            ("017", 10, Ok(17)),
            ("17", 8, Ok(15)),
            ("-1", 10, Ok(u64::MAX)),
            ("18446744073709551615", 10, Ok(u64::MAX)),
            ("18446744073709551616", 10, Err(NoNumber::OutOfRange)),
            ("99999999999999999999999x", 10, Err(NoNumber::OutOfRange)),
            ("", 10, Err(NoNumber::Malformed)),
            ("-", 10, Err(NoNumber::Malformed)),
            ("0x", 0, Err(NoNumber::Malformed)),
            ("08", 0, Err(NoNumber::Malformed)),
            ("1 ", 10, Err(NoNumber::Malformed)),
            ("- 1", 10, Err(NoNumber::Malformed)),
        ];
        for (text, base, number) in given {
            assert_eq!(unsigned_wrapping(OsStr::new(text), base), number, "{text:?}");
        }
        assert_eq!(signed(OsStr::new("-9223372036854775808"), 10), Ok(i64::MIN));
        assert_eq!(signed(OsStr::new("-9223372036854775809"), 10), Err(NoNumber::OutOfRange));
        assert_eq!(signed(OsStr::new("9223372036854775808"), 10), Err(NoNumber::OutOfRange));
    }

    #[test]
    fn sizes_have_suffixes_and_fractions() {
        let given = [
            ("7", Ok(7)),
            ("0x10K", Ok(16 << 10)),
            ("1k", Ok(1024)),
            ("1KiB", Ok(1024)),
            ("1kb", Ok(1000)),
            ("3GB", Ok(3_000_000_000)),
            ("1.5K", Ok(1536)),
            ("0.5MiB", Ok(1 << 19)),
            // Each digit is rounded down by itself.
            ("0.054K", Ok(55)),
            ("1.05K", Ok(1024 + 51)),
            ("1.00.5K", Ok(1024 + 5)),
            ("0Y", Ok(0)),
            ("15E", Ok(15 << 60)),
            ("16E", Err(Errno::RANGE)),
            ("18446744073709551616", Err(Errno::RANGE)),
            ("1.99999999999999999999999K", Err(Errno::RANGE)),
            ("1.5", Err(Errno::INVAL)),
            ("1.0", Err(Errno::INVAL)),
            ("1.", Err(Errno::INVAL)),
            ("1B", Err(Errno::INVAL)),
            ("1KX", Err(Errno::INVAL)),
            ("1KiBB", Err(Errno::INVAL)),
            ("-0", Err(Errno::INVAL)),
            ("K", Err(Errno::INVAL)),
            ("", Err(Errno::INVAL)),
        ];
        for (text, bytes) in given {
            assert_eq!(size(text.as_bytes()), bytes, "{text:?}");
        }
    }

    /// Nothing that can be typed makes it overflow.
    #[test]
    fn no_size_is_too_odd_to_be_answered() {
        for whole in ["0", "1", "18446744073709551615"] {
            for fraction in
                ["", ".0", ".1", ".9999999999999999999", ".18446744073709551615", ".00000000000000000000000001"]
            {
                for suffix in ["", "K", "KB", "E", "Z", "Y", "YB", ".K", ".5Y"] {
                    let _ = size(format!("{whole}{fraction}{suffix}").as_bytes());
                }
            }
        }
    }

    #[test]
    fn people_get_one_digit_behind_the_point() {
        let given = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1K"),
            (1536, "1.5K"),
            (1100, "1.1K"),
            (1040, "1K"),
            ((1 << 20) - 1, "1024K"),
            (10 << 30, "10G"),
            (u64::MAX, "16E"),
        ];
        for (bytes, text) in given {
            assert_eq!(human(bytes), text, "{bytes}");
        }
    }
}
