//! The latest value of something: one writer, any number of readers who only load.
//!
//! The invariant: a value is visible from the store of its version on, whole or not at all; a writer that dies leaves
//! the value before. Value `v` lies in buffer `v % BUFFERS`; the writer fills the next buffer and then stores its number.
//! A reader copies the buffer of the newest version and believes the copy if the writer cannot have come round to that
//! buffer meanwhile, so it tries again only if the writer published [`BUFFERS`] - 1 values during one copy.
//!
//! Source: the sequence lock, with H. Boehm's fences ("Can seqlocks get along with programming language memory models?",
//! 2012). Layout: `docs/formats/shm-latest.md`.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::raw::atomic::{AtomicU32, Ordering, fence};
pub(crate) use crate::raw::words::bytes_of;
use crate::raw::{View, Words, futex, step, words};
#[cfg(not(model))]
use crate::segment::Fact;
use crate::structure::cells::Cells;
use crate::structure::planted::{Bug, planted};
use crate::wait::{Until, Waiting, wait_on_word};

/// How many values are kept: the newest, the one being written, and two that slow readers may still be copying.
pub(crate) const BUFFERS: usize = 4;

/// What lies before the buffers.
#[repr(C, align(128))]
pub(crate) struct Control {
    /// The number of the newest value; 0 before the first. Readers sleep on it.
    version: AtomicU32,
    _version_line: [AtomicU32; 31],
    /// The writer's number as a member, plus one; 0 if there is none.
    writer: AtomicU32,
    _writer_line: [AtomicU32; 31],
}

// SAFETY: repr(C), 64 32-bit atomics, no padding: 256 bytes, a multiple of the alignment.
unsafe impl Words for Control {}

impl Control {
    /// Where a latest value tells lookers how it is, if its control part lies at `at`.
    #[cfg(not(model))]
    pub(crate) const fn facts(at: usize) -> [Fact<'static>; 2] {
        [
            Fact::halves("version", at + std::mem::offset_of!(Self, version), 1, 4),
            Fact::halves("writer", at + std::mem::offset_of!(Self, writer), 1, 4),
        ]
    }
}

/// The latest value, over memory that readers may have mapped read-only.
#[derive(Clone, Debug)]
pub(crate) struct LatestCell {
    control: View<Control>,
    cells: Cells,
    len_bytes: usize,
}

const READ: &str = "read the latest value";
const OPEN: &str = "open a latest value";

/// A reader that is overtaken so often during a copy cannot keep up.
const MAX_TRIES: usize = 1024;

impl LatestCell {
    /// How many bytes the control part takes.
    pub(crate) const CONTROL_BYTES: usize = size_of::<Control>();

    /// How many bytes the buffers take for values of `len_bytes`.
    pub(crate) const fn cells_bytes(len_bytes: usize) -> usize {
        stride(len_bytes) * BUFFERS
    }

    /// `control` and `cells` are zero when the object is new.
    ///
    /// # Errors
    /// `Corrupted` if the memory is not as large as the values demand.
    pub(crate) fn new(control: View<Control>, cells: Cells, len_bytes: usize) -> Result<Self> {
        if cells.len_bytes() < Self::cells_bytes(len_bytes) {
            return Err(Error::new(OPEN, ErrorKind::Corrupted).because("its segment is too small"));
        }
        Ok(Self { control, cells, len_bytes })
    }

    /// Takes the writer's place for `member`, also from one that `is_gone` says is no more.
    ///
    /// # Errors
    /// `AlreadyExists` if another writes.
    pub(crate) fn claim(&self, member: u32, is_gone: impl Fn(u32) -> bool) -> Result<()> {
        let ours = member.wrapping_add(1);
        // Acquire here and in the exchange: partner is the release in `give_up` and in the publication of whoever wrote
        // before; the next version follows the last one that was stored.
        let before = self.control.writer.load(Ordering::Acquire);
        // A number that is ours again was a dead member's before, whose place nobody could free.
        let is_free = before == 0 || before == ours || is_gone(before.wrapping_sub(1));
        let taken = || self.control.writer.compare_exchange(before, ours, Ordering::AcqRel, Ordering::Acquire);
        if is_free && taken().is_ok() {
            return Ok(());
        }
        Err(Error::new(OPEN, ErrorKind::AlreadyExists).because("it has a writer, and one is all it can have"))
    }

    /// Frees the place of a writer that left or died, and wakes readers whom it might not have told of its last value.
    pub(crate) fn give_up(&self, member: u32) {
        // Release: partner is the acquire in `claim`. A failure means that it was not the writer.
        let ours = member.wrapping_add(1);
        let _ = self.control.writer.compare_exchange(ours, 0, Ordering::Release, Ordering::Relaxed);
        self.wake();
    }

    /// Wakes all readers. Works also where the memory is mapped read-only.
    pub(crate) fn wake(&self) {
        futex::wake(&self.control.version, u32::MAX);
    }

