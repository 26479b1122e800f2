//! `tieline replay`: a recording, published again or shown.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use tieline_observe::view::{Column, Grid, Line, Tone};
use tieline_shm::recording::{Ending, Player};
use tieline_shm::untyped::Contents;

use crate::exit::{Code, Failure, Fault, Outcome};
use crate::flags::{Replay, Speed};
use crate::grid::Page;
use crate::output;
use crate::topic::{self, Until, Voice, VoiceOptions};
use crate::transfer::interrupts::Interrupts;

/// What was published, in `docs/formats/json.md`.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    topic: &'a str,
    file: String,
    messages: u64,
    bytes: u64,
    error: Option<Fault<'a>>,
}

/// What is inside, in `docs/formats/json.md`.
#[derive(Serialize)]
struct Inside {
    schema: &'static str,
    file: String,
    files: u32,
    topic: String,
    layout: String,
    layout_hash: String,
    started_ns: u64,
    duration_ns: u64,
    messages: u64,
    payload_bytes: u64,
    lost: Option<u64>,
    end: &'static str,
    whole_bytes: Option<u64>,
    publishers: Vec<Publisher>,
}

#[derive(Default, Serialize)]
struct Publisher {
    publisher: String,
    messages: u64,
    bytes: u64,
    first_ns: u64,
    last_ns: u64,
    first_sequence: u64,
    last_sequence: u64,
    missing: u64,
}

pub(crate) fn run(flags: &Replay) -> Outcome {
    let player = open(flags)?;
    if flags.list {
        return list(flags, player);
    }
    let name = topic::name(&match &flags.topic {
        Some(topic) => topic.clone(),
        None => format!("shm:{}", player.header().topic),
    })?;
    let interrupts = Interrupts::install()?;
    let until = Until::new(&interrupts, None);
    let mut done = Done::default();
    let outcome = replay(flags, player, &name, &until, &mut done);
    let Done { messages, bytes, .. } = done;
    if flags.json {
        let error = outcome.as_ref().err().map(Failure::fault);
        let file = flags.file.display().to_string();
        let document = Document { schema: "tieline.replay/1", topic: &name, file, messages, bytes, error };
        output::json_to_stderr(&document);
        return outcome.map_err(|failure| Failure::told(failure.code()));
    }
    if let Some(remark) = &done.remark {
        output::say(remark);
    }
    if flags.verbose && outcome.is_ok() {
        output::say(&format!("{} of {bytes} bytes went to {name}", topic::messages(messages)));
    }
    outcome
}

#[derive(Default)]
struct Done {
    messages: u64,
    bytes: u64,
    /// What is to be said of how the recording ends.
    remark: Option<String>,
}

fn open(flags: &Replay) -> Outcome<Player> {
    Ok(Player::open(&flags.file)?)
}

fn replay(flags: &Replay, mut player: Player, name: &str, until: &Until<'_>, done: &mut Done) -> Outcome {
    let carried = player.header().carried.clone();
    if let Some(found) = topic::look(name)? {
        topic::demand(name, &found, topic::TOPIC)?;
        topic::refuse_mode(name, &flags.offer)?;
        if found.carried().hash() != carried.hash() {
            let why = "its messages are of another type than the recorded ones";
            let how = "`tieline replay --list` shows the recorded layout, `tieline ls` the other";
            return Err(Failure::usage(format_args!("cannot publish to {name}: {why}; {how}")));
        }
    }
    let contents = carried.contents().unwrap_or(Contents::Bytes);
    let largest = largest(flags, &contents)?;
    let options = VoiceOptions { offer: &flags.offer, max_message: largest };
    let mut voice = Voice::open(name, carried, &contents, &options)?;
    let over = |reason, done: &Done| {
        let tale = format!("{} went to {name}", topic::messages(done.messages));
        Err(until.failure(reason, &tale))
    };
    if let Some(reason) = voice.await_subscribers(&flags.presence, until) {
        return over(reason, done);
    }
    loop {
        let begun = Instant::now();
        let mut first = None;
        while let Some(message) = player.next()? {
            if flags.count.is_some_and(|count| done.messages >= count) {
                return Ok(());
            }
            let since = message.at_ns - *first.get_or_insert(message.at_ns);
            if let Speed::Times(factor) = flags.speed
                && let Some(reason) = until.pause(due(begun, since, factor))
            {
                return over(reason, done);
            }
            contents.check(message.payload).map_err(|unfit| {
                let sentence = format_args!("message {} is none of the recorded type: {unfit}", done.messages + 1);
                Failure::new(Code::Failed, sentence)
            })?;
            if let Some(reason) = voice.say(message.payload, until)? {
                return over(reason, done);
            }
            done.messages += 1;
            done.bytes += message.payload.len() as u64;
        }
        match player.ending() {
            Some(Ending::Damaged { at }) => {
                let tale = format!("{} went to {name}", topic::messages(done.messages));
                let sentence = format_args!("{} is damaged behind byte {at}: {tale}", flags.file.display());
                return Err(Failure::new(Code::Failed, sentence));
            }
            Some(Ending::Torn { at }) => {
                let file = flags.file.display();
                done.remark = Some(format!(
                    "{file} has no end, as its recorder died or could not go on; {at} bytes of it are whole"
                ));
            }
            _ => {}
        }
        if !flags.repeat || first.is_none() {
            break;
        }
        player = open(flags)?;
    }
    let _ = voice.linger(&flags.presence, until);
    Ok(())
}

/// When a message is due; nothing if that is further off than any clock reaches.
fn due(begun: Instant, since_ns: u64, factor: f64) -> Option<Instant> {
    let seconds = Duration::from_nanos(since_ns).as_secs_f64() / factor;
    Duration::try_from_secs_f64(seconds).ok().and_then(|wait| begun.checked_add(wait))
}

