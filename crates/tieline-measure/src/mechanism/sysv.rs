//! System V: a message queue, and semaphores that guard shared memory.

use tieline_os::Mode;
use tieline_os::sysv::msg::{MessageQueue, MessageType, Oversized, Selector};
use tieline_os::sysv::sem::{Operation, SemaphoreSet};
use tieline_os::sysv::{Id, Key, RemoveOnDrop};

use super::slots::{GATES, Gate, SlotLink, for_both, memory, received};
use super::{Description, Mechanism};
use crate::control::{Outcome, Sentence};
use crate::link::{End, Joining, Link, Offer, Prepared};

const FAMILY: &str = "System V";

/// The largest message the system allows unless its limit was raised (`kernel.msgmax`).
const LARGEST_MESSAGE_BYTES: usize = 8192;

pub(super) static QUEUE: Queue = Queue {
    description: Description {
        largest: LARGEST_MESSAGE_BYTES,
        ..Description::new("sysv-mq", FAMILY, "a System V message queue, one message type for each direction")
    },
};

pub(super) static SEMAPHORE: Semaphore =
    Semaphore { description: Description::new("sysv-sem+shm", FAMILY, "shared memory guarded by System V semaphores") };

pub(super) struct Queue {
    description: Description,
}

impl Mechanism for Queue {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, _: usize) -> Outcome<Prepared> {
        let queue = MessageQueue::create(Key::PRIVATE, Mode::OWNER).sentence()?;
        let words = vec![queue.id().number().to_string()];
        Ok(Prepared::named(words, RemoveOnDrop::new(queue)))
    }

    fn join(&self, joining: Joining, offer: Offer) -> Outcome<Box<dyn Link>> {
        let queue = MessageQueue::from_id(identifier(&offer)?);
        let (outgoing, incoming) = match joining.end {
            End::First => (1, 2),
            End::Second => (2, 1),
        };
        Ok(Box::new(QueueLink { queue, outgoing, incoming: Selector::Type(incoming) }))
    }
}

struct QueueLink {
    queue: MessageQueue,
    outgoing: MessageType,
    incoming: Selector,
}

impl Link for QueueLink {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        self.queue.send(self.outgoing, message).sentence()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Outcome<()> {
        self.queue.receive(self.incoming, Oversized::Refuse, buffer).map(drop).sentence()
    }
}

pub(super) struct Semaphore {
    description: Description,
}

impl Mechanism for Semaphore {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, largest: usize) -> Outcome<Prepared> {
        let (memory, _, geometry) = memory(largest)?;
        let values: Vec<u16> = (0..GATES).map(|index| geometry.first_value(index) as u16).collect();
        let set = SemaphoreSet::create_initialised(Key::PRIVATE, &values, Mode::OWNER).sentence()?;
        let mut offers = for_both(memory)?;
        for offer in &mut offers {
            offer.words.push(set.id().number().to_string());
        }
        Ok(Prepared { offers, cleanup: Box::new(RemoveOnDrop::new(set)) })
    }

    fn join(&self, joining: Joining, offer: Offer) -> Outcome<Box<dyn Link>> {
        let id = identifier(&offer)?;
        let memory = received(offer.descriptors.into_iter().next())?;
        let gate = |index: usize| Ok(SemaphoreGate { set: SemaphoreSet::from_id(id), index: index as u16 });
        Ok(Box::new(SlotLink::join(joining, memory, gate)?))
    }
}

struct SemaphoreGate {
    set: SemaphoreSet,
    index: u16,
}

impl Gate for SemaphoreGate {
    fn take(&mut self) -> Outcome<()> {
        self.set.operate(&[Operation::new(self.index, -1)]).sentence()
    }

    fn give(&mut self) -> Outcome<()> {
        self.set.operate(&[Operation::new(self.index, 1)]).sentence()
    }
}

fn identifier(offer: &Offer) -> Outcome<Id> {
    let number = offer.words.first().and_then(|word| word.parse().ok());
    number.map(Id::new).ok_or_else(|| "no identifier came with the order".to_owned())
}
