//! How a mutex is made: [`MutexOptions`].

#[cfg(doc)]
use crate::sync::order;

/// What a lock does when a thread locks what it holds already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MutexKind {
    /// `lock` answers `Deadlock`, because it would never end; `try_lock` and the timed forms behave as if another
    /// thread held the lock.
    #[default]
    Normal,
    /// It locks once more; the lock is free when as many guards have been dropped.
    Recursive,
    /// Every form of locking answers `Deadlock`.
    ErrorChecking,
}

/// How a lock is made. Those who attach find it as it was made.
///
/// ```
/// use tieline_shm::sync::{MutexKind, MutexOptions, RawMutex};
///
/// let lock = RawMutex::anonymous(&MutexOptions::new().kind(MutexKind::Recursive).name("index"))?;
/// let outer = lock.lock()?;
/// let inner = lock.lock()?;
/// drop(outer);
/// assert!(lock.is_locked());
/// drop(inner);
/// assert!(!lock.is_locked());
/// # Ok::<(), tieline_shm::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MutexOptions {
    pub(in crate::sync) kind: MutexKind,
    pub(super) inherit_priority: bool,
    pub(in crate::sync) name: String,
}

impl MutexOptions {
    /// A normal lock without a name.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What locking twice does.
    #[must_use]
    pub fn kind(mut self, kind: MutexKind) -> Self {
        self.kind = kind;
        self
    }

    /// Whether the holder runs at the highest priority of those who wait.
    ///
    /// Only worth it among threads with real-time priorities: the kernel keeps the queue, and every lock that was
    /// contended is given back by a system call. Processes in different pid namespaces must not share such a lock.
    #[doc(alias = "PTHREAD_PRIO_INHERIT")]
    #[must_use]
    pub fn inherit_priority(mut self, inherit: bool) -> Self {
        self.inherit_priority = inherit;
        self
    }

    /// A name for people who look at the segment, and the lock's class for the [order check](order).
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }
}
