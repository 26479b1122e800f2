//! Copies between every sort of descriptor, and what happens when one side stalls or dies.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use tieline_os::ErrorKind;
use tieline_os::fifo;
use tieline_os::pipe::{PIPE_BUF, PipeReader, packet_pipe, pipe};
use tieline_os::transfer::{
    Copier, How, Pages, Side, Step, copy, copy_file_range, sendfile, splice, splice_timeout, tee, tee_timeout,
    try_splice, try_tee, vmsplice, vmsplice_static,
};
use tieline_testkit::{PATIENCE, Peer, eventually, role, test_name};

const SOON: Duration = Duration::from_millis(20);
/// More than any pipe or socket holds, and not a multiple of anything.
const LONG: usize = 5_000_011;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index % 251) as u8 ^ (index >> 12) as u8).collect()
}

fn file_with(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

/// A stream: what is written to the first comes out of the second.
type Stream = (OwnedFd, OwnedFd);
type Maker = (&'static str, fn() -> Stream);

fn streams() -> [Maker; 5] {
    [
        ("pipe", || pipe().map(|(reader, writer)| (writer.into(), reader.into())).unwrap()),
        ("packet pipe", || packet_pipe().map(|(reader, writer)| (writer.into(), reader.into())).unwrap()),
        ("FIFO", || {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("fifo");
            fifo::create(&path, tieline_os::Mode::OWNER).unwrap();
            let reader = fifo::try_open_reader(&path).unwrap();
            (fifo::try_open_writer(&path).unwrap().into(), reader.into())
        }),
        ("Unix socket", || UnixStream::pair().map(|(one, other)| (one.into(), other.into())).unwrap()),
        ("TCP socket", || {
            let (one, other) = tcp_pair();
            (one.into(), other.into())
        }),
    ]
}

/// Copies `bytes` from one stream to another, stepping as told, and checks what comes out.
fn relay(name: &str, source: Stream, sink: Stream, bytes: &[u8], drive: fn(&OwnedFd, &OwnedFd)) {
    thread::scope(|scope| {
        scope.spawn(move || File::from(source.0).write_all(bytes).unwrap());
        let reading = scope.spawn(move || read_with_large_buffer(&mut File::from(sink.1)));
        drive(&source.1, &sink.0);
        drop(sink.0);
        assert!(reading.join().unwrap() == bytes, "{name}: other bytes came out");
    });
}

/// Reads to the end without ever asking for less than a packet, so that packets are read whole.
fn read_with_large_buffer(file: &mut File) -> Vec<u8> {
    let (mut received, mut part) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut part).unwrap() {
            0 => return received,
            count => received.extend_from_slice(&part[..count]),
        }
    }
}

fn blocking(from: &OwnedFd, to: &OwnedFd) {
    assert_eq!(copy(from, to, None).unwrap().bytes, LONG as u64);
}

fn bounded(from: &OwnedFd, to: &OwnedFd) {
    let mut copier = Copier::new(from, to).unwrap().deadline(Instant::now() + Duration::from_secs(60));
    assert_eq!(copier.run(|_| ControlFlow::Continue(())).unwrap().bytes, LONG as u64);
}

#[test]
fn every_stream_to_every_stream_blocking_and_bounded() {
    let bytes = pattern(LONG);
    for (from, source) in streams() {
        for (to, sink) in streams() {
            for (way, drive) in [("blocking", blocking as fn(&_, &_)), ("bounded", bounded)] {
                relay(&format!("{from} to {to}, {way}"), source(), sink(), &bytes, drive);
            }
        }
    }
}

