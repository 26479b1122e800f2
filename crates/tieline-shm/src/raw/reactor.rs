//! Registering a descriptor with tokio, which asks for a promise about it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use tieline_os::eventfd::EventFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// An event counter that the runtime watches, by a descriptor of its own: a runtime watches each only once.
#[derive(Debug)]
pub(crate) struct Watched(OwnedFd);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Has the current runtime watch for the counter's rings.
///
/// # Errors
/// If there is no descriptor left; those of `epoll_ctl`.
///
/// # Panics
/// Outside of a runtime with input and output.
pub(crate) fn watch(counter: &EventFd) -> io::Result<AsyncFd<Watched>> {
    let own = counter.as_fd().try_clone_to_owned()?;
    // SAFETY: `Watched` owns the descriptor, keeps it open for as long as the registration lives, and has no method
    // that would close or replace it.
    let registered = unsafe { AsyncFd::register_with_interest(Watched(own), Interest::READABLE) };
    registered.map_err(|refused| refused.into_parts().1)
}
