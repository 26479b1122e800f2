//! A report for people: what a stranger wants to see first stands first, and fits 80 columns.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use tieline_measure::{Machine, Placement, Report, RoundTrips, Row, Throughput};
use tieline_transport::addr::quantity::size;

/// The width that prose is broken at.
const WIDTH: usize = 88;
/// From this payload on a rate is told in bytes, below it in messages.
const BULK: usize = 4096;

/// All of it, ending with a newline.
pub(super) fn of(report: &Report) -> String {
    let mut page = head(&report.machine);
    for placement in [Placement::TwoCpus, Placement::OneCpu] {
        round_trips(&mut page, report, placement);
    }
    throughput(&mut page, report);
    ring(&mut page, report);
    facts(&mut page, report);
    claims(&mut page, report);
    missing(&mut page, &not_measured(report));
    page
}

/// Where and how it was measured.
pub(super) fn head(machine: &Machine) -> String {
    let processor = if machine.processor.is_empty() { &machine.architecture } else { &machine.processor };
    let plural = if machine.cpus == 1 { "" } else { "s" };
    let times = if machine.repeats > 1 {
        format!(" {} times, of which the median counts", machine.repeats)
    } else {
        String::new()
    };
    let mut page = format!(
        "{}, {}, {processor}, {} processor{plural}\neach figure measured for {} ms{times}\n",
        machine.system, machine.architecture, machine.cpus, machine.window_ms
    );
    if let Some(why) = machine.disturbance() {
        let _ = writeln!(page, "note: {why}");
    }
    page
}

pub(super) fn section(page: &mut String, title: &str) {
    let _ = write!(page, "\n{title}\n\n");
}

/// A table without lines: names to the left, figures to the right.
pub(super) fn table(header: Vec<String>) -> Table {
    let columns = header.len();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    for index in 0..columns {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((if index == 0 { 2 } else { 1 }, 1));
            column.set_cell_alignment(if index == 0 { CellAlignment::Left } else { CellAlignment::Right });
        }
    }
    table
}

pub(super) fn put(page: &mut String, table: &Table) {
    for line in table.lines() {
        let _ = writeln!(page, "{}", line.trim_end());
    }
}

fn where_to(placement: Placement) -> &'static str {
    match placement {
        Placement::TwoCpus => "each process on a processor of its own",
        Placement::OneCpu => "both processes on one processor",
    }
}

pub(super) fn in_short(placement: Placement) -> &'static str {
    match placement {
        Placement::TwoCpus => "2 cpus",
        Placement::OneCpu => "1 cpu",
    }
}

fn round_trips(page: &mut String, report: &Report, placement: Placement) {
    let mut rows: Vec<&Row> =
        report.rows.iter().filter(|row| row.placement == placement && !row.round_trips.is_empty()).collect();
    let payloads = payloads(rows.iter().flat_map(|row| &row.round_trips).map(|trip| trip.payload_bytes));
    // What carries nothing stands with the smallest messages, not in a column of its own.
    let (empty, mut payloads): (Vec<usize>, Vec<usize>) = payloads.into_iter().partition(|payload| *payload == 0);
    payloads.extend(empty.first().filter(|_| payloads.is_empty()));
    let Some(smallest) = payloads.first() else { return };
    let at = |row: &Row, payload: usize| -> Option<RoundTrips> {
        let find = |payload| row.round_trips.iter().find(|trip| trip.payload_bytes == payload).cloned();
        find(payload).or_else(|| find(0).filter(|_| payload == *smallest))
    };
    rows.sort_by_key(|row| at(row, *smallest).map_or(u64::MAX, |trip| trip.p50_ns));

    section(page, &format!("Round trip in µs, median and 99th percentile: {}", where_to(placement)));
    let mut header = vec!["mechanism".to_owned()];
    header.extend(payloads.iter().flat_map(|payload| [bytes(*payload), "p99".to_owned()]));
    let mut table = table(header);
    for row in rows {
        let carries_nothing = *smallest > 0 && row.round_trips.iter().all(|trip| trip.payload_bytes == 0);
        let note = if carries_nothing { " (0 B)" } else { "" };
        let mut cells = vec![format!("{}{note}", row.mechanism)];
        for payload in &payloads {
            let trip = at(row, *payload);
            let figure = |nanos: Option<u64>| nanos.map_or_else(|| "·".to_owned(), |nanos| three(nanos as f64 / 1e3));
            cells.push(figure(trip.as_ref().map(|trip| trip.p50_ns)));
            cells.push(figure(trip.as_ref().map(|trip| trip.p99_ns)));
        }
        table.add_row(cells);
    }
    put(page, &table);
}

fn throughput(page: &mut String, report: &Report) {
    let all = || report.rows.iter().filter(|row| !row.throughput.is_empty());
    let payloads = payloads(all().flat_map(|row| &row.throughput).map(|flood| flood.payload_bytes));
    if payloads.is_empty() {
        return;
    }
    let placements: Vec<Placement> = [Placement::TwoCpus, Placement::OneCpu]
        .into_iter()
        .filter(|placement| all().any(|row| row.placement == *placement))
        .collect();
    let at = |name: &str, placement, payload| -> Option<&Throughput> {
        let row = all().find(|row| row.mechanism == name && row.placement == placement)?;
        row.throughput.iter().find(|flood| flood.payload_bytes == payload)
    };
    let mut names: Vec<&str> = Vec::new();
    for row in all() {
        if !names.contains(&row.mechanism) {
            names.push(row.mechanism);
        }
    }
    // By what most people look for: how much gets through in large pieces.
    let (first, largest) = (placements[0], payloads[payloads.len() - 1]);
    let rate = |name: &&str| at(name, first, largest).map_or(0.0, |flood| flood.bytes_per_second);
    names.sort_by(|a, b| rate(b).total_cmp(&rate(a)));

    section(page, "Throughput one way: millions of messages a second (M/s), or bytes (GB/s)");
    let mut header = vec!["mechanism".to_owned()];
    for placement in &placements {
        let unit = |payload| if payload < BULK { "M/s" } else { "GB/s" };
        let column = |payload: &usize| format!("{}\n{}\n{}", in_short(*placement), bytes(*payload), unit(*payload));
        header.extend(payloads.iter().map(column));
    }
    let mut table = table(header);
    for name in names {
        let mut cells = vec![name.to_owned()];
        for placement in &placements {
            for payload in &payloads {
                let flood = at(name, *placement, *payload);
                cells.push(flood.map_or_else(|| "·".to_owned(), |flood| rate_of(flood, *payload)));
            }
        }
        table.add_row(cells);
    }
    put(page, &table);
    if all().flat_map(|row| &row.throughput).any(|flood| flood.lost > 0.001) {
        page.push_str("  * some messages were lost on the way; those that came are counted\n");
    }
}