#[test]
fn the_fastest_way_is_taken() {
    let bytes = pattern(LONG);
    let outcome = |source: &OwnedFd, sink: &OwnedFd| copy(source, sink, Some(3)).unwrap().how;
    for (name, make) in streams() {
        let is_socket = name.contains("socket");
        let (writer, _reader) = make();
        let file: OwnedFd = file_with(&bytes).into();
        let how = match name {
            "TCP socket" => How::ReadWrite,
            "Unix socket" => How::Sendfile,
            _ => How::Splice,
        };
        assert_eq!(outcome(&file, &writer), how, "file to {name}");
        for (other, make_other) in streams() {
            let (feed, source) = make();
            File::from(feed).write_all(b"abc").unwrap();
            let (sink, _other_end) = make_other();
            let how = match other {
                "TCP socket" => How::ReadWrite,
                // Of so few bytes no page is worth moving twice.
                "Unix socket" if is_socket => How::ReadWrite,
                _ => How::Splice,
            };
            assert_eq!(outcome(&source, &sink), how, "{name} to {other}");
        }
    }
    let (from, to): (OwnedFd, OwnedFd) = (file_with(&bytes).into(), file_with(b"").into());
    assert_eq!(outcome(&from, &to), How::CopyFileRange);
    assert_eq!(copy(&from, &to, None).unwrap().how, How::CopyFileRange, "to the end too");
}

/// Given two pipes, when more than the usual capacity has passed, then both are wider if that was asked for, and not
/// before; a pipe that somebody sized keeps its size, and without being asked nothing is changed.
#[test]
fn pipes_are_widened_when_asked_and_busy_and_not_sized_by_others() {
    const USUAL: usize = 64 << 10;
    const SIZED: usize = 128 << 10;
    for (asked, sized) in [(true, false), (true, true), (false, false)] {
        let (source, feed) = pipe().unwrap();
        let (out, sink) = pipe().unwrap();
        let wider = |end: &PipeReader| end.capacity().unwrap() > USUAL;
        if source.capacity().unwrap() != USUAL || out.capacity().unwrap() != USUAL {
            tieline_testkit::skip!(
                "pipes are not of the usual size: pages are large, or pipes take up too much memory"
            );
        }
        if sized {
            out.set_capacity(SIZED).unwrap();
        }
        let mut copier = Copier::new(&source, &sink).unwrap();
        if asked {
            copier = copier.widen_pipes(true, true);
        }
        let bytes = pattern(USUAL);
        let mut received = vec![0; USUAL];
        let mut done = 0;
        for end in [100, USUAL] {
            assert!(!wider(&source), "it was widened after {done} bytes");
            feed.write_all(&bytes[done..end]).unwrap();
            while copier.delivered() < end as u64 {
                copier.try_step().unwrap();
            }
            while done < end {
                done += out.read(&mut received[done..end]).unwrap();
            }
        }
        assert!(received == bytes, "other bytes came out");
        if asked && !wider(&source) {
            tieline_testkit::skip!("this user may not have wider pipes now");
        }
        assert_eq!(wider(&source), asked);
        match sized {
            true => assert_eq!(out.capacity().unwrap(), SIZED),
            false => assert_eq!(wider(&out), asked),
        }
    }
}

/// Given two sockets, when single messages come, then they are copied and the source is known to be empty behind each;
/// when much comes at once, then its pages are moved, until messages come again.
#[test]
fn single_messages_between_sockets_are_copied_and_much_at_once_is_moved() {
    let (source, mut feed) = UnixStream::pair().unwrap();
    let (sink, far) = UnixStream::pair().unwrap();
    sink.set_nonblocking(true).unwrap();
    let mut copier = Copier::new(&source, &sink).unwrap();
    assert!(!copier.source_seems_empty(), "nothing is known of it yet");
    let much = pattern(100_000);
    let mut arrived = vec![0; much.len()];
    let (copied, moved) = (How::ReadWrite, How::SpliceThroughPipe);
    // The first message behind much comes unexpected.
    for (bytes, way) in [(&b"one"[..], copied), (&much, moved), (b"two", moved), (b"three", copied)] {
        feed.write_all(bytes).unwrap();
        let before = copier.delivered();
        let mut ways = Vec::new();
        while copier.delivered() < before + bytes.len() as u64 {
            copier.try_step().unwrap();
            ways.push(copier.how());
        }
        assert!(ways.contains(&way), "{} bytes went by {ways:?}", bytes.len());
        (&far).read_exact(&mut arrived[..bytes.len()]).unwrap();
        assert!(arrived[..bytes.len()] == *bytes, "other bytes came out");
        if bytes.len() < 10 {
            assert!(copier.source_seems_empty() && copier.try_step().unwrap_err().is_would_block());
        }
    }
    drop(feed);
    assert_eq!(copier.step().unwrap(), Step::Done);
    assert!(!copier.source_seems_empty(), "it has ended");
}

