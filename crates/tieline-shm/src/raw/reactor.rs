//! Registering a descriptor with tokio, which asks for a promise about it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use tieline_os::eventfd::EventFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// An event counter that the runtime watches. It owns the counter, which cannot be exchanged.
#[derive(Debug)]
pub(crate) struct Watched(Arc<EventFd>);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Has the current runtime watch for the counter's rings.
///
/// # Errors
/// Those of `epoll_ctl`.
///
/// # Panics
/// Outside of a runtime with input and output.
pub(crate) fn watch(counter: Arc<EventFd>) -> io::Result<AsyncFd<Watched>> {
    // SAFETY: the descriptor is that of an event counter, which `Watched` keeps open for as long as the registration
    // lives, and whose descriptor never changes: it has no method that would close or replace it.
    let registered = unsafe { AsyncFd::register_with_interest(Watched(counter), Interest::READABLE) };
    registered.map_err(|refused| refused.into_parts().1)
}
