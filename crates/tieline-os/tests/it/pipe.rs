//! Pipes: the three faces, the shared flag, the checks at the door.

use std::fs::File;
use std::io::{Read, Write, stdin};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tieline_os::ErrorKind;
use tieline_os::pipe::{PIPE_BUF, PipeReader, PipeWriter, pipe};
use tieline_testkit::{Peer, eventually, role, test_name};

const SOON: Duration = Duration::from_millis(20);

fn is_nonblocking(fd: impl AsFd) -> bool {
    fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK)
}

#[test]
fn no_form_changes_the_shared_flag_and_all_work_with_either() {
    let (reader, writer) = pipe().unwrap();
    let mut buffer = [0; 8];
    for nonblocking in [false, true] {
        if nonblocking {
            // Somebody else who shares the descriptions does this.
            fcntl_setfl(&reader, OFlags::NONBLOCK).unwrap();
            fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        }
        assert!(reader.try_read(&mut buffer).unwrap_err().is_would_block());
        let start = Instant::now();
        assert!(reader.read_timeout(&mut buffer, SOON).unwrap_err().is_timeout());
        assert!(start.elapsed() >= SOON);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| reader.read(&mut [0; 8]).unwrap());
            writer.write_all(b"x").unwrap();
            assert_eq!(waiting.join().unwrap(), 1, "a plain read waits whatever the flag says");
        });
        while writer.try_write(&[0; PIPE_BUF]).is_ok() {}
        assert!(writer.write_timeout(b"x", SOON).unwrap_err().is_timeout());
        let mut drained = vec![0; 16 * PIPE_BUF];
        assert_eq!(reader.try_read(&mut drained).unwrap(), drained.len());
        assert_eq!((is_nonblocking(&reader), is_nonblocking(&writer)), (nonblocking, nonblocking));
    }
}

#[test]
fn a_read_with_a_deadline_wakes_when_bytes_come() {
    let (reader, writer) = pipe().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| reader.read_timeout(&mut [0; 8], Duration::from_secs(20)).unwrap());
        writer.write_all(b"now").unwrap();
        assert_eq!(waiting.join().unwrap(), 3);
    });
}

#[test]
fn a_deadline_too_far_for_the_clock_is_for_ever() {
    let (reader, writer) = pipe().unwrap();
    writer.write_all(b"x").unwrap();
    assert_eq!(reader.read_timeout(&mut [0; 8], Duration::MAX).unwrap(), 1);
}

#[test]
fn only_pipes_open_in_the_right_direction_are_taken() {
    let (reader, writer) = pipe().unwrap();
    let file: OwnedFd = tempfile::tempfile().unwrap().into();
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    for wrong in [writer.try_clone().unwrap().into(), file, one.into()] {
        assert_eq!(PipeReader::from_fd(wrong).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let wrong = reader.try_clone().unwrap().into();
    let error = PipeWriter::from_fd(wrong).unwrap_err();
    assert!(error.to_string().ends_with("not open for writing"), "{error}");

    let reader = PipeReader::from_fd(reader.into()).unwrap();
    let writer = PipeWriter::from_fd(writer.into()).unwrap();
    writer.write_all(b"still one pipe").unwrap();
    assert_eq!(reader.available().unwrap(), 14);
}

#[test]
fn the_standard_traits_mean_the_same() {
    let (mut reader, mut writer) = pipe().unwrap();
    write!(writer, "{} and {}", 1, 2).unwrap();
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "1 and 2");

    let (reader, writer) = pipe().unwrap();
    drop(std::io::PipeReader::from(reader));
    eventually("the reader is gone", || writer.is_peer_gone().unwrap());
    let error = Write::write(&mut &writer, b"x").unwrap_err();
    assert_eq!((error.kind(), error.raw_os_error()), (std::io::ErrorKind::BrokenPipe, Some(libc::EPIPE)));
}

#[test]
fn a_writer_killed_in_the_middle_leaves_its_bytes_and_an_end() {
    if let Some(me) = role() {
        let writer = PipeWriter::from_fd(stdin().as_fd().try_clone_to_owned().unwrap()).unwrap();
        writer.write_all(b"half a mess").unwrap();
        me.say("written");
        writer.write_all(&vec![0; 1 << 20]).unwrap();
        unreachable!("nobody reads that much");
    }
    let (reader, writer) = pipe().unwrap();
    let mut peer = Peer::of(test_name!()).role("writer").stdin(writer.into()).spawn();
    peer.wait_for("written");
    peer.sleeps();
    peer.kill();
    let mut text = Vec::new();
    (&reader).read_to_end(&mut text).unwrap();
    assert_eq!(&text[..11], b"half a mess");
    assert_eq!(text[11..], vec![0; 15 * PIPE_BUF], "what had found room, and nothing else");
}

#[test]
fn write_all_says_how_far_it_got() {
    let (reader, writer) = pipe().unwrap();
    thread::scope(|scope| {
        let writing = scope.spawn(|| writer.write_all(&[0; 17 * PIPE_BUF]).unwrap_err());
        eventually("the pipe is full", || reader.available().unwrap() == 16 * PIPE_BUF);
        drop(reader);
        let error = writing.join().unwrap();
        assert!(error.is_peer_dead());
        assert!(error.to_string().contains("65536 of 69632 bytes"), "{error}");
    });
}

#[test]
fn a_capacity_past_the_kernels_integer_is_refused_here() {
    let (reader, _writer) = pipe().unwrap();
    for wrong in [usize::MAX, (i32::MAX as usize) + 1] {
        assert_eq!(reader.set_capacity(wrong).unwrap_err().kind(), ErrorKind::TooLarge);
    }
    assert_eq!(reader.capacity().unwrap(), 65536);
}

#[test]
fn ends_are_close_on_exec() {
    let (reader, writer) = pipe().unwrap();
    let copies = (reader.try_clone().unwrap(), writer.try_clone().unwrap());
    for fd in [reader.as_fd(), writer.as_fd(), copies.0.as_fd(), copies.1.as_fd()] {
        assert!(rustix::io::fcntl_getfd(fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
}

/// A pipe reached through `/proc`, as a shell's process substitution is, does not know `RWF_NOWAIT`.
#[test]
fn a_reopened_pipe_works_without_waiting_too() {
    use std::os::fd::AsRawFd;
    let (reader, writer) = pipe().unwrap();
    let path = |fd: &dyn AsRawFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let reader_again = File::open(path(&reader.as_fd())).unwrap();
    let reader_again = PipeReader::from_fd(reader_again.into()).unwrap();
    let writer_again = File::options().write(true).open(path(&writer.as_fd())).unwrap();
    let writer_again = PipeWriter::from_fd(writer_again.into()).unwrap();
    assert!(reader_again.try_read(&mut [0; 8]).unwrap_err().is_would_block());
    assert_eq!(writer_again.try_write(&[7; 20 * PIPE_BUF]).unwrap(), 16 * PIPE_BUF);
    assert!(writer_again.try_write(b"x").unwrap_err().is_would_block());
    assert!(!is_nonblocking(&reader_again) && !is_nonblocking(&writer_again));
    assert_eq!(reader_again.try_read(&mut [0; 8]).unwrap(), 8);
}