/// Given a source that seems empty, when a step waits for it, then what comes is moved, the time runs out if nothing
/// does, a limit that is reached ends the copy without waiting, and bytes that had come in the meantime are taken even
/// if the time is up.
#[test]
fn waiting_for_a_source_that_seems_empty() {
    let (source, mut feed) = UnixStream::pair().unwrap();
    let (sink, _far) = UnixStream::pair().unwrap();
    let mut copier = Copier::new(&source, &sink).unwrap().limit(9);
    feed.write_all(b"one").unwrap();
    copier.step().unwrap();
    assert!(copier.source_seems_empty());
    assert!(copier.step_timeout(SOON).unwrap_err().is_timeout());
    assert_eq!(copier.blocked_on(), Some(Side::Source));
    feed.write_all(b"two").unwrap();
    assert_eq!(copier.step_timeout(Duration::ZERO).unwrap(), Step::Moved { accepted: 3, delivered: 3 });
    thread::scope(|scope| {
        scope.spawn(|| feed.write_all(b"thr").unwrap());
        assert_eq!(copier.step().unwrap(), Step::Moved { accepted: 3, delivered: 3 });
    });
    assert!(!copier.source_seems_empty(), "nothing more is to be taken");
    assert_eq!(copier.step().unwrap(), Step::Done);
}

/// Given a busy pipe and a sink into which bytes are copied, when that was asked for, then the pipe is made as wide as
/// one call copies.
#[test]
fn a_pipe_that_is_copied_from_is_widened_too() {
    let (source, feed) = pipe().unwrap();
    let usual = source.capacity().unwrap();
    let (sink, far) = tcp_pair();
    let bytes = pattern(LONG);
    thread::scope(|scope| {
        scope.spawn(|| {
            feed.write_all(&bytes).unwrap();
            drop(feed);
        });
        let reading = scope.spawn(|| read_with_large_buffer(&mut File::from(OwnedFd::from(far))));
        let outcome = Copier::new(&source, &sink).unwrap().widen_pipes(true, true).run(|_| ControlFlow::Continue(()));
        assert_eq!(outcome.unwrap().how, How::ReadWrite);
        sink.shutdown(Shutdown::Write).unwrap();
        assert!(reading.join().unwrap() == bytes, "other bytes came out");
    });
    if usual != 64 << 10 || source.capacity().unwrap() == usual {
        tieline_testkit::skip!("pipes are not of the usual size, or this user may not have wider ones");
    }
    assert_eq!(source.capacity().unwrap(), 256 << 10);
}

/// Given a Unix socket in non-blocking mode, when a copy to it must not wait, then pages are moved and a full socket is
/// an answer, not a wait, and no byte is lost.
#[test]
fn to_a_non_blocking_socket_pages_move_even_if_nothing_may_wait() {
    let bytes = pattern(LONG);
    let (sink, far) = UnixStream::pair().unwrap();
    sink.set_nonblocking(true).unwrap();
    let (source, feed) = UnixStream::pair().unwrap();
    let file = file_with(&bytes);
    thread::scope(|scope| {
        scope.spawn(|| (&feed).write_all(&bytes).and_then(|()| feed.shutdown(Shutdown::Write)).unwrap());
        let mut copier = Copier::new(&source, &sink).unwrap();
        // Nobody reads yet: it is full in the end.
        while copier.blocked_on() != Some(Side::Sink) {
            match copier.try_step() {
                Err(error) if !error.is_would_block() => panic!("{error}"),
                _ => {}
            }
        }
        assert_eq!(copier.how(), How::SpliceThroughPipe);
        let reading = scope.spawn(|| read_with_large_buffer(&mut File::from(OwnedFd::from(far))));
        bounded_to_the_end(&mut copier);
        assert_eq!(copier.pending(), 0);
        let mut copier = Copier::new(&file, &sink).unwrap();
        bounded_to_the_end(&mut copier);
        assert_eq!(copier.how(), How::Sendfile);
        sink.shutdown(Shutdown::Write).unwrap();
        assert!(reading.join().unwrap() == [bytes.as_slice(), &bytes].concat(), "other bytes came out");
    });
}

