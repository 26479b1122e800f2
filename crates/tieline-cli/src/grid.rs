//! Tables and sentences of the views on a terminal, or in a pipe: laid out, coloured where that is wanted.

use std::io::{self, IsTerminal, Write};

use tieline_observe::view::{self, Grid, Tone};
use tieline_os::locale::Locale;

use crate::exit::Outcome;
use crate::output;
use crate::table::{Alphabet, Column, Table};

/// Lines of prose are not longer, however wide the terminal.
const WIDEST_PROSE: usize = 100;

/// What stands between the columns.
const SEPARATOR: &str = "  ";
/// How far sentences below a row stand to the right.
const BELOW: usize = 4;
/// A text is not cut to less than this: what names a pipe or a socket can be read whole, and copied.
const NAMED: usize = 18;
/// Nor to less than this where even that is too much.
const NARROWEST: usize = 8;

/// A text for standard output that grows until it is printed at once.
pub(crate) struct Page {
    out: Vec<u8>,
    alphabet: Escaped,
    width: Option<usize>,
    is_coloured: bool,
}

impl Page {
    /// An empty one, for what standard output is.
    pub(crate) fn new() -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let columns = rustix::termios::tcgetwinsize(&stdout).map(|size| usize::from(size.ws_col));
        let width = columns.ok().filter(|columns| is_terminal && *columns > 0);
        Self {
            out: Vec::new(),
            alphabet: Escaped(Locale::from_environment()),
            width,
            is_coloured: wants_colour(is_terminal),
        }
    }

    /// The width of the terminal; `None` where nothing need be cut.
    pub(crate) fn width(&self) -> Option<usize> {
        self.width
    }

    /// Whether line-drawing characters can be shown.
    pub(crate) fn has_lines(&self) -> bool {
        self.alphabet.cells('├').is_some()
    }

    /// Adds a table; nothing if it has no rows.
    pub(crate) fn table(&mut self, mut grid: Grid, headings: bool) {
        let below = self.take_prose(&mut grid);
        let titles = self.take_titles(&mut grid);
        self.fit(&mut grid);
        let mut table = Table::new("rows");
        table.headings = headings;
        table.separator = SEPARATOR;
        table.columns = (grid.columns.iter())
            .map(|column| Column { right: column.is_figure, ..Column::new(column.name) })
            .collect();
        let tones: Vec<Tone> = grid.rows.iter().map(|row| row.tone).collect();
        table.rows = (grid.rows.into_iter())
            .map(|row| row.cells.into_iter().map(|cell| Some(cell.into_bytes())).collect())
            .collect();
        let text = table.format(None, &self.alphabet);
        // Cells are never wrapped here: each row is a line.
        let mut lines = text.split_inclusive(|byte| *byte == b'\n');
        if let Some(heading) = headings.then(|| lines.next()).flatten() {
            self.coloured(if self.is_coloured { BOLD } else { "" }, heading.trim_ascii_end());
        }
        for (row, (line, tone)) in lines.zip(tones).enumerate() {
            let colour = if self.is_coloured { colour(tone) } else { "" };
            let title = titles.as_ref().map_or("", |titles| &titles[row]);
            let line = if title.is_empty() { line } else { title.as_bytes() };
            self.coloured(colour, line.trim_ascii_end());
            if let Some(prose) = below.as_ref().map(|below| &below[row]) {
                self.paragraph(prose, colour, BELOW);
            }
        }
    }

    /// Takes the sentences out of a table that does not fit with them: they come below their rows.
    fn take_prose(&self, grid: &mut Grid) -> Option<Vec<String>> {
        let terminal = self.width?;
        grid.columns.last().filter(|column| column.is_prose)?;
        let separators = SEPARATOR.len() * (grid.columns.len() - 1);
        if self.widths(grid).iter().sum::<usize>() + separators <= terminal {
            return None;
        }
        grid.columns.pop();
        Some(grid.rows.iter_mut().map(|row| row.cells.pop().unwrap_or_default()).collect())
    }

    /// Takes out the rows that have only a first cell, such as the processes of a tree: it needs no column, it has the
    /// line to itself. Of the other rows the text is empty.
    fn take_titles(&self, grid: &mut Grid) -> Option<Vec<String>> {
        let terminal = self.width?;
        let title = |row: &mut view::Line| match &mut *row.cells {
            [first, others @ ..] if !others.is_empty() && others.iter().all(String::is_empty) => {
                self.cut(&std::mem::take(first), terminal)
            }
            _ => String::new(),
        };
        Some(grid.rows.iter_mut().map(title).collect())
    }

    fn text_cells(&self, text: &str) -> usize {
        text.chars().map(|letter| self.alphabet.cells(letter).unwrap_or(4)).sum()
    }

    /// How wide each column wishes to be.
    fn widths(&self, grid: &Grid) -> Vec<usize> {
        (grid.columns.iter().enumerate())
            .map(|(index, column)| {
                let widest = grid.rows.iter().map(|row| self.text_cells(&row.cells[index])).max().unwrap_or_default();
                widest.max(column.name.len())
            })
            .collect()
    }

    /// Shortens the texts that may be until a row fits the terminal.
    fn fit(&self, grid: &mut Grid) {
        let Some(terminal) = self.width else { return };
        let widths = self.widths(grid);
        for (index, cap) in caps(&grid.columns, &widths, terminal).into_iter().enumerate() {
            let is_command = grid.columns[index].name == "COMMAND";
            for row in grid.rows.iter_mut().filter(|row| self.text_cells(&row.cells[index]) > cap) {
                let cell = &row.cells[index];
                // Of a command line the folder of its program goes first.
                let program = cell.split(' ').next().filter(|_| is_command).and_then(|program| program.rfind('/'));
                row.cells[index] = self.cut(&cell[program.map_or(0, |slash| slash + 1)..], cap);
            }
        }
    }

    /// As much of a text as fits into `cap` cells, with a mark where something is missing: at the end, but of a path in the
    /// middle, because its end tells more.
    fn cut(&self, text: &str, cap: usize) -> String {
        if self.text_cells(text) <= cap {
            return text.to_owned();
        }
        let mark = if self.alphabet.cells('…').is_some() { "…" } else { "..." };
        let room = cap.saturating_sub(mark.chars().count());
        let tail = if text.starts_with('/') { 2 * room / 3 } else { 0 };
        let fitting = |letters: &mut dyn Iterator<Item = char>, room: usize| -> String {
            let mut used = 0;
            let fits = |letter: &char| {
                used += self.alphabet.cells(*letter).unwrap_or(4);
                used <= room
            };
            letters.take_while(fits).collect()
        };
        let head = fitting(&mut text.chars(), room - tail);
        let tail = fitting(&mut text.chars().rev(), tail);
        head + mark + &tail.chars().rev().collect::<String>()
    }

    /// Adds sentences as a paragraph, broken between words on a terminal.
    pub(crate) fn prose(&mut self, sentences: &[String]) {
        self.paragraph(&sentences.join(" "), "", 0);
    }

    /// Adds a remark below the rest, dimmed.
    pub(crate) fn remark(&mut self, sentence: &str) {
        self.paragraph(sentence, if self.is_coloured { DIM } else { "" }, 0);
    }

    /// Adds an empty line.
    pub(crate) fn gap(&mut self) {
        if !self.out.is_empty() {
            self.out.push(b'\n');
        }
    }

    /// Prints it all.
    pub(crate) fn print(self) -> Outcome {
        output::check()?;
        let mut out = io::stdout().lock();
        out.write_all(&self.out)?;
        Ok(out.flush()?)
    }

    fn paragraph(&mut self, text: &str, colour: &str, indent: usize) {
        let Some(width) = self.width.map(|width| width.min(WIDEST_PROSE)) else {
            self.coloured(colour, format!("{:indent$}{text}\n", "").as_bytes());
            return;
        };
        let mut line = " ".repeat(indent);
        let mut used = indent;
        for word in text.split(' ') {
            let cells: usize = word.chars().map(|letter| self.alphabet.cells(letter).unwrap_or(1)).sum();
            if used > indent && used + 1 + cells > width {
                line.push('\n');
                self.coloured(colour, line.as_bytes());
                (line, used) = (" ".repeat(indent), indent);
            }
            if used > indent {
                line.push(' ');
                used += 1;
            }
            line += word;
            used += cells;
        }
        line.push('\n');
        self.coloured(colour, line.as_bytes());
    }

    fn coloured(&mut self, colour: &str, line: &[u8]) {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if colour.is_empty() {
            self.out.extend_from_slice(text);
        } else {
            self.out.extend_from_slice(colour.as_bytes());
            self.out.extend_from_slice(text);
            self.out.extend_from_slice(b"\x1b[0m");
        }
        self.out.push(b'\n');
    }
}

