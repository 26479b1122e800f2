//! `tieline connect`: two addresses, joined.

use tieline_shm::untyped;
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
        Scheme::Fifo | Scheme::File | Scheme::Mq | Scheme::SysvMq | Scheme::PosixShm | Scheme::SysvShm | Scheme::Pipe
    ) || address.scheme() == Scheme::Shm && !is_stream(address)
}

/// Of what is in shared memory, a stream alone goes both ways.
fn is_stream(address: &Address) -> bool {
    let name = address.to_string();
    // Options that say how to open it are no part of its name.
    let name = name.split_once('?').map_or(name.as_str(), |(name, _)| name);
    let owner = address.options().owner.as_ref().and_then(|owner| owner.user());
    let name = owner.map_or_else(|| name.to_owned(), |owner| format!("{name}?owner={owner}"));
    address.options().listen == Some(true)
        || untyped::look(name).is_ok_and(|found| found.kind() == tieline_shm::Kind::Stream)
}
