//! What a process holds: descriptors, mappings, memory, and how often it wakes up.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

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
    /// Memory behind the mappings of shared files and memory, in bytes: for root all that is committed, for others what
    /// was touched.
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
        let (mut mappings, mut files) = (0, HashMap::<String, u64>::new());
        let mut current: Option<String> = None;
        for line in smaps.lines() {
            let mut words = line.split_whitespace();
            let Some(first) = words.next() else { continue };
            let Some(name) = first.strip_suffix(':') else {
                // Offset, device, inode and name follow the range and its rights.
                let is_shared = words.next().is_some_and(|rights| rights.ends_with('s'));
                let [device, inode] = [words.nth(1), words.next()].map(Option::unwrap_or_default);
                current = is_shared.then(|| format!("{device} {inode}"));
                mappings += usize::from(is_shared);
                if let Some(file) = &current {
                    let committed = committed(first).unwrap_or_default();
                    keep_most(&mut files, file, committed);
                }
                continue;
            };
            if let (Some(file), "Rss") = (&current, name) {
                let kibibytes: u64 = words.next().and_then(|number| number.parse().ok()).unwrap_or_default();
                keep_most(&mut files, file, kibibytes << 10);
            }
        }
        Ok(Self { descriptors, mappings, shared_bytes: files.values().sum() })
    }
}

/// Two mappings of one file show the same pages.
fn keep_most(files: &mut HashMap<String, u64>, file: &str, bytes: u64) {
    let most = files.entry(file.to_owned()).or_default();
    *most = (*most).max(bytes);
}

/// The memory of the file behind a mapping, also where it was not touched; for root only.
fn committed(range: &str) -> Option<u64> {
    fs::metadata(format!("/proc/self/map_files/{range}")).ok().map(|file| file.blocks() * 512)
}

/// How long it takes at most until everybody sleeps who has nothing to do.
const SETTLING: Duration = Duration::from_millis(100);

/// Counts how often the threads of this process, but for the calling one, fall asleep while nothing is sent.
///
/// # Errors
/// If `/proc/self` cannot be read.
pub fn idle(stage: &Stage<'_>) -> Outcome<Option<Figure>> {
    // Whoever is about to fall asleep shall do so before.
    thread::sleep(SETTLING);
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
