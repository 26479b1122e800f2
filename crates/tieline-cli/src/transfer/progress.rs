//! How far a transfer is, on standard error, while it runs.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
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
                let bar = bar(total, begun);
                while {
                    bar.set_position(moved());
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

fn bar(total: Option<u64>, begun: Instant) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{percent:>3}% [{bar:30}] {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left",
        ),
        None => (ProgressBar::no_length(), "{spinner} {binary_bytes}  {binary_bytes_per_sec}  {elapsed}"),
    };
    let style = ProgressStyle::with_template(template).map(|style| style.progress_chars("=> "));
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
    bar.with_elapsed(begun.elapsed())
}
