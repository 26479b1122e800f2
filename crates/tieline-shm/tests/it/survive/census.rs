//! What this process has: to see that deaths of others cost it nothing that lasts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use tieline_testkit::{PATIENCE, pause};

/// Counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Census(BTreeMap<String, usize>);

impl Census {
    /// Of this process, and of the files in `directory`.
    pub(super) fn take(directory: &Path) -> Self {
        let mut counts = BTreeMap::new();
        let mut count = |name: String| *counts.entry(name).or_default() += 1;
        for entry in std::fs::read_dir("/proc/self/fd").expect("our descriptors").flatten() {
            // The one for this listing is gone again.
            if let Ok(target) = std::fs::read_link(entry.path()) {
                count(format!("descriptor {}", sort(&target.to_string_lossy())));
            }
        }
        for entry in std::fs::read_dir("/proc/self/task").expect("our threads").flatten() {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            count(format!("thread {}", name.trim()));
        }
        for line in std::fs::read_to_string("/proc/self/maps").expect("our mappings").lines() {
            // Those of the C library's heaps come and go.
            if let Some(at) = line.find("/memfd:") {
                count(format!("mapping {}", sort(&line[at..])));
            }
        }
        for entry in std::fs::read_dir(directory).expect("the runtime directory").flatten() {
            count(format!("file {}", entry.file_name().to_string_lossy()));
        }
        Self(counts)
    }

    /// Waits until there is no more of anything than in `self`, calling `look` each time; answers what there is too much
    /// of after a while.
    pub(super) fn excess(&self, directory: &Path, mut look: impl FnMut()) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE / 2;
        loop {
            let now = Self::take(directory);
            let excess: Vec<String> = now
                .0
                .iter()
                .filter_map(|(name, count)| {
                    let before = self.0.get(name).copied().unwrap_or_default();
                    (*count > before).then(|| format!("{name}: {before} -> {count}"))
                })
                .collect();
            if excess.is_empty() || Instant::now() > deadline {
                return excess;
            }
            look();
            pause(Duration::from_millis(5));
        }
    }
}

/// Without numbers, which differ between objects of one sort.
fn sort(target: &str) -> String {
    target.chars().filter(|c| !c.is_ascii_digit()).collect()
}
