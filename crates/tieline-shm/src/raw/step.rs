//! Named points at which a test can end or stop this process: between any two of them a peer may die.

/// Marks a point. Costs nothing unless the feature `steps` is on, which only our own tests switch on.
#[cfg(not(feature = "steps"))]
#[inline(always)]
pub(crate) fn step(_: &'static str) {}

/// Marks a point: ends (`kill`) or stops (`stop`) this process if `TIELINE_STEP` is `kill:NAME` or `stop:NAME`, at
/// the n-th passing if it is `kill:NAME:N`.
#[cfg(feature = "steps")]
pub(crate) fn step(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Wanted {
        signal: i32,
        name: String,
        passings: AtomicU32,
    }
    static WANTED: OnceLock<Option<Wanted>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("TIELINE_STEP").ok()?;
        let (action, point) = text.split_once(':')?;
        let (name, passing) = match point.rsplit_once(':') {
            Some((name, passing)) if passing.parse::<u32>().is_ok() => (name, passing.parse().unwrap_or(1)),
            _ => (point, 1),
        };
        let signal = match action {
            "kill" => libc::SIGKILL,
            "stop" => libc::SIGSTOP,
            _ => return None,
        };
        Some(Wanted { signal, name: name.to_owned(), passings: AtomicU32::new(passing) })
    });
    if let Some(wanted) = wanted
        && wanted.name == name
        && wanted.passings.fetch_sub(1, Ordering::Relaxed) == 1
    {
        // SAFETY: raising a signal in this process has no preconditions.
        unsafe { libc::raise(wanted.signal) };
    }
}

/// The bug that our own tests plant to see that they would notice it: `TIELINE_PLANT`.
#[cfg(all(feature = "steps", not(all(test, model))))]
pub(crate) fn planted() -> Option<&'static str> {
    static PLANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    PLANTED.get_or_init(|| std::env::var("TIELINE_PLANT").ok()).as_deref()
}
