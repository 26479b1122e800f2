//! Which processor this thread runs on, cheaply enough to ask for each wait.

/// The number of the processor that runs this thread now; it may be another one by the time the answer is used.
///
/// The C library answers from the kernel's restartable sequence area (a load), or else from the vDSO.
#[cfg(not(model))]
pub(crate) fn current() -> u32 {
    // SAFETY: no arguments, no preconditions.
    let cpu = unsafe { libc::sched_getcpu() };
    u32::try_from(cpu).unwrap_or(u32::MAX)
}

/// A model must do the same each time it is run, on whichever processor it is by then.
#[cfg(model)]
pub(crate) fn current() -> u32 {
    0
}

/// In a model nobody does anything while we spin, either.
#[cfg(model)]
pub(crate) fn are_several() -> bool {
    false
}

/// Whether this machine has more than one processor running, as of the first call: where it has not, nobody can do
/// anything while we spin.
#[cfg(not(model))]
pub(crate) fn are_several() -> bool {
    use std::sync::OnceLock;

    static SEVERAL: OnceLock<bool> = OnceLock::new();
    // SAFETY: no preconditions; -1 for "not known" counts as one.
    *SEVERAL.get_or_init(|| unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) } > 1)
}
