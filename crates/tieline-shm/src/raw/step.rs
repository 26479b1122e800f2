//! Named points at which a test can end or stop this process: between any two of them a peer may die.

/// Marks a point. Costs nothing unless the feature `steps` is on, which only our own tests switch on.
#[cfg(not(feature = "steps"))]
#[inline(always)]
pub(crate) fn step(_: &'static str) {}

/// Marks a point: ends (`kill`) or stops (`stop`) this process if `TIELINE_STEP` is `kill:NAME` or `stop:NAME`, at
/// the n-th passing if it is `kill:NAME:N`. With `note:FILE`, adds a line `NAME N` to the file at the first, second,
/// fourth ... passing of each.
#[cfg(feature = "steps")]
pub(crate) fn step(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    enum Wanted {
        Signal { signal: i32, name: String, passings: AtomicU32 },
        Note(Notes),
    }
    static WANTED: OnceLock<Option<Wanted>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("TIELINE_STEP").ok()?;
        let (action, point) = text.split_once(':')?;
        let signal = match action {
            "kill" => libc::SIGKILL,
            "stop" => libc::SIGSTOP,
            "note" => return Some(Wanted::Note(Notes { file: point.into(), counts: std::sync::Mutex::default() })),
            _ => return None,
        };
        let (name, passing) = match point.rsplit_once(':') {
            Some((name, passing)) if passing.parse::<u32>().is_ok() => (name, passing.parse().unwrap_or(1)),
            _ => (point, 1),
        };
        Some(Wanted::Signal { signal, name: name.to_owned(), passings: AtomicU32::new(passing) })
    });
    match wanted {
        Some(Wanted::Signal { signal, name: wanted, passings })
            if wanted == name && passings.fetch_sub(1, Ordering::Relaxed) == 1 =>
        {
            // SAFETY: raising a signal in this process has no preconditions.
            unsafe { libc::raise(*signal) };
        }
        Some(Wanted::Note(notes)) => notes.passed(name),
        _ => {}
    }
}

/// Which points were passed how often.
#[cfg(feature = "steps")]
struct Notes {
    file: std::path::PathBuf,
    counts: std::sync::Mutex<std::collections::HashMap<&'static str, u64>>,
}

#[cfg(feature = "steps")]
impl Notes {
    fn passed(&self, name: &'static str) {
        use std::io::Write;

        // Held while writing: lines stay whole.
        let mut counts = self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = counts.entry(name).or_default();
        *count += 1;
        if count.is_power_of_two()
            && let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(&self.file)
        {
            // For our tests, which see what is missing.
            let _ = writeln!(file, "{name} {count}");
        }
    }
}

/// Gives others their turn in the middle of what a planted bug leaves unguarded: with one processor for all, or a hundred
/// who want it, it may take hours until that happens by itself.
#[cfg(all(feature = "steps", not(model)))]
pub(crate) fn give_turn() {
    std::thread::sleep(std::time::Duration::from_micros(50));
}

/// Names the bug that our own tests plant to see that they notice it.
#[cfg(any(feature = "steps", all(test, model)))]
pub(crate) const PLANT: &str = "TIELINE_PLANT";

/// The bug that this process has, if any. Outside of our own tests there is none, and no code for it.
#[cfg(any(feature = "steps", all(test, model)))]
pub(crate) fn planted() -> Option<&'static str> {
    static PLANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    PLANTED.get_or_init(|| std::env::var(PLANT).ok()).as_deref()
}

/// The bug that this process has: none.
#[cfg(not(any(feature = "steps", all(test, model))))]
#[inline(always)]
pub(crate) const fn planted() -> Option<&'static str> {
    None
}
