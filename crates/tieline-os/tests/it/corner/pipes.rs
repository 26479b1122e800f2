//! Corner lines of pipes and FIFOs.

use std::fs::File;
use std::io::stdin;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use rustix::thread::{CapabilitySet, capabilities, gettid, set_capabilities};
use tempfile::TempDir;
use tieline_os::pipe::{PIPE_BUF, PipeReader, PipeWriter, packet_pipe, pipe};
use tieline_os::transfer::{Pages, splice, try_splice, try_tee, vmsplice};
use tieline_os::{ErrorKind, Mode, fifo};
use tieline_testkit::{Peer, eventually, role, sleeps, test_name};

const PAGE: usize = 4096;
const SOON: Duration = Duration::from_millis(20);

/// Given a pipe with every reader closed / when written / then EPIPE, as Rust programs ignore SIGPIPE; but a child
/// started by `Command` has the default disposition back and dies of SIGPIPE.
#[test]
fn line001_writing_without_a_reader_is_epipe_and_kills_a_child() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    // A child that another test starts at this moment may hold the reader until it execs.
    eventually("the reader is gone everywhere", || writer.is_peer_gone().unwrap());
    for error in [
        writer.write(b"x").unwrap_err(),
        writer.try_write(b"x").unwrap_err(),
        writer.write_timeout(b"x", SOON).unwrap_err(),
        writer.write_all(b"x").unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.errno()), (ErrorKind::PeerGone, Some(libc::EPIPE)));
    }

    let (reader, writer) = pipe().unwrap();
    let mut child =
        Command::new("sh").args(["-c", "while :; do echo line; done"]).stdout(writer).spawn().expect("a shell");
    reader.read(&mut [0; 4]).unwrap();
    drop(reader);
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGPIPE));
}

/// Given 16 pages of a pipe in use with 100 bytes of slack in the last / when 4096 bytes are written without waiting /
/// then it would block, and nothing is written.
#[test]
fn line002_slack_in_the_last_page_does_not_take_a_whole_write() {
    let (_reader, writer) = pipe_with_slack();
    assert!(writer.try_write(&[1; PAGE]).unwrap_err().is_would_block());
    assert_eq!(writer.unread().unwrap(), 16 * PAGE - 100);
}

/// Given the same / when 8192 bytes are written without waiting / then also nothing: room is counted in page slots. (A
/// few bytes do fit, because they are merged into the last page.)
#[test]
fn line003_slack_in_the_last_page_does_not_take_a_part_either() {
    let (_reader, writer) = pipe_with_slack();
    assert!(writer.try_write(&[1; 2 * PAGE]).unwrap_err().is_would_block());
    assert_eq!(writer.unread().unwrap(), 16 * PAGE - 100);
    assert_eq!(writer.try_write(&[1; 100]).unwrap(), 100);
}

fn pipe_with_slack() -> (PipeReader, PipeWriter) {
    let (reader, writer) = pipe().unwrap();
    assert_eq!(writer.try_write(&[0; 16 * PAGE - 100]).unwrap(), 16 * PAGE - 100);
    (reader, writer)
}

/// Given two writers / when both write `PIPE_BUF` bytes at a time / then no write is mixed with another's; when one writes
/// more at once / then another's byte can land in the middle.
#[test]
fn line004_writes_up_to_pipe_buf_are_never_mixed_and_longer_ones_may_be() {
    const ROUNDS: usize = 2000;
    let (reader, writer) = pipe().unwrap();
    thread::scope(|scope| {
        for byte in [b'a', b'b'] {
            let writer = writer.try_clone().unwrap();
            scope.spawn(move || (0..ROUNDS).for_each(|_| writer.write_all(&[byte; PIPE_BUF]).unwrap()));
        }
        let mut block = [0; PIPE_BUF];
        for _ in 0..2 * ROUNDS {
            read_exactly(&reader, &mut block);
            assert!(block.iter().all(|byte| *byte == block[0]), "two writers' bytes in one block");
        }
    });

    // The long write waits for room in its middle; whoever comes first after a read has the room.
    const LONG: usize = 64 << 20;
    thread::scope(|scope| {
        let long = writer.try_clone().unwrap();
        scope.spawn(move || long.write_all(&vec![b'a'; LONG]).unwrap());
        let mut buffer = vec![0; 16 * PAGE];
        let (mut read, mut slipped_in, mut mixed) = (0, false, false);
        while read < LONG + usize::from(slipped_in) {
            let count = reader.read(&mut buffer).unwrap();
            mixed |= buffer[..count].contains(&b'b') && read > 0 && read + count < LONG;
            read += count;
            if !slipped_in && read < LONG / 2 {
                slipped_in = writer.try_write(b"b").is_ok();
            }
        }
        assert!(slipped_in && mixed, "no byte got into the middle of 64 MiB");
    });
}

