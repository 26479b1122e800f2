//! How columns give way in libsmartcols 2.43: in stages, and in each the column whose widths deviate most is the first.

use super::Hint;
use super::human::Measured;

struct Width {
    /// The place of its column.
    column: usize,
    now: usize,
    min: usize,
    max: usize,
    average: f64,
    deviation: f64,
}

/// The width of each column.
pub(super) fn widths(
    columns: &[Measured<'_>],
    headings: bool,
    terminal: Option<usize>,
    separator: usize,
) -> Vec<usize> {
    let mut widths: Vec<Width> =
        columns.iter().enumerate().map(|(column, measured)| Width::of(column, measured, headings)).collect();
    if let Some(terminal) = terminal {
        let between = separator * columns.len().saturating_sub(1);
        let total = widths.iter().map(|width| width.now).sum::<usize>() + between;
        let mut fit = Fit { columns, widths: &mut widths, total, terminal };
        fit.settle();
    }
    widths.sort_by_key(|width| width.column);
    widths.iter().map(|width| width.now).collect()
}

impl Width {
    fn of(column: usize, measured: &Measured<'_>, headings: bool) -> Self {
        let max = measured.cells.iter().copied().max().unwrap_or(0);
        let min = if headings { measured.heading.max(1) } else { 1 };
        let (average, deviation) = deviation(&measured.cells);
        let mut width = Self { column, now: max, min, max, average, deviation };
        if width.now <= min {
            width.now = min;
        } else if let Hint::Cells(wish) = measured.column.hint
            && min < wish
        {
            width.now = width.now.max(wish);
        }
        if max == 0 && !headings && width.now <= 1 {
            width.now = 0;
            width.min = 0;
        }
        width
    }

    /// By which the columns are sorted: nearly all cells are narrower.
    fn worst(&self) -> f64 {
        self.average + 3.0 * self.deviation
    }

    /// Shrinks to what two thirds of the cells need, but by no more than `wanted`.
    fn shrink_to_common(&mut self, wanted: usize) {
        if self.deviation < 1.0 {
            return;
        }
        // Neither negative nor larger than the widest cell, so nothing is lost but the fraction.
        let common = (self.average + self.deviation) as usize;
        let common = if common < self.min { self.min } else { common.min(self.max) };
        if common < self.now {
            self.now -= (self.now - common).min(wanted);
        }
    }
}

/// The average of some widths and their standard deviation.
fn deviation(cells: &[usize]) -> (f64, f64) {
    if cells.is_empty() {
        return (0.0, 0.0);
    }
    let average = cells.iter().sum::<usize>() as f64 / cells.len() as f64;
    if cells.len() == 1 {
        return (average, 0.0);
    }
    let squares = cells.iter().fold(0.0, |sum, cells| {
        let from_average = *cells as f64 - average;
        sum + from_average * from_average
    });
    (average, square_root(squares / (cells.len() - 1) as f64))
}

/// By Newton's method from the half, as the original: its last bit may decide about a cell.
fn square_root(number: f64) -> f64 {
    let mut root = number / 2.0;
    let mut before = 0.0;
    // It converges within some sixty steps, or swings between two neighbours for ever.
    for _ in 0..2000 {
        if root == before {
            break;
        }
        before = root;
        root = (number / before + before) / 2.0;
    }
    root
}

struct Fit<'a> {
    columns: &'a [Measured<'a>],
    widths: &'a mut [Width],
    total: usize,
    terminal: usize,
}

/// Stages of giving way, from the gentlest on.
const STAGES: u32 = 5;

impl Fit<'_> {
    /// Where there is room, the original also gives columns with extremes their full width, which they have as long as
    /// nothing had to give way, and widens a last column on the left, which shows nowhere.
    fn settle(&mut self) {
        let by_worst = |one: &Width, other: &Width| one.worst().total_cmp(&other.worst());
        let any_extremes = self.columns.iter().any(|measured| measured.column.no_extremes);
        if self.total > self.terminal || (self.total < self.terminal && any_extremes) {
            self.widths.sort_by(by_worst);
        }
        let mut stage = 0;
        while self.total > self.terminal && stage < STAGES {
            let before = self.total;
            for (nth, index) in (0..self.widths.len()).rev().enumerate() {
                if self.total > self.terminal {
                    self.reduce(index, stage, nth == 0);
                }
            }
            if self.total == before {
                stage += 1;
            }
        }
        if self.total < self.terminal {
            self.widen_to_wishes();
        }
    }

    /// Lets one column give way as its stage demands.
    fn reduce(&mut self, index: usize, stage: u32, worst: bool) {
        let wanted = self.total - self.terminal;
        let width = &mut self.widths[index];
        let measured = &self.columns[width.column];
        let (cut, no_extremes) = (measured.column.truncate, measured.column.no_extremes);
        let before = width.now;
        if before == width.min || before == 0 {
            return;
        }
        match stage {
            0 if (cut || no_extremes) && worst => width.shrink_to_common(wanted),
            1 if width.deviation < width.average / 2.0 => {}
            1 | 2 if no_extremes => width.shrink_to_common(wanted),
            3 if width.deviation < width.average / 2.2 => {}
            3 | 4 if cut || no_extremes => {
                let step = if worst { wanted.min(3) } else { 1 };
                width.now = width.now.saturating_sub(step).max(width.min);
            }
            _ => {}
        }
        self.total = (self.total + width.now).saturating_sub(before);
    }

    fn widen_to_wishes(&mut self) {
        loop {
            let before = self.total;
            for width in self.widths.iter_mut().rev() {
                if let Hint::Cells(wish) = self.columns[width.column].column.hint
                    && width.now < wish
                    && self.total < self.terminal
                {
                    width.now += 1;
                    self.total += 1;
                }
            }
            if self.total == before {
                return;
            }
        }
    }
}
