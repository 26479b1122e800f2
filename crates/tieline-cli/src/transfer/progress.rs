//! How far a transfer is, on standard error, while it runs.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::termios::tcgetwinsize;
use tieline_transport::relay::Progress;

use super::{Job, Shape};
use crate::flags::When;
use crate::output;

/// The thread that shows it; nothing if nobody looks.
pub(super) struct Show {
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

/// What takes less time needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// Often enough to look alive.
const TICK: Duration = Duration::from_millis(200);

impl Show {
    /// Shows `progress` from now on, if the flags and the terminal say so. `total` is the number of bytes there are.
    pub(super) fn start(job: &Job, progress: &Progress, total: Option<u64>) -> Self {
        let lively = output::is_lively();
        let after = match job.flags.progress {
            When::Never => return Self { thread: None },
            When::Always => Duration::ZERO,
            When::Auto if !lively || on_screen(job.shape) => return Self { thread: None },
            When::Auto => PATIENCE,
        };
        let goal = match (job.flags.count, [total, job.flags.bytes].into_iter().flatten().min()) {
            (Some(messages), _) => Goal::Messages(messages),
            (None, Some(bytes)) => Goal::Bytes(bytes),
            (None, None) => Goal::Unknown,
        };
        let (done, is_done) = mpsc::channel();
        let progress = progress.clone();
        let show = move || {
            let begun = Instant::now();
            let state = || State {
                bytes: progress.forward.bytes() + progress.backward.bytes(),
                messages: progress.forward.messages() + progress.backward.messages(),
                goal,
                // Waiting for somebody to begin says nothing of the pace.
                moving: progress.first_moved().map_or(Duration::ZERO, |first| first.elapsed()),
            };
            let wait = |time| is_done.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
            if !wait(after) {
                return;
            }
            if lively {
                let bar = bar();
                while {
                    bar.set_message(state().line(columns(), begun.elapsed()));
                    wait(TICK)
                } {}
                bar.finish_and_clear();
            } else {
                while wait(Duration::from_secs(1)) {
                    let state = state();
                    output::say(&format!("{} so far, {}", BinaryBytes(state.bytes), state.pace()));
                }
            }
        };
        // Without a thread there is no bar, and nothing else is worse.
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(show).ok();
        Self { thread: thread.map(|thread| (done, thread)) }
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        if let Some((done, thread)) = self.thread {
            let _ = done.send(());
            let _ = thread.join();
        }
    }
}

/// Whether the data itself is on the terminal, where a bar would be in its way.
fn on_screen(shape: Shape) -> bool {
    match shape {
        Shape::Send => io::stdin().is_terminal(),
        Shape::Receive => io::stdout().is_terminal(),
        Shape::OneWay | Shape::BothWays => false,
    }
}

/// What will have been moved when it is over.
#[derive(Clone, Copy, Debug)]
enum Goal {
    Unknown,
    Bytes(u64),
    Messages(u64),
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
struct State {
    bytes: u64,
    messages: u64,
    goal: Goal,
    /// For how long something has been moving.
    moving: Duration,
}

/// A bar wider than this says no more.
const WIDEST_BAR: usize = 40;
/// One narrower than this says nothing.
const NARROWEST_BAR: usize = 5;

impl State {
    /// One line that fits so many columns: what matters least goes first where they are few.
    fn line(&self, columns: usize, waited: Duration) -> String {
        let room = columns.saturating_sub(1);
        let (pace, sizes) = (self.pace(), self.sizes());
        let Some(part) = self.part() else {
            let spinner = ['|', '/', '-', '\\'][(waited.as_millis() / TICK.as_millis()) as usize % 4];
            let whole = format!("{spinner} {sizes}  {pace}  {}", short(waited));
            return fitting(vec![whole, format!("{spinner} {sizes}  {pace}"), format!("{spinner} {sizes}")], room);
        };
        let percent = format!("{:>3}%", (part * 100.0) as u64);
        let left = self.left(part).map(|left| format!("  {} left", short(left))).unwrap_or_default();
        let figures = format!("{sizes}  {pace}{left}");
        let bar = room.saturating_sub(percent.len() + 4 + figures.len()).min(WIDEST_BAR);
        let mut forms = vec![
            format!("{percent} {figures}"),
            format!("{percent} {pace}{left}"),
            format!("{percent} {pace}"),
            percent.clone(),
        ];
        if bar >= NARROWEST_BAR {
            let full = (part * bar as f64) as usize;
            forms.insert(
                0,
                format!(
                    "{percent} [{:<bar$}] {figures}",
                    format!("{}>", "=".repeat(full)).get(..bar.min(full + 1)).unwrap_or_default()
                ),
            );
        }
        fitting(forms, room)
    }