fn bounded_to_the_end<S: AsFd, D: AsFd>(copier: &mut Copier<S, D>) {
    while copier.step_timeout(Duration::from_secs(60)).unwrap() != Step::Done {}
}

#[test]
fn files_to_and_from_everything() {
    let bytes = pattern(LONG);
    for (name, make) in streams() {
        let (writer, reader) = make();
        thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let bytes = copy(file_with(&bytes), &writer, None).unwrap().bytes;
                drop(writer);
                bytes
            });
            let mut file = file_with(b"");
            assert_eq!(copy(&reader, &file, None).unwrap().bytes, LONG as u64, "{name} to file");
            assert_eq!(sending.join().unwrap(), LONG as u64, "file to {name}");
            file.rewind().unwrap();
            let mut received = Vec::new();
            file.read_to_end(&mut received).unwrap();
            assert!(received == bytes, "{name}: other bytes came out");
        });
    }
}

#[test]
fn files_whose_contents_are_made_up_and_files_that_append_are_copied_the_plain_way() {
    let made_up = File::open("/proc/self/limits").unwrap();
    let mut file = file_with(b"");
    let outcome = copy(&made_up, &file, None).unwrap();
    assert_eq!(outcome.how, How::ReadWrite);
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert!(text.contains("Max open files") && text.len() as u64 == outcome.bytes);

    let named = tempfile::NamedTempFile::new().unwrap();
    let appending = File::options().append(true).open(named.path()).unwrap();
    let bytes = pattern(LONG);
    copy(file_with(&bytes), &appending, None).unwrap();
    let (writer, reader) = streams()[3].1();
    thread::scope(|scope| {
        scope.spawn(|| File::from(writer).write_all(&bytes).unwrap());
        assert_eq!(copy(&reader, &appending, None).unwrap().how, How::ReadWrite);
    });
    let written = std::fs::read(named.path()).unwrap();
    assert!(written == [&bytes[..], &bytes[..]].concat(), "taken into the pipe of our own and still delivered");
}

#[test]
fn packets_stay_packets_from_pipe_to_pipe() {
    let (source, feed) = packet_pipe().unwrap();
    let (out, sink) = pipe().unwrap();
    feed.write(b"one").unwrap();
    feed.write(b"three").unwrap();
    drop(feed);
    assert_eq!(copy(&source, &sink, None).unwrap().bytes, 8);
    assert_eq!((out.read(&mut [0; PIPE_BUF]).unwrap(), out.read(&mut [0; PIPE_BUF]).unwrap()), (3, 5));
}

#[test]
fn a_limit_is_kept_to_the_byte_and_the_rest_stays() {
    for (name, make) in streams() {
        let (writer, reader) = make();
        File::from(writer).write_all(b"onetwo").unwrap();
        let sink = file_with(b"");
        assert_eq!(copy(&reader, &sink, Some(3)).unwrap().bytes, 3, "{name}");
        // A packet that is read in part loses its rest, as said of packet pipes; splice moves it in parts.
        let mut rest = Vec::new();
        File::from(reader).read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"two", "{name}");
    }
    assert_eq!(copy(file_with(b"abc"), file_with(b""), Some(0)).unwrap().bytes, 0);
}

