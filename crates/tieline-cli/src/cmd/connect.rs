//! `tieline connect`: two addresses, joined.

use tieline_transport::addr::{Address, Scheme};

use crate::exit::{Failure, Outcome};
use crate::flags::Connect;
use crate::transfer::{self, Job, Shape};

pub(crate) fn run(flags: Connect) -> Outcome {
    let (from, to) = (transfer::address(&flags.first)?, transfer::address(&flags.second)?);
    if from.scheme() == Scheme::Stdio && to.scheme() == Scheme::Stdio {
        return Err(Failure::usage("both sides are standard input and output; one of them must be something else"));
    }
    let one_way = flags.one_way || [&from, &to].into_iter().any(has_one_direction);
    let shape = if one_way { Shape::OneWay } else { Shape::BothWays };
    Job { from, to, shape, flags: flags.transfer }.run()
}

/// Whether what is written there would be read again by ourselves: one can only do one of the two.
fn has_one_direction(address: &Address) -> bool {
    matches!(
        address.scheme(),
        Scheme::Fifo
            | Scheme::File
            | Scheme::Mq
            | Scheme::SysvMq
            | Scheme::PosixShm
            | Scheme::Shm
            | Scheme::SysvShm
            | Scheme::Pipe
    )
}