/// The largest message, which a publisher of messages of any length must know beforehand.
fn largest(flags: &Replay, contents: &Contents) -> Outcome<usize> {
    if let Some(len) = contents.len_bytes() {
        return Ok(len);
    }
    let mut player = open(flags)?;
    let mut largest = 1;
    while let Some(message) = player.next()? {
        largest = largest.max(message.payload.len());
    }
    Ok(largest)
}

fn list(flags: &Replay, mut player: Player) -> Outcome {
    let mut publishers: BTreeMap<u64, Publisher> = BTreeMap::new();
    let (mut messages, mut payload_bytes, mut duration_ns) = (0, 0, 0);
    while let Some(message) = player.next()? {
        let publisher = publishers.entry(message.publisher).or_insert_with(|| Publisher {
            publisher: format!("{:016x}", message.publisher),
            first_ns: message.at_ns,
            first_sequence: message.sequence,
            last_sequence: message.sequence,
            ..Publisher::default()
        });
        let next = publisher.last_sequence.saturating_add(1);
        if publisher.messages > 0 {
            publisher.missing = publisher.missing.saturating_add(message.sequence.saturating_sub(next));
        }
        publisher.messages += 1;
        publisher.bytes += message.payload.len() as u64;
        publisher.last_ns = message.at_ns;
        publisher.last_sequence = message.sequence;
        messages += 1;
        payload_bytes += message.payload.len() as u64;
        duration_ns = message.at_ns;
    }
    let (end, whole_bytes, lost) = match player.ending() {
        Some(Ending::Complete { lost, .. }) => ("complete", None, Some(lost)),
        Some(Ending::Damaged { at }) => ("damaged", Some(at), None),
        Some(Ending::Torn { at }) => ("torn", Some(at), None),
        _ => ("unknown", None, None),
    };
    let header = player.header();
    let inside = Inside {
        schema: "tieline.recording/1",
        file: flags.file.display().to_string(),
        files: player.parts(),
        topic: header.topic.clone(),
        layout: match header.carried.contents() {
            Ok(Contents::Bytes) => "bytes".to_owned(),
            _ => header.carried.layout().to_owned(),
        },
        layout_hash: format!("{:016x}", header.carried.hash()),
        started_ns: header.started_ns,
        duration_ns,
        messages,
        payload_bytes,
        lost,
        end,
        whole_bytes,
        publishers: publishers.into_values().collect(),
    };
    if flags.json { output::json(&inside) } else { show(&inside) }
}

fn show(inside: &Inside) -> Outcome {
    let seconds = |ns: u64| format!("{:.3} s", ns as f64 / 1e9);
    let mut page = Page::new();
    let mut grid = Grid::new([
        Column::words("PUBLISHER"),
        Column::figures("MESSAGES"),
        Column::figures("BYTES"),
        Column::figures("FROM"),
        Column::figures("TO"),
        Column::figures("MISSING"),
    ]);
    for row in &inside.publishers {
        let cells = vec![
            row.publisher.clone(),
            row.messages.to_string(),
            row.bytes.to_string(),
            seconds(row.first_ns),
            seconds(row.last_ns),
            row.missing.to_string(),
        ];
        let tone = if row.missing > 0 { Tone::Warning } else { Tone::Plain };
        grid.rows.push(Line { cells, tone });
    }
    page.table(grid, true);
    page.gap();
    let files = if inside.files == 1 { "1 file".to_owned() } else { format!("{} files", inside.files) };
    let topic = output::plain(&inside.topic);
    page.prose(&[format!(
        "{} of {} bytes from shm:{topic} in {}, begun at {}; {files}.",
        topic::messages(inside.messages),
        inside.payload_bytes,
        seconds(inside.duration_ns),
        utc(inside.started_ns),
    )]);
    match (inside.end, inside.lost, inside.whole_bytes) {
        ("complete", Some(0), _) => {}
        ("complete", Some(lost), _) => page.prose(&[format!("The recorder lost {}.", topic::messages(lost))]),
        ("damaged", _, Some(at)) => page.prose(&[format!("It is damaged behind byte {at}; the rest is not read.")]),
        (_, _, at) => {
            page.prose(&[format!(
                "It has no end, as its recorder died or could not go on; {} bytes are whole.",
                at.unwrap_or(0)
            )]);
        }
    }
    page.gap();
    page.print()?;
    // Line by line, because that is how a layout reads.
    let layout: Vec<_> = inside.layout.lines().map(|line| format!("{}\n", output::plain(line))).collect();
    output::text(&layout.concat())
}

/// A moment as people of all time zones write it. The calendar is Howard Hinnant's `civil_from_days`.
fn utc(ns_since_1970: u64) -> String {
    let seconds = ns_since_1970 / 1_000_000_000;
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = day + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day_of_month:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        let at = |seconds: u64| utc(seconds * 1_000_000_000);
        assert_eq!(at(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(at(1_735_689_599), "2024-12-31 23:59:59 UTC");
        assert_eq!(at(4_107_542_400), "2100-03-01 00:00:00 UTC", "no leap year");
        assert!(utc(u64::MAX).starts_with("2554-07-21"));
    }

    #[test]
    fn a_claimed_time_of_centuries_is_due_then() {
        let now = Instant::now();
        assert_eq!(due(now, 1_000_000_000, 2.0), now.checked_add(Duration::from_millis(500)));
        let centuries = due(now, u64::MAX, 1.0).unwrap() - now;
        assert!(centuries > Duration::from_secs(500 * 365 * 86_400));
        assert!(due(now, u64::MAX, 1e-6).is_none_or(|due| due - now > centuries));
    }
}
