//! The comparison as Markdown: ratios first, then every figure.

use std::fmt::Write as _;

use tieline_measure::Placement;
use tieline_measure::shm::{Entry, Rank, Report, Row, Unit, absolute};

use crate::machine::Machine;
use crate::statistics::table;

pub(super) fn page(machine: &Machine, report: &Report) -> String {
    let mut page = format!("# Shared memory\n\n{}", machine.text());
    let _ = writeln!(
        page,
        "\nEach figure: two fresh processes, pinned, {} ms, {} rounds that go through everybody in turn. A ratio is made of\n\
         figures of one round; shown are its median over the rounds with the least and the greatest. What limits a message\n\
         is told in bench/README.md; the floors of the same run show it.",
        report.machine.window_ms, report.machine.repeats
    );
    if let Some(why) = report.machine.disturbance() {
        let _ = writeln!(page, "\nNote: {why}.");
    }
    let ratios = ratios(report);
    if !ratios.is_empty() {
        let _ = writeln!(page, "\n## Ours against others\n");
        page += &table(&["what", "where", "against", "ratio (least–greatest)", "goal", "reached"], &ratios);
    }
    let _ = writeln!(page, "\n## Figures\n\nMedian of the rounds, best round, median of the 99th percentiles.\n");
    page += &table(&["what", "where", "who", "median", "best", "p99"], &figures(report));
    let failures = failures(report);
    if !failures.is_empty() {
        let _ = writeln!(page, "\n## What could not be measured\n\n{failures}");
    }
    page
}

fn place(row: &Row) -> String {
    let place = match row.placement {
        Placement::TwoCpus => "2 cpus",
        Placement::OneCpu => "1 cpu",
    };
    place.to_owned()
}

fn ratios(report: &Report) -> Vec<Vec<String>> {
    let mut lines = Vec::new();
    for row in &report.rows {
        for ratio in &row.ratios {
            let against = match &ratio.against_title {
                Some(title) => format!("{}, {title}", ratio.against),
                None => ratio.against.to_owned(),
            };
            let is_floor = |entry: &&Entry| entry.name == ratio.ours && entry.rank == Rank::Floor;
            let whose = row.entries.iter().find(is_floor).map(|floor| format!(" ({})", floor.name)).unwrap_or_default();
            lines.push(vec![
                format!("{}{whose}", row.title),
                place(row),
                against,
                format!("{} ({}–{})", three(ratio.median), three(ratio.least), three(ratio.greatest)),
                ratio.goal.as_ref().map(ToString::to_string).unwrap_or_default(),
                ratio.reached.map(|reached| if reached { "yes" } else { "**no**" }.to_owned()).unwrap_or_default(),
            ]);
        }
        let Some(bound) = absolute(row.subject) else { continue };
        for entry in row.entries.iter().filter(|entry| entry.rank == Rank::Ours) {
            let Some(median) = entry.median else { continue };
            lines.push(vec![
                row.title.clone(),
                place(row),
                "(by itself)".to_owned(),
                value(median, row.unit),
                format!("≤ {}", value(bound, row.unit)),
                if median <= bound { "yes" } else { "**no**" }.to_owned(),
            ]);
        }
    }
    lines
}

fn figures(report: &Report) -> Vec<Vec<String>> {
    let mut lines = Vec::new();
    for row in &report.rows {
        for Entry { name, median, best, p99, .. } in &row.entries {
            let shown = |figure: &Option<f64>| figure.map(|figure| value(figure, row.unit)).unwrap_or_default();
            let cells = [median, best, p99].map(shown);
            lines.push([row.title.clone(), place(row), (*name).to_owned()].into_iter().chain(cells).collect());
        }
    }
    lines
}

fn failures(report: &Report) -> String {
    let mut text = String::new();
    for row in &report.rows {
        for entry in &row.entries {
            for failure in &entry.failures {
                let _ = writeln!(text, "* {}, {}, {}: {failure}", row.title, place(row), entry.name);
            }
        }
    }
    text
}

fn value(figure: f64, unit: Unit) -> String {
    match unit {
        Unit::Nanoseconds if figure >= 1e6 => format!("{} ms", three(figure / 1e6)),
        Unit::Nanoseconds if figure >= 1e4 => format!("{} µs", three(figure / 1e3)),
        Unit::Nanoseconds => format!("{} ns", three(figure)),
        Unit::PerSecond if figure >= 1e5 => format!("{} M/s", three(figure / 1e6)),
        Unit::PerSecond => format!("{} k/s", three(figure / 1e3)),
        Unit::Bytes => format!("{} MiB", three(figure / f64::from(1 << 20))),
        _ => three(figure),
    }
}

/// Three digits that say something.
fn three(figure: f64) -> String {
    match figure {
        _ if figure >= 100.0 => format!("{figure:.0}"),
        _ if figure >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}
