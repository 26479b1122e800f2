//! POSIX queues, semaphores and shared memory, against the real kernel.

use std::sync::atomic::{AtomicU32, Ordering};

use tieline_os::posix::mq::{Attributes, MessageQueue};
use tieline_os::posix::sem::NamedSemaphore;
use tieline_os::posix::shm::SharedMemory;
use tieline_os::{Access, Mode};

mod mq;
mod sem;
mod shm;

/// A name nobody else uses, whose objects of all three sorts are gone when it is dropped, also on panic.
pub(crate) struct ScratchName(String);

impl ScratchName {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("/tieline-test-{}-{number}", std::process::id()))
    }

    /// The name a parent made, in its peer; the parent removes it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<std::ffi::OsStr> for ScratchName {
    fn as_ref(&self) -> &std::ffi::OsStr {
        self.0.as_ref()
    }
}

impl Drop for ScratchName {
    fn drop(&mut self) {
        let _ = MessageQueue::unlink(&self.0);
        let _ = NamedSemaphore::unlink(&self.0);
        let _ = SharedMemory::unlink(&self.0);
    }
}

/// Small, because all queues of a user share one limit.
pub(crate) const SMALL: Attributes = Attributes { capacity: 3, message_size: 32 };

pub(crate) fn scratch_queue() -> (ScratchName, MessageQueue) {
    let name = ScratchName::new();
    let queue = MessageQueue::create(&name, SMALL, Access::ReadWrite, Mode::OWNER).unwrap();
    (name, queue)
}
