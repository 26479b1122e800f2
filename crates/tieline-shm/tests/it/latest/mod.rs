//! The latest value between real processes.

use std::path::Path;
use std::time::Duration;

use tieline_shm::latest::{Latest, LatestReader, LatestWriter};
use tieline_shm::{ErrorKind, Name, ShmSafe, WaitSet, Waiting};
use tieline_testkit::{PATIENCE, Peer, role, test_name};

/// A value of many words that are all the same, so that a mixture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ShmSafe)]
#[repr(C)]
struct Same {
    words: [u64; 64],
}

fn same(word: u64) -> Same {
    Same { words: [word; 64] }
}

fn name(directory: &Path) -> Name {
    Name::new(&format!("{}/value", directory.display())).unwrap()
}

fn writer(directory: &Path) -> tieline_shm::Result<LatestWriter<Same>> {
    Latest::at(name(directory))?.writer()
}

fn reader(directory: &Path) -> LatestReader<Same> {
    Latest::at(name(directory)).unwrap().waiting(Waiting::Block).reader().unwrap()
}

#[test]
fn readers_see_the_newest_and_are_told_of_changes() {
    let directory = tempfile::tempdir().unwrap();
    let refused = Latest::<Same>::at(name(directory.path())).unwrap().reader().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    let mut writer = writer(directory.path()).unwrap();
    let (mut one, mut two) = (reader(directory.path()), reader(directory.path()));
    assert_eq!(one.read().unwrap(), None);
    assert!(one.try_changed().unwrap_err().is_would_block());
    assert!(one.changed_timeout(Duration::from_millis(3)).unwrap_err().is_timeout());
    writer.write(&same(1)).unwrap();
    writer.write_quietly(&same(2)).unwrap();
    assert_eq!(one.changed().unwrap(), same(2));
    assert!(one.try_changed().unwrap_err().is_would_block());
    assert_eq!(one.read().unwrap(), Some(same(2)));
    assert_eq!(two.try_changed().unwrap(), same(2));
    let other = Latest::<u32>::at(name(directory.path())).unwrap().reader().unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Mismatch);
}

