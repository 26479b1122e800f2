//! What a looker sees of each kind of object, live and after a death.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::channel::{event::Event, latest::Latest, queue::Queue, topic::Topic};
use crate::segment::{Details, Fact, Kind, Purpose};
use crate::sync::{Condvar, MutexOptions, RawMutex, RwLock, RwLockOptions, Semaphore};
use crate::{SegmentOptions, SharedArena};

fn segment_of(fd: std::os::fd::BorrowedFd<'_>) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::from(fd.try_clone_to_owned().unwrap());
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn locks_of(fd: std::os::fd::BorrowedFd<'_>) -> Vec<Lock> {
    match describe(&segment_of(fd)[..]).unwrap().live {
        Live::Locks(locks) => locks,
        other => panic!("{other:?}"),
    }
}

fn own_thread() -> u32 {
    u32::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap()
}

#[test]
fn a_lock_names_its_owner() {
    let mutex = RawMutex::anonymous(&MutexOptions::new().name("books")).unwrap();
    let fd = mutex.as_fd().unwrap();
    assert_eq!(locks_of(fd), []);
    let guard = mutex.lock().unwrap();
    let [lock] = locks_of(fd)[..] else { panic!("one lock") };
    assert_eq!((lock.what, lock.owner, lock.has_waiters), (LockUse::Mutex, Some(own_thread()), false));
    assert_eq!(lock.offset, 4096, "where those sleep who wait for it");
    drop(guard);
    assert_eq!(locks_of(fd), []);

    let lock = RwLock::anonymous(0_u32, &RwLockOptions::new()).unwrap();
    let reading = lock.read().unwrap();
    let [reader] = locks_of(lock.as_fd())[..] else { panic!("one reader") };
    assert_eq!((reader.what, reader.owner), (LockUse::Reader, Some(own_thread())));
    drop(reading);
    let writing = lock.write().unwrap();
    let writers: Vec<Lock> = locks_of(lock.as_fd()).into_iter().filter(|lock| lock.what.is_exclusive()).collect();
    let [writer] = writers[..] else { panic!("{writers:?}") };
    assert_eq!(writer.owner, Some(own_thread()));
    drop(writing);

    let semaphore = Semaphore::anonymous("places", 3).unwrap();
    let permit = semaphore.acquire().unwrap();
    assert_eq!(locks_of(semaphore.as_fd()).len(), 1);
    drop(permit);
    assert_eq!(locks_of(semaphore.as_fd()), []);
    assert_eq!(locks_of(Condvar::anonymous().unwrap().as_fd()), []);
}

#[test]
fn what_died_with_its_owner_says_so() {
    let mutex = RawMutex::anonymous(&MutexOptions::new()).unwrap();
    std::thread::scope(|scope| {
        // Joined by its own: the scope itself ends before the thread has.
        scope.spawn(|| std::mem::forget(mutex.lock().unwrap())).join().unwrap();
    });
    let [lock] = locks_of(mutex.as_fd().unwrap())[..] else { panic!("one lock") };
    assert!(lock.owner_died && lock.owner.is_none(), "{lock:?}");
}

/// A source that counts how often it is asked, and for how much.
struct Counting<'a>(&'a [u8], AtomicUsize, AtomicUsize);

impl Source for Counting<'_> {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.2.fetch_add(buffer.len(), Ordering::Relaxed);
        self.0.read(offset, buffer)
    }
}

/// A page that declares as much as can be declared.
fn greedy(kind: Kind, body: usize, stride: u32) -> Vec<u8> {
    let segment = Segment::create(&Purpose { kind, name: "greedy", layout_hash: 0 }, body).unwrap();
    let names = ["slot", "cursor", "process", "held most", "written", "mutex", "member alive", "count", "x"];
    let facts: Vec<Fact<'_>> = (0..20)
        .map(|index| Fact {
            name: names[index % names.len()],
            offset: 0,
            width: 8,
            count: u32::try_from(body - 8).unwrap() / stride.max(1),
            stride,
        })
        .collect();
    segment.describe(&Details { version: 1, facts: &facts, ..Details::default() }).unwrap();
    segment_of(std::os::fd::AsFd::as_fd(&segment))
}

#[test]
fn a_greedy_segment_costs_no_more_than_a_bound() {
    let kinds = [Kind::Log, Kind::Roster, Kind::Queue, Kind::Stream, Kind::Event, Kind::Locks];
    for (kind, stride) in kinds.iter().flat_map(|kind| [8, 256, 1024].map(|stride| (*kind, stride))) {
        let mut bytes = greedy(kind, 5 << 20, stride);
        // All that its structure could hold is taken.
        bytes[4096..].fill(0xff);
        let source = Counting(&bytes, AtomicUsize::new(0), AtomicUsize::new(0));
        let state = describe(&source).unwrap();
        assert!(state.is_cut, "{kind:?} {stride}");
        assert!(source.1.into_inner() < 40_000 && source.2.into_inner() < 12 << 20, "{kind:?} {stride}");
    }
}

/// A row could name the same few bytes many thousand times.
#[test]
fn numbers_that_overlap_are_left_out() {
    for stride in [0, 1, 7] {
        let state = describe(&greedy(Kind::Memory, 8192, stride)[..]).unwrap();
        assert!(state.is_cut && state.facts.is_empty(), "{stride}");
    }
}

