//! How results reach people and programs: text and JSON, and nothing raw from outside on a terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::exit::{Failure, Outcome};

/// Prints one JSON document and a newline.
pub(crate) fn json(value: &impl Serialize) -> Outcome {
    text(&document(value)?)
}

/// Prints one JSON document to standard error, on one line. There is nobody to tell if that fails.
pub(crate) fn json_to_stderr(value: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(value) {
        line_to_stderr(&ascii_controls(&line));
    }
}

fn document(value: &impl Serialize) -> io::Result<String> {
    let mut document = ascii_controls(&serde_json::to_string_pretty(value)?).into_owned();
    document.push('\n');
    Ok(document)
}

/// JSON escapes the control characters of ASCII; the others, which a terminal obeys too, are escaped here. Outside of
/// strings there are none.
pub(crate) fn ascii_controls(json: &str) -> Cow<'_, str> {
    if !json.chars().any(|letter| is_dangerous(letter) && letter != '\n') {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for letter in json.chars() {
        if letter == '\n' || !is_dangerous(letter) {
            safe.push(letter);
        } else {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                safe += &format!("\\u{unit:04x}");
            }
        }
    }
    Cow::Owned(safe)
}

/// Refuses a standard output that was closed at the start: the runtime has put the null device in its place, and the
/// answer would be lost as if it had been given.
pub(crate) fn check() -> Outcome {
    if tieline_os::process::was_closed_at_start(1) {
        let why = "it is closed; for one that takes everything write /dev/null";
        return Err(Failure::usage(format_args!("cannot write to standard output (descriptor 1): {why}")));
    }
    Ok(())
}

/// Prints text that ends with its own newline.
pub(crate) fn text(text: &str) -> Outcome {
    check()?;
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Says a sentence on standard error. There is nobody to tell if that fails.
pub(crate) fn say(sentence: &str) {
    line_to_stderr(&format!("tieline: {}", plain(sentence)));
}

/// One line, one write: the commands of a pipeline share a terminal, and pieces of their lines would mix.
fn line_to_stderr(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// The text with everything escaped that a terminal would obey or that would change how the rest reads: names come
/// from outside.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_dangerous(letter) { safe.extend(letter.escape_default()) } else { safe.push(letter) }
    }
    Cow::Owned(safe)
}

/// The same for text of several lines.
pub(crate) fn plain_lines(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| match line.strip_suffix('\n') {
            Some(line) => format!("{}\n", plain(line)),
            None => plain(line).into_owned(),
        })
        .collect()
}

/// Bytes as one line of plain letters, from which `printf %b` makes them again.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut line = String::with_capacity(bytes.len() + 16);
    for byte in bytes {
        match byte {
            b'\\' => line += "\\\\",
            b'\n' => line += "\\n",
            b'\t' => line += "\\t",
            // Between quotes, those of a shell or of a sentence, they stand as they are.
            b' '..=b'~' if !b"'`".contains(byte) => line.push(char::from(*byte)),
            byte => line += &format!("\\0{byte:03o}"),
        }
    }
    line
}

/// Control characters, and those that turn the direction of writing around.
fn is_dangerous(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether moving lines are wanted on standard error: on a terminal that can move its cursor.
pub(crate) fn is_lively() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_one_line_for_printf() {
        assert_eq!(printable(b"a\nb\t'`\\\0\xff7~"), r"a\nb\t\0047\0140\\\0000\03777~");
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(plain("a\x1b[2Jb\n\u{9b}31m\u{202e}é"), "a\\u{1b}[2Jb\\n\\u{9b}31m\\u{202e}é");
        assert!(matches!(plain("größer"), Cow::Borrowed(_)));
        let json = document(&"\x1b\u{85}\u{202e}\"é").unwrap();
        assert_eq!(json, "\"\\u001b\\u0085\\u202e\\\"é\"\n");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), "\x1b\u{85}\u{202e}\"é");
    }
}