/// Given a blocking write of more than fits / when a signal comes after some bytes were taken / then a short count, not
/// EINTR; when one comes before any byte was taken / then the write goes on.
#[test]
fn line005_a_signal_in_the_middle_of_a_long_write_gives_a_short_count() {
    if role().is_some() {
        // Standard input is the writing end here: the one descriptor a peer can be given.
        let writer = PipeWriter::from_fd(stdin().as_fd().try_clone_to_owned().unwrap()).unwrap();
        let me = role().unwrap();
        let taken = writer.write(&[1; 40 * PAGE]).unwrap();
        me.say(&taken.to_string());
        let taken = writer.write(&[2; PAGE]).unwrap();
        me.say(&taken.to_string());
        return;
    }
    let (reader, writer) = pipe().unwrap();
    let mut peer = Peer::of(test_name!()).role("writer").stdin(writer.try_clone().unwrap().into()).spawn();
    // Stopping and continuing interrupts the call as a handler would, and needs none.
    let interrupt = |peer: &Peer| {
        peer.sleeps();
        // Not before it has stopped, because a continue takes back a stop that is still on its way.
        peer.stop();
        peer.signal(Signal::CONT);
    };
    eventually("the pipe is full", || writer.unread().unwrap() == 16 * PAGE);
    interrupt(&peer);
    assert_eq!(peer.hear(), (16 * PAGE).to_string());
    interrupt(&peer);
    interrupt(&peer);
    read_exactly(&reader, &mut [0; 16 * PAGE]);
    assert_eq!(peer.hear(), PAGE.to_string());
    peer.succeeds();
}

/// Given a plain pipe / when single bytes are written / then 65536 fit; given packet mode / then 16 packets fill it.
#[test]
fn line006_bytes_are_merged_into_pages_and_packets_are_not() {
    let (_reader, writer) = pipe().unwrap();
    for _ in 0..16 * PAGE {
        assert_eq!(writer.try_write(b"x").unwrap(), 1);
    }
    assert!(writer.try_write(b"x").unwrap_err().is_would_block());

    let (_reader, writer) = packet_pipe().unwrap();
    for _ in 0..16 {
        assert_eq!(writer.try_write(b"x").unwrap(), 1);
    }
    assert!(writer.try_write(b"x").unwrap_err().is_would_block());
}

/// Given a packet pipe / when a packet is read with a short buffer / then its rest is lost and the next read gets the
/// next packet.
#[test]
fn line007_a_short_read_loses_the_rest_of_a_packet() {
    let (reader, writer) = packet_pipe().unwrap();
    writer.write(b"first").unwrap();
    writer.write(b"second").unwrap();
    let mut buffer = [0; 3];
    assert_eq!((reader.read(&mut buffer).unwrap(), &buffer), (3, b"fir"));
    assert_eq!((reader.read(&mut buffer).unwrap(), &buffer), (3, b"sec"));
    assert!(reader.try_read(&mut buffer).unwrap_err().is_would_block());
}

/// Given a capacity of 5000 asked for / then 8192; of less than the data / then EBUSY; of more than pipe-max-size
/// without privilege / then EPERM.
#[test]
fn line008_capacity_is_rounded_up_and_refused_with_a_reason() {
    let (reader, writer) = pipe().unwrap();
    assert_eq!(reader.set_capacity(5000).unwrap(), 8192);
    assert_eq!(writer.capacity().unwrap(), 8192);
    writer.write_all(&[0; 8192]).unwrap();
    let error = writer.set_capacity(PAGE).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Busy, Some(libc::EBUSY)));

    let max: usize = limit("pipe-max-size");
    let error = without_privilege(move || pipe().unwrap().1.set_capacity(max + 1).unwrap_err());
    assert_eq!((error.kind(), error.errno()), (ErrorKind::PermissionDenied, Some(libc::EPERM)));
    assert!(error.to_string().contains("pipe-max-size"), "{error}");
}

