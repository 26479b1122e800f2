//! A table in columns.

use super::text::{Plain, plain};
use super::{Alphabet, Column, Hint, Reduction, Row, Table, average, cell, deviation};

/// A column with the widths of what is in it, in cells of the terminal.
pub(super) struct Measured<'a> {
    pub(super) column: &'a Column,
    pub(super) heading: usize,
    pub(super) cells: Vec<usize>,
}

impl Measured<'_> {
    pub(super) fn can_be_cut(&self) -> bool {
        self.column.truncate || self.column.wrap
    }

    /// The part of the terminal that the column wishes to have.
    pub(super) fn part_of(&self, terminal: usize) -> Option<usize> {
        match self.column.hint {
            // A fraction of a width: what is cut off is the rest of a cell.
            Hint::Part(part) if part > 0.0 => Some((part * terminal as f64) as usize),
            _ => None,
        }
    }
}

pub(super) fn format(table: &Table, terminal: Option<usize>, alphabet: &dyn Alphabet) -> Vec<u8> {
    let fit = |row: &Row| -> Vec<Plain> { table.shown().map(|(index, _)| plain(cell(row, index), alphabet)).collect() };
    let rows: Vec<Vec<Plain>> = table.rows.iter().map(fit).collect();
    let columns: Vec<Measured<'_>> = (table.shown().enumerate())
        .map(|(place, (_, column))| Measured {
            column,
            heading: plain(column.name.as_bytes(), alphabet).cells,
            cells: rows.iter().map(|row| row[place].cells).collect(),
        })
        .collect();
    let separator = plain(table.separator.as_bytes(), alphabet).cells;
    let widths = match table.reduction {
        Reduction::Average => average::widths(&columns, terminal, separator),
        Reduction::Deviation => deviation::widths(&columns, table.headings, terminal, separator),
    };

    let columns: Vec<&Column> = columns.iter().map(|measured| measured.column).collect();
    let mut page = Page { columns: &columns, widths: &widths, separator: table.separator, alphabet, out: Vec::new() };
    if table.headings {
        let headings = table.shown().map(|(_, column)| plain(table.name_of(column).as_bytes(), alphabet)).collect();
        page.row(headings);
    }
    for row in rows {
        page.row(row);
    }
    page.out
}

struct Page<'a> {
    columns: &'a [&'a Column],
    widths: &'a [usize],
    separator: &'static str,
    alphabet: &'a dyn Alphabet,
    out: Vec<u8>,
}

impl Page<'_> {
    /// A row, in as many lines as its wrapped cells need.
    fn row(&mut self, cells: Vec<Plain>) {
        let mut pending: Vec<Plain> = (0..).zip(cells).map(|(place, text)| self.cell(place, text)).collect();
        self.out.push(b'\n');
        while pending.iter().any(|text| !text.text.is_empty()) {
            pending = (0..).zip(pending).map(|(place, text)| self.continued(place, text)).collect();
            self.out.push(b'\n');
        }
    }

    /// A cell and the separator behind it. Answers what is left for further lines.
    fn cell(&mut self, place: usize, mut text: Plain) -> Plain {
        let column = self.columns[place];
        let last = self.is_last(place);
        let mut width = self.widths[place];
        let mut rest = Plain::default();
        if last && text.cells < width && !column.right {
            width = text.cells;
        }
        if text.cells > width && column.truncate {
            text = text.cut(width, self.alphabet).0;
        } else if text.cells > width && column.wrap {
            (text, rest) = self.chunk(width, text);
        }
        let mut used = text.cells;
        if !text.text.is_empty() {
            if column.right {
                self.pad(width.saturating_sub(used));
                used = width;
            }
            self.out.extend_from_slice(text.text.as_bytes());
        }
        if last {
            return rest;
        }
        self.pad(width.saturating_sub(used));
        if used > width && !column.truncate {
            self.go_on_below(place);
        } else {
            self.out.extend_from_slice(self.separator.as_bytes());
        }
        rest
    }

    /// The next part of a wrapped cell, or nothing in its place.
    fn continued(&mut self, place: usize, text: Plain) -> Plain {
        let (now, rest) = self.chunk(self.widths[place], text);
        self.out.extend_from_slice(now.text.as_bytes());
        self.fill(place, now.cells);
        rest
    }

    /// As much of a text as fits in one line, but at least one character, or it would never end.
    fn chunk(&self, width: usize, text: Plain) -> (Plain, Plain) {
        let first = text.text.chars().next().and_then(|letter| self.alphabet.cells(letter)).unwrap_or(1);
        text.cut(width.max(first), self.alphabet)
    }

    /// After a cell that is too wide and may not be cut: the next cell stands in its place on a line of its own.
    fn go_on_below(&mut self, place: usize) {
        self.out.push(b'\n');
        for place in 0..=place {
            self.fill(place, 0);
        }
    }

    /// The rest of a cell of which `used` are filled, and the separator.
    fn fill(&mut self, place: usize, used: usize) {
        if !self.is_last(place) {
            self.pad(self.widths[place].saturating_sub(used));
            self.out.extend_from_slice(self.separator.as_bytes());
        }
    }

    fn is_last(&self, place: usize) -> bool {
        place + 1 == self.columns.len()
    }

    fn pad(&mut self, cells: usize) {
        self.out.resize(self.out.len() + cells, b' ');
    }
}
