//! What processes have open.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use tieline_observe::model::{Access, Detail, Fill, How, Identity, Kind, LinkKind, Object, Unit};
use tieline_observe::{Scan, Snapshot};
use tieline_os::epoll::Epoll;
use tieline_os::eventfd::EventFd;
use tieline_os::memfd::{Memfd, Seals};
use tieline_os::pidfd::PidFd;
use tieline_os::poll::Interest;
use tieline_os::{fifo, pipe};
use tieline_testkit::{Isolation, Peer, alone, role, skip, test_name};

use super::{has_link, look, may_look_inside, object};

fn inode(fd: impl AsFd) -> u64 {
    rustix::fs::fstat(fd).unwrap().st_ino
}

fn file(fd: impl AsFd) -> Identity {
    let stat = rustix::fs::fstat(fd).unwrap();
    Identity::File { device: stat.st_dev, inode: stat.st_ino }
}

/// Each descriptor of an object: process, number, access.
fn descriptors(snapshot: &Snapshot, object: &Object) -> Vec<(u32, i32, Access)> {
    let holds = snapshot.holders(object.reference);
    let of = |how: &How| if let How::Descriptor { fd, access } = how { Some((*fd, *access)) } else { None };
    let pid = |process| snapshot.process(process).pid;
    let mut all: Vec<_> =
        holds.filter_map(|hold| of(&hold.how).map(|(fd, how)| (pid(hold.process), fd, how))).collect();
    all.sort_unstable();
    all
}

/// The object that a descriptor of this process was found to be.
fn mine(snapshot: &Snapshot, fd: impl AsRawFd) -> &Object {
    let me = snapshot.process_with_pid(std::process::id()).expect("it lives");
    let is_it = |how: &How| matches!(how, How::Descriptor { fd: number, .. } if *number == fd.as_raw_fd());
    let hold = snapshot.held_by(me.reference).find(|hold| is_it(&hold.how)).expect("it is open");
    snapshot.object(hold.object)
}

#[test]
fn a_pipe_between_processes_has_two_ends_and_a_fill() {
    if let Some(me) = role() {
        // The test's standard input, which is the pipe.
        me.say("ready");
        let mut all = Vec::new();
        std::io::stdin().read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 3000, "looking took nothing");
        return;
    }
    if alone(&test_name!()) == Isolation::Done {
        return;
    }
    let (reader, writer) = pipe::pipe().unwrap();
    let inode = inode(&writer);
    // Nobody reads it yet, so that its fill is known.
    writer.write_all(&[7; 3000]).unwrap();
    let snapshot = look();
    let told = object(&snapshot, Identity::Pipe { inode });
    assert_eq!((told.kind, told.name.as_ref()), (Kind::Pipe, None));
    // Usually 64 KiB; less for a user who has many pipes.
    let capacity = rustix::pipe::fcntl_getpipe_size(&reader).unwrap() as u64;
    let fill = Fill { used: 3000, capacity: Some(capacity), unit: Unit::Bytes };
    assert_eq!(told.fill, Some(fill));

    let (read_end, write_end) = (reader.as_fd().as_raw_fd(), writer.as_fd().as_raw_fd());
    let me = std::process::id();
    let mut both = [(me, read_end, Access::READ), (me, write_end, Access::WRITE)];
    both.sort_unstable();
    assert_eq!(descriptors(&snapshot, told), both);
    let mut peer = Peer::of(test_name!()).role("reader").stdin(reader.into()).spawn();
    peer.wait_for("ready");
    let snapshot = look();
    let told = object(&snapshot, Identity::Pipe { inode });
    let mut ends = [(me, write_end, Access::WRITE), (peer.id(), 0, Access::READ)];
    ends.sort_unstable();
    assert_eq!(descriptors(&snapshot, told), ends);

    // Without duplicating anything, the ends are told as well.
    let snapshot = Scan::new().fill(false).take().unwrap();
    let told = object(&snapshot, Identity::Pipe { inode });
    assert_eq!(told.fill, None);
    assert_eq!(descriptors(&snapshot, told), ends);
    drop(writer);
    peer.succeeds();
}

