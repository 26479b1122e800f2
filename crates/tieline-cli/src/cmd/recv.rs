//! `tieline recv`: an address to standard output.

use tieline_transport::addr::{Key, Scheme};

use crate::exit::Outcome;
use crate::flags::Recv;
use crate::transfer::{self, Job, Shape};

pub(crate) fn run(flags: Recv) -> Outcome {
    let mut from = transfer::address(&flags.address)?;
    // Behind the name of a channel somebody is, as a rule.
    let listens = from.scheme().options().contains(&Key::Listen) && from.scheme() != Scheme::Shm;
    if listens && from.options().listen.is_none() {
        from = transfer::with(&from, Key::Listen, |options| options.listen = Some(!flags.connect))?;
    }
    let to = transfer::address("-")?;
    Job { from, to, shape: Shape::Receive, flags: flags.transfer }.run()
}