    /// From 0 to 1, if it is known where the end is.
    fn part(&self) -> Option<f64> {
        let (done, goal) = match self.goal {
            Goal::Unknown => return None,
            Goal::Bytes(goal) => (self.bytes, goal),
            Goal::Messages(goal) => (self.messages, goal),
        };
        Some((done as f64 / goal.max(1) as f64).min(1.0))
    }

    fn sizes(&self) -> String {
        match self.goal {
            Goal::Unknown => BinaryBytes(self.bytes).to_string(),
            Goal::Bytes(goal) => format!("{} of {}", BinaryBytes(self.bytes), BinaryBytes(goal)),
            Goal::Messages(goal) => format!("{} of {goal} messages", self.messages),
        }
    }

    /// The rate since the first byte, which does not jump about.
    fn pace(&self) -> String {
        format!("{}/s", BinaryBytes((self.bytes as f64 / self.moving.as_secs_f64().max(1e-3)) as u64))
    }

    /// What the pace means for the rest.
    fn left(&self, part: f64) -> Option<Duration> {
        let left = self.moving.as_secs_f64() * (1.0 - part) / part;
        Duration::try_from_secs_f64(left.ceil()).ok().filter(|_| part > 0.0)
    }
}

/// The first form that fits.
fn fitting(forms: Vec<String>, room: usize) -> String {
    forms.into_iter().find(|form| form.len() <= room).unwrap_or_default()
}

/// `7 s`, `2 min 5 s`, `3 h 0 min`.
fn short(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// How wide the terminal is now: it may change.
fn columns() -> usize {
    tcgetwinsize(io::stderr()).map_or(80, |size| if size.ws_col == 0 { 80 } else { size.ws_col.into() })
}

/// A line that is drawn over itself, cut at the terminal's edge.
fn bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
        bar.set_style(style);
    }
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_line_says_how_far_how_fast_and_how_long() {
        let state = State { bytes: 1 << 20, messages: 0, goal: Goal::Bytes(4 << 20), moving: SECOND };
        let line = state.line(80, SECOND);
        assert!(
            line.starts_with(" 25% [====") && line.ends_with("] 1.00 MiB of 4.00 MiB  1.00 MiB/s  3 s left"),
            "{line}"
        );
        let counted = State { messages: 3, goal: Goal::Messages(4), ..state };
        assert!(counted.line(80, SECOND).ends_with("] 3 of 4 messages  1.00 MiB/s  1 s left"));
        let endless = State { goal: Goal::Unknown, moving: 2 * SECOND, ..state };
        assert!(endless.line(80, 5 * SECOND).ends_with(" 1.00 MiB  512.00 KiB/s  5 s"));
        let waiting = State { bytes: 0, moving: Duration::ZERO, ..state };
        assert!(waiting.line(80, SECOND).ends_with("0 B of 4.00 MiB  0 B/s"));
        let over = State { bytes: 5 << 20, ..state };
        assert!(over.line(80, SECOND).starts_with("100% [=====") && over.line(80, SECOND).ends_with("0 s left"));
    }

    #[test]
    fn it_fits_any_width() {
        for goal in [Goal::Unknown, Goal::Bytes(u64::MAX), Goal::Messages(1_000_000)] {
            let state = State { bytes: 123_456_789, messages: 999_999, goal, moving: 7 * SECOND };
            for columns in 0..200 {
                assert!(state.line(columns, SECOND).len() < columns.max(1), "{columns}");
            }
            assert!(!state.line(25, SECOND).is_empty());
        }
        assert_eq!(short(Duration::from_secs(3725)), "1 h 2 min");
        assert_eq!(short(Duration::from_secs(125)), "2 min 5 s");
    }
}