    /// Publishes `value`, which is as long as all values are, after the version `last`, and gives its own. To be called
    /// by the writer alone, who keeps the version to itself, so that nobody can lead it into a buffer that readers copy;
    /// does not wake.
    pub(crate) fn publish(&self, last: u32, value: &[u8]) -> u32 {
        let version = next(last);
        // Release: a reader that sees any word of what follows, and then passes its acquire fence, sees the version
        // before this one, or a later one: so it knows how far the writer has come. Partner: the fence in `read`.
        fence(Ordering::Release);
        step("latest:begin");
        self.cells.copy_in(self.offset(version), value);
        step("latest:filled");
        // Release: partner is the acquire in `read`.
        self.control.version.store(version, Ordering::Release);
        step("latest:published");
        version
    }

    /// The newest version.
    pub(crate) fn version(&self) -> u32 {
        // Acquire: as in `read`, for who reads the value because of it.
        self.control.version.load(Ordering::Acquire)
    }

    /// The word that changes with each value; see [`wait_on_word`].
    pub(crate) fn word(&self) -> View<AtomicU32> {
        self.control.part(|control| &control.version)
    }

    /// Copies the newest value and gives its version; `None` if there is none yet.
    ///
    /// # Errors
    /// `Lagged` if the writer is faster than a copy, over and over.
    pub(crate) fn read(&self, value: &mut [u8]) -> Result<Option<u32>> {
        for _ in 0..MAX_TRIES {
            // Acquire: partner is the store in `publish`.
            let version = self.control.version.load(Ordering::Acquire);
            if version == 0 {
                return Ok(None);
            }
            self.cells.copy_out(self.offset(version), value);
            #[cfg(all(feature = "steps", not(model)))]
            if planted(Bug::ReadWithoutCheck) {
                crate::raw::give_turn();
                let half = value.len() / 16 * 8;
                self.cells.copy_out(self.offset(version) + half, &mut value[half..]);
            }
            // Acquire: partner is the fence in `publish`.
            fence(Ordering::Acquire);
            // Relaxed: ordered by the fence.
            let now = self.control.version.load(Ordering::Relaxed);
            if is_untouched(version, now) || planted(Bug::ReadWithoutCheck) {
                return Ok(Some(version));
            }
        }
        Err(Error::new(READ, ErrorKind::Lagged).because("the writer changes it faster than it can be copied"))
    }

    /// Waits for a version other than `seen`.
    pub(crate) fn wait_changed(&self, seen: u32, how: Waiting, until: Until) -> Result<u32> {
        wait_on_word(&self.control.version, how, until, "wait for a change of the latest value", || {
            let version = self.version();
            (version != seen).then_some(version)
        })
    }

    fn offset(&self, version: u32) -> usize {
        version as usize % BUFFERS * stride(self.len_bytes)
    }
}

/// Whole lines for each buffer, so that the writer does not take the line that readers copy.
const fn stride(len_bytes: usize) -> usize {
    len_bytes.next_multiple_of(128)
}

/// The version after this one. 0 means "none", so it is left out when the numbers wrap; the buffers follow each other
/// all the same.
const fn next(version: u32) -> u32 {
    match version.wrapping_add(1) {
        0 => BUFFERS as u32,
        next => next,
    }
}

/// Whether the writer, who was at `now` after the copy, cannot have begun to write over `version`. Where the numbers
/// wrap, it may say no without need.
const fn is_untouched(version: u32, now: u32) -> bool {
    // At `now` the writer may be filling the buffer of now + 1.
    (now.wrapping_sub(version) as usize) < BUFFERS - 1
}

/// The value that `bytes`, our own copy, are.
///
/// # Errors
/// `Corrupted` if they are no value of the type.
pub(crate) fn value_of<T: ShmSafe>(bytes: &[u8], operation: &'static str) -> Result<T> {
    words::value_of(bytes).map_err(|invalid| Error::new(operation, ErrorKind::Corrupted).because(invalid.to_string()))
}

