//! Text of any origin made fit for a terminal or a shell, and how many cells it fills.

use tieline_os::locale::Locale;

/// What a terminal can show.
pub(crate) trait Alphabet {
    /// How many cells a character fills; `None` if it cannot be printed.
    fn cells(&self, letter: char) -> Option<usize>;

    /// Whether the text was made fit for a terminal before it came here: what looks like an escape is one.
    fn is_escaped(&self) -> bool {
        false
    }
}

impl Alphabet for Locale {
    fn cells(&self, letter: char) -> Option<usize> {
        Locale::cells(self, letter)
    }
}

/// Text that can be printed as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plain {
    pub(super) text: String,
    /// How many cells it fills.
    pub(super) cells: usize,
}

/// The text with everything that cannot be printed, and what would look like such an escape, as `\xNN` for each byte.
pub(super) fn plain(bytes: &[u8], alphabet: &dyn Alphabet) -> Plain {
    // Most cells are plain ASCII, of which every alphabet prints each letter in one cell.
    if let Ok(text) = std::str::from_utf8(bytes)
        && bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\')
    {
        return Plain { text: text.to_owned(), cells: text.len() };
    }
    let mut plain = Plain::default();
    for chunk in bytes.utf8_chunks() {
        let mut letters = chunk.valid().chars().peekable();
        while let Some(letter) = letters.next() {
            let looks_escaped = !alphabet.is_escaped() && letter == '\\' && letters.peek() == Some(&'x');
            match alphabet.cells(letter) {
                Some(cells) if !looks_escaped && !letter.is_ascii_control() => {
                    plain.text.push(letter);
                    plain.cells += cells;
                }
                _ => plain.escape(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        plain.escape(chunk.invalid());
    }
    // Marks without a letter to stand on show nothing.
    if plain.cells == 0 { Plain::default() } else { plain }
}

impl Plain {
    fn escape(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.text.push_str(&format!("\\x{byte:02x}"));
            self.cells += 4;
        }
    }

    /// As much of it as fits into `cells`.
    pub(super) fn cut(mut self, cells: usize, alphabet: &dyn Alphabet) -> Self {
        let mut used = 0;
        let end = self.text.char_indices().find(|(_, letter)| {
            let wide = alphabet.cells(*letter).unwrap_or(1);
            used += wide;
            let fits = used <= cells;
            if !fits {
                used -= wide;
            }
            !fits
        });
        if let Some((end, _)) = end {
            self.text.truncate(end);
            self.cells = used;
        }
        self
    }
}

/// Appends the text with blanks, backslashes and everything that is not printable ASCII as `\xNN`.
pub(super) fn escape_blanks(bytes: &[u8], out: &mut Vec<u8>) {
    escape(bytes, out, |byte| matches!(byte, b' ' | b'\\'));
}

/// Appends the text between double quotes, with what a shell would obey there, and everything that is not printable
/// ASCII, as `\xNN`.
pub(super) fn quote_for_shell(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    escape(bytes, out, |byte| matches!(byte, b'"' | b'\\' | b'`' | b'$'));
    out.push(b'"');
}

fn escape(bytes: &[u8], out: &mut Vec<u8>, is_special: impl Fn(u8) -> bool) {
    for byte in bytes {
        match byte {
            b' '..=b'~' if !is_special(*byte) => out.push(*byte),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
}
