//! FIFOs: names, who waits for whom, and what is refused.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl};
use tempfile::TempDir;
use tieline_os::fifo::{self, OpenOptions};
use tieline_os::{ErrorKind, Mode};
use tieline_testkit::{Peer, eventually, pause, role, test_name};

const SOON: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(20);

fn new_fifo() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    fifo::create(&path, Mode::OWNER).unwrap();
    (directory, path)
}

#[test]
fn creating_is_exclusive_and_keeping_is_not() {
    let (_directory, path) = new_fifo();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fifo::create(&path, Mode::OWNER).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(!fifo::create_if_absent(&path, Mode::OWNER).unwrap());
    fifo::unlink(&path).unwrap();
    assert!(fifo::create_if_absent(&path, Mode::OWNER).unwrap());

    let file = path.with_extension("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(fifo::create_if_absent(&file, Mode::OWNER).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let nowhere = path.join("not/here");
    assert_eq!(fifo::create(&nowhere, Mode::OWNER).unwrap_err().errno(), Some(libc::ENOTDIR));
}

#[test]
fn what_is_not_a_fifo_is_neither_opened_nor_removed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let link = directory.path().join("link");
    let real = directory.path().join("real");
    fifo::create(&real, Mode::OWNER).unwrap();
    symlink(&real, &link).unwrap();

    for path in [&file, &PathBuf::from("/dev/null"), &directory.path().to_owned()] {
        for error in [
            fifo::open_reader(path).unwrap_err(),
            fifo::try_open_writer(path).unwrap_err(),
            fifo::open_writer_timeout(path, LONG).unwrap_err(),
            fifo::open_both(path).unwrap_err(),
            fifo::unlink(path).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(error.object().is_some(), "{error}");
        }
    }
    assert_eq!(fifo::unlink(&link).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    assert!(link.symlink_metadata().is_ok());

    assert!(fifo::open_both(&link).is_ok());
    let error = OpenOptions::new().no_follow().open_both(&link).unwrap_err();
    assert!(error.to_string().contains("a symbolic link"), "{error}");
    let uid = rustix::process::geteuid().as_raw();
    assert!(OpenOptions::new().owner(uid).open_both(&real).is_ok());
    let error = OpenOptions::new().owner(uid + 1).open_both(&real).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
}

#[test]
fn a_missing_fifo_is_not_found_by_every_form() {
    let path = "/no/such/fifo";
    for error in [
        fifo::try_open_reader(path).unwrap_err(),
        fifo::open_reader(path).unwrap_err(),
        fifo::open_reader_timeout(path, LONG).unwrap_err(),
        fifo::try_open_writer(path).unwrap_err(),
        fifo::open_writer(path).unwrap_err(),
        fifo::open_writer_timeout(path, LONG).unwrap_err(),
        fifo::open_both(path).unwrap_err(),
        fifo::unlink(path).unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.object()), (ErrorKind::NotFound, Some(path)));
    }
}

#[test]
fn timed_opens_give_up_at_the_deadline_and_leave_nothing_open() {
    let (_directory, path) = new_fifo();
    let start = Instant::now();
    assert!(fifo::open_writer_timeout(&path, SOON).unwrap_err().is_timeout());
    assert!(fifo::open_reader_timeout(&path, SOON).unwrap_err().is_timeout());
    assert!(start.elapsed() >= 2 * SOON);
    // A reader that had stayed open would let this in.
    eventually("nobody reads", || fifo::try_open_writer(&path).is_err_and(|e| e.kind() == ErrorKind::NoReader));
}

#[test]
fn a_timed_writer_and_a_waiting_reader_meet() {
    let (_directory, path) = new_fifo();
    thread::scope(|scope| {
        let reading = scope.spawn(|| fifo::open_reader(&path).unwrap());
        let writer = fifo::open_writer_timeout(&path, LONG).unwrap();
        let reader = reading.join().unwrap();
        writer.write_all(b"met").unwrap();
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 3);
        for end in [fcntl_getfl(&reader), fcntl_getfl(&writer)] {
            assert!(!end.unwrap().contains(OFlags::NONBLOCK));
        }
    });
}

#[test]
fn a_timed_reader_and_a_waiting_writer_meet_whoever_comes_first() {
    let (_directory, path) = new_fifo();
    for writer_first in [true, false] {
        thread::scope(|scope| {
            let writing = scope.spawn(|| {
                if !writer_first {
                    pause(SOON);
                }
                fifo::open_writer(&path).unwrap()
            });
            if writer_first {
                pause(SOON);
            }
            // The writer stays silent: its open alone must wake the reader.
            let reader = fifo::open_reader_timeout(&path, LONG).unwrap();
            let writer = writing.join().unwrap();
            assert!(reader.try_read(&mut [0; 8]).unwrap_err().is_would_block());
            drop(writer);
            assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
        });
    }
}

#[test]
fn two_timed_sides_meet() {
    let (_directory, path) = new_fifo();
    thread::scope(|scope| {
        let reading = scope.spawn(|| fifo::open_reader_timeout(&path, LONG).unwrap());
        let writer = fifo::open_writer_timeout(&path, LONG).unwrap();
        drop(writer);
        assert_eq!(reading.join().unwrap().read(&mut [0; 8]).unwrap(), 0);
    });
}

#[test]
fn fifos_take_every_form_without_waiting() {
    let (_directory, path) = new_fifo();
    let (reader, writer) = fifo::open_both(&path).unwrap();
    assert!(reader.try_read(&mut [0; 8]).unwrap_err().is_would_block());
    assert!(reader.read_timeout(&mut [0; 8], SOON).unwrap_err().is_timeout());
    assert_eq!(writer.try_write(&[0; 20 * 4096]).unwrap(), 16 * 4096);
    assert!(writer.write_timeout(b"x", SOON).unwrap_err().is_timeout());
    assert_eq!(reader.try_read(&mut [0; 4096]).unwrap(), 4096);
    assert_eq!(writer.write_timeout(&[0; 4096], SOON).unwrap(), 4096);
    assert!(!fcntl_getfl(&reader).unwrap().contains(OFlags::NONBLOCK));
}

#[test]
fn a_writer_to_a_dead_reader_is_told_by_every_form() {
    let (_directory, path) = new_fifo();
    let reader = fifo::try_open_reader(&path).unwrap();
    let writer = fifo::try_open_writer(&path).unwrap();
    drop(reader);
    eventually("the reader is gone", || writer.is_peer_gone().unwrap());
    for error in [writer.try_write(b"x").unwrap_err(), writer.write_timeout(b"x", LONG).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::PeerGone);
    }
    assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::PeerGone);
}

#[test]
fn a_killed_process_leaves_a_fifo_that_works() {
    if let Some(me) = role() {
        let (reader, _keep) = fifo::open_both(me.env("FIFO")).unwrap();
        me.say("open");
        reader.read(&mut [0; 8]).unwrap();
        unreachable!("nobody writes to this process");
    }
    let (_directory, path) = new_fifo();
    let mut peer = Peer::of(test_name!()).role("server").env("FIFO", &path).spawn();
    peer.wait_for("open");
    assert!(fifo::try_open_writer(&path).is_ok());
    peer.kill();
    assert_eq!(fifo::try_open_writer(&path).unwrap_err().kind(), ErrorKind::NoReader);
    let (reader, writer) = fifo::open_both(&path).unwrap();
    writer.write_all(b"again").unwrap();
    assert_eq!(reader.available().unwrap(), 5);
}
