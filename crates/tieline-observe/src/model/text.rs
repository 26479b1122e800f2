//! Bytes that another program chose: names, paths, command lines.

use std::fmt::{self, Write as _};

/// A name, path or word as the kernel gave it: any bytes but NUL, chosen by who made the object, maybe to deceive.
///
/// The bytes are kept as they are. [`Display`](fmt::Display) writes them safe for a terminal and for a line of a
/// table: control characters, line ends, escapes, invalid UTF-8, characters that reorder or hide text, and the
/// backslash come out as `\n`, `\x1b`, `\u{202e}`, `\\`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(Box<[u8]>);

impl Text {
    /// The bytes as they are.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether somebody who writes `asked` means this: by its bytes, or as [`Display`](fmt::Display) shows them.
    #[must_use]
    pub fn is_meant_by(&self, asked: &Self) -> bool {
        self == asked || (asked.0.contains(&b'\\') && self.to_string().as_bytes() == asked.as_bytes())
    }
}

impl<T: AsRef<[u8]>> From<T> for Text {
    fn from(bytes: T) -> Self {
        Self(bytes.as_ref().into())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut safe = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                push_safe(&mut safe, character);
            }
            for byte in chunk.invalid() {
                let _ = write!(safe, "\\x{byte:02x}");
            }
        }
        f.pad(&safe)
    }
}

fn push_safe(safe: &mut String, character: char) {
    match character {
        '\\' => safe.push_str("\\\\"),
        '\n' => safe.push_str("\\n"),
        '\t' => safe.push_str("\\t"),
        '\r' => safe.push_str("\\r"),
        _ if character.is_ascii_control() => {
            let _ = write!(safe, "\\x{:02x}", u32::from(character));
        }
        _ if character.is_control() || hides(character) => {
            let _ = write!(safe, "{}", character.escape_unicode());
        }
        _ => safe.push(character),
    }
}

/// Characters that are printed as nothing, or that change the order of those around them: line and paragraph
/// separators, bidirectional controls, zero-width ones, and the tags block.
fn hides(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl serde::Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn what_a_terminal_would_obey_is_spelled_out() {
        let hostile = Text::from(b"a\n\x1b[2J\xff\\ \xe2\x80\xae\xc2\x9b\x7f z\xc3\xa9".as_slice());
        assert_eq!(hostile.to_string(), r"a\n\x1b[2J\xff\\ \u{202e}\u{9b}\x7f zé");
    }

    /// What a table shows can be copied into the next question.
    #[test]
    fn a_name_is_meant_by_its_bytes_and_by_what_is_shown_of_it() {
        let name = Text::from(b"@a\n\\\xff\0".as_slice());
        assert!(name.is_meant_by(&name) && name.is_meant_by(&Text::from(name.to_string())));
        assert!(!name.is_meant_by(&Text::from("@a")) && !Text::from("a").is_meant_by(&Text::from(r"\x61")));
    }

    #[test]
    fn width_of_a_format_is_kept() {
        assert_eq!(format!("{:<4}|", Text::from("ab")), "ab  |");
    }
}
