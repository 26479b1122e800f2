//! POSIX queues, semaphores and shared memory, against the real kernel.

use tieline_os::posix::mq::{Attributes, MessageQueue};
use tieline_os::posix::sem::NamedSemaphore;
use tieline_os::posix::shm::SharedMemory;
use tieline_os::{Access, Mode};
use tieline_testkit::unique_number;

mod mq;
mod sem;
mod shm;

/// A name nobody else uses, whose objects of all three sorts are gone when it is dropped, also on panic.
pub(crate) struct ScratchName(String);

impl ScratchName {
    pub(crate) fn new() -> Self {
        Self(format!("/tieline-test-{}", unique_number()))
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