#[test]
fn steps_tell_progress_and_which_side_is_waited_for() {
    let (source, feed) = pipe().unwrap();
    let (out, sink) = pipe().unwrap();
    let mut copier = Copier::new(&source, &sink).unwrap();
    assert!(copier.try_step().unwrap_err().is_would_block());
    assert_eq!(copier.blocked_on(), Some(Side::Source));
    assert!(copier.step_timeout(SOON).unwrap_err().is_timeout());
    feed.write_all(b"four").unwrap();
    assert_eq!(copier.step().unwrap(), Step::Moved { accepted: 4, delivered: 4 });

    while sink.try_write(&[0; PIPE_BUF]).is_ok() {}
    feed.write_all(b"stuck").unwrap();
    assert!(copier.try_step().unwrap_err().is_would_block());
    assert_eq!((copier.blocked_on(), copier.accepted(), copier.pending()), (Some(Side::Sink), 4, 0));
    assert!(copier.step_timeout(SOON).unwrap_err().is_timeout());
    while out.try_read(&mut [0; 64 * 1024]).is_ok() {}
    drop(feed);
    assert_eq!(copier.step().unwrap(), Step::Moved { accepted: 5, delivered: 5 });
    assert_eq!(copier.step().unwrap(), Step::Done);
    assert_eq!(copier.step().unwrap(), Step::Done);
}

/// The peer of the sink never reads: what was taken from the source is kept, counted, handed out.
#[test]
fn a_sink_that_stalls_costs_the_deadline_and_no_byte() {
    for nonblocking in [false, true] {
        let (mut feed, source) = UnixStream::pair().unwrap();
        let (sink, mut stalled) = UnixStream::pair().unwrap();
        sink.set_nonblocking(nonblocking).unwrap();
        let bytes = pattern(LONG);
        thread::scope(|scope| {
            scope.spawn(|| {
                // Ends with an error when the relay is given up below.
                let _ = feed.write_all(&bytes);
                drop(feed);
            });
            let mut copier = Copier::new(&source, &sink).unwrap();
            let start = Instant::now();
            let error = loop {
                match copier.step_timeout(SOON) {
                    Ok(step) => assert!(matches!(step, Step::Moved { .. })),
                    // The feeder has not been let run in time.
                    Err(error) if error.is_timeout() && copier.blocked_on() == Some(Side::Source) => {}
                    Err(error) => break error,
                }
                assert!(start.elapsed() < PATIENCE, "the sink never stalls");
            };
            assert!(error.is_timeout(), "{error}");
            let (accepted, delivered) = (copier.accepted(), copier.delivered());
            assert_eq!(copier.blocked_on(), Some(Side::Sink));
            let pending = copier.take_pending().unwrap();
            assert_eq!(pending.len() as u64, accepted - delivered);
            assert_eq!(pending, &bytes[delivered as usize..accepted as usize]);
            source.shutdown(Shutdown::Both).unwrap();
            drop(sink);
            let mut received = Vec::new();
            stalled.read_to_end(&mut received).unwrap();
            assert!(received == bytes[..delivered as usize], "delivered is what the peer can read");
        });
    }
}

/// Deadlines interrupt, and the copy goes on where it ended, until every byte has arrived.
#[test]
fn time_outs_in_the_middle_lose_nothing() {
    let bytes = pattern(LONG);
    for (name, make) in streams() {
        let (mut feed, source) = UnixStream::pair().unwrap();
        let (sink, reader) = make();
        thread::scope(|scope| {
            scope.spawn(|| {
                feed.write_all(&bytes).unwrap();
                drop(feed);
            });
            let mut copier = Copier::new(&source, &sink).unwrap();
            let mut reader = File::from(reader);
            let mut received = Vec::new();
            let mut part = vec![0; 300_000];
            loop {
                match copier.step_timeout(Duration::from_millis(1)) {
                    Ok(Step::Done) => break,
                    Ok(_) => {}
                    Err(error) => {
                        assert!(error.is_timeout(), "{name}: {error}");
                        if copier.blocked_on() == Some(Side::Sink) {
                            let count = reader.read(&mut part).unwrap();
                            received.extend_from_slice(&part[..count]);
                        }
                    }
                }
            }
            drop(sink);
            reader.read_to_end(&mut received).unwrap();
            assert!(received == bytes, "{name}: other bytes came out");
        });
    }
}

