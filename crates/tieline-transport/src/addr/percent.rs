//! Percent-encoding: how any byte is written in an address.
//!
//! The invariant: [`decode`] of [`encode`] is the identity for every byte string.

use std::fmt::{self, Write as _};

use super::error::{AddressError, AddressErrorKind};
use super::piece::Piece;

/// Turns `%41` into `A` and leaves everything else as its UTF-8 bytes.
pub(super) fn decode(piece: Piece<'_>) -> Result<Vec<u8>, AddressError> {
    let bytes = piece.text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'%' {
            decoded.push(byte);
            at += 1;
            continue;
        }
        let digits = bytes.get(at + 1..at + 3).and_then(|pair| Some((digit(pair[0])?, digit(pair[1])?)));
        let Some((high, low)) = digits else {
            return Err(AddressError::new(
                AddressErrorKind::Encoding,
                piece.at + at,
                "a percent sign must be followed by two hexadecimal digits",
                "write %25 for a percent sign itself",
            ));
        };
        decoded.push(high << 4 | low);
        at += 3;
    }
    Ok(decoded)
}

/// As [`decode`], for what must be text.
pub(super) fn decode_text(piece: Piece<'_>) -> Result<String, AddressError> {
    String::from_utf8(decode(piece)?).map_err(|_| {
        AddressError::new(
            AddressErrorKind::Encoding,
            piece.at,
            format!("{:?} does not decode to UTF-8 text", piece.text),
            "only paths and abstract socket names may have arbitrary bytes",
        )
    })
}

fn digit(letter: u8) -> Option<u8> {
    char::from(letter).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Shows `bytes` so that the result is one word and none of `reserved` appears in it: those, the percent sign,
/// blanks, control characters and whatever is not UTF-8 become `%XX`.
pub(super) fn encode<'a>(bytes: &'a [u8], reserved: &'static [char]) -> impl fmt::Display + 'a {
    Encoded { bytes, reserved }
}

struct Encoded<'a> {
    bytes: &'a [u8],
    reserved: &'static [char],
}

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.bytes.utf8_chunks() {
            for letter in chunk.valid().chars() {
                if letter == '%' || letter.is_control() || letter.is_whitespace() || self.reserved.contains(&letter) {
                    let mut utf8 = [0; 4];
                    hex(f, letter.encode_utf8(&mut utf8).as_bytes())?;
                } else {
                    f.write_char(letter)?;
                }
            }
            hex(f, chunk.invalid())?;
        }
        Ok(())
    }
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "%{byte:02X}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn encoded_words_stay_legible() {
        assert_eq!(encode("/tmp/a b?é%".as_bytes(), &['?']).to_string(), "/tmp/a%20b%3Fé%25");
        assert_eq!(encode(&[0, 0xFF, b'x'], &[]).to_string(), "%00%FFx");
    }

    #[test]
    fn half_an_escape_is_refused_where_it_stands() {
        for text in ["ab%", "ab%4", "ab%4g", "ab%%4", "ab%é"] {
            let error = decode(Piece { text, at: 10 }).unwrap_err();
            assert_eq!((error.kind(), error.position()), (AddressErrorKind::Encoding, 12), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_byte_string_survives(bytes: Vec<u8>) {
            let text = encode(&bytes, &['?', '@', '&']).to_string();
            prop_assert!(!text.contains(['?', '@', '&', ' ', '\n', '\0']));
            prop_assert_eq!(decode(Piece { text: &text, at: 0 }), Ok(bytes));
        }
    }
}
