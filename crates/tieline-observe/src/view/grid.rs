//! Rows and columns of text, before anybody knows how wide they will be.

/// A table that is still to be laid out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grid {
    /// Its columns, from left to right.
    pub columns: Vec<Column>,
    /// Its rows, each with one cell for each column.
    pub rows: Vec<Line>,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// Whether its cells are figures, which stand to the right.
    pub is_figure: bool,
    /// Whether its cells may be cut where there is too little room.
    pub gives_way: bool,
    /// Whether its cells are sentences, which are better below their rows than cut. Only of the last column.
    pub is_prose: bool,
}

/// A row. Its cells can be printed as they are: nothing in them is obeyed by a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// One for each column.
    pub cells: Vec<String>,
    /// How much it matters.
    pub tone: Tone,
}

/// How much a row matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// Nothing to see here.
    Quiet,
    /// As everything.
    #[default]
    Plain,
    /// Worth a look.
    Warning,
    /// Something stands still, or will soon.
    Bad,
}

impl Column {
    /// A column of words that must be seen whole.
    #[must_use]
    pub const fn words(name: &'static str) -> Self {
        Self { name, is_figure: false, gives_way: false, is_prose: false }
    }

    /// A column of figures.
    #[must_use]
    pub const fn figures(name: &'static str) -> Self {
        Self { name, is_figure: true, gives_way: false, is_prose: false }
    }

    /// A column of texts of any length.
    #[must_use]
    pub const fn text(name: &'static str) -> Self {
        Self { name, is_figure: false, gives_way: true, is_prose: false }
    }

    /// A last column of what must be read to its end.
    #[must_use]
    pub const fn prose(name: &'static str) -> Self {
        Self { name, is_figure: false, gives_way: true, is_prose: true }
    }
}

impl Grid {
    /// One without rows.
    #[must_use]
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push(&mut self, tone: Tone, cells: impl Into<Vec<String>>) {
        let cells = cells.into();
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(Line { cells, tone });
    }

    /// Takes away each column of that name whose cells are all empty.
    pub fn drop_if_empty(&mut self, name: &str) {
        while let Some(index) = self.columns.iter().position(|column| column.name == name) {
            if self.rows.iter().any(|row| !row.cells[index].is_empty()) {
                return;
            }
            self.columns.remove(index);
            for row in &mut self.rows {
                row.cells.remove(index);
            }
        }
    }
}
