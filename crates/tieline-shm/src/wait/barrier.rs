//! The asymmetric fence between who notifies and who sleeps.
//!
//! A notifier stores its change and then loads who sleeps; a sleeper says that it sleeps and then looks for a change.
//! Each needs a full fence between the two, or both may miss the other. The sleeper, who is the rarer, makes every
//! running thread of every registered process pass a fence (`membarrier(2)`), so that the notifier needs none.
//!
//! The invariant lies within each process, and nobody needs to know of any other: a process either is registered with
//! the kernel, or uses a real fence at each notification. A process that lies makes its own notifications late.

#[cfg(not(model))]
mod kernel {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use tieline_os::membarrier::{self, Barrier};

    use crate::raw::atomic::compiler_fence;

    /// Whether the kernel makes this process pass the barriers of others. Inherited by fork, as the registration is.
    static IS_COVERED: AtomicBool = AtomicBool::new(false);

    /// Registers this process, once; may take a millisecond then, so call it before the first notification.
    pub(crate) fn prepare() {
        static ASKED: OnceLock<()> = OnceLock::new();
        ASKED.get_or_init(|| {
            // Where the kernel or a sandbox refuses, this process goes on with fences.
            let covered = membarrier::register(Barrier::Registered).is_ok();
            // Relaxed: who does not see it yet uses a fence, which is right too.
            IS_COVERED.store(covered, Ordering::Relaxed);
        });
    }

    /// Whether the notifier's fence may be left to the sleepers. A load of this process's own memory.
    #[inline(always)]
    pub(in crate::wait) fn is_covered() -> bool {
        // Relaxed: see `prepare`.
        IS_COVERED.load(Ordering::Relaxed)
    }

    /// The notifier's half: nothing but that the compiler keeps the order.
    #[inline(always)]
    pub(crate) fn light() {
        compiler_fence(Ordering::SeqCst);
    }

    /// The sleeper's half: afterwards, whoever notifies either sees what this thread stored before, or has made its
    /// change visible to what this thread loads next.
    pub(in crate::wait) fn heavy() {
        if membarrier::run(Barrier::Registered).is_err() {
            // A sandbox keeps us from it. What another processor has stored reaches memory when its store buffer
            // drains, which takes it less than a microsecond and which every interrupt completes.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// [`heavy`], toward the threads of this process only: also right where the process is not covered.
    pub(crate) fn heavy_within_process() {
        if is_covered() {
            heavy();
        } else {
            // As above: nobody makes our threads pass a fence, so their store buffers must drain by themselves.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[cfg(model)]
mod kernel {
    //! Loom has no fence that one thread makes another pass; the pair is modelled by two full fences. The asymmetric
    //! pair is checked in `models/eventcount.pml`, which has store buffers and the barrier.

    use crate::raw::atomic::{Ordering, fence};

    pub(crate) fn prepare() {}

    pub(in crate::wait) fn is_covered() -> bool {
        true
    }

    pub(crate) fn light() {
        // SeqCst, twice: it stands for the barrier that the sleeper makes this thread pass; see `EventCount::notify`.
        fence(Ordering::SeqCst);
    }

    pub(in crate::wait) fn heavy() {
        // SeqCst: the other half of `light`; see `EventCount::announce`.
        fence(Ordering::SeqCst);
    }

    pub(crate) fn heavy_within_process() {
        heavy();
    }
}

pub(super) use kernel::{heavy, is_covered};
pub(crate) use kernel::{heavy_within_process, light, prepare};
