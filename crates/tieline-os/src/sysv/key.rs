//! Keys: the numbers by which unrelated programs find the same object.

use std::ffi::CString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

use crate::{Error, Result, sys};

/// The number under which programs agree to find one object of each family.
///
/// The three families have separate tables: a queue and a segment may have the same key.
///
/// ```
/// use tieline_os::sysv::Key;
/// let key: Key = "0xC0FFEE".parse().unwrap();
/// assert_eq!(key, "12648430".parse().unwrap());
/// assert_eq!(key.to_string(), "0x00c0ffee");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(i32);

impl Key {
    /// No key (`IPC_PRIVATE`): creating with it always makes a new object, which is found by its id alone.
    ///
    /// Despite the name the object is not private: its mode decides who may use it.
    #[doc(alias = "IPC_PRIVATE")]
    pub const PRIVATE: Self = Self(libc::IPC_PRIVATE);

    /// The key with this number.
    #[must_use]
    pub const fn new(number: i32) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }

    /// The key that the C library's `ftok` makes of an existing file and a project number from 1 to 255.
    ///
    /// **Two files can have the same key**: it holds 8 bits of the project, 8 of the device number and 16 of the
    /// inode number, nothing else. Use it to meet a program that uses it; check afterwards that the object is the one
    /// meant (owner, size). And a file that is deleted and made again may give another key.
    ///
    /// # Errors
    /// * `InvalidInput`: project 0, which POSIX leaves undefined, or a NUL byte in the path.
    /// * `NotFound`, `PermissionDenied`: no such file, or a directory on the way may not be searched.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/ftok.html>; ftok(3).
    #[doc(alias = "ftok")]
    pub fn from_path(path: impl AsRef<Path>, project: u8) -> Result<Self> {
        const OPERATION: &str = "make a System V key of";
        let path = path.as_ref();
        if project == 0 {
            return Err(Error::invalid(OPERATION, "the project number must be from 1 to 255").on(path.display()));
        }
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Error::invalid(OPERATION, "the path holds a NUL byte").on(path.display()))?;
        let number =
            sys::sysv_key::ftok(&name, project).map_err(|errno| Error::new(OPERATION, errno).on(path.display()))?;
        Ok(Self(number))
    }
}

impl fmt::Display for Key {
    /// As `ipcs` prints it: `0x` and eight hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// The text is not a System V key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseKeyError(String);

impl fmt::Display for ParseKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {:?} is not a 32-bit number, hexadecimal such as 0x1a2b or decimal such as 6699", self.0)
    }
}

impl std::error::Error for ParseKeyError {}

impl FromStr for Key {
    type Err = ParseKeyError;

    /// Hexadecimal after `0x`, else decimal; negative decimal numbers are the same keys as those above `0x7fffffff`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseKeyError(text.to_owned());
        let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        let (digits, radix) = hexadecimal.map_or((text, 10), |digits| (digits, 16));
        // The standard parser would also take a plus sign.
        let unsigned = digits.strip_prefix('-').filter(|_| radix == 10).unwrap_or(digits);
        if !unsigned.starts_with(|first: char| first.is_digit(radix)) {
            return Err(refused());
        }
        let number = i64::from_str_radix(digits, radix).map_err(|_| refused())?;
        let as_signed = i32::try_from(number).ok();
        let as_unsigned = u32::try_from(number).ok().map(u32::cast_signed);
        as_signed.or(as_unsigned).map(Self).ok_or_else(refused)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;
    use crate::ErrorKind;

    #[test]
    fn keys_parse_in_both_bases_and_print_in_one() {
        for (text, number) in
            [("0", 0), ("0x0", 0), ("10", 10), ("0X1f", 31), ("-1", -1), ("4294967295", -1), ("0xFFFFFFFF", -1)]
        {
            assert_eq!(text.parse(), Ok(Key(number)), "{text}");
        }
        assert_eq!((Key(-2).to_string(), Key::PRIVATE.to_string()), ("0xfffffffe".into(), "0x00000000".into()));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "-", "+1", "0x", "0x+1", "0x-1", "--1", "1 ", "0x100000000", "4294967296", "-2147483649", "k"]
        {
            let error = text.parse::<Key>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")));
        }
    }

    #[test]
    fn a_key_needs_a_file_and_a_project() {
        let kind = |path: &str, project| Key::from_path(path, project).unwrap_err().kind();
        assert_eq!(kind("/no/such/file", 1), ErrorKind::NotFound);
        assert_eq!(kind("/", 0), ErrorKind::InvalidInput);
        assert_eq!(kind("/nul\0inside", 1), ErrorKind::InvalidInput);
    }

    proptest! {
        #[test]
        fn every_key_survives_printing(number in any::<i32>()) {
            assert_eq!(Key(number).to_string().parse(), Ok(Key(number)));
            assert_eq!(number.to_string().parse(), Ok(Key(number)));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<Key>();
        }
    }
}
