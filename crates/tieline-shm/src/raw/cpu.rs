//! Which processor this thread runs on, cheaply enough to ask for each wait.

/// The number of the processor that runs this thread now; it may be another one by the time the answer is used.
///
/// The C library answers from the kernel's restartable sequence area (a load), or else from the vDSO.
pub(crate) fn current() -> u32 {
    // SAFETY: no arguments, no preconditions.
    let cpu = unsafe { libc::sched_getcpu() };
    u32::try_from(cpu).unwrap_or(u32::MAX)
}
