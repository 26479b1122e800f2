//! Signals as messages: a plain one says only that something happened, a queued one carries a number.

use tieline_os::process::Pid;
use tieline_os::signal::{self, Signal, SignalSet};

use super::{Description, Mechanism};
use crate::control::{Outcome, Sentence};
use crate::link::{Joining, LAST, Link, Offer, Prepared, number, sequence};

const FAMILY: &str = "signals";

pub(super) static KILL: Signals = Signals {
    description: Description {
        largest: 0,
        throughput: false,
        ..Description::new("signal", FAMILY, "kill and sigwaitinfo; carries nothing")
    },
    queued: false,
};
pub(super) static QUEUED: Signals = Signals {
    description: Description {
        largest: 0,
        throughput: false,
        ..Description::new("signal-queued", FAMILY, "sigqueue and sigwaitinfo; carries a number of 32 bits")
    },
    queued: true,
};

pub(super) struct Signals {
    description: Description,
    queued: bool,
}

impl Mechanism for Signals {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, _: usize) -> Outcome<Prepared> {
        Ok(Prepared::new([Offer::default(), Offer::default()]))
    }

    fn join(&self, joining: Joining, _: Offer) -> Outcome<Box<dyn Link>> {
        let (message, last) = if self.queued {
            let realtime = |n| Signal::realtime(n).ok_or("this system has no real-time signals");
            (realtime(0)?, realtime(1)?)
        } else {
            (Signal::USR1, Signal::USR2)
        };
        let mut awaited = SignalSet::EMPTY;
        awaited.insert(message);
        awaited.insert(last);
        signal::block(awaited).sentence()?;
        let peer = Pid::new(joining.peer).ok_or("the other end has no process id")?;
        Ok(Box::new(SignalLink { peer, message, last, awaited, received: 0, queued: self.queued }))
    }
}

struct SignalLink {
    peer: Pid,
    message: Signal,
    last: Signal,
    awaited: SignalSet,
    /// How many came: a plain signal has no number, so the receiver counts.
    received: u64,
    queued: bool,
}

impl Link for SignalLink {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        let sequence = sequence(message);
        let signal = if sequence == LAST { self.last } else { self.message };
        if self.queued {
            signal::queue(self.peer, signal, sequence as i32).sentence()
        } else {
            signal::send(self.peer, signal).sentence()
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Outcome<()> {
        let info = signal::wait(self.awaited).sentence()?;
        if info.signal() == self.last {
            number(buffer, LAST);
            return Ok(());
        }
        if self.queued && info.value() != Some(self.received as i32) {
            return Err(format!("signal {} carried {:?}", self.received, info.value()));
        }
        number(buffer, self.received);
        self.received += 1;
        Ok(())
    }
}