#[test]
fn nothing_is_read_where_no_memory_is() {
    let segment = SegmentOptions::new("growing").growable(1 << 20).create(4096).unwrap();
    let facts = [Fact::word("here", 4088), Fact::word("nowhere", 8192), Fact::words("partly", 0, 1024, 8)];
    segment.describe(&Details { version: 1, facts: &facts, ..Details::default() }).unwrap();
    let read_to = AtomicUsize::new(0);
    let state = describe(&|offset: u64, buffer: &mut [u8]| {
        let end = usize::try_from(offset).unwrap() + buffer.len();
        read_to.fetch_max(end, Ordering::Relaxed);
        Source::read(&segment, offset, buffer)
    });
    let state = state.unwrap();
    assert_eq!(state.facts.iter().map(|fact| fact.name.as_str()).collect::<Vec<_>>(), ["here"]);
    assert!(state.is_cut && read_to.load(Ordering::Relaxed) <= 8192);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever bytes there are, they give an answer or an error.
    #[test]
    fn any_bytes_are_answered(
        kind in 0_u32..12,
        at in prop::collection::vec((0_usize..12_288, any::<u8>()), 0..200),
        fill in any::<u8>(),
    ) {
        let mut bytes = greedy(Kind::Memory, 8192, 8);
        bytes[12..16].copy_from_slice(&kind.to_ne_bytes());
        bytes[4096..].fill(fill);
        for (place, byte) in at {
            // The magic and the version are what lets the rest be looked at.
            if place >= 12 && place < bytes.len() {
                bytes[place] = byte;
            }
        }
        if let Ok(state) = describe(&bytes[..]) {
            prop_assert!(state.members.len() <= 16 * 1024);
            for lock in matches!(state.live, Live::Locks(_)).then_some(&state.live).into_iter() {
                let Live::Locks(locks) = lock else { continue };
                prop_assert!(locks.len() <= 20 * 16 * 1024);
            }
        }
    }
}

/// What this process has mapped under a name with this word, found as a looker finds it.
fn look(word: &str) -> State {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().filter(|line| line.contains(word)).min_by_key(|line| {
        let offset = line.split_ascii_whitespace().nth(2).unwrap();
        u64::from_str_radix(offset, 16).unwrap()
    });
    let range = line.unwrap_or_else(|| panic!("no {word} in {maps}")).split_ascii_whitespace().next().unwrap();
    let start = u64::from_str_radix(range.split('-').next().unwrap(), 16).unwrap();
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    describe(&|offset: u64, buffer: &mut [u8]| {
        std::os::unix::fs::FileExt::read_exact_at(&memory, buffer, start + offset)
    })
    .unwrap()
}

/// The lock of a shared arena lies in front of it, and the members of what has a name in front of that.
#[test]
fn the_lock_of_a_shared_arena_names_its_owner() {
    let directory = tempfile::tempdir().unwrap();
    let arena = SharedArena::create(format!("{}/inspect-books", directory.path().display()), 64 * 1024).unwrap();
    let look = || look("arena:inspect-books");
    assert!(matches!(look().live, Live::Arena(_)) && look().locks.is_empty());
    let [member] = look().members[..] else { panic!("{:?}", look().members) };
    assert_eq!((member.pid, member.is_alive), (std::process::id(), true));
    let writing = arena.write().unwrap();
    let locks: Vec<Lock> = look().locks.into_iter().filter(|lock| lock.what == LockUse::Writer).collect();
    assert_eq!(locks[0].owner, Some(own_thread()), "{locks:?}");
    assert_eq!(look().waits_for(locks[0].offset), Some(WaitsFor::Lock));
    drop(writing);
    assert!(look().locks.is_empty());
}

/// Each kind of channel, as a looker finds it in this process.
#[test]
fn channels_tell_how_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let name = |name: &str| format!("{}/{name}", directory.path().display());

    let topic = Topic::<u64>::open_or_create(&name("inspect-topic")).unwrap();
    let publisher = topic.publisher().unwrap();
    let mut subscriber = topic.subscriber().unwrap();
    for number in 0..10 {
        publisher.publish(&number).unwrap();
    }
    let held = subscriber.recv().unwrap();
    let Live::Log(log) = look("log:inspect-topic").live else { panic!("a log") };
    assert_eq!(log.published, 10);
    let Live::Roster(roster) = look("roster:inspect-topic").live else { panic!("a roster") };
    let [one] = roster.subscribers[..] else { panic!("{roster:?}") };
    assert_eq!((one.pid, one.lag(log.head), one.received, one.lost), (std::process::id(), 9, 1, 0));
    assert_eq!(look("log:inspect-topic").description.layout_name, "u64");
    drop(held);
    drop(subscriber);
    tieline_testkit::until("the entry is free", || match look("roster:inspect-topic").live {
        Live::Roster(roster) => roster.subscribers.is_empty().then_some(()),
        _ => None,
    });

    let queue = Queue::<u64>::open_or_create(name("inspect-queue")).unwrap();
    for number in 0..3 {
        queue.send(&number).unwrap();
    }
    let taken = queue.recv().unwrap();
    let state = look("queue:inspect-queue");
    let Live::Queue(live) = &state.live else { panic!("a queue") };
    let [member] = state.members[..] else { panic!("{:?}", state.members) };
    assert!(member.is_alive && member.pid == std::process::id());
    assert_eq!((live.ready, &live.held[..]), (2, &[(member.number, 1, 0)][..]));
    taken.requeue().unwrap();
    let Live::Queue(live) = look("queue:inspect-queue").live else { panic!("a queue") };
    assert_eq!((live.ready, live.redelivered, live.requeued), (3, 1, 1));

    let mut writer = Latest::<u32>::at(name("inspect-latest")).unwrap().writer().unwrap();
    writer.write(&7).unwrap();
    let Live::Latest(latest) = look("latest:inspect-latest").live else { panic!("a latest") };
    assert_eq!((latest.version, latest.writer.is_some()), (1, true));

    let event = Event::open_or_create(name("inspect-event")).unwrap();
    event.notify(0).unwrap();
    let Live::Event(live) = look("event:inspect-event").live else { panic!("an event") };
    assert_eq!(live.total, 1);
}
