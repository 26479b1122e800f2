//! Tables and sentences of the views on a terminal, or in a pipe: laid out, coloured where that is wanted.

use std::io::{self, IsTerminal, Write};

use tieline_observe::view::{Grid, Tone};
use tieline_os::locale::Locale;

use crate::exit::Outcome;
use crate::table::{Alphabet, Column, Table};

/// Lines of prose are not longer, however wide the terminal.
const WIDEST_PROSE: usize = 100;

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
    pub(crate) fn table(&mut self, grid: Grid, headings: bool) {
        let mut table = Table::new("rows");
        table.headings = headings;
        table.separator = "  ";
        table.columns = (grid.columns.iter())
            .map(|column| Column { right: column.is_figure, truncate: column.gives_way, ..Column::new(column.name) })
            .collect();
        let tones: Vec<Tone> = grid.rows.iter().map(|row| row.tone).collect();
        table.rows = (grid.rows.into_iter())
            .map(|row| row.cells.into_iter().map(|cell| Some(cell.into_bytes())).collect())
            .collect();
        let text = table.format(self.width, &self.alphabet);
        // Cells are never wrapped here: each row is a line.
        let heading = headings.then_some(BOLD);
        let mut colours = heading.into_iter().chain(tones.into_iter().map(colour));
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let colour = colours.next().filter(|_| self.is_coloured).unwrap_or_default();
            self.coloured(colour, line.trim_ascii_end());
        }
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
