//! The byte ring under loom. Each model states its bound of preemptions.

use loom::thread;
use tieline_testkit::test_name;

use super::*;
use crate::Waiting;
use crate::model::{explore, must_fail};
use crate::wait::Until;

fn ring() -> (Writer, Reader) {
    let zero = || AtomicU64::new(0);
    let side = || Side { position: zero(), is_closed: zero(), _rest: std::array::from_fn(|_| zero()) };
    let control = Control { writer: side(), reader: side(), bytes: EventCount::new(), room: EventCount::new() };
    // Two words: the third write needs the first to be read.
    let cells = Cells::new(View::leak((0..2).map(|_| zero()).collect()));
    let ring = Ring::new(View::leak(Box::new(control)), cells).unwrap();
    (ring.clone().writer(), ring.reader())
}

fn wait<R>(count: &EventCount, mut attempt: impl FnMut() -> Result<R>) -> R {
    let ready = || match attempt() {
        Err(error) if error.is_would_block() => None,
        answer => Some(answer.unwrap()),
    };
    count.wait(Waiting::Block, Until::Forever, READ, ready).unwrap()
}

/// Three words through a ring of two, then the end.
fn three_words_and_the_end() {
    let (mut writer, mut reader) = ring();
    let writing = {
        thread::spawn(move || {
            for number in 1..4_u64 {
                let ring = writer.ring().clone();
                let written = wait(&ring.control().room, || writer.try_write(&number.to_ne_bytes()));
                assert_eq!(written, 8);
            }
            writer.close();
        })
    };
    let ring = reader.ring().clone();
    for number in 1..4_u64 {
        let mut bytes = [0; 8];
        assert_eq!(wait(&ring.control().bytes, || reader.try_read(&mut bytes)), 8);
        assert_eq!(u64::from_ne_bytes(bytes), number);
    }
    assert_eq!(wait(&ring.control().bytes, || reader.try_read(&mut [0])), 0, "the end");
    writing.join().unwrap();
}

#[test]
fn model_three_words_and_the_end() {
    explore("stream: three words and the end", 3, three_words_and_the_end);
}

#[test]
fn model_three_words_need_the_bytes_first() {
    must_fail(&test_name!(), &Bug::PositionBeforeBytes.name(), || explore("planted", 3, three_words_and_the_end));
}

#[test]
fn model_three_words_need_to_be_told() {
    must_fail(&test_name!(), &Bug::NoNotify.name(), || explore("planted", 3, three_words_and_the_end));
}
