//! One self-contained SVG of a report: latency, bandwidth, and the token ring.

use plotters::coord::ranged1d::{IntoSegmentedCoord, SegmentValue};
use plotters::prelude::*;

use crate::plan::Placement;
use crate::report::{Report, Row};

const WIDTH: u32 = 1180;
/// The height of one mechanism's line, and of a panel's head and axis.
const LINE: u32 = 24;
const FRAME: u32 = 110;
const RING: u32 = 380;

const TWO_CPUS: RGBColor = RGBColor(0x0B, 0x6E, 0x99);
const ONE_CPU: RGBColor = RGBColor(0xE0, 0x7B, 0x39);
const TAIL: RGBColor = RGBColor(0x9A, 0xA5, 0xB1);

/// Draws the report.
///
/// Latency and bandwidth are on logarithmic scales, because they span four orders of magnitude. A bar ends at the
/// median; the thin line behind it goes on to the 99th percentile.
///
/// # Errors
/// If there is nothing to draw, or the drawing library refuses; the sentence says what.
pub fn chart(report: &Report) -> Result<String, String> {
    let names = mechanisms(report);
    if names.is_empty() {
        return Err("the report has no figures to draw".to_owned());
    }
    let panel = FRAME + LINE * u32::try_from(names.len()).unwrap_or(u32::MAX / LINE / 2);
    let ring = if report.ring.is_empty() { 0 } else { RING };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, 2 * panel + ring)).into_drawing_area();
        root.fill(&WHITE).map_err(text)?;
        let (latency, rest) = root.split_vertically(panel);
        let (bandwidth, scaling) = rest.split_vertically(panel);
        bars(&latency, &LATENCY, report, &names)?;
        bars(&bandwidth, &BANDWIDTH, report, &names)?;
        if ring > 0 {
            lines(&scaling, report)?;
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

fn mechanisms(report: &Report) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for row in &report.rows {
        let measured = !row.round_trips.is_empty() || !row.throughput.is_empty();
        if measured && !names.contains(&row.mechanism) {
            names.push(row.mechanism);
        }
    }
    names
}

fn bars<'a>(area: &Area<'a>, panel: &Panel, report: &Report, names: &[&'static str]) -> Result<(), String> {
    let ends = report.rows.iter().flat_map(|row| [(panel.value)(row), (panel.tail)(row)]).flatten();
    let values: Vec<f64> = ends.filter(|value| *value > 0.0).collect();
    if values.is_empty() {
        return Ok(());
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    let (left, right) = (least / 1.5, most * 5.0);
    // The first mechanism stands on top.
    let count = names.len();
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 19))
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
    for (placement, colour, offset) in [(Placement::TwoCpus, TWO_CPUS, 5), (Placement::OneCpu, ONE_CPU, -5)] {
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
            .map_err(text)?
            .label(placement.to_string())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
        chart
            .draw_series(drawn.iter().map(|(line, value, tail, label)| {
                let end = width(tail.unwrap_or(*value).max(*value)) + 6;
                let font = ("sans-serif", 11).into_font().color(&colour);
                begin(*line) + Text::new(label.clone(), (end, shift - 5), font)
            }))
            .map_err(text)?;
    }
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

/// How many pixels a value lies right of the left edge of a panel's plotting area.
fn pixels(area: &Area<'_>, value: f64, left: f64, right: f64) -> i32 {
    let width = f64::from(area.dim_in_pixel().0) - 24.0 - 150.0;
    (width * (value / left).ln() / (right / left).ln()) as i32
}

fn lines(area: &Area<'_>, report: &Report) -> Result<(), String> {
    let most = report.ring.iter().map(|point| point.hop_ns).fold(0.0, f64::max) / 1e3 * 1.15;
    let processes: Vec<f64> = report.ring.iter().map(|point| point.processes as f64).collect();
    let (few, many) =
        (processes.iter().copied().fold(f64::INFINITY, f64::min), processes.iter().copied().fold(0.0, f64::max));
    let mut chart = ChartBuilder::on(area)
        .caption("A token passed round a ring of processes on one cpu: one hop", ("sans-serif", 19))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(70)
        .build_cartesian_2d((few * 0.9..many * 1.1).log_scale(), 0.0..most)
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
    let mut names: Vec<&str> = report.ring.iter().map(|point| point.mechanism).collect();
    names.dedup();
    for (index, name) in names.into_iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        let points = report.ring.iter().filter(|point| point.mechanism == name);
        let points: Vec<_> = points.map(|point| (point.processes as f64, point.hop_ns / 1e3)).collect();
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))
            .map_err(text)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(3)));
    }
    legend(&mut chart, SeriesLabelPosition::UpperLeft)
}

fn legend<'c, 'a: 'c, C>(
    chart: &mut ChartContext<'c, SVGBackend<'a>, C>,
    place: SeriesLabelPosition,
) -> Result<(), String>
where
    C: CoordTranslate + 'c,
{
    chart
        .configure_series_labels()
        .position(place)
        .background_style(WHITE.mix(0.85))
        .border_style(TAIL)
        .label_font(("sans-serif", 13))
        .draw()
        .map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    format!("cannot draw the chart: {error}")
}
