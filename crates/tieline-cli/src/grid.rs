//! Tables and sentences of the views on a terminal, or in a pipe: laid out, coloured where that is wanted.

use std::io::{self, IsTerminal, Write};

use tieline_observe::view::{self, Grid, Tone};
use tieline_os::locale::Locale;

use crate::exit::Outcome;
use crate::table::{Alphabet, Column, Table};

/// Lines of prose are not longer, however wide the terminal.
const WIDEST_PROSE: usize = 100;

/// What stands between the columns.
const SEPARATOR: &str = "  ";
/// A text is not cut to less than this.
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
        let heading = headings.then_some(BOLD);
        let mut colours = heading.into_iter().chain(tones.into_iter().map(colour));
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let colour = colours.next().filter(|_| self.is_coloured).unwrap_or_default();
            self.coloured(colour, line.trim_ascii_end());
        }
    }

    /// Shortens the texts that may be until a row fits the terminal.
    fn fit(&self, grid: &mut Grid) {
        let Some(terminal) = self.width else { return };
        let cells = |text: &str| text.chars().map(|letter| self.alphabet.cells(letter).unwrap_or(4)).sum::<usize>();
        let widths: Vec<usize> = (grid.columns.iter().enumerate())
            .map(|(index, column)| {
                let widest = grid.rows.iter().map(|row| cells(&row.cells[index])).max().unwrap_or_default();
                widest.max(column.name.len())
            })
            .collect();
        for (index, cap) in caps(&grid.columns, &widths, terminal).into_iter().enumerate() {
            for row in grid.rows.iter_mut().filter(|row| cells(&row.cells[index]) > cap) {
                row.cells[index] = self.cut(&row.cells[index], cap);
            }
        }
    }

    /// As much of a text as fits into `cap` cells, with a mark where something is missing: at the end, but of a path in the
    /// middle, because its end tells more.
    fn cut(&self, text: &str, cap: usize) -> String {
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
        self.paragraph(&sentences.join(" "), "");
    }

    /// Adds a remark below the rest, dimmed.
    pub(crate) fn remark(&mut self, sentence: &str) {
        self.paragraph(sentence, if self.is_coloured { DIM } else { "" });
    }

    /// Adds an empty line.
    pub(crate) fn gap(&mut self) {
        if !self.out.is_empty() {
            self.out.push(b'\n');
        }
    }

    /// Prints it all.
    pub(crate) fn print(self) -> Outcome {
        let mut out = io::stdout().lock();
        out.write_all(&self.out)?;
        Ok(out.flush()?)
    }

    fn paragraph(&mut self, text: &str, colour: &str) {
        let Some(width) = self.width.map(|width| width.min(WIDEST_PROSE)) else {
            self.coloured(colour, format!("{text}\n").as_bytes());
            return;
        };
        let mut line = String::new();
        let mut used = 0;
        for word in text.split(' ') {
            let cells: usize = word.chars().map(|letter| self.alphabet.cells(letter).unwrap_or(1)).sum();
            if used > 0 && used + 1 + cells > width {
                line.push('\n');
                self.coloured(colour, line.as_bytes());
                (line, used) = (String::new(), 0);
            }
            if used > 0 {
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
    let with = |cap: usize| -> Vec<usize> {
        let one = |(index, column): (usize, &view::Column)| {
            let share = if Some(index) == last { cap } else { cap / 2 };
            let least = NARROWEST.max(column.name.len());
            if column.gives_way { widths[index].min(share.max(least)) } else { widths[index] }
        };
        columns.iter().enumerate().map(one).collect()
    };
    let room = terminal.saturating_sub(SEPARATOR.len() * columns.len().saturating_sub(1));
    let fits = |caps: &Vec<usize>| caps.iter().sum::<usize>() <= room;
    let widest = widths.iter().max().map_or(0, |widest| 2 * widest);
    if fits(&with(widest)) {
        return with(widest);
    }
    (0..=2 * terminal).rev().map(with).find(fits).unwrap_or_else(|| with(0))
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
    }
}