#[test]
fn a_dead_sink_ends_the_copy_even_if_the_source_is_idle() {
    for (name, make) in streams() {
        let (feed, source) = idle_source();
        let (sink, reader) = make();
        thread::scope(|scope| {
            let copying = scope.spawn(move || copy(&source, &sink, None).unwrap_err());
            drop(reader);
            if name == "TCP socket" {
                // Closing half of a TCP connection is no death; it shows with the first bytes that are refused.
                eventually("the copy ends", || {
                    let _ = (&feed).write_all(b"x");
                    copying.is_finished()
                });
            }
            let error = copying.join().unwrap();
            assert_eq!(error.error().kind(), ErrorKind::PeerGone, "{name}: {error}");
        });
    }
}

/// A pipe to copy from, and a plain handle to feed it.
fn idle_source() -> (File, OwnedFd) {
    let (reader, writer) = pipe().unwrap();
    (File::from(OwnedFd::from(writer)), reader.into())
}

#[test]
fn a_sink_killed_in_the_middle_leaves_exact_counts_and_the_bytes_on_their_way() {
    if let Some(me) = role() {
        let mut part = [0; 100_000];
        std::io::stdin().read_exact(&mut part).unwrap();
        me.say("have some");
        // Never reads again.
        loop {
            thread::park();
        }
    }
    let bytes = pattern(LONG);
    let (mut feed, source) = UnixStream::pair().unwrap();
    let (sink, theirs) = UnixStream::pair().unwrap();
    let mut peer = Peer::of(test_name!()).role("reader").stdin(theirs.into()).spawn();
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = feed.write_all(&bytes);
        });
        let copying = scope.spawn(|| copy(&source, &sink, None).unwrap_err());
        peer.wait_for("have some");
        peer.kill();
        let error = copying.join().unwrap();
        assert_eq!(error.error().kind(), ErrorKind::PeerGone, "{error}");
        let (accepted, delivered) = (error.accepted() as usize, error.delivered() as usize);
        assert!(delivered >= 100_000 && accepted < LONG);
        assert!(error.undelivered() == &bytes[delivered..accepted]);
        source.shutdown(Shutdown::Both).unwrap();
    });
}

