//! What a process holds: descriptors, mappings, memory, and how often it wakes up.

use std::collections::HashMap;
use std::fs;
use std::thread;
use std::time::Instant;

use super::stage::{Figure, Stage};
use super::subject::IDLE_WINDOW;
use crate::control::{Outcome, Sentence};

/// What this process holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Open descriptors.
    pub descriptors: usize,
    /// Mappings of shared files and memory.
    pub mappings: usize,
    /// Memory behind the mappings of shared files and memory, in bytes: what is committed, be it mapped whole or not.
    pub shared_bytes: u64,
}

impl Footprint {
    /// Looks at `/proc/self`.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn look() -> Outcome<Self> {
        // The listing itself holds one.
        let descriptors = fs::read_dir("/proc/self/fd").sentence()?.count().saturating_sub(1);
        let smaps = fs::read_to_string("/proc/self/smaps").sentence()?;
        let (mut mappings, mut files) = (0, HashMap::new());
        let mut current = None;
        for line in smaps.lines() {
            let mut words = line.split_whitespace();
            let Some(first) = words.next() else { continue };
            if let Some(name) = first.strip_suffix(':') {
                if let (Some(file), "Rss") = (&current, name) {
                    let kibibytes: u64 = words.next().and_then(|number| number.parse().ok()).unwrap_or_default();
                    // Two mappings of one file show the same pages.
                    let most: &mut u64 = files.entry(Clone::clone(file)).or_default();
                    *most = (*most).max(kibibytes << 10);
                }
                continue;
            }
            let access = words.next().unwrap_or_default();
            let place: Vec<&str> = words.collect();
            // Offset, device and inode tell files apart that have the same name.
            current = access.ends_with('s').then(|| place.join(" "));
            mappings += usize::from(current.is_some());
        }
        Ok(Self { descriptors, mappings, shared_bytes: files.values().sum() })
    }
}

/// Counts how often the threads of this process, but for the calling one, fall asleep while nothing is sent.
///
/// # Errors
/// If `/proc/self` cannot be read.
pub fn idle(stage: &Stage<'_>) -> Outcome<Option<Figure>> {
    stage.meet()?;
    let (before, start) = (switches()?, Instant::now());
    thread::sleep(IDLE_WINDOW);
    let (after, seconds) = (switches()?, start.elapsed().as_secs_f64());
    stage.meet()?;
    Ok(Some(Figure::plain(after.saturating_sub(before) as f64 / seconds)))
}

fn switches() -> Outcome<u64> {
    let own = rustix::thread::gettid().as_raw_nonzero().get().to_string();
    let mut sum = 0;
    for thread in fs::read_dir("/proc/self/task").sentence()?.flatten() {
        if thread.file_name().to_string_lossy() == own {
            continue;
        }
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += count.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(sum)
}
