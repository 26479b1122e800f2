//! Taking a name of which there is one owner: a listener's, a server's.

use std::thread;
use std::time::{Duration, Instant};

use crate::error::{ErrorKind, Result};
use crate::raw::step;
use crate::rendezvous::{self, Joined, Name, Offer};

/// The name of an owner that died is still held by its peers until they have noticed: for so long, and for so many tries,
/// between which they have their turn on a machine that stands still now and then, or is slow.
const SUCCESSION: Duration = Duration::from_millis(200);
const TRIES: u32 = 40;

/// Creates the name, waiting for a moment if it is held by those whom a dead owner left behind.
///
/// # Errors
/// `AlreadyExists`; as for any name.
pub(super) fn create<'a>(name: &Name, offer: impl Fn() -> Offer<'a>) -> Result<Joined> {
    let (start, mut tries) = (Instant::now(), 0);
    loop {
        let joined = rendezvous::create(name, offer(), SUCCESSION * 10);
        let is_held = joined.as_ref().is_err_and(|error| error.kind() == ErrorKind::AlreadyExists);
        tries += 1;
        if !is_held || (tries >= TRIES && start.elapsed() >= SUCCESSION) {
            return joined;
        }
        step("succession:held");
        thread::sleep(Duration::from_millis(5));
    }
}