#[test]
fn a_stop_descriptor_ends_a_wait_and_a_flow() {
    let (stop, ask) = pipe().unwrap();
    let (feed, source) = idle_source();
    let (_out, sink) = pipe().unwrap();
    let mut copier = Copier::new(&source, &sink).unwrap().stop_on(&stop).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| copier.step().unwrap());
        ask.write_all(b"!").unwrap();
        assert_eq!(waiting.join().unwrap(), Step::Stopped);
    });
    assert_eq!(copier.step().unwrap(), Step::Stopped, "until the descriptor is read");
    stop.read(&mut [0; 1]).unwrap();
    (&feed).write_all(b"on").unwrap();
    assert_eq!(copier.step().unwrap(), Step::Moved { accepted: 2, delivered: 2 });

    // A device that always gives, and one that always takes: only the stop ends it.
    ask.write_all(b"!").unwrap();
    let (zero, null) = (File::open("/dev/zero").unwrap(), File::options().write(true).open("/dev/null").unwrap());
    let mut endless = Copier::new(&zero, &null).unwrap().stop_on(&stop).unwrap();
    assert_eq!(endless.run(|_| ControlFlow::Continue(())).unwrap().bytes, 0);
    let mut endless = Copier::new(&zero, &null).unwrap();
    let mut steps = 0;
    let outcome = endless.run(|copier| {
        steps += 1;
        assert_eq!(copier.pending(), 0);
        if steps == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(outcome.unwrap().bytes > 0 && steps == 5);
}

#[test]
fn what_cannot_be_copied_is_refused_before_a_byte_moves() {
    let (reader, writer) = pipe().unwrap();
    let (datagrams, _peer) = UnixDatagram::pair().unwrap();
    let directory = File::open("/").unwrap();
    let file = file_with(b"abc");
    for error in [
        copy(&reader, &writer, None).unwrap_err(),
        copy(&datagrams, &writer, None).unwrap_err(),
        copy(&reader, &datagrams, None).unwrap_err(),
        copy(&directory, &writer, None).unwrap_err(),
        copy(&file, file.try_clone().unwrap(), None).unwrap_err(),
    ] {
        assert_eq!((error.error().kind(), error.accepted()), (ErrorKind::InvalidInput, 0), "{error}");
    }
    // A side open in the wrong direction: the plain way tells, and what it took is handed back.
    let read_only = File::open("/dev/null").unwrap();
    writer.write_all(b"kept").unwrap();
    let error = copy(&reader, &read_only, None).unwrap_err();
    assert_eq!(error.error().errno(), Some(libc::EBADF));
    assert_eq!(error.into_undelivered(), b"kept");
}

#[test]
fn a_copy_leaves_no_descriptor_behind() {
    if role().is_none() {
        // Alone in a process, so that the count is ours.
        Peer::of(test_name!()).role("counter").spawn().succeeds();
        return;
    }
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let bytes = pattern(300_000);
    let before = count();
    for (_, source) in streams() {
        for (_, sink) in streams() {
            let (writer, reader) = source();
            let (to, from) = sink();
            thread::scope(|scope| {
                scope.spawn(|| File::from(writer).write_all(&bytes).unwrap());
                scope.spawn(|| std::io::copy(&mut File::from(from), &mut std::io::sink()).unwrap());
                bounded_any(&reader, &to);
                drop(to);
            });
        }
    }
    assert_eq!(count(), before);
}

fn bounded_any(from: impl AsFd, to: impl AsFd) {
    let mut copier = Copier::new(from, to).unwrap().deadline(Instant::now() + Duration::from_secs(60));
    copier.run(|_| ControlFlow::Continue(())).unwrap();
}

#[test]
fn the_calls_one_by_one() {
    let (first, first_in) = pipe().unwrap();
    let (second, second_in) = pipe().unwrap();
    assert!(try_tee(&first, &second_in, 9).unwrap_err().is_would_block());
    assert!(tee_timeout(&first, &second_in, 9, SOON).unwrap_err().is_timeout());
    assert!(try_splice(&first, None, &second_in, None, 9).unwrap_err().is_would_block());
    assert!(splice_timeout(&first, None, &second_in, None, 9, SOON).unwrap_err().is_timeout());
    first_in.write_all(b"abc").unwrap();
    assert_eq!(tee(&first, &second_in, 9).unwrap(), 3);
    assert_eq!(tee_timeout(&first, &second_in, 2, SOON).unwrap(), 2);
    assert_eq!((first.available().unwrap(), second.available().unwrap()), (3, 5));
    assert_eq!(splice_timeout(&first, None, &second_in, None, 9, SOON).unwrap(), 3);

    let file = file_with(b"0123456789");
    let mut offset = 4;
    assert_eq!(splice(&file, Some(&mut offset), &first_in, None, 3).unwrap(), 3);
    assert_eq!(sendfile(&first_in, &file, Some(&mut offset), 100).unwrap(), 3);
    assert_eq!((offset, first.available().unwrap()), (10, 6));
    let mut end = 10;
    assert_eq!(copy_file_range(&file, Some(&mut 0), &file, Some(&mut end), 5).unwrap(), 5);
    assert_eq!((end, file.metadata().unwrap().len()), (15, 15));
    let overlapping = copy_file_range(&file, Some(&mut 0), &file, Some(&mut 1), 5).unwrap_err();
    assert_eq!(overlapping.kind(), ErrorKind::InvalidInput);
}

#[test]
fn gifts_arrive_unchanged_and_lent_memory_may_be_unmapped() {
    let (reader, writer) = pipe().unwrap();
    let pages = Pages::new(17 * PIPE_BUF).unwrap();
    pages.fill(0, pages.len(), b'g').unwrap();
    let mut gift = pages.into_gift();
    assert_eq!(gift.try_give(&writer).unwrap(), 16 * PIPE_BUF);
    assert!(gift.try_give(&writer).unwrap_err().is_would_block());
    assert!(gift.give_timeout(&writer, SOON).unwrap_err().is_timeout());
    assert_eq!(gift.remaining(), PIPE_BUF);
    let mut buffer = vec![0; 16 * PIPE_BUF];
    (&reader).read_exact(&mut buffer).unwrap();
    gift.give(&writer).unwrap();
    assert_eq!((gift.remaining(), gift.try_give(&writer).unwrap()), (0, 0));
    drop(gift);
    (&reader).read_exact(&mut buffer[..PIPE_BUF]).unwrap();
    assert!(buffer.iter().all(|byte| *byte == b'g'));

    let pages = Pages::new(100).unwrap();
    pages.write(0, b"lent").unwrap();
    assert_eq!(vmsplice(&writer, &pages, 0..4).unwrap(), 4);
    assert_eq!(vmsplice(&writer, &pages, 99..101).unwrap_err().kind(), ErrorKind::InvalidInput);
    #[allow(clippy::reversed_empty_ranges, reason = "the caller's mistake under test")]
    let reversed = vmsplice(&writer, &pages, 3..2);
    assert_eq!(reversed.unwrap_err().kind(), ErrorKind::InvalidInput);
    drop(pages);
    assert_eq!(reader.read(&mut buffer).unwrap(), 4);
    assert_eq!(&buffer[..4], b"lent");
    assert_eq!(Pages::new(0).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(Pages::new(usize::MAX).unwrap_err().kind(), ErrorKind::InvalidInput);

    static WORDS: &[u8] = b"constant";
    assert_eq!(vmsplice_static(&writer, WORDS).unwrap(), 8);
    drop(reader);
    eventually("the reader is gone", || writer.is_peer_gone().unwrap());
    assert_eq!(vmsplice_static(&writer, WORDS).unwrap_err().kind(), ErrorKind::PeerGone);
}

/// Given a terminal that has hung up as the sink and a source that is silent, when a step has a deadline, then it sleeps
/// until then: the hang-up, which a poll shows without being asked, does not keep it running.
#[test]
fn a_hung_up_terminal_does_not_keep_a_copier_running() {
    use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let terminal = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
    drop(master);

    let (reader, _writer) = pipe().unwrap();
    let waiting = thread::spawn(move || {
        let mut copier = Copier::new(reader, terminal).unwrap();
        let before = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let answer = copier.step_timeout(Duration::from_millis(200));
        let after = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        (answer.unwrap_err().kind(), Duration::try_from(after - before).unwrap())
    });
    eventually("the step ends", || waiting.is_finished());
    let (kind, busy) = waiting.join().unwrap();
    assert_eq!(kind, ErrorKind::TimedOut);
    assert!(busy < Duration::from_millis(100), "it was busy for {busy:?} of 200 ms");
}

/// The null device takes and gives everything at once, so a copy need not go in small careful pieces.
#[test]
fn the_devices_of_memory_are_as_quick_as_files() {
    let (reader, writer) = pipe().unwrap();
    writer.try_write(&[7; 40_000]).unwrap();
    drop(writer);
    let (zero, null) = (File::open("/dev/zero").unwrap(), File::options().write(true).open("/dev/null").unwrap());
    let mut copier = Copier::new(&reader, &null).unwrap();
    assert!(matches!(copier.try_step().unwrap(), Step::Moved { accepted: 40_000, delivered: 40_000 }));
    assert_eq!(copier.how(), How::Splice);
    let mut copier = Copier::new(&zero, &null).unwrap().limit(1 << 20);
    while let Step::Moved { .. } = copier.try_step().unwrap() {}
    assert_eq!(copier.delivered(), 1 << 20);
}