#[test]
fn as_many_read_as_it_was_made_for() {
    if !tieline_testkit::room_for_descriptors(900) {
        tieline_testkit::skip!("needs more descriptors than this machine lets a process have");
    }
    let directory = tempfile::tempdir().unwrap();
    let latest = || Latest::<Same>::at(name(directory.path())).unwrap();
    let mut writer = writer(directory.path()).unwrap();
    writer.write(&same(7)).unwrap();
    let mut readers: Vec<_> = (0..255).map(|_| latest().reader().unwrap()).collect();
    assert_eq!(latest().reader().unwrap_err().kind(), ErrorKind::LimitReached);
    assert!(readers.iter_mut().all(|reader| reader.read().unwrap() == Some(same(7))));
    drop((readers, writer));
    let _writer = latest().members(2).writer().unwrap();
    let _reader = latest().reader().unwrap();
    assert_eq!(latest().reader().unwrap_err().kind(), ErrorKind::LimitReached);
    let elsewhere = || Latest::<Same>::at(name(&directory.path().join("other"))).unwrap();
    assert_eq!(elsewhere().members(0).writer().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(elsewhere().members(1025).writer().unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_wait_set_tells_of_a_change() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path()).unwrap();
    let mut reader = reader(directory.path());
    let mut set = WaitSet::new().unwrap();
    set.attach(&reader, 5).unwrap();
    let mut ready = Vec::new();
    for word in 1..200 {
        assert!(set.try_wait(&mut ready).is_err());
        writer.write(&same(word)).unwrap();
        set.wait_timeout(&mut ready, PATIENCE).unwrap();
        assert_eq!(ready[0].token, 5);
        assert_eq!(reader.read().unwrap(), Some(same(word)));
    }
}

#[cfg(feature = "tokio")]
#[test]
fn a_task_is_told_of_a_change() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path()).unwrap();
    let mut reader = tieline_shm::aio::latest::LatestReader::from(reader(directory.path()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let writing = std::thread::spawn(move || {
        for word in 1..=100 {
            writer.write(&same(word)).unwrap();
            tieline_testkit::pause(Duration::from_micros(200));
        }
        writer
    });
    runtime.block_on(async {
        let mut last = 0;
        while last < 100 {
            let value = tokio::time::timeout(PATIENCE, reader.changed()).await.unwrap().unwrap();
            assert!(value.words[0] > last);
            last = value.words[0];
        }
    });
    drop(writing.join().unwrap());
}

/// The peer's part: writes ever larger values until it dies.
fn write_for_ever(directory: &Path, first: u64) {
    let mut writer = writer(directory).unwrap();
    for word in first.. {
        writer.write(&same(word)).unwrap();
    }
}

/// A writer killed at each step leaves the last whole value; another takes its place and goes on.
#[test]
fn a_killed_writer_leaves_a_whole_value_and_its_place() {
    if let Some(me) = role() {
        return write_for_ever(Path::new(&me.env("DIRECTORY")), me.env("FIRST").parse().unwrap());
    }
    let directory = tempfile::tempdir().unwrap();
    let first_writer = writer(directory.path()).unwrap();
    let mut reader = reader(directory.path());
    drop(first_writer);
    let mut least = 1;
    for round in 0..6 {
        for step in ["latest:begin", "latest:filled", "latest:published"] {
            let passing = 1 + round * 7;
            let mut peer = Peer::of(test_name!())
                .role("writer")
                .env("DIRECTORY", directory.path())
                .env("FIRST", least.to_string())
                .env("TIELINE_STEP", format!("kill:{step}:{passing}"))
                .spawn();
            assert!(!peer.exit_status().success(), "{step}: it was not killed");
            let whole = passing - u64::from(step != "latest:published");
            let value = reader.read().unwrap();
            let expected = (least + whole).checked_sub(1).filter(|word| *word > 0).map(same);
            assert_eq!(value, expected, "{step}, the {passing}th time");
            least += whole;
        }
    }
    // The place is free, once the death is known.
    let mut after = tieline_testkit::until("the place is free", || writer(directory.path()).ok());
    after.write(&same(least)).unwrap();
    assert_eq!(reader.changed_timeout(PATIENCE).unwrap(), same(least));
}

/// A second writer is refused while the first lives, also while that one is stopped.
#[test]
fn a_stopped_writer_keeps_its_place() {
    if let Some(me) = role() {
        let _writer = writer(Path::new(&me.env("DIRECTORY"))).unwrap();
        me.say("ready");
        me.wait_for("never");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // Held by a reader's process too, so that somebody answers for the name while the writer is stopped.
    let other = format!("{}/other", directory.path().display());
    let _host = tieline_shm::event::Event::open_or_create(other).unwrap();
    let mut peer = Peer::of(test_name!()).role("writer").env("DIRECTORY", directory.path()).spawn();
    peer.wait_for("ready");
    assert_eq!(writer(directory.path()).unwrap_err().kind(), ErrorKind::AlreadyExists);
    peer.signal(rustix::process::Signal::STOP);
    let refused = Latest::<Same>::at(name(directory.path())).unwrap().join_timeout(Duration::from_millis(200)).writer();
    assert!(matches!(refused.unwrap_err().kind(), ErrorKind::AlreadyExists | ErrorKind::TimedOut));
    peer.kill();
    let _writer = tieline_testkit::until("the place is free", || writer(directory.path()).ok());
}

/// Readers of another process see whole values only, whatever the speed.
#[test]
fn no_reader_sees_a_mixture() {
    if let Some(me) = role() {
        return write_for_ever(Path::new(&me.env("DIRECTORY")), 1);
    }
    let directory = tempfile::tempdir().unwrap();
    drop(writer(directory.path()));
    let mut peer = Peer::of(test_name!()).role("writer").env("DIRECTORY", directory.path()).spawn();
    let mut reader = tieline_testkit::until("the writer is there", || {
        Latest::<Same>::at(name(directory.path())).unwrap().reader().ok()
    });
    let mut last = 0;
    for _ in 0..20_000 {
        let value = match reader.changed_timeout(PATIENCE) {
            Err(error) if error.kind() == ErrorKind::Lagged => continue,
            value => value.unwrap(),
        };
        assert!(value.words.iter().all(|word| *word == value.words[0]), "{value:?}");
        assert!(value.words[0] > last);
        last = value.words[0];
    }
    peer.kill();
}
