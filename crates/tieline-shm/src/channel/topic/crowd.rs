//! Sleeping for more publishers than one call of the kernel takes (`futex_waitv(2)`: 128 places; 1 before Linux 5.16):
//! the subscriber polls a bell, which the publishers ring; for publishers of other users, threads of this process
//! that sleep for 127 of them each.
//!
//! The invariant: nothing else differs; what is there is received without any of this.

use super::{Payload, Subscriber};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::futex;
use crate::wait::{Until, WaitSet, Waiting};

/// What a subscriber needs for it, made when first needed.
pub(super) type Crowd = Option<Box<WaitSet>>;

impl<T: Payload + ?Sized> Subscriber<T> {
    /// Whether one call of the kernel cannot wait for so many places.
    pub(super) fn is_crowded(&self, places: usize) -> bool {
        places > 1 && places > futex::most_words() && self.waiting != Waiting::Poll
    }

    /// Sleeps until any publisher may have something.
    ///
    /// # Errors
    /// `TimedOut`, `WouldBlock`; `LimitReached` for descriptors; `Unsupported` before Linux 5.16, if a publisher is
    /// another user's.
    pub(super) fn sleep_in_crowd(&mut self, until: Until) -> Result<()> {
        const RECEIVE: &str = "receive";
        let set = match self.crowd.take() {
            Some(set) => set,
            None => {
                let mut set = WaitSet::new()?;
                set.attach(self, 0)?;
                Box::new(set)
            }
        };
        let set = self.crowd.insert(set);
        let mut ready = Vec::new();
        let slept = match until {
            Until::Now => return Err(Error::new(RECEIVE, ErrorKind::WouldBlock)),
            Until::At(deadline) => set.wait_timeout(&mut ready, deadline.remaining()),
            Until::Forever => set.wait(&mut ready),
        };
        match slept {
            Err(error) if error.is_timeout() => Err(Error::new(RECEIVE, ErrorKind::TimedOut)),
            slept => slept.map(|_| ()),
        }
    }
}
