//! Medians and ranges, and how they are shown.

use std::fmt;

/// The median of some figures with the least and the greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

impl Spread {
    /// Of at least one figure.
    pub(crate) fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let (least, greatest) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        Some(Self { median, least, greatest })
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::json!({ "median": self.median, "min": self.least, "max": self.greatest })
    }
}

impl fmt::Display for Spread {
    /// `2.10 (1.98–2.22)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}–{:.2})", self.median, self.least, self.greatest)
    }
}

/// The value below which this part of the sorted figures lies.
pub(crate) fn percentile(sorted: &[u64], part: f64) -> u64 {
    let last = sorted.len().saturating_sub(1);
    let index = (part * last as f64).round() as usize;
    sorted.get(index.min(last)).copied().unwrap_or_default()
}

/// A table as Markdown, which is also legible as it stands.
pub(crate) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::as_str);
        cells.chain([heads[column]]).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!(" {cell:width$} |"));
        format!("|{}\n", padded.collect::<String>())
    };
    let rule = format!("|{}\n", widths.iter().map(|width| format!("{}|", "-".repeat(width + 2))).collect::<String>());
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    format!("{}{rule}{}", line(heads.to_vec()), body.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]).map(|spread| spread.median), Some(2.0));
        assert_eq!(Spread::of(&[4.0, 1.0]), Some(Spread { median: 2.5, least: 1.0, greatest: 4.0 }));
    }

    #[test]
    fn percentiles_are_members() {
        let figures: Vec<u64> = (0..=100).collect();
        assert_eq!((percentile(&figures, 0.5), percentile(&figures, 0.99), percentile(&figures, 1.0)), (50, 99, 100));
        assert_eq!(percentile(&[], 0.5), 0);
    }

    #[test]
    fn columns_are_aligned() {
        assert_eq!(table(&["a", "b"], &[vec!["xyz".into(), "1".into()]]), "| a   | b |\n|-----|---|\n| xyz | 1 |\n");
    }
}