#[test]
fn looking_at_a_fifo_without_a_writer_makes_none() {
    if alone(&test_name!()) == Isolation::Done {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    fifo::create(&path, tieline_os::Mode::OWNER).unwrap();
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let reader = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(&path).unwrap();
    for _ in 0..3 {
        let snapshot = look();
        let told = object(&snapshot, file(&reader));
        assert_eq!((told.kind, told.fill.map(|fill| fill.used)), (Kind::Fifo, Some(0)));
        assert_eq!(descriptors(&snapshot, told), [(std::process::id(), reader.as_raw_fd(), Access::READ)]);
    }
    // Once there was a writer and has gone, a reader is told so for ever: POLLHUP.
    let mut fds = [rustix::event::PollFd::new(&reader, rustix::event::PollFlags::IN)];
    let soon = rustix::event::Timespec::default();
    assert_eq!(rustix::event::poll(&mut fds, Some(&soon)).unwrap(), 0, "{:?}", fds[0].revents());
}

#[test]
fn a_name_may_end_as_the_kernel_marks_removed_ones() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let path = folder.path().join(name);
        fifo::create(&path, tieline_os::Mode::OWNER).unwrap();
        (std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap(), path)
    };
    let (kept, kept_path) = open("kept (deleted)");
    let (removed, removed_path) = open("removed");
    let (both, both_path) = open("both\n (deleted)");
    std::fs::remove_file(&removed_path).unwrap();
    std::fs::remove_file(&both_path).unwrap();
    let snapshot = look();
    for (file_of, path) in [(&kept, kept_path), (&removed, removed_path), (&both, both_path)] {
        let told = object(&snapshot, file(file_of)).name.as_ref().expect("a FIFO has a name");
        assert_eq!(told.as_bytes(), path.as_os_str().as_encoded_bytes());
    }
}

#[test]
fn an_epoll_set_is_one_object_in_all_processes_and_tells_what_it_watches() {
    if let Some(me) = role() {
        me.say("here");
        // Standard input is the set: the parent ends this process.
        tieline_testkit::pause(tieline_testkit::PATIENCE);
        return;
    }
    if alone(&test_name!()) == Isolation::Done {
        return;
    }
    let epoll = Epoll::new().unwrap();
    let (reader, _writer) = pipe::pipe().unwrap();
    let counter = EventFd::new(5).unwrap();
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    epoll.add(&reader, 1, Interest::READABLE).unwrap();
    epoll.add(&counter, 2, Interest::READABLE).unwrap();
    epoll.add(&socket, 3, Interest::READABLE).unwrap();
    let lonely = Epoll::new().unwrap();
    let twin: OwnedFd = lonely.as_fd().try_clone_to_owned().unwrap();
    let mut peer = Peer::of(test_name!()).role("heir").stdin(epoll.as_fd().try_clone_to_owned().unwrap()).spawn();
    peer.wait_for("here");
    let snapshot = look();
    let set = mine(&snapshot, epoll.as_fd());
    assert_eq!(set.kind, Kind::Epoll);
    let Detail::Epoll(detail) = &set.detail else { panic!("{set:?}") };
    assert_eq!(detail.watched.len(), 3);
    for (watched, kind) in [
        (mine(&snapshot, reader.as_fd()), Kind::Pipe),
        (mine(&snapshot, counter.as_fd()), Kind::EventFd),
        (mine(&snapshot, socket.as_fd()), Kind::UnixStream),
    ] {
        assert_eq!(watched.kind, kind);
        assert!(has_link(&snapshot, set, watched, LinkKind::Watches), "{kind}");
    }
    let told = mine(&snapshot, counter.as_fd());
    assert_eq!(told.fill.map(|fill| fill.used), Some(5));

    if tieline_os::description::compare((peer.id(), 0), (std::process::id(), 0)).is_err() {
        peer.kill();
        skip!("descriptors are not compared here");
    }
    let holders: Vec<u32> = descriptors(&snapshot, set).iter().map(|(pid, _, _)| *pid).collect();
    assert!(holders.contains(&peer.id()) && holders.contains(&std::process::id()), "{holders:?}");
    let alone = mine(&snapshot, lonely.as_fd());
    assert_ne!(alone.identity, set.identity);
    let numbers: Vec<i32> = descriptors(&snapshot, alone).iter().map(|(_, fd, _)| *fd).collect();
    assert_eq!(numbers, [lonely.as_fd().as_raw_fd(), twin.as_raw_fd()]);
    peer.kill();
}

