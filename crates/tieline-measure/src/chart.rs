//! One self-contained SVG of a report: latency, bandwidth, and the token ring.

use plotters::coord::ranged1d::{IntoSegmentedCoord, SegmentValue};
use plotters::prelude::*;

use crate::plan::Placement;
use crate::report::{Report, Row};

const WIDTH: u32 = 1180;
/// The height of one mechanism's line, and of a panel's head and axis.
const LINE: u32 = 24;
const FRAME: u32 = 68;
const RING: u32 = 380;
/// The height of a panel's title and the legend below it, which so covers nothing.
const HEAD: u32 = 62;

const TWO_CPUS: RGBColor = RGBColor(0x0B, 0x6E, 0x99);
const ONE_CPU: RGBColor = RGBColor(0xE0, 0x7B, 0x39);
/// In which colour a placement's bar is drawn, and how many pixels above the middle of its line.
const PLACEMENTS: [(Placement, RGBColor, i32); 2] =
    [(Placement::TwoCpus, TWO_CPUS, 5), (Placement::OneCpu, ONE_CPU, -5)];
const TAIL: RGBColor = RGBColor(0x9A, 0xA5, 0xB1);

/// Draws the report.
///
/// Latency and bandwidth are on logarithmic scales, because they span four orders of magnitude. A bar ends at the
/// median; the thin line behind it goes on to the 99th percentile.
///
/// # Errors
/// If there is nothing to draw, or the drawing library refuses; the sentence says what.
pub fn chart(report: &Report) -> Result<String, String> {
    let panels: Vec<(&Panel, Vec<&'static str>)> =
        [&LATENCY, &BANDWIDTH].into_iter().map(|panel| (panel, mechanisms(&report.rows, panel))).collect();
    let height = |names: &[&str]| match u32::try_from(names.len()) {
        Ok(0) => 0,
        lines => HEAD + FRAME + LINE * lines.unwrap_or(u32::MAX).min(10_000),
    };
    let ring = if report.ring.is_empty() { 0 } else { HEAD + RING };
    let whole = panels.iter().map(|(_, names)| height(names)).sum::<u32>() + ring;
    if whole == 0 {
        return Err("the report has no figures to draw".to_owned());
    }
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, whole)).into_drawing_area();
        root.fill(&WHITE).map_err(text)?;
        let mut rest = root.clone();
        for (panel, names) in panels.iter().filter(|(_, names)| !names.is_empty()) {
            let (area, below) = rest.split_vertically(height(names));
            bars(&area, panel, report, names)?;
            rest = below;
        }
        if ring > 0 {
            lines(&rest, report)?;
        }
        root.present().map_err(text)?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// What a panel of bars shows.
struct Panel {
    title: &'static str,
    axis: &'static str,
    /// How long the bar of a row is.
    value: fn(&Row) -> Option<f64>,
    /// How far the line behind it goes.
    tail: fn(&Row) -> Option<f64>,
    /// What stands at the end of the bar.
    label: fn(&Row, f64) -> String,
}

const LATENCY: Panel = Panel {
    title: "Round trip of 64 bytes: median, and 99th percentile as a line (shorter is better)",
    axis: "microseconds, logarithmic",
    value: |row| Some(row.round_trips.first()?.p50_ns as f64 / 1e3),
    tail: |row| Some(row.round_trips.first()?.p99_ns as f64 / 1e3),
    label: |_, value| if value < 10.0 { format!("{value:.2} µs") } else { format!("{value:.0} µs") },
};

const BANDWIDTH: Panel = Panel {
    title: "One way, the largest message it carries up to 1 MiB, copied in and out (longer is better)",
    axis: "gigabytes per second, logarithmic",
    value: |row| Some(row.throughput.last()?.bytes_per_second / 1e9),
    tail: |_| None,
    label: |row, value| match row.throughput.last() {
        Some(flood) if flood.payload_bytes < 1 << 20 => format!("{value:.2} GB/s ({} bytes)", flood.payload_bytes),
        _ => format!("{value:.2} GB/s"),
    },
};

/// The mechanisms that have something to show in a panel.
fn mechanisms(rows: &[Row], panel: &Panel) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for row in rows {
        let measured = (panel.value)(row).is_some_and(|value| value > 0.0);
        if measured && !names.contains(&row.mechanism) {
            names.push(row.mechanism);
        }
    }
    names
}

