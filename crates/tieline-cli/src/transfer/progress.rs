//! How far a transfer is, on standard error, while it runs.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
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
        let total = [total, job.flags.bytes].into_iter().flatten().min();
        let (done, is_done) = mpsc::channel();
        let progress = progress.clone();
        let show = move || {
            let begun = Instant::now();
            let moved = || progress.forward.bytes() + progress.backward.bytes();
            let wait = |time| is_done.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
            if !wait(after) {
                return;
            }
            if lively {
                let bar = bar(total);
                while {
                    let so_far = moved();
                    bar.set_position(so_far);
                    bar.set_message(pace(so_far, total, begun.elapsed()));
                    wait(TICK)
                } {}
                bar.finish_and_clear();
            } else {
                while wait(Duration::from_secs(1)) {
                    let rate = moved() as f64 / begun.elapsed().as_secs_f64();
                    output::say(&format!("{} so far, {}/s", BinaryBytes(moved()), BinaryBytes(rate as u64)));
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

/// The rate since the beginning, which does not jump about, and what it means for the rest.
fn pace(moved: u64, total: Option<u64>, elapsed: Duration) -> String {
    let rate = moved as f64 / elapsed.as_secs_f64().max(1e-3);
    let rest = total.map(|total| total.saturating_sub(moved) as f64 / rate);
    let left = match rest {
        Some(rest) if rest.is_finite() => format!("{} left", HumanDuration(Duration::from_secs(rest.ceil() as u64))),
        _ => format!("{} so far", HumanDuration(elapsed)),
    };
    format!("{}/s  {left}", BinaryBytes(rate as u64))
}

fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => {
            (ProgressBar::new(total), "{percent:>3}% [{bar:24}] {binary_bytes} of {binary_total_bytes}  {msg}")
        }
        None => (ProgressBar::no_length(), "{spinner} {binary_bytes}  {msg}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_whole() {
        let second = Duration::from_secs(1);
        assert_eq!(pace(1 << 20, Some(3 << 20), second), "1.00 MiB/s  2 seconds left");
        assert_eq!(pace(1 << 20, None, 2 * second), "512.00 KiB/s  2 seconds so far");
        assert_eq!(pace(0, Some(1), second), "0 B/s  1 second so far");
    }
}
