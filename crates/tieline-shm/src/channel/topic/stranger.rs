//! A publisher that writes and says what it likes, for our fuzzer: to its subscriber it is as one of another process, but
//! everything happens on one thread, in the order in which it is called.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tieline_os::unix::{Credentials, SeqPacket};

use super::options::Policy;
use super::sources::Sources;
use super::wire::Subscribe;
use super::{JOIN_TIMEOUT, Payload, Subscriber, payload};
use crate::error::Result;
use crate::rendezvous::{self, Access, Link, Membership, Offer, Participant, PeerId, Role};
use crate::segment::{Kind, Purpose, Segment, SegmentOptions};
use crate::wait::Waiting;

/// A publisher without a meeting place, and the memory that it shows: its log, the roster of its subscribers, and a log
/// of a subscriber's own.
pub struct Stranger {
    memory: [Segment; 3],
    user: u32,
    /// The line to the subscriber, and its other end.
    line: Option<(Link, SeqPacket)>,
}

/// What the subscriber knows it by.
const ID: PeerId = PeerId(1);

impl Stranger {
    /// With so many bytes of memory behind the header pages, all zero. One that `is_ours` is of our own user.
    ///
    /// # Errors
    /// As for any segment.
    pub fn new<T: Payload + ?Sized>(is_ours: bool, lens_bytes: [usize; 3]) -> Result<Self> {
        let log = |len| {
            let purpose = Purpose { kind: Kind::Log, name: "stranger", layout_hash: payload::hash::<T>() };
            Segment::create_with(&purpose, len, &SegmentOptions::new("stranger").writer_only())
        };
        let purpose = Purpose { kind: Kind::Roster, name: "stranger", layout_hash: 0 };
        let roster = Segment::create(&purpose, lens_bytes[1])?;
        let user = Credentials::own().uid + u32::from(!is_ours);
        Ok(Self { memory: [log(lens_bytes[0])?, roster, log(lens_bytes[2])?], user, line: None })
    }

    /// Its memory, to be written at any time.
    #[must_use]
    pub fn memory(&self) -> &[Segment; 3] {
        &self.memory
    }

    /// A subscriber that knows of no publisher yet.
    ///
    /// # Errors
    /// `LimitReached` for descriptors.
    pub fn subscriber<T: Payload + ?Sized>(policy: Policy, depth: u64) -> Result<Subscriber<T>> {
        let sources = Arc::new(Sources::new(Subscribe { policy, depth, history: 0 }, payload::hash::<T>()));
        Ok(Subscriber::new(sources, membership()?, Waiting::Adaptive))
    }

    /// Is introduced to the subscriber; again, if it has left.
    ///
    /// # Errors
    /// None that a subscriber has which lives.
    pub fn meet<T: Payload + ?Sized>(&mut self, subscriber: &Subscriber<T>) -> Result<()> {
        let (link, _) = self.line.insert(Link::to_user(self.user));
        subscriber.shared.connected(link)
    }

    /// Says so to its subscriber, with the first `count` of its memories; a subscriber that will have none of it hangs
    /// up.
    ///
    /// # Errors
    /// What the subscriber makes of it.
    pub fn say<T: Payload + ?Sized>(&self, subscriber: &Subscriber<T>, message: &[u8], count: usize) -> Result<()> {
        let [log, roster, own] = &self.memory;
        let fds = [log.read_only_fd()?, roster.try_clone_fd()?, own.read_only_fd()?];
        let answer = subscriber.shared.received(ID, message, fds.into_iter().take(count).collect());
        if answer.is_err() {
            self.leave(subscriber);
        }
        answer
    }

    /// Its line to the subscriber is down.
    pub fn leave<T: Payload + ?Sized>(&self, subscriber: &Subscriber<T>) {
        subscriber.shared.disconnected(ID);
    }
}

