//! Memory barriers on other processors: the slow side of a pair pays, so that the fast side pays nothing.
//!
//! Where two threads each store to one word and then load the other's, both need a full fence between store and
//! load, or each may miss the other's store. If one of them does it a million times as often, let the rare one call
//! [`run`] instead: every running thread that the [`Barrier`] covers passes a full fence during the call, and the
//! frequent side needs only to keep the *compiler* from reordering
//! ([`compiler_fence`](std::sync::atomic::compiler_fence)). The invariant: after `run` returns, what each covered
//! thread stored before is visible to the caller, and what the caller stored before is visible to what each of them
//! loads afterwards.
//!
//! | barrier | covers | register first |
//! |---|---|---|
//! | [`Barrier::Process`] | threads of this process | the caller |
//! | [`Barrier::Registered`] | threads of every process that registered | every process to be covered |
//! | [`Barrier::Machine`] | every thread of the machine; milliseconds | nobody |
//!
//! A frequent side in *another* process that has not registered is not covered by `Registered`, and nothing says so:
//! register before the memory is shared. Registration lasts until `exec` and is inherited by `fork`.
//!
//! Source: membarrier(2); the kernel's `Documentation/scheduler/membarrier.rst`.

use rustix::io::Errno;
use rustix::thread::{MembarrierCommand, MembarrierQuery, membarrier, membarrier_query};

use crate::error::{Error, ErrorKind, Result};

/// Which threads pass the barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Barrier {
    /// All running threads of this process, by an interrupt to their processors. Microseconds.
    #[doc(alias = "MEMBARRIER_CMD_PRIVATE_EXPEDITED")]
    Process,
    /// As `Process`, and each also discards instructions it has fetched but not run: for programs that change code.
    #[doc(alias = "MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE")]
    ProcessCode,
    /// All running threads of every process that registered for it, by an interrupt to their processors.
    #[doc(alias = "MEMBARRIER_CMD_GLOBAL_EXPEDITED")]
    Registered,
    /// Every thread of the machine, by waiting until each processor has switched tasks. Many milliseconds; disturbs
    /// nobody.
    #[doc(alias = "MEMBARRIER_CMD_GLOBAL")]
    Machine,
}

impl Barrier {
    /// Whether this kernel has it. Asks the kernel each time, so keep the answer.
    #[must_use]
    pub fn is_supported(self) -> bool {
        let known = membarrier_query();
        known.contains_command(self.command())
            && self.registration().is_none_or(|command| known.contains_command(command))
    }

    fn command(self) -> MembarrierCommand {
        match self {
            Self::Process => MembarrierCommand::PrivateExpedited,
            Self::ProcessCode => MembarrierCommand::PrivateExpeditedSyncCore,
            Self::Registered => MembarrierCommand::GlobalExpedited,
            Self::Machine => MembarrierCommand::Global,
        }
    }

    fn registration(self) -> Option<MembarrierCommand> {
        match self {
            Self::Process => Some(MembarrierCommand::RegisterPrivateExpedited),
            Self::ProcessCode => Some(MembarrierCommand::RegisterPrivateExpeditedSyncCore),
            Self::Registered => Some(MembarrierCommand::RegisterGlobalExpedited),
            Self::Machine => None,
        }
    }
}

/// Registers this process for `barrier`: for `Process` and `ProcessCode` that it may call [`run`], for `Registered`
/// that it is covered when anyone calls it. Registering again does nothing.
///
/// May take milliseconds if the process has several threads.
///
/// # Errors
/// `Unsupported` if the kernel has no such barrier.
#[doc(alias = "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED")]
#[doc(alias = "MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED")]
pub fn register(barrier: Barrier) -> Result<()> {
    match barrier.registration() {
        Some(command) => call(command, "register for memory barrier"),
        None => Ok(()),
    }
}

/// Makes every thread that `barrier` covers pass a full memory fence, and the caller too.
///
/// ```
/// use tieline_os::membarrier::{self, Barrier};
///
/// if Barrier::Process.is_supported() {
///     membarrier::register(Barrier::Process)?;
///     membarrier::run(Barrier::Process)?;
/// }
/// # Ok::<(), tieline_os::Error>(())
/// ```
///
/// # Errors
/// * `PermissionDenied`: the process has not [registered](register) for this barrier.
/// * `Unsupported`: the kernel has no such barrier, or a sandbox forbids it.
#[doc(alias = "membarrier")]
pub fn run(barrier: Barrier) -> Result<()> {
    call(barrier.command(), "run memory barrier")
}

fn call(command: MembarrierCommand, operation: &'static str) -> Result<()> {
    membarrier(command).map_err(|errno| match errno {
        // A sandbox answers EPERM for the query as well; a kernel answers it to one who has not registered.
        Errno::PERM if membarrier_query() != MembarrierQuery::empty() => {
            Error::new(operation, errno).hint("register for this barrier first")
        }
        Errno::PERM | Errno::INVAL | Errno::NOSYS => Error::new(operation, errno)
            .sorted_as(ErrorKind::Unsupported)
            .hint("this kernel or sandbox does not have it; use a fence on both sides"),
        _ => Error::new(operation, errno),
    })
}
