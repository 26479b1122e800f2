//! How the user's locale writes and classifies characters: the answers of the C library, so that a column of ours is
//! as wide as a C program's.
//!
//! Which characters can be printed and how many cells of a terminal they fill is a table of the C library, and differs
//! between its versions; a table of our own would disagree with the programs beside us. The locale is the one of the
//! environment (`LC_ALL`, `LC_CTYPE`, `LANG` …) if it is installed, else `C`, where only ASCII can be printed.
//!
//! Nothing here changes the locale of the process: it is looked at by a handle of its own.

use std::fmt;

use crate::sys::locale as sys;

/// A locale, looked at but not made the current one.
///
/// ```
/// use tieline_os::locale::Locale;
///
/// let locale = Locale::from_environment();
/// assert_eq!((locale.cells('a'), locale.cells('\n')), (Some(1), None));
/// if locale.is_utf8() {
///     assert_eq!(locale.cells('語'), Some(2));
/// }
/// ```
pub struct Locale {
    handle: Option<sys::Handle>,
    utf8: bool,
    decimal_point: String,
}

impl Locale {
    /// The locale of the environment; the locale `C` where that one is not installed.
    #[doc(alias = "setlocale")]
    #[doc(alias = "newlocale")]
    #[must_use]
    pub fn from_environment() -> Self {
        let Some(handle) = sys::Handle::of_environment() else { return Self::c() };
        let utf8 = handle.codeset() == b"UTF-8";
        let decimal_point = String::from_utf8(handle.decimal_point()).ok().filter(|point| !point.is_empty());
        Self { handle: Some(handle), utf8, decimal_point: decimal_point.unwrap_or_else(|| ".".to_owned()) }
    }

    /// The locale `C`: ASCII, and a point before the decimals.
    #[must_use]
    pub fn c() -> Self {
        Self { handle: None, utf8: false, decimal_point: ".".to_owned() }
    }

    /// Whether text is UTF-8 in this locale. Where it is not, only ASCII is understood here, also in locales of other
    /// character sets.
    #[must_use]
    pub fn is_utf8(&self) -> bool {
        self.utf8
    }

    /// What stands between a number and its decimals.
    #[must_use]
    pub fn decimal_point(&self) -> &str {
        &self.decimal_point
    }

    /// How many cells of a terminal `letter` fills: none for a combining mark, two for a wide one. `None` if it cannot
    /// be printed, as a control character or a number that is no character.
    #[doc(alias = "wcwidth")]
    #[doc(alias = "iswprint")]
    #[must_use]
    pub fn cells(&self, letter: char) -> Option<usize> {
        match (letter, &self.handle) {
            (' '..='~', _) => Some(1),
            (_, Some(handle)) if self.utf8 => handle.cells(letter),
            _ => None,
        }
    }
}

impl fmt::Debug for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locale").field("utf8", &self.utf8).field("decimal_point", &self.decimal_point).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_c_prints_ascii_only() {
        let locale = Locale::c();
        let printable: Vec<char> = ('\0'..'\u{300}').filter(|letter| locale.cells(*letter).is_some()).collect();
        assert_eq!(printable, (' '..='~').collect::<Vec<_>>());
        assert_eq!((locale.is_utf8(), locale.decimal_point()), (false, "."));
    }
}