#[test]
fn the_other_descriptors_tell_what_they_are_for() {
    if let Some(me) = role() {
        me.say("here");
        // Standard input is the memory: the parent ends this process.
        tieline_testkit::pause(tieline_testkit::PATIENCE);
        return;
    }
    if !may_look_inside() {
        skip!("we may not look into other processes here");
    }
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let process = PidFd::of_child(&child).unwrap();
    let memory = Memfd::fixed("frame (deleted)", 8192).unwrap();
    let timer = tieline_os::timerfd::TimerFd::new(tieline_os::timerfd::Clock::Monotonic).unwrap();
    let watch = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC).unwrap();
    rustix::fs::inotify::add_watch(&watch, "/", rustix::fs::inotify::WatchFlags::DELETE_SELF).unwrap();
    let netlink = rustix::net::socket(rustix::net::AddressFamily::NETLINK, rustix::net::SocketType::RAW, None).unwrap();
    // The seals of what we have open ourselves are not asked for.
    let identity = file(&memory);
    let mut peer = Peer::of(test_name!()).role("heir").stdin(memory.into()).spawn();
    peer.wait_for("here");
    let snapshot = look();
    peer.kill();

    let told = mine(&snapshot, process.as_fd());
    assert_eq!((told.kind, &told.detail), (Kind::PidFd, &Detail::PidFd { pid: Some(child.id()) }));
    let told = object(&snapshot, identity);
    assert_eq!(told.name.as_ref().map(ToString::to_string).as_deref(), Some("frame (deleted)"));
    let Detail::Memory(detail) = &told.detail else { panic!("{told:?}") };
    assert_eq!(detail.size_bytes, Some(8192));
    let seals = detail.seals.map(Seals::from_bits_retain).expect("they could be asked");
    assert!(seals.contains(Seals::SHRINK | Seals::GROW) && !seals.contains(Seals::WRITE), "{seals:?}");
    let told = mine(&snapshot, timer.as_fd());
    assert!(matches!(told.detail, Detail::TimerFd { clock: 1, remaining } if remaining.is_zero()), "{told:?}");
    let told = mine(&snapshot, watch.as_fd());
    assert_eq!((told.kind, &told.detail), (Kind::Inotify, &Detail::Inotify { watches: 1 }));
    let told = mine(&snapshot, netlink.as_fd());
    assert_eq!((told.kind, told.identity), (Kind::OtherSocket, Identity::Socket { inode: inode(&netlink) }));
    let Detail::Socket(detail) = &told.detail else { panic!("{told:?}") };
    assert_eq!(detail.protocol.as_bytes(), b"NETLINK");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn files_of_a_disk_are_no_communication() {
    let folder = tempfile::tempdir().unwrap();
    let plain = std::fs::File::create(folder.path().join("memfd:x")).unwrap();
    let mut text = std::fs::File::create(folder.path().join("pipe:[1]")).unwrap();
    text.write_all(b"text").unwrap();
    let snapshot = look();
    for fd in [plain.as_fd(), text.as_fd()] {
        assert!(snapshot.object_with(file(fd)).is_none());
    }
}

/// A descriptor that stays is seen, however many with lower numbers come and go meanwhile.
#[test]
fn what_stays_open_is_seen_while_others_come_and_go() {
    if alone(&test_name!()) == Isolation::Done {
        return;
    }
    const FAR: u64 = 900;
    if raise_limit() <= FAR {
        skip!("a process may not have so many descriptors here");
    }
    let (_reader, writer) = pipe::pipe().unwrap();
    let far = rustix::io::fcntl_dupfd_cloexec(&writer, FAR as i32).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let some: Vec<_> = (0..20).map(|_| pipe::pipe().unwrap()).collect();
                    drop(some);
                }
            });
        }
        let missed = (0..100).filter(|_| {
            let snapshot = look();
            let me = snapshot.process_with_pid(std::process::id()).expect("it lives");
            let is_far = |how: &How| matches!(how, How::Descriptor { fd, .. } if *fd == far.as_raw_fd());
            !snapshot.held_by(me.reference).any(|hold| is_far(&hold.how))
        });
        let missed = missed.count();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(missed, 0, "times that it was not seen");
    });
}

