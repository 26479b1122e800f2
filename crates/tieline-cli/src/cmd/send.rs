//! `tieline send`: standard input to an address.

use tieline_transport::addr::Key;

use crate::exit::Outcome;
use crate::flags::Send;
use crate::transfer::{self, Job, Shape};

pub(crate) fn run(flags: Send) -> Outcome {
    let mut to = transfer::address(&flags.address)?;
    if flags.listen {
        to = transfer::with(&to, Key::Listen, |options| options.listen = Some(true))?;
    }
    let from = transfer::address("-")?;
    Job { from, to, shape: Shape::Send, flags: flags.transfer }.run()
}
