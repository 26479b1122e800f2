//! What single steps cost on this machine: the terms of which every other figure is a sum.

use std::hint::black_box;
use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::plan::{Plan, allowed_cpus};
use crate::report::{Fact, Machine};

/// How long each fact is measured, in all.
const WINDOW: Duration = Duration::from_millis(60);

/// Names the machine, before the run has loaded it.
pub(crate) fn machine(plan: &Plan) -> Machine {
    machine_of(plan.window, plan.repeats)
}

/// The same, for figures measured so long and so often.
pub(crate) fn machine_of(window: Duration, repeats: usize) -> Machine {
    let names = rustix::system::uname();
    let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Machine {
        system: format!("{} {}", text(names.sysname()), text(names.release())),
        architecture: text(names.machine()),
        processor: processor.map(|(_, name)| name.to_owned()).unwrap_or_default(),
        cpus: allowed_cpus().len(),
        window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
        repeats,
        load_average: load_average(),
        // Those that the load is shared by, also where this process may not run.
        processors: cpuinfo.lines().filter(|line| line.starts_with("processor")).count().max(allowed_cpus().len()),
        figures: 0,
        unsteady_figures: 0,
    }
}

fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// Measures the facts; takes about half a second.
pub(crate) fn measure() -> Vec<Fact> {
    let mut facts = vec![
        nanoseconds("system call (getppid)", || {
            black_box(rustix::process::getppid());
        }),
        nanoseconds("clock reading", || {
            black_box(Instant::now());
        }),
        nanoseconds("sched_yield", rustix::thread::sched_yield),
    ];
    if let Ok((mut reader, mut writer)) = std::io::pipe() {
        let mut bytes = [0; 64];
        facts.push(nanoseconds("pipe write and read of 64 bytes in one thread", || {
            let _ = writer.write_all(&bytes);
            let _ = reader.read_exact(&mut bytes);
        }));
    }
    facts.push(nanoseconds("starting and reaping a process (true)", || {
        let _ = Command::new("true").status();
    }));
    for (name, len) in [("memory copy of 64 KiB", 64 << 10), ("memory copy of 1 MiB", 1 << 20)] {
        let (from, mut to) = (vec![1_u8; len], vec![0; len]);
        let time = nanoseconds(name, || black_box(&mut to[..]).copy_from_slice(black_box(&from)));
        facts.push(Fact { name, value: len as f64 / time.value * 1e9, unit: "bytes_per_second" });
    }
    facts
}

/// What one call costs at the best of several batches: what stands in the way of the others is somebody else's.
fn nanoseconds(name: &'static str, mut step: impl FnMut()) -> Fact {
    let first = Instant::now();
    step();
    let estimate = first.elapsed().max(Duration::from_nanos(20));
    let per_batch = (WINDOW.as_nanos() / 20 / estimate.as_nanos()).clamp(1, 100_000) as u32;
    let batches = (0..20).map(|_| {
        let start = Instant::now();
        (0..per_batch).for_each(|_| step());
        start.elapsed().as_nanos() as f64 / f64::from(per_batch)
    });
    Fact { name, value: batches.fold(f64::INFINITY, f64::min), unit: "ns" }
}