/// Given that one user's pipes hold more pages than pipe-user-pages-soft / when that user makes a pipe without
/// privilege / then it has one or two pages.
#[test]
fn line009_over_the_users_share_a_new_pipe_is_tiny() {
    if !rustix::process::geteuid().is_root() {
        tieline_testkit::skip!(
            "it takes the pipe pages of the user away from every other test; root's have the privilege"
        );
    }
    let (soft, max) = (limit("pipe-user-pages-soft"), limit("pipe-max-size"));
    if soft == 0 || soft * PAGE / max > 400 {
        tieline_testkit::skip!("this machine's pipe-user-pages-soft of {soft} is none or too many");
    }
    let mut hoard = Vec::new();
    for _ in 0..=soft * PAGE / max {
        let ends = pipe().unwrap();
        match ends.0.set_capacity(max) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                tieline_testkit::skip!("root has not the privilege here to go beyond the limit: {error}")
            }
            wide => assert!(wide.unwrap() >= max),
        }
        hoard.push(ends);
    }
    let tiny = without_privilege(|| pipe().unwrap().0.capacity().unwrap());
    assert!((PAGE..=2 * PAGE).contains(&tiny), "{tiny} bytes");
    drop(hoard);
}

/// Given a FIFO without a reader / when it is opened for writing without waiting / then ENXIO; plainly / then it waits
/// for the other side; likewise a reader for a writer.
#[test]
fn line010_a_fifo_without_a_peer_is_enxio_or_waits() {
    let (_directory, path) = new_fifo();
    let error = fifo::try_open_writer(&path).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::NoReader, Some(libc::ENXIO)));

    let (writer, reader) = waits_for_the_other(&path, |path| fifo::open_writer(path), |path| fifo::open_reader(path));
    drop((writer, reader));
    let (reader, writer) = waits_for_the_other(&path, |path| fifo::open_reader(path), |path| fifo::open_writer(path));
    writer.write_all(b"x").unwrap();
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 1);
}

/// Opens one side in a thread, sees it wait, opens the other, and returns both.
fn waits_for_the_other<A: Send, B>(
    path: &PathBuf,
    first: impl FnOnce(&PathBuf) -> tieline_os::Result<A> + Send,
    second: impl FnOnce(&PathBuf) -> tieline_os::Result<B>,
) -> (A, B) {
    thread::scope(|scope| {
        let (say, hear) = channel();
        let waiting = scope.spawn(move || {
            say.send(tid()).unwrap();
            first(path).unwrap()
        });
        let waiter = hear.recv().unwrap();
        eventually("the first side waits", || sleeps(waiter));
        let second = second(path).unwrap();
        (waiting.join().unwrap(), second)
    })
}

/// Given a FIFO opened for reading, without waiting, before any writer / then a read answers 0 and poll shows nothing;
/// with a writer that is idle / then a read would block; with the writer gone / then poll shows a hang-up.
#[test]
fn line011_a_reader_before_any_writer_sees_no_hangup() {
    let (_directory, path) = new_fifo();
    let reader = fifo::try_open_reader(&path).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(reader.try_read(&mut buffer).unwrap(), 0);
    assert_eq!(reader.read(&mut buffer).unwrap(), 0);
    assert_eq!(shows(&reader), PollFlags::empty());
    assert!(!reader.is_peer_gone().unwrap());

    let writer = fifo::try_open_writer(&path).unwrap();
    assert!(reader.try_read(&mut buffer).unwrap_err().is_would_block());
    assert!(reader.read_timeout(&mut buffer, SOON).unwrap_err().is_timeout());
    assert_eq!(shows(&reader), PollFlags::empty());

    drop(writer);
    eventually("the writer is gone", || shows(&reader) == PollFlags::HUP);
    assert!(reader.is_peer_gone().unwrap());
    assert_eq!(reader.try_read(&mut buffer).unwrap(), 0);
}

/// Given a FIFO opened for both / then the open does not wait, and the reader never sees the end however many writers
/// come and go.
#[test]
fn line012_a_fifo_opened_for_both_never_ends() {
    let (_directory, path) = new_fifo();
    let (reader, keep) = fifo::open_both(&path).unwrap();
    let mut buffer = [0; 8];
    for _ in 0..3 {
        let client = fifo::try_open_writer(&path).unwrap();
        client.write_all(b"x").unwrap();
        drop(client);
        assert_eq!(reader.read(&mut buffer).unwrap(), 1);
        assert!(reader.try_read(&mut buffer).unwrap_err().is_would_block());
        assert!(!reader.is_peer_gone().unwrap());
    }
    // The two share one description, which still counts as a writer.
    drop(keep);
    assert!(reader.try_read(&mut buffer).unwrap_err().is_would_block());
}

