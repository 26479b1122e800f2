//! How columns give way in libsmartcols 2.38: cells beyond twice the average width are let go, then columns that may
//! be cut lose a cell each, in turns.

use super::Hint;
use super::human::Measured;

struct Width {
    now: usize,
    min: usize,
    max: usize,
    average: usize,
    extreme: bool,
}

/// The width of each column.
///
/// Arithmetic wraps around where that of the original does: a column whose few cells are extremely wide for it, and
/// still narrower than its heading, shrinks below the heading when there is room to grow.
pub(super) fn widths(columns: &[Measured<'_>], terminal: Option<usize>, separator: usize) -> Vec<usize> {
    let mut widths: Vec<Width> = columns.iter().map(Width::of).collect();
    if let Some(terminal) = terminal {
        let between = separator * columns.len().saturating_sub(1);
        let total = widths.iter().map(|width| width.now).sum::<usize>() + between;
        let mut fit = Fit { columns, widths: &mut widths, total, terminal };
        fit.settle();
    }
    widths.iter().map(|width| width.now).collect()
}

impl Width {
    fn of(measured: &Measured<'_>) -> Self {
        let max = measured.cells.iter().copied().max().unwrap_or(0);
        let mut width = Self { now: max, min: measured.heading.max(1), max, average: 0, extreme: false };
        if measured.column.no_extremes && !measured.cells.is_empty() {
            width.average = measured.cells.iter().sum::<usize>() / measured.cells.len();
            width.extreme = width.average > 0 && max > width.average * 2;
        }
        width.widen_to_wish(measured);
        width
    }

    /// Counts again, without the extremes.
    fn without_extremes(&mut self, measured: &Measured<'_>) {
        let common = measured.cells.iter().copied().filter(|cells| *cells <= self.average * 2);
        self.now = common.max().unwrap_or(0);
        self.widen_to_wish(measured);
    }

    fn widen_to_wish(&mut self, measured: &Measured<'_>) {
        if self.now < self.min {
            self.now = self.min;
        } else if let Hint::Cells(wish) = measured.column.hint
            && self.min < wish
        {
            self.now = self.now.max(wish);
        }
    }
}

struct Fit<'a> {
    columns: &'a [Measured<'a>],
    widths: &'a mut [Width],
    total: usize,
    terminal: usize,
}

impl Fit<'_> {
    fn settle(&mut self) {
        if self.total > self.terminal {
            self.drop_extremes();
        }
        if self.total < self.terminal {
            self.give_back_to_extremes();
            self.widen_last();
        }
        self.reduce();
    }

    fn drop_extremes(&mut self) {
        for (measured, width) in self.columns.iter().zip(&mut *self.widths).filter(|(_, width)| width.extreme) {
            let before = width.now;
            width.without_extremes(measured);
            self.total -= before.saturating_sub(width.now);
        }
    }

    fn give_back_to_extremes(&mut self) {
        for width in self.widths.iter_mut().filter(|width| width.extreme) {
            let mut more = self.terminal.wrapping_sub(self.total);
            if more > 0 && width.now.wrapping_add(more) > width.max {
                more = width.max.wrapping_sub(width.now);
            }
            width.now = width.now.wrapping_add(more);
            self.total = self.total.wrapping_add(more);
            if self.total == self.terminal {
                break;
            }
        }
    }

    /// Shows only where the last column has just shrunk below its heading: nothing is filled up behind its cells.
    fn widen_last(&mut self) {
        if let (Some(measured), Some(width)) = (self.columns.last(), self.widths.last_mut())
            && !measured.column.right
        {
            width.now += self.terminal.saturating_sub(self.total);
            self.total = self.total.max(self.terminal);
        }
    }

    /// Takes a cell from each column that may be cut, until the row fits or none is left to cut.
    fn reduce(&mut self) {
        loop {
            let before = self.total;
            for index in 0..self.columns.len() {
                if self.total <= self.terminal {
                    return;
                }
                let (measured, width) = (&self.columns[index], &self.widths[index]);
                if width.now != width.min && width.now != 0 && measured.column.truncate {
                    self.widths[index].now -= 1;
                    self.total -= 1;
                }
            }
            if self.total == before {
                return;
            }
        }
    }
}
