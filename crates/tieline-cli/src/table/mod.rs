//! Tables as libsmartcols of util-linux prints them: for people in columns that give way to the terminal's width, for
//! scripts as raw words, as `NAME="value"` pairs, or as JSON.
//!
//! A table is columns, then rows of optional cells of any bytes; it is formatted as a whole, because a column is as
//! wide as its widest cell. What a terminal would obey is escaped as `\xNN` in columns, raw words and pairs, and never
//! breaks JSON. Knows nothing of what the cells mean.
//!
//! The rules, down to the order in which columns give way, are those of libsmartcols 2.38 ([`Reduction::Average`]) or
//! 2.43 ([`Reduction::Deviation`]), which differ only where a row is too wide for the terminal.

mod average;
mod deviation;
mod human;
mod json;
mod text;

pub(crate) use text::Alphabet;

use std::borrow::Cow;
use std::io::IsTerminal;

/// A table to be formatted.
#[derive(Debug)]
pub(crate) struct Table {
    /// The name of the list of rows in JSON.
    pub(crate) name: &'static str,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
    pub(crate) format: Format,
    pub(crate) headings: bool,
    /// Column names that a shell takes as names of variables.
    pub(crate) shell_names: bool,
    /// What stands between the cells of a row.
    pub(crate) separator: &'static str,
    pub(crate) reduction: Reduction,
}

/// One line of a table: a cell for each column, or nothing there.
pub(crate) type Row = Vec<Option<Vec<u8>>>;

/// Who a table is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// People: aligned columns under headings.
    #[default]
    Columns,
    /// Scripts that split at blanks, which are escaped inside of cells. An empty cell leaves two separators.
    Raw,
    /// Scripts that take `NAME="value"` pairs.
    Pairs,
    /// Programs.
    Json,
}

/// How columns give way when a row is wider than the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reduction {
    /// Cells of more than twice the average width are let go first, then columns are cut cell by cell (2.38).
    Average,
    /// The column whose widths deviate most gives way first (2.43).
    #[default]
    Deviation,
}

/// A column: its heading and how it behaves.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) hint: Hint,
    pub(crate) right: bool,
    /// Long cells are cut when the table is too wide.
    pub(crate) truncate: bool,
    /// A few extremely long cells do not make the whole column wide.
    pub(crate) no_extremes: bool,
}

/// How wide a column wishes to be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Hint {
    /// As wide as its cells.
    #[default]
    Free,
    /// At least this many cells.
    Cells(usize),
}

impl Column {
    /// A column of text, aligned to the left.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, hint: Hint::Free, right: false, truncate: false, no_extremes: false }
    }

    /// The same, aligned to the right.
    pub(crate) fn right(self) -> Self {
        Self { right: true, ..self }
    }

    /// The same with a wish for its width.
    pub(crate) fn hint(self, hint: Hint) -> Self {
        Self { hint, ..self }
    }

    /// The name with everything replaced that a shell does not take in the name of a variable.
    fn shell_name(&self) -> String {
        let mut name = String::with_capacity(self.name.len() + 4);
        if !self.name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            name.push('_');
        }
        name.extend(self.name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }));
        if self.name.ends_with('%') {
            name.push_str("PCT");
        }
        name
    }
}

impl Table {
    /// A table without columns and rows, for people.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            columns: Vec::new(),
            rows: Vec::new(),
            format: Format::default(),
            headings: true,
            shell_names: false,
            separator: " ",
            reduction: Reduction::default(),
        }
    }

    /// The table as bytes to print, ending in a newline. A table without rows is nothing at all, save in JSON.
    ///
    /// `terminal` is the width of the terminal that it is printed to, in cells; `None` if that is no terminal, where
    /// nothing gives way.
    pub(crate) fn format(&self, terminal: Option<usize>, alphabet: &dyn Alphabet) -> Vec<u8> {
        debug_assert!(self.rows.iter().all(|row| row.len() == self.columns.len()), "a cell for each column");
        if self.format == Format::Json {
            return json::format(self);
        }
        if self.rows.is_empty() {
            return Vec::new();
        }
        match self.format {
            Format::Columns => human::format(self, terminal, alphabet),
            Format::Raw => self.raw(),
            Format::Pairs | Format::Json => self.pairs(),
        }
    }

    /// What a column is called in this table.
    fn name_of<'a>(&self, column: &'a Column) -> Cow<'a, str> {
        if self.shell_names { Cow::Owned(column.shell_name()) } else { Cow::Borrowed(column.name) }
    }

    fn raw(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.headings {
            self.line(&mut out, |out, _, column| text::escape_blanks(self.name_of(column).as_bytes(), out));
        }
        for row in &self.rows {
            self.line(&mut out, |out, index, _| text::escape_blanks(cell(row, index), out));
        }
        out
    }

    fn pairs(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for row in &self.rows {
            self.line(&mut out, |out, index, column| {
                out.extend_from_slice(self.name_of(column).as_bytes());
                out.push(b'=');
                text::quote_for_shell(cell(row, index), out);
            });
        }
        out
    }

    /// A line of what `put` makes of each column shown.
    fn line(&self, out: &mut Vec<u8>, mut put: impl FnMut(&mut Vec<u8>, usize, &Column)) {
        for (place, (index, column)) in self.columns.iter().enumerate().enumerate() {
            if place > 0 {
                out.extend_from_slice(self.separator.as_bytes());
            }
            put(out, index, column);
        }
        out.push(b'\n');
    }
}

/// The width of the terminal that standard output is, in cells; `None` if it is none.
///
/// A terminal that does not know its width is as wide as the variable `COLUMNS` says, or has 80 cells.
pub(crate) fn terminal_width() -> Option<usize> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let known = rustix::termios::tcgetwinsize(&out).map_or(0, |size| size.ws_col);
    let columns =
        || std::env::var("COLUMNS").ok()?.trim_ascii_start().parse::<i32>().ok().filter(|columns| *columns > 0);
    Some(match known {
        0 => columns().and_then(|columns| usize::try_from(columns).ok()).unwrap_or(80),
        known => known.into(),
    })
}

/// The text with everything that cannot be printed as `\xNN`, as a column shows it.
pub(crate) fn printable<'a>(text: &'a [u8], alphabet: &dyn Alphabet) -> Cow<'a, [u8]> {
    let is_fine = |bytes: &[u8]| {
        std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(|letter| alphabet.cells(letter).is_some()))
    };
    if is_fine(text) { Cow::Borrowed(text) } else { Cow::Owned(text::plain(text, alphabet).text.into_bytes()) }
}

/// The bytes of a cell; none where there is nothing.
fn cell(row: &Row, index: usize) -> &[u8] {
    row[index].as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests;
