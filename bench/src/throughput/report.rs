//! The results as tables, as JSON, and as the page that is kept.

use std::fs;

use serde_json::{Value, json};

use crate::Outcome;
use crate::machine::{Machine, root};
use crate::path::Path;
use crate::program::Program;
use crate::statistics::{Spread, table};

/// The results of one path with one sink.
pub(super) struct Row {
    path: Path,
    into: &'static str,
    cells: Vec<Cell>,
}

struct Cell {
    program: Program,
    result: Result<Figures, String>,
}

struct Figures {
    bytes: u64,
    rate: Spread,
    cpu: Spread,
    /// The subject's speed as a multiple of this program's.
    ratio: Option<Spread>,
}

const RIVALS: [Program; 5] = [Program::Cat, Program::Socat, Program::SocatWide, Program::Nc, Program::Pv];
const ALL: [Program; 7] =
    [Program::Tieline, Program::Cat, Program::Socat, Program::SocatWide, Program::Nc, Program::Pv, Program::Bare];

impl Row {
    pub(super) fn new(path: Path, into: &'static str) -> Self {
        Self { path, into, cells: Vec::new() }
    }

    pub(super) fn failed(&mut self, program: Program, reason: String) {
        self.cells.push(Cell { program, result: Err(reason) });
    }

    pub(super) fn measured(&mut self, program: Program, bytes: u64, rate: Spread, cpu: Spread, ratio: Option<Spread>) {
        self.cells.push(Cell { program, result: Ok(Figures { bytes, rate, cpu, ratio }) });
    }

    /// One line for who watches.
    pub(super) fn line(&self) -> String {
        let cells = self.cells.iter().filter_map(|cell| {
            let figures = cell.result.as_ref().ok()?;
            let ratio = figures.ratio.map(|ratio| format!(" ({:.2}x)", ratio.median)).unwrap_or_default();
            Some(format!("{} {:.2} GB/s{ratio}", cell.program, figures.rate.median))
        });
        format!("{} ({}): {}", self.path, self.into, cells.collect::<Vec<_>>().join(", "))
    }

    fn figures(&self, program: Program) -> Option<&Result<Figures, String>> {
        self.cells.iter().find(|cell| cell.program == program).map(|cell| &cell.result)
    }

    /// The least of the median ratios that count, against the goal.
    fn verdict(&self) -> String {
        let goal = self.path.goal();
        let counted = self.cells.iter().filter(|cell| cell.program.is_goal());
        let ratios = counted.filter_map(|cell| cell.result.as_ref().ok()?.ratio).map(|ratio| ratio.median);
        match ratios.reduce(f64::min) {
            None => "not measured".to_owned(),
            Some(least) if least >= goal => format!("{goal:.0}x: met"),
            Some(least) => format!("{goal:.0}x: missed, {least:.2}x{}", self.bound(least)),
        }
    }

    /// How many times as fast as a rival, whom the subject surpasses `least` times, the ends are with nothing between.
    fn bound(&self, least: f64) -> String {
        let bare = self.figures(Program::Bare).and_then(|figures| figures.as_ref().ok()?.ratio);
        bare.map(|bare| format!(" of {:.2}x", least / bare.median)).unwrap_or_default()
    }

    fn ratios(&self) -> Vec<String> {
        let mut cells = vec![self.path.to_string(), self.into.to_owned()];
        cells.extend(RIVALS.iter().map(|program| match self.figures(*program) {
            None => String::new(),
            Some(Err(_)) => "failed".to_owned(),
            Some(Ok(figures)) => figures.ratio.map(|ratio| ratio.to_string()).unwrap_or_default(),
        }));
        cells.push(self.verdict());
        cells
    }

    fn absolutes(&self) -> Vec<String> {
        let mut cells = vec![self.path.to_string(), self.into.to_owned()];
        cells.extend(ALL.iter().map(|program| match self.figures(*program) {
            None => String::new(),
            Some(Err(_)) => "failed".to_owned(),
            Some(Ok(figures)) if *program == Program::Bare => format!("{:.2}", figures.rate.median),
            Some(Ok(figures)) => format!("{:.2} / {:.3}", figures.rate.median, figures.cpu.median),
        }));
        cells
    }

    fn json(&self) -> Value {
        let cells = self.cells.iter().map(|cell| match &cell.result {
            Err(reason) => json!({ "program": cell.program.to_string(), "failed": reason }),
            Ok(figures) => json!({
                "program": cell.program.to_string(),
                "bytes_per_run": figures.bytes,
                "gigabytes_per_second": figures.rate.json(),
                "cpu_seconds_per_gigabyte": figures.cpu.json(),
                "subject_is_faster_by": figures.ratio.as_ref().map(Spread::json),
            }),
        });
        let programs: Vec<Value> = cells.collect();
        json!({ "path": self.path.to_string(), "sink": self.into, "goal": self.path.goal(), "programs": programs })
    }
}

/// Prints for people or for programs.
pub(super) fn print(machine: &Machine, rows: &[Row], as_json: bool) -> Outcome {
    if as_json {
        let report = json!({ "machine": machine.json(), "results": rows.iter().map(Row::json).collect::<Vec<_>>() });
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        println!("{text}");
    } else {
        println!("{}", tables(rows));
    }
    Ok(())
}

/// Keeps the tables in the repository.
pub(super) fn record(machine: &Machine, rows: &[Row]) -> Outcome {
    let head = "# Throughput of `tieline` and of other programs\n\n\
        Same source, same sink, same run, interleaved; the median counts, with the least and the greatest in brackets.\n\
        The sink lets the kernel throw the bytes away (*discard*), reads them into memory (*read*), or is a *file*.\n\n";
    let page = root().join("bench/results/throughput.md");
    let text = format!("{head}{}\n{}", machine.text(), tables(rows));
    fs::write(&page, text).map_err(|error| format!("write {}: {error}", page.display()))
}

fn tables(rows: &[Row]) -> String {
    let mut ratio_heads = vec!["path".to_owned(), "sink".to_owned()];
    ratio_heads.extend(RIVALS.iter().map(|program| format!("vs {program}")));
    ratio_heads.push("goal (cat, socat)".to_owned());
    let mut heads = vec!["path".to_owned(), "sink".to_owned()];
    heads.extend(ALL.iter().map(Program::to_string));
    let ratio_heads: Vec<&str> = ratio_heads.iter().map(String::as_str).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let failures = rows.iter().flat_map(|row| {
        row.cells.iter().filter_map(move |cell| {
            Some(format!("* {} ({}), {}: {}\n", row.path, row.into, cell.program, cell.result.as_ref().err()?))
        })
    });
    let failures: String = failures.collect();
    let failures = if failures.is_empty() { failures } else { format!("\n## Failures\n\n{failures}") };
    format!(
        "## Times as fast\n\n{}\n## Gigabytes a second / processor seconds of the program a gigabyte\n\n{}{failures}",
        table(&ratio_heads, &rows.iter().map(Row::ratios).collect::<Vec<_>>()),
        table(&heads, &rows.iter().map(Row::absolutes).collect::<Vec<_>>()),
    )
}