fn rate_of(flood: &Throughput, payload: usize) -> String {
    let rate = if payload < BULK { flood.messages_per_second / 1e6 } else { flood.bytes_per_second / 1e9 };
    let mark = if flood.lost > 0.001 { "*" } else { "" };
    format!("{}{mark}", three(rate))
}

fn ring(page: &mut String, report: &Report) {
    let processes = payloads(report.ring.iter().map(|point| point.processes));
    if processes.is_empty() {
        return;
    }
    section(page, "A token going round on one processor: one hop in µs, by the number of processes");
    let mut header = vec!["mechanism".to_owned()];
    header.extend(processes.iter().map(ToString::to_string));
    let mut table = table(header);
    let mut names: Vec<&str> = report.ring.iter().map(|point| point.mechanism).collect();
    names.dedup();
    for name in names {
        let mut cells = vec![name.to_owned()];
        for count in &processes {
            let point = report.ring.iter().find(|point| point.mechanism == name && point.processes == *count);
            cells.push(point.map_or_else(|| "·".to_owned(), |point| three(point.hop_ns / 1e3)));
        }
        table.add_row(cells);
    }
    put(page, &table);
}

fn facts(page: &mut String, report: &Report) {
    section(page, "What single steps cost");
    let mut table = table(vec![String::new(), String::new(), String::new()]);
    for fact in &report.facts {
        let (value, unit) = match fact.unit {
            "bytes_per_second" => (three(fact.value / 1e9), "GB/s"),
            _ if fact.value < 1e3 => (three(fact.value), "ns"),
            _ if fact.value < 1e6 => (three(fact.value / 1e3), "µs"),
            _ => (three(fact.value / 1e6), "ms"),
        };
        table.add_row(vec![fact.name.to_owned(), value, unit.to_owned()]);
    }
    if let Some(units) = table.column_mut(2) {
        units.set_cell_alignment(CellAlignment::Left);
    }
    for line in table.lines().filter(|line| !line.trim().is_empty()) {
        let _ = writeln!(page, "{}", line.trim_end());
    }
}

fn claims(page: &mut String, report: &Report) {
    if report.claims.is_empty() {
        return;
    }
    section(page, "What is often said, and what this machine says of it");
    for claim in &report.claims {
        wrapped(page, "  ", claim.claim);
        wrapped(page, "    ", &format!("{}; {}", claim.here, claim.verdict));
    }
}

fn not_measured(report: &Report) -> Vec<String> {
    let of_row = |row: &'_ Row| {
        let line = |why: &String| format!("{} on {}: {why}", row.mechanism, row.placement);
        row.missing.iter().map(line).collect::<Vec<_>>()
    };
    report.rows.iter().flat_map(of_row).collect()
}

/// What could not be measured, if anything.
pub(super) fn missing(page: &mut String, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    section(page, "What could not be measured");
    lines.iter().for_each(|line| wrapped(page, "  ", line));
}

/// Breaks prose between words.
fn wrapped(page: &mut String, indent: &str, text: &str) {
    let mut line = indent.to_owned();
    for word in text.split_whitespace() {
        if line.chars().count() + word.chars().count() > WIDTH && line.len() > indent.len() {
            let _ = writeln!(page, "{}", line.trim_end());
            line = indent.to_owned();
        }
        line += word;
        line.push(' ');
    }
    let _ = writeln!(page, "{}", line.trim_end());
}

fn payloads(all: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut payloads: Vec<usize> = all.collect();
    payloads.sort_unstable();
    payloads.dedup();
    payloads
}

/// `64 B`, `4 KiB`, `1 MiB`.
fn bytes(payload: usize) -> String {
    let text = size(payload as u64).to_string();
    match text.strip_suffix(|unit: char| unit.is_ascii_uppercase()) {
        Some(number) => format!("{number} {}iB", &text[number.len()..]),
        None => format!("{text} B"),
    }
}

/// Three digits that mean something, and no more.
pub(super) fn three(value: f64) -> String {
    let digits = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        for (value, text) in
            [(0.0, "0.00"), (1.234, "1.23"), (9.996, "10.0"), (12.34, "12.3"), (99.96, "100"), (12345.6, "12346")]
        {
            assert_eq!(three(value), text);
        }
        assert_eq!([64, 4096, 1 << 20, 1000].map(bytes), ["64 B", "4 KiB", "1 MiB", "1000 B"]);
    }

    #[test]
    fn prose_is_broken_between_words() {
        let mut page = String::new();
        wrapped(&mut page, "  ", &"word ".repeat(40));
        assert!(page.lines().count() > 1);
        assert!(page.lines().all(|line| line.chars().count() <= WIDTH && line.starts_with("  word")));
    }
}
