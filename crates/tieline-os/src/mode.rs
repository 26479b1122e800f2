//! Who may open an object: permission bits, and the access a caller asks for.

use std::fmt;
use std::str::FromStr;

/// Permission bits of a named object, as in `chmod`: read and write for owner, group and others.
///
/// The process's umask is taken off where the kernel does so (files, FIFOs, sockets, POSIX objects) and not for
/// System V objects.
///
/// ```
/// use tieline_os::Mode;
/// assert_eq!("640".parse::<Mode>().unwrap().to_string(), "0640");
/// assert!("999".parse::<Mode>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mode(u16);

impl Mode {
    /// `0600`: the owner may read and write. The default everywhere in this crate.
    pub const OWNER: Self = Self(0o600);
    /// `0660`: owner and group may read and write.
    pub const GROUP: Self = Self(0o660);
    /// `0666`: anyone may read and write.
    pub const ANYONE: Self = Self(0o666);

    /// The mode with exactly these bits, or `None` above `0777`.
    #[must_use]
    pub const fn new(bits: u16) -> Option<Self> {
        if bits <= 0o777 { Some(Self(bits)) } else { None }
    }

    /// The bits, at most `0777`.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }
}

impl Default for Mode {
    fn default() -> Self {
        Self::OWNER
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mode({:04o})", self.0)
    }
}

/// The text is not an octal mode from 0 to 777.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseModeError(String);

impl fmt::Display for ParseModeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mode {:?} is not an octal number from 0 to 777, such as 600 or 0644", self.0)
    }
}

impl std::error::Error for ParseModeError {}

impl FromStr for Mode {
    type Err = ParseModeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseModeError(text.to_owned());
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refused());
        }
        u16::from_str_radix(text, 8).ok().and_then(Self::new).ok_or_else(refused)
    }
}

impl From<Mode> for rustix::fs::Mode {
    fn from(mode: Mode) -> Self {
        Self::from_bits_truncate(mode.0.into())
    }
}

/// What the opener of an object wants to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Only read, receive or load.
    ReadOnly,
    /// Only write, send or store.
    WriteOnly,
    /// Both.
    ReadWrite,
}

impl Access {
    /// Whether reading is asked for.
    #[must_use]
    pub const fn reads(self) -> bool {
        matches!(self, Self::ReadOnly | Self::ReadWrite)
    }

    /// Whether writing is asked for.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::WriteOnly | Self::ReadWrite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_parse_as_octal_only() {
        assert_eq!("0644".parse(), Ok(Mode(0o644)));
        assert_eq!("7".parse(), Ok(Mode(7)));
        for wrong in ["", "0o600", "+600", "-1", "888", "1000", "rw-", "77777777777"] {
            assert!(wrong.parse::<Mode>().is_err(), "{wrong:?} was taken");
        }
    }
}