fn bars<'a>(area: &Area<'a>, panel: &Panel, report: &Report, names: &[&'static str]) -> Result<(), String> {
    let ends = report.rows.iter().flat_map(|row| [(panel.value)(row), (panel.tail)(row)]).flatten();
    let values: Vec<f64> = ends.filter(|value| *value > 0.0).collect();
    let entries = PLACEMENTS.map(|(placement, colour, _)| (placement.to_string(), colour.to_rgba()));
    let area = &head(area, panel.title, &entries)?;
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    let (left, right) = (least / 1.5, most * 5.0);
    // The first mechanism stands on top.
    let count = names.len();
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(150)
        .build_cartesian_2d((left..right).log_scale(), (0..count).into_segmented())
        .map_err(text)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(panel.axis)
        .x_label_formatter(&|value| format!("{value}"))
        .y_labels(count)
        .y_label_formatter(&|segment| match segment {
            SegmentValue::CenterOf(index) if *index < count => names[count - 1 - *index].to_owned(),
            _ => String::new(),
        })
        .label_style(("sans-serif", 13))
        .draw()
        .map_err(text)?;
    for (placement, colour, offset) in PLACEMENTS {
        let rows = report.rows.iter().filter(|row| row.placement == placement);
        let mut drawn = Vec::new();
        for row in rows {
            let Some(position) = names.iter().position(|name| *name == row.mechanism) else { continue };
            let Some(value) = (panel.value)(row).filter(|value| *value > 0.0) else { continue };
            drawn.push((count - 1 - position, value, (panel.tail)(row), (panel.label)(row, value)));
        }
        // Plotters has no half segments, so the two bars of a line are placed in pixels around its centre.
        let (half, shift) = (4, -offset);
        let width = |x: f64| pixels(area, x, left, right);
        let begin = |line| EmptyElement::at((left, SegmentValue::CenterOf(line)));
        let tails = drawn.iter().filter_map(|(line, _, tail, _)| Some((*line, (*tail)?)));
        chart
            .draw_series(tails.map(|(line, tail)| {
                begin(line) + Rectangle::new([(0, shift - 1), (width(tail), shift + 1)], TAIL.filled())
            }))
            .map_err(text)?;
        chart
            .draw_series(drawn.iter().map(|&(line, value, ..)| {
                begin(line) + Rectangle::new([(0, shift - half), (width(value), shift + half)], colour.filled())
            }))
            .map_err(text)?;
        chart
            .draw_series(drawn.iter().map(|(line, value, tail, label)| {
                let end = width(tail.unwrap_or(*value).max(*value)) + 6;
                let font = ("sans-serif", 11).into_font().color(&colour);
                begin(*line) + Text::new(label.clone(), (end, shift - 5), font)
            }))
            .map_err(text)?;
    }
    Ok(())
}

/// How many pixels a value lies right of the left edge of a panel's plotting area.
fn pixels(area: &Area<'_>, value: f64, left: f64, right: f64) -> i32 {
    let width = f64::from(area.dim_in_pixel().0) - 24.0 - 150.0;
    (width * (value / left).ln() / (right / left).ln()) as i32
}

fn lines(area: &Area<'_>, report: &Report) -> Result<(), String> {
    let mut names: Vec<&str> = report.ring.iter().map(|point| point.mechanism).collect();
    names.dedup();
    let entries: Vec<(String, RGBAColor)> =
        names.iter().enumerate().map(|(index, name)| ((*name).to_owned(), Palette99::pick(index).to_rgba())).collect();
    let title = "A token passed round a ring of processes on one processor: one hop (shorter is better)";
    let area = &head(area, title, &entries)?;
    let most = report.ring.iter().map(|point| point.hop_ns).fold(0.0, f64::max) / 1e3 * 1.15;
    let mut processes: Vec<f64> = report.ring.iter().map(|point| point.processes as f64).collect();
    processes.sort_by(f64::total_cmp);
    processes.dedup();
    let (few, many) =
        (processes.iter().copied().fold(f64::INFINITY, f64::min), processes.iter().copied().fold(0.0, f64::max));
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(70)
        .build_cartesian_2d((few * 0.9..many * 1.1).log_scale().with_key_points(processes.clone()), 0.0..most)
        .map_err(text)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("processes, logarithmic")
        .y_desc("microseconds")
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| format!("{value:.1}"))
        .label_style(("sans-serif", 13))
        .draw()
        .map_err(text)?;
    for (name, colour) in &entries {
        let points = report.ring.iter().filter(|point| point.mechanism == name);
        let points: Vec<_> = points.map(|point| (point.processes as f64, point.hop_ns / 1e3)).collect();
        chart.draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3)).map_err(text)?;
    }
    Ok(())
}

/// Writes a panel's title and, below it, what its colours mean; answers the area below both.
fn head<'a>(area: &Area<'a>, title: &str, entries: &[(String, RGBAColor)]) -> Result<Area<'a>, String> {
    let (head, body) = area.split_vertically(HEAD);
    head.draw(&Text::new(title.to_owned(), (12, 16), ("sans-serif", 19).into_font())).map_err(text)?;
    let mut x = 12;
    for (name, colour) in entries {
        head.draw(&Rectangle::new([(x, 44), (x + 12, 54)], colour.filled())).map_err(text)?;
        head.draw(&Text::new(name.clone(), (x + 18, 43), ("sans-serif", 13).into_font())).map_err(text)?;
        x += 50 + 8 * i32::try_from(name.chars().count()).unwrap_or_default();
    }
    Ok(body)
}

fn text(error: impl std::fmt::Display) -> String {
    format!("cannot draw the chart: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{RoundTrips, Throughput};

    #[test]
    fn what_has_no_throughput_is_not_in_its_panel() {
        let trips = RoundTrips { payload_bytes: 64, count: 1, p50_ns: 900, p99_ns: 1000, min_ns: 800, switches: 0.0 };
        let flood = Throughput { payload_bytes: 64, messages_per_second: 1e6, bytes_per_second: 64e6, lost: 0.0 };
        let row = |mechanism, throughput| Row {
            mechanism,
            family: "",
            placement: Placement::OneCpu,
            round_trips: vec![trips.clone()],
            throughput,
            missing: Vec::new(),
        };
        let rows = vec![row("signal", Vec::new()), row("fifo", vec![flood])];
        assert_eq!(mechanisms(&rows, &LATENCY), ["signal", "fifo"]);
        assert_eq!(mechanisms(&rows, &BANDWIDTH), ["fifo"]);
    }
}
