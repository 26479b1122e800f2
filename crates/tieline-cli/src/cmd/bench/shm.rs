//! `tieline bench shm`: our channels and locks against the least that the machine needs for the same.

use std::fmt::Write as _;

use comfy_table::CellAlignment;
use tieline_measure::shm::{Entry, Plan, Rank, Ratio, Report, Row, Unit, absolute, contestants, run};
use tieline_measure::{Placement, PlayerCommand};

use super::tables::{in_short, missing, put, section, table, three};
use super::{Bar, refused_executable};
use crate::exit::{Code, Failure, Outcome};
use crate::flags::BenchShm;
use crate::output;

pub(super) fn measure(flags: &BenchShm) -> Outcome {
    let plan = plan(flags)?;
    let bar = Bar::new();
    let report = run(&plan, &contestants(), &mut |progress| bar.show(progress));
    bar.finish();
    let report = report.map_err(Failure::usage)?;
    if flags.json {
        output::json(&report)?;
    } else {
        output::text(&output::plain_lines(&page(&report)))?;
    }
    let entries = || report.rows.iter().flat_map(|row| &row.entries);
    if entries().any(|entry| entry.median.is_some()) {
        return Ok(());
    }
    let reason = entries().find_map(|entry| entry.failures.first()).map_or("no reason was given", String::as_str);
    Err(Failure::new(Code::Failed, format_args!("nothing could be measured: {reason}")))
}

fn plan(flags: &BenchShm) -> Outcome<Plan> {
    let player = PlayerCommand::this_executable(["bench", "player"]).map_err(refused_executable)?;
    let mut plan = if flags.quick { Plan::quick(player) } else { Plan::full(player) };
    plan.only.clone_from(&flags.only);
    plan.window = flags.window.unwrap_or(plan.window);
    plan.rounds = flags.rounds.map_or(plan.rounds, |rounds| rounds.max(1));
    Ok(plan)
}

/// All of it, ending with a newline.
fn page(report: &Report) -> String {
    let mut page = super::tables::head(&report.machine);
    if report.rows.iter().flat_map(|row| &row.entries).any(|entry| entry.rank == Rank::Ours) {
        page.push_str("the ratio is ours to the other, of figures of the same round\n");
    }
    let of = |unit| report.rows.iter().filter(move |row| row.unit == unit).collect::<Vec<_>>();
    figures(&mut page, "What it takes (less is better)", &of(Unit::Nanoseconds));
    figures(&mut page, "How often a second (more is better)", &of(Unit::PerSecond));
    figures(&mut page, "Memory (less is better)", &of(Unit::Bytes));
    figures(&mut page, "What is held (less is better)", &of(Unit::Count));
    let failures = report.rows.iter().flat_map(|row| {
        let where_to = in_short(row.placement);
        let of_entry = move |entry: &Entry| {
            let line = |why: &String| format!("{}, {where_to}, {}: {why}", row.title, entry.name);
            entry.failures.iter().map(line).collect::<Vec<_>>()
        };
        row.entries.iter().flat_map(of_entry)
    });
    missing(&mut page, &failures.collect::<Vec<_>>());
    page
}

fn figures(page: &mut String, title: &str, rows: &[&Row]) {
    if rows.is_empty() {
        return;
    }
    section(page, title);
    let header = ["", "", "", "median", "p99", "ratio", "goal"].map(str::to_owned).to_vec();
    let mut table = table(header);
    for index in [1, 2] {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Left);
        }
    }
    for row in rows {
        for (index, entry) in row.entries.iter().enumerate() {
            let is_first = index == 0;
            let shown = |figure: Option<f64>| figure.map_or_else(|| "·".to_owned(), |figure| value(figure, row.unit));
            let ratio = row.ratios.iter().find(|ratio| ratio.against == entry.name && ratio.against_title.is_none());
            table.add_row(vec![
                if is_first { row.title.clone() } else { String::new() },
                if is_first { place(row.placement).to_owned() } else { String::new() },
                entry.name.to_owned(),
                shown(entry.median),
                entry.p99.map(|figure| value(figure, row.unit)).unwrap_or_default(),
                ratio.map(|ratio| format!("{}x", three(ratio.median))).unwrap_or_default(),
                goal(row, entry, ratio),
            ]);
        }
        // What is compared with another row has a line of its own.
        for ratio in row.ratios.iter().filter(|ratio| ratio.against_title.is_some()) {
            let title = ratio.against_title.as_deref().unwrap_or_default();
            let is_floor = row.entries.iter().any(|entry| entry.rank == Rank::Floor && entry.name == ratio.ours);
            let whose = if is_floor { format!("{} ", ratio.ours) } else { String::new() };
            let cells = ["", "", &format!("  {whose}to {title}"), "", "", &format!("{}x", three(ratio.median))];
            let mut cells: Vec<String> = cells.map(str::to_owned).to_vec();
            cells.push(judged(ratio));
            table.add_row(cells);
        }
    }
    put(page, &table);
}

fn place(placement: Placement) -> &'static str {
    match placement {
        Placement::TwoCpus => "2 cpus",
        Placement::OneCpu => "1 cpu",
    }
}

fn goal(row: &Row, entry: &Entry, ratio: Option<&Ratio>) -> String {
    if let Some(ratio) = ratio {
        return judged(ratio);
    }
    let by_itself = absolute(row.subject).filter(|_| entry.rank == Rank::Ours).zip(entry.median);
    by_itself.map(|(bound, median)| mark(&format!("≤ {}", value(bound, row.unit)), median <= bound)).unwrap_or_default()
}

fn judged(ratio: &Ratio) -> String {
    let words = ratio.goal.as_ref().zip(ratio.reached);
    words.map(|(goal, reached)| mark(&goal.to_string(), reached)).unwrap_or_default()
}

fn mark(goal: &str, reached: bool) -> String {
    let mut text = goal.to_owned();
    let _ = write!(text, "{}", if reached { "  yes" } else { "   no" });
    text
}

fn value(figure: f64, unit: Unit) -> String {
    let (figure, unit) = match unit {
        Unit::Nanoseconds if figure >= 1e6 => (figure / 1e6, " ms"),
        Unit::Nanoseconds if figure >= 1e4 => (figure / 1e3, " µs"),
        Unit::Nanoseconds => (figure, " ns"),
        Unit::PerSecond if figure >= 1e5 => (figure / 1e6, " M/s"),
        Unit::PerSecond => (figure / 1e3, " k/s"),
        Unit::Bytes => (figure / f64::from(1 << 20), " MiB"),
        _ => (figure, ""),
    };
    format!("{}{unit}", three(figure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_unit_that_suits_them() {
        for (figure, unit, text) in [
            (512.0, Unit::Nanoseconds, "512 ns"),
            (51_200.0, Unit::Nanoseconds, "51.2 µs"),
            (5.12e6, Unit::Nanoseconds, "5.12 ms"),
            (5.12e7, Unit::PerSecond, "51.2 M/s"),
            (9_000.0, Unit::PerSecond, "9.00 k/s"),
            (f64::from(3 << 20), Unit::Bytes, "3.00 MiB"),
            (2.0, Unit::Count, "2.00"),
        ] {
            assert_eq!(value(figure, unit), text);
        }
    }
}
