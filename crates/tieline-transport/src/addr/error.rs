//! Why a text is not an address: where, what is wrong, what to write instead.

use std::fmt;

/// Why a text is not an address. `Display` is one sentence that ends with what to write instead.
///
/// ```
/// use tieline_transport::addr::{Address, AddressErrorKind};
/// let error = "localhost:7000".parse::<Address>().unwrap_err();
/// assert_eq!(error.kind(), AddressErrorKind::UnknownScheme);
/// assert!(error.to_string().contains("tcp:localhost:7000"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    pub(super) kind: AddressErrorKind,
    pub(super) text: String,
    pub(super) position: usize,
    pub(super) what: String,
    how: String,
}

/// What sort of fault an [`AddressError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressErrorKind {
    /// The text does not begin with a scheme and a colon.
    NoScheme,
    /// It does, but no scheme has that name.
    UnknownScheme,
    /// What follows the scheme is not what that scheme needs.
    Target,
    /// A percent sign is not followed by two hexadecimal digits, or stands for a byte that cannot be there.
    Encoding,
    /// No option has that name.
    UnknownOption,
    /// The option exists, but not for this scheme.
    OptionDoesNotFit,
    /// The option stands there twice.
    DuplicateOption,
    /// The option's value is not one it can have.
    OptionValue,
}

impl AddressError {
    pub(super) fn new(
        kind: AddressErrorKind,
        position: usize,
        what: impl Into<String>,
        how: impl Into<String>,
    ) -> Self {
        // Both may quote what somebody else wrote, and are read at a terminal.
        let [what, how] = [what.into(), how.into()].map(tamed);
        Self { kind, text: String::new(), position, what, how }
    }

    pub(super) fn of(mut self, text: &str) -> Self {
        text.clone_into(&mut self.text);
        self
    }

    /// What sort of fault it is.
    #[must_use]
    pub fn kind(&self) -> AddressErrorKind {
        self.kind
    }

    /// The text that was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where the fault begins, in bytes from the start of the text.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// What is wrong there.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What to write instead.
    #[must_use]
    pub fn how(&self) -> &str {
        &self.how
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, position, what, how, .. } = self;
        write!(f, "cannot read address {text:?}: {what} (at byte {position}); {how}")
    }
}

impl std::error::Error for AddressError {}

/// The text without characters that a terminal obeys or that reorder a line: they are written as escapes.
fn tamed(text: String) -> String {
    let obeyed =
        |letter: char| letter.is_control() || matches!(letter, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    if !text.contains(obeyed) {
        return text;
    }
    let mut tamed = String::with_capacity(text.len());
    for letter in text.chars() {
        if obeyed(letter) {
            tamed.extend(letter.escape_default());
        } else {
            tamed.push(letter);
        }
    }
    tamed
}
