//! POSIX: a message queue, and semaphores that guard shared memory.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use tieline_os::mapping::Mapping;
use tieline_os::posix::mq::{Attributes, MessageQueue};
use tieline_os::posix::sem::{NamedSemaphore, UnnamedSemaphore};
use tieline_os::{Access, Mode};

use super::pipes::two;
use super::slots::{GATES, Gate, SlotLink, for_both, gate_offset, memory, received};
use super::{Description, Mechanism};
use crate::control::{Outcome, Sentence};
use crate::link::{Joining, Link, Offer, Prepared};

const FAMILY: &str = "POSIX";
/// What the system allows unless its limits were raised (`fs.mqueue.msg_max`, `fs.mqueue.msgsize_max`).
const QUEUE: Attributes = Attributes { capacity: 10, message_size: 8192 };

pub(super) static MESSAGE_QUEUE: Queue = Queue {
    description: Description {
        largest: QUEUE.message_size,
        ..Description::new("posix-mq", FAMILY, "two POSIX message queues of ten messages")
    },
};
pub(super) static NAMED_SEMAPHORE: Named =
    Named { description: Description::new("posix-sem+shm", FAMILY, "shared memory guarded by named POSIX semaphores") };
pub(super) static UNNAMED_SEMAPHORE: Unnamed = Unnamed {
    description: Description::new(
        "posix-unnamed-sem+shm",
        FAMILY,
        "shared memory guarded by POSIX semaphores that lie in it",
    ),
};

/// A name nobody else uses: several runs may go on at once.
fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("/tieline-measure.{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

pub(super) struct Queue {
    description: Description,
}

impl Mechanism for Queue {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, _: usize) -> Outcome<Prepared> {
        let queue = || {
            let name = fresh_name();
            let queue = MessageQueue::create(&name, QUEUE, Access::ReadWrite, Mode::OWNER).sentence()?;
            // A queue without a name goes away with its last descriptor.
            MessageQueue::unlink(&name).sentence()?;
            Ok::<_, String>(queue)
        };
        let (there, back) = (queue()?, queue()?);
        let second = [there.try_clone().sentence()?, back.try_clone().sentence()?];
        let offers = [[back, there], second].map(|queues| Offer::of_descriptors(queues.map(OwnedFd::from)));
        Ok(Prepared::new(offers))
    }

    fn join(&self, _: Joining, offer: Offer) -> Outcome<Box<dyn Link>> {
        let [incoming, outgoing] = two(offer)?;
        let buffer = vec![0; QUEUE.message_size];
        let [incoming, outgoing] = [MessageQueue::from_fd(incoming), MessageQueue::from_fd(outgoing)];
        Ok(Box::new(QueueLink { incoming: incoming.sentence()?, outgoing: outgoing.sentence()?, buffer }))
    }
}

struct QueueLink {
    incoming: MessageQueue,
    outgoing: MessageQueue,
    /// The kernel wants room for the largest message, however short the one that comes.
    buffer: Vec<u8>,
}

impl Link for QueueLink {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        self.outgoing.send(message, 0).sentence()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Outcome<()> {
        let received = self.incoming.receive(&mut self.buffer).sentence()?;
        if received.len != buffer.len() {
            return Err(format!("a message of {} bytes came where {} were sent", received.len, buffer.len()));
        }
        buffer.copy_from_slice(&self.buffer[..received.len]);
        Ok(())
    }
}

pub(super) struct Named {
    description: Description,
}

/// Takes the names away; whoever has a semaphore open keeps it.
struct Unlink(Vec<String>);

impl Drop for Unlink {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = NamedSemaphore::unlink(name);
        }
    }
}

impl Mechanism for Named {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, largest: usize) -> Outcome<Prepared> {
        let (memory, _, geometry) = memory(largest)?;
        let mut cleanup = Unlink(Vec::new());
        for index in 0..GATES {
            let name = fresh_name();
            NamedSemaphore::create(&name, geometry.first_value(index), Mode::OWNER).sentence()?;
            cleanup.0.push(name);
        }
        let mut offers = for_both(memory)?;
        for offer in &mut offers {
            offer.words.clone_from(&cleanup.0);
        }
        Ok(Prepared { offers, cleanup: Box::new(cleanup) })
    }

    fn join(&self, joining: Joining, offer: Offer) -> Outcome<Box<dyn Link>> {
        let memory = received(offer.descriptors.into_iter().next())?;
        let link = SlotLink::join(joining, memory, |index| {
            let name = offer.words.get(index).ok_or("a semaphore's name is missing")?;
            NamedSemaphore::open(name).map(NamedGate).sentence()
        })?;
        Ok(Box::new(link))
    }
}

struct NamedGate(NamedSemaphore);

impl Gate for NamedGate {
    fn take(&mut self) -> Outcome<()> {
        self.0.wait().sentence()
    }

    fn give(&mut self) -> Outcome<()> {
        self.0.post().sentence()
    }
}

pub(super) struct Unnamed {
    description: Description,
}

impl Mechanism for Unnamed {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, largest: usize) -> Outcome<Prepared> {
        let (memory, mapping, geometry) = memory(largest)?;
        for index in 0..GATES {
            UnnamedSemaphore::init(&mapping, gate_offset(index), geometry.first_value(index)).sentence()?;
        }
        Ok(Prepared::new(for_both(memory)?))
    }

    fn join(&self, joining: Joining, offer: Offer) -> Outcome<Box<dyn Link>> {
        let memory = received(offer.descriptors.into_iter().next())?;
        // The semaphores borrow the mapping, which a player keeps to its end anyway.
        let mapping: &'static Mapping = Box::leak(Box::new(memory.clone()));
        let link = SlotLink::join(joining, memory, |index| {
            UnnamedSemaphore::attach(mapping, gate_offset(index)).map(UnnamedGate).sentence()
        })?;
        Ok(Box::new(link))
    }
}

struct UnnamedGate(UnnamedSemaphore<'static>);

impl Gate for UnnamedGate {
    fn take(&mut self) -> Outcome<()> {
        self.0.wait().sentence()
    }

    fn give(&mut self) -> Outcome<()> {
        self.0.post().sentence()
    }
}
