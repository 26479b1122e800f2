//! One object in lines: a label, blanks, a value; then the semaphores of a set.

use std::io::{IsTerminal, stdout};

use tieline_os::locale::Locale;

use super::List;
use crate::table::{printable, terminal_width};

/// Where values begin, behind the label and its colon.
const INDENT: usize = 35;

/// How wide values are, unless they are longer.
const WIDTH: usize = 36;

/// The first object of the list, with those properties that it has.
///
/// The original hands values out as they are. Where they would reach a terminal and hold what it would obey, they are
/// escaped as in a table: a process chooses its command line, and should not write to the terminal of who looks at it.
pub(super) fn format(list: &List<'_>, locale: &Locale) -> Vec<u8> {
    let on_terminal = stdout().is_terminal();
    let mut out = Vec::new();
    if let Some(row) = list.table.rows.first() {
        for (field, value) in list.request.columns.iter().zip(row) {
            let Some(value) = value else { continue };
            let label = field.label();
            let value = if on_terminal { printable(value, locale) } else { value.into() };
            out.extend_from_slice(format!("{label}:{:1$}", "", INDENT - label.len()).as_bytes());
            out.extend_from_slice(&value);
            out.resize(out.len() + WIDTH.saturating_sub(value.len()), b' ');
            out.push(b'\n');
        }
    }
    if let Some(elements) = &list.elements {
        out.extend_from_slice(b"Elements:\n\n");
        out.extend(elements.format(terminal_width(), locale));
    }
    out
}
