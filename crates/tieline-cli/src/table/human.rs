//! A table in columns.

use super::text::{Plain, plain};
use super::{Alphabet, Column, Reduction, Row, Table, average, cell, deviation};

/// A column with the widths of what is in it, in cells of the terminal.
pub(super) struct Measured<'a> {
    pub(super) column: &'a Column,
    pub(super) heading: usize,
    pub(super) cells: Vec<usize>,
}

pub(super) fn format(table: &Table, terminal: Option<usize>, alphabet: &dyn Alphabet) -> Vec<u8> {
    let fit =
        |row: &Row| -> Vec<Plain> { (0..table.columns.len()).map(|index| plain(cell(row, index), alphabet)).collect() };
    let rows: Vec<Vec<Plain>> = table.rows.iter().map(fit).collect();
    let columns: Vec<Measured<'_>> = (table.columns.iter().enumerate())
        .map(|(place, column)| Measured {
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
        let headings = table.columns.iter().map(|column| plain(table.name_of(column).as_bytes(), alphabet)).collect();
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
    fn row(&mut self, cells: Vec<Plain>) {
        for (place, text) in cells.into_iter().enumerate() {
            self.cell(place, text);
        }
        self.out.push(b'\n');
    }

    /// A cell and the separator behind it.
    fn cell(&mut self, place: usize, mut text: Plain) {
        let column = self.columns[place];
        let last = self.is_last(place);
        let mut width = self.widths[place];
        if last && text.cells < width && !column.right {
            width = text.cells;
        }
        if text.cells > width && column.truncate {
            text = text.cut(width, self.alphabet);
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
            return;
        }
        self.pad(width.saturating_sub(used));
        if used > width && !column.truncate {
            self.go_on_below(place);
        } else {
            self.out.extend_from_slice(self.separator.as_bytes());
        }
    }

    /// After a cell that is too wide and may not be cut: the next cell stands in its place on a line of its own.
    fn go_on_below(&mut self, place: usize) {
        self.out.push(b'\n');
        for place in 0..=place {
            self.pad(self.widths[place]);
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