/// Lets this process have as many descriptors as it may, and says how many.
fn raise_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).expect("up to the hard limit");
    most.unwrap_or(u64::MAX)
}

#[test]
fn as_many_descriptors_as_a_process_may_have_are_all_seen() {
    const MANY: u64 = 200_000;
    if let Some(me) = role() {
        let most = raise_limit();
        let (reader, _writer) = pipe::pipe().unwrap();
        let mut copies = Vec::new();
        while (copies.len() as u64) < MANY.min(most) {
            // The limit counts those that were open before.
            let Ok(copy) = reader.as_fd().try_clone_to_owned() else { break };
            copies.push(copy);
        }
        // One is left for what the words to the parent may need.
        copies.pop();
        me.say(&format!("{} {}", inode(&reader), copies.len() + 1));
        me.wait_for("close");
        me.say("closing");
        drop(copies);
        me.say("closed");
        me.wait_for("end");
        return;
    }
    let mut peer = Peer::of(test_name!()).role("hoarder").spawn();
    let said = peer.hear();
    let (inode, count) = said.split_once(' ').unwrap();
    let (inode, count) = (inode.parse().unwrap(), count.parse::<usize>().unwrap());
    let ends = |snapshot: &Snapshot| {
        let told = object(snapshot, Identity::Pipe { inode });
        descriptors(snapshot, told).iter().filter(|(_, _, access)| *access == Access::READ).count()
    };
    let snapshot = look();
    assert_eq!(ends(&snapshot), count);
    let process = snapshot.process_with_pid(peer.id()).expect("it lives");
    assert!(process.descriptors.is_some_and(|all| all as usize > count));

    peer.say("close");
    peer.wait_for("closing");
    // It closes them while we look: any number may be seen, and some are left at the end.
    let closed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            peer.wait_for("closed");
            closed.store(true, Ordering::Release);
        });
        while !closed.load(Ordering::Acquire) {
            assert!(ends(&look()) <= count);
        }
    });
    assert_eq!(ends(&look()), 1);
}

/// Each duplicate tells the whole set, so that a few hundred of them would tell gigabytes: it is cut and said, for that
/// process alone.
#[test]
fn many_descriptors_of_a_great_epoll_set_are_cut_and_counted() {
    use tieline_observe::model::{UnseenWhat, UnseenWhy};
    let test = test_name!();
    if let Some(me) = role() {
        if raise_limit() < 2000 {
            me.say("too few");
            return;
        }
        let set = Epoll::new().unwrap();
        let (reader, _writer) = pipe::pipe().unwrap();
        // An entry is one of a number and an open file: the number can be used again, the entry stays with the file.
        for number in 100..1000 {
            let same = rustix::io::fcntl_dupfd_cloexec(&reader, number).unwrap();
            // One that was open already is passed over, to a number that comes again.
            if same.as_raw_fd() == number {
                set.add(&same, 1, Interest::READABLE).unwrap();
            }
        }
        let duplicates: Vec<OwnedFd> = (0..500).map(|_| set.as_fd().try_clone_to_owned().unwrap()).collect();
        me.say(&duplicates.len().to_string());
        me.wait_for("end");
        return;
    }
    let mut peer = Peer::of(&test).role("hoarder").spawn();
    match peer.hear().as_str() {
        "500" => {}
        few => skip!("a process may not have so many descriptors here: {few}"),
    }
    let snapshot = look();
    let cut =
        snapshot.unseen().iter().filter(|one| (one.what, one.why) == (UnseenWhat::Descriptors, UnseenWhy::TooMany));
    // Others may do the same on this machine.
    assert!(cut.map(|one| one.count).sum::<u64>() >= 1);
    let hoarder = snapshot.process_with_pid(peer.id()).expect("it lives");
    let kinds =
        |kind| snapshot.held_by(hoarder.reference).filter(|hold| snapshot.object(hold.object).kind == kind).count();
    let sets = kinds(Kind::Epoll);
    assert!((100..501).contains(&sets), "{sets} descriptors of the set were read");
    assert!(kinds(Kind::Pipe) >= 2, "what comes after it is seen");
    peer.say("end");
    peer.succeeds();
}