/// How wide each column may be, of those that wish to be so `widths`. The longest texts give way, all columns alike, but
/// the last keeps twice as much as the others: it says what the rest is about. (The rules of libsmartcols would cut the
/// column that varies most, which may be the name of the thing.)
fn caps(columns: &[view::Column], widths: &[usize], terminal: usize) -> Vec<usize> {
    let last = columns.iter().rposition(|column| column.gives_way);
    let with = |cap: usize, least: usize| -> Vec<usize> {
        let one = |(index, column): (usize, &view::Column)| {
            let share = if Some(index) == last { cap } else { cap / 2 };
            let least = least.max(column.name.len());
            if column.gives_way { widths[index].min(share.max(least)) } else { widths[index] }
        };
        columns.iter().enumerate().map(one).collect()
    };
    let room = terminal.saturating_sub(SEPARATOR.len() * columns.len().saturating_sub(1));
    let fits = |caps: &Vec<usize>| caps.iter().sum::<usize>() <= room;
    let widest = widths.iter().max().map_or(0, |widest| 2 * widest);
    if fits(&with(widest, NAMED)) {
        return with(widest, NAMED);
    }
    let narrower = |least| (0..=2 * terminal).rev().map(move |cap| (cap, least));
    let mut all = (NARROWEST..=NAMED).rev().flat_map(narrower).map(|(cap, least)| with(cap, least));
    all.find(fits).unwrap_or_else(|| with(0, NARROWEST))
}

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";