/// Of all subscribers of strangers: an end of a line of which nobody has the other.
fn membership() -> Result<Arc<Membership>> {
    static MEMBERSHIP: Mutex<Option<Arc<Membership>>> = Mutex::new(None);
    let mut known = MEMBERSHIP.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(membership) = &*known {
        return Ok(Arc::clone(membership));
    }
    let offer = |role| Offer {
        kind: Kind::Log,
        role,
        layout_hash: 0,
        layout_text: String::new(),
        config: Vec::new(),
        access: Access::owner(),
        members_max: 2,
        core: None,
    };
    let (here, there) = rendezvous::pair()?;
    let joined = thread::scope(|scope| {
        scope.spawn(|| drop(rendezvous::meet(there, offer(Role::Producer), true, JOIN_TIMEOUT)));
        rendezvous::meet(here, offer(Role::Consumer), false, JOIN_TIMEOUT)
    })?;
    let wishes = Subscribe { policy: Policy::Block, depth: 0, history: 0 };
    let membership = Arc::new(joined.start(Arc::new(Sources::new(wishes, 0)))?);
    Ok(Arc::clone(known.insert(membership)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::WaitSet;
    use crate::error::ErrorKind;
    use crate::raw::View;
    use crate::raw::atomic::Ordering;
    use crate::structure::log::{FIRST, Geometry, LogHeader, Roster, RosterGeometry, SLOTS_OFFSET};
    use crate::topic::wire::Admitted;
    use crate::wait::EventCount;

    const PATIENCE: Duration = Duration::from_secs(20);

    const GEOMETRY: Geometry = Geometry { slots: 2, stride_words: 4, bucket_bytes: 0, buckets: 0, history: 0 };
    const ROSTER: RosterGeometry = RosterGeometry { entries: 1, held: 1 };

    fn stranger() -> Stranger {
        let stranger =
            Stranger::new::<u64>(false, [GEOMETRY.body_bytes(), ROSTER.body_bytes(), GEOMETRY.body_bytes()]).unwrap();
        let [log, roster, own] = &stranger.memory;
        GEOMETRY.announce(&log.view(0).unwrap());
        ROSTER.announce(&roster.view(0).unwrap(), 0);
        GEOMETRY.announce(&own.view(0).unwrap());
        stranger
    }

    fn introduce(stranger: &mut Stranger, subscriber: &Subscriber<u64>) {
        stranger.meet(subscriber).unwrap();
        stranger.say(subscriber, &Admitted { entry: 0, start: FIRST }.encode(), 3).unwrap();
    }

    fn admit(stranger: &mut Stranger, subscriber: &mut Subscriber<u64>) {
        introduce(stranger, subscriber);
        assert!(subscriber.try_recv().unwrap_err().is_would_block());
    }

    /// A message with this tag and these bytes in its slot.
    fn publish(stranger: &Stranger, number: u64, tag: u64, value: u64) {
        let slot = SLOTS_OFFSET + number as usize % GEOMETRY.slots * GEOMETRY.stride_words * 8;
        for (word, value) in [(3, number), (1, value), (0, number << 8 | tag)] {
            stranger.memory[0].store(slot + word * 8, &value).unwrap();
        }
        let sleepers: View<EventCount> = stranger.memory[1].view(Roster::SLEEPERS_OFFSET).unwrap();
        sleepers.notify();
    }

    /// Counting panicked, where overflow is checked for.
    #[test]
    fn publishers_that_claim_to_have_dropped_without_number_are_counted() {
        let mut subscriber = Stranger::subscriber::<u64>(Policy::DropNewest, 0).unwrap();
        for _ in 0..2 {
            let mut stranger = stranger();
            admit(&mut stranger, &mut subscriber);
            let header: View<LogHeader> = stranger.memory[2].view(0).unwrap();
            header.dropped().store(u64::MAX, Ordering::Relaxed);
            assert_eq!(subscriber.counters().lost, u64::MAX);
            stranger.leave(&subscriber);
            assert_eq!(subscriber.try_recv().unwrap_err().kind(), ErrorKind::PeerGone);
        }
        assert_eq!(subscriber.counters().lost, u64::MAX);
    }

    /// It was cut off without a word.
    #[test]
    fn a_publisher_whose_memory_is_none_is_told_of_once() {
        let mut subscriber = Stranger::subscriber::<u64>(Policy::Block, 0).unwrap();
        let mut set = WaitSet::new().unwrap();
        set.attach(&subscriber, 1).unwrap();
        let mut stranger = stranger();
        stranger.meet(&subscriber).unwrap();
        stranger.say(&subscriber, &Admitted { entry: 0, start: FIRST }.encode(), 1).unwrap_err();
        set.wait_timeout(&mut Vec::new(), PATIENCE).unwrap();
        let error = subscriber.try_recv().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupted);
        let text = error.to_string();
        assert!(text.contains("less than a log and a roster") && text.contains("of user"), "{text}");
        assert!(subscriber.try_recv().unwrap_err().is_would_block());
        assert!(set.try_wait(&mut Vec::new()).unwrap_err().is_would_block());
    }

    /// A wait set did not know of what the next call would say.
    #[test]
    fn a_set_is_ready_until_it_is_told_that_the_publisher_cut_off_was_the_last() {
        let mut subscriber = Stranger::subscriber::<u64>(Policy::Block, 0).unwrap();
        let mut stranger = stranger();
        admit(&mut stranger, &mut subscriber);
        let mut set = WaitSet::new().unwrap();
        set.attach(&subscriber, 1).unwrap();
        let mut is_ready = |within| set.wait_timeout(&mut Vec::new(), within).is_ok();
        assert!(!is_ready(Duration::ZERO));
        // In the pool, of which there is none.
        publish(&stranger, FIRST, 0x80, 0);
        for kind in [ErrorKind::Corrupted, ErrorKind::PeerGone] {
            assert!(is_ready(PATIENCE), "before {kind:?}");
            assert_eq!(subscriber.try_recv().unwrap_err().kind(), kind);
        }
        assert!(!is_ready(Duration::ZERO));
    }

    /// Nobody was told, and the publisher was heard on.
    #[test]
    fn what_is_no_message_behind_one_that_is_drained_is_told_of_by_the_next_call() {
        let mut subscriber = Stranger::subscriber::<u64>(Policy::Block, 0).unwrap();
        let mut stranger = stranger();
        admit(&mut stranger, &mut subscriber);
        publish(&stranger, FIRST, 8, 7);
        // Half a number.
        publish(&stranger, FIRST + 1, 4, 7);
        let mut came = Vec::new();
        assert_eq!(subscriber.drain(|value| came.push(*value)).unwrap(), 1);
        assert_eq!(came, [7]);
        assert_eq!(subscriber.counters().publishers, 0);
        let mut set = WaitSet::new().unwrap();
        set.attach(&subscriber, 1).unwrap();
        for kind in [ErrorKind::Corrupted, ErrorKind::PeerGone] {
            set.try_wait(&mut Vec::new()).unwrap();
            assert_eq!(subscriber.drain(|_| unreachable!()).unwrap_err().kind(), kind);
        }
        assert_eq!(subscriber.drain(|_| unreachable!()).unwrap(), 0);
    }

    /// It was taken for gone with its old line, and never heard again.
    #[test]
    fn a_publisher_that_is_introduced_again_before_the_subscriber_looks_is_heard() {
        let mut subscriber = Stranger::subscriber::<u64>(Policy::Block, 0).unwrap();
        let mut stranger = stranger();
        admit(&mut stranger, &mut subscriber);
        stranger.leave(&subscriber);
        introduce(&mut stranger, &subscriber);
        assert!(subscriber.try_recv().unwrap_err().is_would_block());
        assert_eq!(subscriber.counters().publishers, 1);
        let mut set = WaitSet::new().unwrap();
        set.attach(&subscriber, 1).unwrap();
        assert!(set.try_wait(&mut Vec::new()).unwrap_err().is_would_block());
        publish(&stranger, FIRST, 8, 7);
        set.wait_timeout(&mut Vec::new(), PATIENCE).unwrap();
        assert_eq!(*subscriber.try_recv().unwrap(), 7);
    }
}
