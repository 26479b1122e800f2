//! A world of random System V objects, in states as different as can be had.

use std::thread::JoinHandle;
use std::time::Duration;

use tieline_os::Mode;
use tieline_os::sysv::msg::{MessageQueue, MessageType, Oversized, Selector};
use tieline_os::sysv::sem::{Operation, SemaphoreSet};
use tieline_os::sysv::shm::{Attachment, Segment};
use tieline_os::sysv::{Id, Key, RemoveOnDrop};
use tieline_testkit::until;

use super::Dice;

/// The objects; gone with it.
#[derive(Default)]
pub(crate) struct World {
    segments: Vec<RemoveOnDrop<Segment>>,
    queues: Vec<RemoveOnDrop<MessageQueue>>,
    sets: Vec<RemoveOnDrop<SemaphoreSet>>,
    attachments: Vec<Attachment>,
    waiters: Vec<JoinHandle<()>>,
}

impl World {
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let owners = owners();
        let mut world = Self::default();
        for _ in 0..dice.below(5) {
            world.add_segment(dice, &owners);
        }
        for _ in 0..dice.below(5) {
            world.add_queue(dice, &owners);
        }
        for _ in 0..dice.below(5) {
            world.add_set(dice, &owners);
        }
        // Holes in the kernel's table, and ids that are not small.
        for _ in 0..dice.below(3) {
            if world.queues.len() > 1 {
                drop(world.queues.remove(0));
            }
            if world.segments.len() > 1 {
                drop(world.segments.remove(0));
            }
        }
        world
    }

    /// All ids, whichever family they are of.
    pub(crate) fn ids(&self) -> Vec<i32> {
        let segments = self.segments.iter().map(|segment| segment.id());
        let queues = self.queues.iter().map(|queue| queue.id());
        let sets = self.sets.iter().map(|set| set.id());
        segments.chain(queues).chain(sets).map(Id::number).collect()
    }

    fn add_segment(&mut self, dice: &mut Dice, owners: &[u32]) {
        let sizes = [1, 100, 4096, 5000, 10_240, 1_048_576, 1_500_000, 123_456_789];
        let Ok(segment) = Segment::create(key(dice), *dice.pick(&sizes), mode(dice)) else { return };
        for _ in 0..dice.below(3) {
            self.attachments.extend(segment.attach());
        }
        if dice.one_in(2) {
            // Attached and detached: both times are set.
            drop(segment.attach());
        }
        if dice.one_in(3) {
            let _ = segment.lock();
        }
        let _ = segment.set_owner(Some(*dice.pick(owners)), Some(*dice.pick(owners)));
        if dice.one_in(3) && self.attachments.iter().any(|attachment| attachment.segment() == segment) {
            let _ = segment.remove();
        }
        self.segments.push(RemoveOnDrop::new(segment));
    }

    fn add_queue(&mut self, dice: &mut Dice, owners: &[u32]) {
        let Ok(queue) = MessageQueue::create(key(dice), mode(dice)) else { return };
        for _ in 0..dice.below(4) {
            let text = vec![b'x'; dice.below(3000) as usize];
            let _ = queue.try_send(1 + dice.below(3) as MessageType, &text);
        }
        if dice.one_in(2) {
            let _ = queue.try_receive(Selector::Oldest, Oversized::Cut, &mut [0; 10]);
        }
        let _ = queue.set_owner(Some(*dice.pick(owners)), Some(*dice.pick(owners)));
        self.queues.push(RemoveOnDrop::new(queue));
    }

    fn add_set(&mut self, dice: &mut Dice, owners: &[u32]) {
        let count = 1 + dice.below(5) as u16;
        let Ok(set) = SemaphoreSet::create(key(dice), count, mode(dice)) else { return };
        let index = dice.below(count.into()) as u16;
        let _ = set.set_value(index, dice.below(30_000) as u16);
        if dice.one_in(2) {
            let _ = set.try_operate(&[Operation::new(index, 2)]);
        }
        if dice.one_in(3) && set.set_value(index, 0).is_ok() {
            let waiter = move || drop(set.operate_timeout(&[Operation::new(index, -1)], Duration::from_secs(100)));
            self.waiters.push(std::thread::spawn(waiter));
            until("somebody waits at the semaphore", || (set.waiters_for_increase(index).ok()? > 0).then_some(()));
        }
        let _ = set.set_owner(Some(*dice.pick(owners)), Some(*dice.pick(owners)));
        self.sets.push(RemoveOnDrop::new(set));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Whoever waits is woken by the end of the set.
        self.sets.clear();
        for waiter in self.waiters.drain(..) {
            let _ = waiter.join();
        }
    }
}

fn key(dice: &mut Dice) -> Key {
    if dice.one_in(3) { Key::PRIVATE } else { Key::new(dice.next() as i32) }
}

fn mode(dice: &mut Dice) -> Mode {
    // The objects' owner reads and writes, or setting their values would need privilege.
    Mode::new(0o600 | dice.below(0o1000) as u16).expect("nine bits")
}

/// Users with names of every length, and some without a name.
fn owners() -> Vec<u32> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut named: Vec<(usize, u32)> = passwd
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            Some((fields.next()?.len(), fields.nth(1)?.parse().ok()?))
        })
        .collect();
    named.sort_unstable();
    named.dedup_by_key(|(len, _)| *len);
    named.into_iter().map(|(_, uid)| uid).chain([0, 54_321, 4_000_000_000]).collect()
}