#[cfg(all(test, not(model)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use proptest::prelude::*;

    use super::*;
    use crate::raw::atomic::AtomicU64;

    fn cell(len_bytes: usize) -> LatestCell {
        let words = (0..LatestCell::cells_bytes(len_bytes) / 8).map(|_| AtomicU64::new(0)).collect();
        // SAFETY: zero is a value of every atomic.
        let control = unsafe { Box::<Control>::new_zeroed().assume_init() };
        LatestCell::new(View::leak(control), Cells::new(View::leak(words)), len_bytes).unwrap()
    }

    #[test]
    fn the_layout_is_as_documented() {
        assert_eq!((size_of::<Control>(), align_of::<Control>()), (256, 128));
        assert_eq!(std::mem::offset_of!(Control, version), 0);
        assert_eq!(std::mem::offset_of!(Control, writer), 128);
        assert_eq!(LatestCell::cells_bytes(1), 4 * 128);
        assert_eq!(LatestCell::cells_bytes(129), 4 * 256);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Publish(u8),
        Read,
        Claim(u32),
        Leave(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any::<u8>().prop_map(Step::Publish),
            Just(Step::Read),
            (0..3_u32).prop_map(Step::Claim),
            (0..3_u32).prop_map(Step::Leave),
        ]
    }

    proptest! {
        /// Against a plain variable and a plain owner, also where the versions wrap.
        #[test]
        fn it_is_a_variable_with_one_writer(
            steps in prop::collection::vec(step(), 0..60),
            first in prop_oneof![Just(0), Just(u32::MAX - 3)],
            len in 1..300_usize,
        ) {
            let cell = cell(len);
            cell.control.version.store(first, Ordering::Relaxed);
            let mut value = (first != 0).then(|| vec![0; len]);
            let mut writer = None;
            let mut last = first;
            for step in steps {
                match step {
                    Step::Publish(byte) => {
                        last = cell.publish(last, &vec![byte; len]);
                        value = Some(vec![byte; len]);
                    }
                    Step::Read => {
                        let mut copy = vec![0; len];
                        let version = cell.read(&mut copy).unwrap();
                        prop_assert_eq!(version.map(|_| copy), value.clone());
                    }
                    Step::Claim(member) => {
                        let claimed = cell.claim(member, |_| false).is_ok();
                        prop_assert_eq!(claimed, writer.is_none_or(|writer| writer == member));
                        writer = writer.or(Some(member));
                    }
                    Step::Leave(member) => {
                        cell.give_up(member);
                        writer = writer.filter(|writer| *writer != member);
                    }
                }
            }
        }

        /// Whatever the control words are: an answer, in bounded time.
        #[test]
        fn a_reader_bears_any_memory(version in any::<u32>(), writer in any::<u32>()) {
            let cell = cell(24);
            cell.control.version.store(version, Ordering::Relaxed);
            cell.control.writer.store(writer, Ordering::Relaxed);
            let mut copy = [0; 24];
            prop_assert_eq!(cell.read(&mut copy).unwrap(), (version != 0).then_some(version));
            prop_assert_eq!(cell.claim(1, |_| false).is_ok(), matches!(writer, 0 | 2));
        }
    }

    #[test]
    fn a_dead_writer_s_place_can_be_taken() {
        let cell = cell(8);
        cell.claim(3, |_| false).unwrap();
        assert_eq!(cell.claim(4, |_| false).unwrap_err().kind(), ErrorKind::AlreadyExists);
        cell.claim(4, |member| member == 3).unwrap();
    }

    /// Two threads: no reader ever sees a mixture, and versions do not go back.
    #[test]
    fn readers_see_whole_values_while_the_writer_runs() {
        let cell = cell(512);
        let done = Arc::new(AtomicBool::new(false));
        let readers = [0, 1].map(|_| {
            let (cell, done) = (cell.clone(), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut copy = vec![0; 512];
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let read = cell.read(&mut copy);
                    let Ok(Some(version)) = read else { continue };
                    assert!(copy.iter().all(|byte| *byte == copy[0]), "a mixture");
                    assert!(version >= last);
                    last = version;
                }
            })
        });
        let mut last = 0;
        for round in 0..100_000_u32 {
            last = cell.publish(last, &[round as u8; 512]);
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    }
}

#[cfg(all(test, model))]
mod model {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering as Plain};

    use loom::thread;
    use tieline_testkit::test_name;

    use super::*;
    use crate::model::{explore, must_fail};
    use crate::raw::atomic::AtomicU64;

    fn cell() -> LatestCell {
        let words = (0..LatestCell::cells_bytes(16) / 8).map(|_| AtomicU64::new(0)).collect();
        let control = Control {
            version: AtomicU32::new(0),
            _version_line: std::array::from_fn(|_| AtomicU32::new(0)),
            writer: AtomicU32::new(0),
            _writer_line: std::array::from_fn(|_| AtomicU32::new(0)),
        };
        LatestCell::new(View::leak(Box::new(control)), Cells::new(View::leak(words)), 16).unwrap()
    }

    /// So many values that the writer comes round to the buffer of the first.
    fn read_while_written() {
        let cell = cell();
        cell.publish(0, &[1; 16]);
        let writer = {
            let cell = cell.clone();
            thread::spawn(move || {
                for value in 2..=6_u8 {
                    cell.publish((value - 1).into(), &[value; 16]);
                }
            })
        };
        let mut copy = [0; 16];
        if let Some(version) = cell.read(&mut copy).unwrap() {
            assert_eq!(copy, [version as u8; 16], "a mixture, or another value");
        }
        writer.join().unwrap();
    }

    #[test]
    fn model_a_reader_sees_one_whole_value() {
        explore("latest", 3, read_while_written);
    }

    #[test]
    fn model_finds_a_reader_that_does_not_check() {
        must_fail(&test_name!(), &Bug::ReadWithoutCheck.name(), || explore("planted", 3, read_while_written));
    }

    #[test]
    fn model_a_change_wakes_a_reader() {
        explore("latest wake", 3, || {
            let cell = cell();
            let writer = {
                let cell = cell.clone();
                thread::spawn(move || {
                    cell.publish(0, &[1; 16]);
                    cell.wake();
                })
            };
            assert_eq!(cell.wait_changed(0, Waiting::Block, Until::Forever).unwrap(), 1);
            writer.join().unwrap();
        });
    }
}
