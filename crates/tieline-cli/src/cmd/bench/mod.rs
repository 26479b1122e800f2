//! `tieline bench`: what each mechanism of this machine costs.

mod shm;
mod tables;

use std::fs;
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tieline_measure::{Placement, Plan, PlayerCommand, Progress, Report};

use crate::exit::{self, Code, Failure, Outcome};
use crate::flags::{Bench, BenchOs, BenchSubject, Place};
use crate::output;

pub(crate) fn run(flags: Bench) -> Outcome {
    match flags.subject {
        BenchSubject::Os(flags) if flags.list => list(flags.json),
        BenchSubject::Os(flags) => measure(&flags),
        BenchSubject::Shm(flags) => shm::measure(&flags),
        BenchSubject::Player => tieline_measure::play().map_err(|error| Failure::new(Code::Failed, error)),
    }
}

/// The mechanisms in `docs/formats/json.md`.
#[derive(Serialize)]
struct List {
    schema: &'static str,
    mechanisms: Vec<Mechanism>,
}

#[derive(Serialize)]
struct Mechanism {
    name: &'static str,
    family: &'static str,
    about: &'static str,
    largest_bytes: Option<usize>,
    round_trips: bool,
    throughput: bool,
    lossy: bool,
}

fn list(as_json: bool) -> Outcome {
    if !as_json {
        let line = |it: &tieline_measure::Description| format!("{:<16} {:<16} {}\n", it.name, it.family, it.about);
        return output::text(&tieline_measure::mechanisms().map(line).collect::<String>());
    }
    let mechanism = |it: &tieline_measure::Description| Mechanism {
        name: it.name,
        family: it.family,
        about: it.about,
        largest_bytes: (it.largest != usize::MAX).then_some(it.largest),
        round_trips: it.round_trips,
        throughput: it.throughput,
        lossy: it.lossy,
    };
    let mechanisms = tieline_measure::mechanisms().map(mechanism).collect();
    output::json(&List { schema: "tieline.bench.list/1", mechanisms })
}

fn measure(flags: &BenchOs) -> Outcome {
    let chart = flags.chart.as_deref().map(Chart::at).transpose()?;
    let plan = plan(flags)?;
    let bar = Bar::new();
    let report = tieline_measure::run(&plan, &mut |progress| bar.show(progress));
    bar.finish();
    let report = report.map_err(Failure::usage)?;
    if let Some(chart) = chart {
        chart.write(&report)?;
    }
    if flags.json {
        output::json(&report)?;
    } else {
        output::text(&output::plain_lines(&tables::of(&report)))?;
    }
    if has_figures(&report) { Ok(()) } else { Err(nothing_measured(&report)) }
}

/// Whether a mechanism was measured at all; what single steps cost needs none.
fn has_figures(report: &Report) -> bool {
    let of_pairs = report.rows.iter().any(|row| !row.round_trips.is_empty() || !row.throughput.is_empty());
    of_pairs || !report.ring.is_empty()
}

fn nothing_measured(report: &Report) -> Failure {
    let first = report.rows.iter().find_map(|row| Some((row.mechanism, row.missing.first()?)));
    match first {
        Some((name, reason)) => {
            Failure::new(Code::Failed, format_args!("no mechanism could be measured: {name}: {reason}"))
        }
        None => Failure::usage("there is nothing to measure: no mechanism takes messages of these sizes"),
    }
}

fn refused_executable(error: std::io::Error) -> Failure {
    Failure::new(Code::Failed, format_args!("cannot find this executable: {error}"))
}

fn plan(flags: &BenchOs) -> Outcome<Plan> {
    let player = PlayerCommand::this_executable(["bench", "player"]).map_err(refused_executable)?;
    let mut plan = if flags.quick { Plan::quick(player) } else { Plan::full(player) };
    plan.only.clone_from(&flags.only);
    plan.window = flags.window.unwrap_or(plan.window);
    plan.repeats = flags.repeats.unwrap_or(plan.repeats);
    match flags.placement {
        None => {}
        Some(Place::One) => plan.placements = vec![Placement::OneCpu],
        Some(Place::Two) => plan.placements = vec![Placement::TwoCpus],
    }
    for (chosen, planned) in [(&flags.sizes, &mut plan.round_trip_bytes), (&flags.bulk, &mut plan.throughput_bytes)] {
        if let Some(small) = chosen.iter().find(|size| **size < 8) {
            let why = "a message has 8 bytes at least, because it carries its number";
            return Err(Failure::usage(format_args!("cannot measure payloads of {small} bytes: {why}")));
        }
        if !chosen.is_empty() {
            *planned = chosen.iter().map(|size| usize::try_from(*size).unwrap_or(usize::MAX)).collect();
        }
    }
    Ok(plan)
}

/// Where the chart goes.
struct Chart<'a> {
    file: &'a Path,
    in_page: bool,
}

impl<'a> Chart<'a> {
    /// What could be refused after minutes of measuring is refused before.
    fn at(file: &'a Path) -> Outcome<Self> {
        let shown = file.display();
        let in_page = match file.extension().and_then(|ending| ending.to_str()) {
            Some("svg") => false,
            Some("html" | "htm") => true,
            _ => {
                return Err(Failure::usage(format_args!(
                    "cannot write a chart to {shown}: its name must end in .svg or .html"
                )));
            }
        };
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            let sentence = format_args!("cannot write a chart to {shown}: there is no folder {}", folder.display());
            return Err(Failure::new(Code::NotFound, sentence));
        }
        Ok(Self { file, in_page })
    }

    fn write(&self, report: &Report) -> Outcome {
        let refused = |(code, reason): (Code, String)| {
            Failure::new(code, format_args!("cannot write a chart to {}: {reason}", self.file.display()))
        };
        let mut chart = tieline_measure::chart(report).map_err(|reason| refused((Code::Failed, reason)))?;
        if self.in_page {
            chart = page(&chart, report);
        }
        fs::write(self.file, chart).map_err(|error| refused(exit::reason(&error)))
    }
}

/// A page that needs nothing from anywhere: the chart, and below it the figures as text.
fn page(chart: &str, report: &Report) -> String {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let title = format!("Inter-process communication on {}", report.machine.system);
    let (title, figures) = (escaped(&title), escaped(&tables::of(report)));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>\n\
         body {{ max-width: 1180px; margin: 2rem auto; padding: 0 1rem; font-family: system-ui, sans-serif; }}\n\
         svg {{ width: 100%; height: auto; }}\npre {{ overflow-x: auto; line-height: 1.35; }}\n\
         </style>\n</head>\n<body>\n<h1>{title}</h1>\n{chart}\n<pre>{figures}</pre>\n</body>\n</html>\n"
    )
}

/// How far the run is, on a terminal.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new() -> Self {
        if !output::is_lively() {
            return Self(None);
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{percent:>3}%  {eta:>3} left  {wide_msg}") {
            bar.set_style(style);
        }
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        Self(Some(bar))
    }

    fn show(&self, progress: &Progress) {
        if let Some(bar) = &self.0 {
            bar.set_length(progress.total as u64);
            bar.set_position(progress.done as u64);
            bar.set_message(progress.to_string());
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