fn colour(tone: Tone) -> &'static str {
    match tone {
        Tone::Quiet => DIM,
        Tone::Plain => "",
        Tone::Warning => "\x1b[33m",
        Tone::Bad => "\x1b[31m",
    }
}

/// Only on a terminal that has colours, and never against the wish of `NO_COLOR`.
fn wants_colour(is_terminal: bool) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    is_terminal && !is_dumb && !is_set("NO_COLOR")
}

/// What the terminal can show of text that the views have made fit for it: an escape in it is one.
struct Escaped(Locale);

impl Alphabet for Escaped {
    fn cells(&self, letter: char) -> Option<usize> {
        self.0.cells(letter)
    }

    fn is_escaped(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_texts_give_way_and_figures_never() {
        let columns = [view::Column::words("KIND"), view::Column::text("WHAT"), view::Column::text("WHO")];
        assert_eq!(caps(&columns, &[5, 20, 30], 80), [5, 20, 30], "it fits");
        assert_eq!(caps(&columns, &[5, 60, 60], 80), [5, 23, 47]);
        assert_eq!(caps(&columns, &[5, 10, 90], 80), [5, 10, 61], "what is short stays whole");
        assert_eq!(caps(&columns, &[5, 90, 10], 80), [5, 61, 10]);
        assert_eq!(caps(&columns, &[70, 90, 90], 80), [70, NARROWEST, NARROWEST], "there is a least");
        assert_eq!(caps(&[], &[], 80), [0; 0]);
        let columns = [view::Column::text("THROUGH"), view::Column::text("WHAT"), view::Column::text("WITH")];
        assert_eq!(caps(&columns, &[20, 17, 90], 60), [18, 17, 21], "what is asked for next stays whole");
        assert_eq!(caps(&columns, &[20, 17, 90], 44), [13, 13, 14], "as long as there is room for it");
    }

    fn page(width: usize) -> Page {
        let alphabet = Escaped(Locale::from_environment());
        Page { out: Vec::new(), alphabet, width: Some(width), is_coloured: false }
    }

    fn shown(mut page: Page, grid: Grid) -> String {
        page.table(grid, true);
        String::from_utf8(page.out).expect("text").replace('…', "...")
    }

    /// Reasons are read to their end: where they do not fit beside their row they stand below it.
    #[test]
    fn sentences_stand_below_a_row_that_has_no_room_for_them() {
        let mut grid = Grid::new([view::Column::text("WHAT"), view::Column::prose("EVIDENCE")]);
        grid.push(Tone::Plain, ["sem:1".to_owned(), "no waiter, no process of user www-data is left".to_owned()]);
        grid.push(Tone::Plain, ["sem:2".to_owned(), "no waiter".to_owned()]);
        let below = "WHAT\nsem:1\n    no waiter, no process of user\n    www-data is left\nsem:2\n    no waiter\n";
        assert_eq!(shown(page(36), grid.clone()), below);
        assert!(shown(page(80), grid).contains("\nsem:2  no waiter\n"));
    }

    /// The head of a branch has the line to itself: its number is not cut for the sake of other columns.
    #[test]
    fn a_row_with_one_cell_needs_no_column() {
        let mut grid = Grid::new([view::Column::text("PROCESS"), view::Column::text("WHAT")]);
        grid.push(Tone::Plain, ["a process of a long name 12345".to_owned(), String::new()]);
        grid.push(Tone::Plain, ["  3 r".to_owned(), "pipe:[1234567890123456]".to_owned()]);
        assert_eq!(
            shown(page(32), grid),
            "PROCESS  WHAT\na process of a long name 12345\n  3 r    pipe:[1234567890123456]\n"
        );
    }

    #[test]
    fn a_command_line_loses_the_folder_of_its_program_before_its_end() {
        let mut grid = Grid::new([view::Column::text("COMMAND")]);
        grid.push(Tone::Plain, ["/usr/lib/postgresql/15/bin/postgres -D data".to_owned()]);
        assert_eq!(shown(page(20), grid.clone()), "COMMAND\npostgres -D data\n");
        assert!(shown(page(12), grid).contains("\npostgres"));
    }
}