/// Given a child that holds the writing end too / when the parent closes its own / then no end of file until the child
/// is gone.
#[test]
fn line013_a_childs_copy_of_the_writer_holds_back_the_end() {
    let (reader, writer) = pipe().unwrap();
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(writer.try_clone().unwrap()).spawn().expect("cat");
    drop(writer);
    let mut buffer = [0; 8];
    assert!(reader.read_timeout(&mut buffer, SOON).unwrap_err().is_timeout());
    assert!(!reader.is_peer_gone().unwrap());
    child.kill().unwrap();
    assert_eq!(reader.read(&mut buffer).unwrap(), 0);
    child.wait().unwrap();
}

/// Given two sides that write to each other before they read / when both pipes are full / then both wait, until a
/// third reads; with deadlines both are told instead.
#[test]
fn line014_both_sides_writing_into_full_pipes_deadlock() {
    let (there, back) = (pipe().unwrap(), pipe().unwrap());
    let request = vec![0; 17 * PAGE];
    thread::scope(|scope| {
        let mut waiters = Vec::new();
        for writer in [&there.1, &back.1] {
            let (say, hear) = channel();
            let request = &request;
            scope.spawn(move || {
                say.send(tid()).unwrap();
                writer.write_all(request).unwrap();
            });
            waiters.push(hear.recv().unwrap());
        }
        let stuck = || {
            let full = [&there, &back].iter().all(|pipe| pipe.0.available().unwrap() == 16 * PAGE);
            full && waiters.iter().all(|tid| sleeps(*tid))
        };
        eventually("both sides wait for each other", stuck);
        for reader in [&there.0, &back.0] {
            read_exactly(reader, &mut vec![0; request.len()]);
        }
    });

    for writer in [&there.1, &back.1] {
        assert_eq!(writer.write_timeout(&request, SOON).unwrap(), 16 * PAGE);
        assert!(writer.write_timeout(&request, SOON).unwrap_err().is_timeout());
    }
}

/// Given memory put into a pipe by vmsplice / when it is changed before the reader reads / then the reader sees the
/// change. (That `SPLICE_F_GIFT` does not prevent it is tested beside the call; this crate's gifts cannot be changed.)
#[test]
fn line015_a_lent_page_changed_before_the_read_reads_changed() {
    let (reader, writer) = pipe().unwrap();
    let memory = Pages::new(PAGE).unwrap();
    memory.fill(0, PAGE, b'a').unwrap();
    assert_eq!(vmsplice(&writer, &memory, 0..PAGE).unwrap(), PAGE);
    memory.fill(0, PAGE / 2, b'b').unwrap();
    let mut seen = [0; PAGE];
    read_exactly(&reader, &mut seen);
    assert_eq!((seen[0], seen[PAGE - 1]), (b'b', b'a'));
}

/// Given splice or tee with the same pipe on both sides / then EINVAL; given splice to a file opened for appending /
/// then EINVAL.
#[test]
fn line016_the_same_pipe_twice_and_an_appending_sink_are_refused() {
    let (reader, writer) = pipe().unwrap();
    writer.write_all(b"bytes").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let appending = File::options().append(true).open(file.path()).unwrap();
    for error in [
        try_splice(&reader, None, &writer, None, 5).unwrap_err(),
        splice(&reader, None, &writer, None, 5).unwrap_err(),
        try_tee(&reader, &writer, 5).unwrap_err(),
        splice(&reader, None, &appending, None, 5).unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.errno()), (ErrorKind::InvalidInput, Some(libc::EINVAL)));
    }
    assert_eq!(reader.available().unwrap(), 5, "nothing was lost");
}

fn new_fifo() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    fifo::create(&path, Mode::OWNER).unwrap();
    (directory, path)
}

fn read_exactly(reader: &PipeReader, buffer: &mut [u8]) {
    std::io::Read::read_exact(&mut &*reader, buffer).unwrap();
}

/// What poll shows of it now, asked for readability.
fn shows(fd: impl AsFd) -> PollFlags {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
    fds[0].revents()
}

fn tid() -> u32 {
    gettid().as_raw_nonzero().get().cast_unsigned()
}

fn limit(name: &str) -> usize {
    let text = std::fs::read_to_string(format!("/proc/sys/fs/{name}")).unwrap();
    text.trim().parse().unwrap()
}

/// Runs `action` in a thread of its own that has given up the right to exceed limits.
fn without_privilege<T: Send>(action: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let unprivileged = scope.spawn(|| {
            let mut sets = capabilities(None).unwrap();
            sets.effective -= CapabilitySet::SYS_RESOURCE | CapabilitySet::SYS_ADMIN;
            set_capabilities(None, sets).unwrap();
            action()
        });
        unprivileged.join().unwrap()
    })
}
