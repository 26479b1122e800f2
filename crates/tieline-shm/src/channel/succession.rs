//! Taking a name of which there is one owner: a listener's, a server's.

use std::thread;
use std::time::{Duration, Instant};

use crate::error::{ErrorKind, Result};
use crate::rendezvous::{self, Joined, Name, Offer};

/// The name of an owner that died is still held by its peers until they have noticed.
const SUCCESSION: Duration = Duration::from_millis(200);

/// Creates the name, waiting for a moment if it is held by those whom a dead owner left behind.
///
/// # Errors
/// `AlreadyExists`; as for any name.
pub(super) fn create<'a>(name: &Name, offer: impl Fn() -> Offer<'a>) -> Result<Joined> {
    let start = Instant::now();
    loop {
        match rendezvous::create(name, offer(), SUCCESSION * 10) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && start.elapsed() < SUCCESSION => {
                thread::sleep(Duration::from_millis(5));
            }
            joined => return joined,
        }
    }
}
