//! Peers that flood, stay silent or lie.

use std::io::IoSlice;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use tieline_os::unix::{Address, SendOptions, SeqPacket, SeqPacketListener};
use tieline_testkit::{data, eventually};

use super::actor::{Actor, TIMEOUT, directory, is_connected, is_disconnected, is_received, name_in, offer};
use crate::error::ErrorKind;
use crate::rendezvous::host::HELLO_PATIENCE;
use crate::rendezvous::wire::{Again, Hello, Introduction, Message, Reason, Refusal, Welcome};
use crate::rendezvous::{Access, Allowed, Role, open};
use crate::segment::Kind;

fn hello(role: Role) -> Hello {
    let kind = if role.shares() { Kind::Queue } else { Kind::Log };
    Hello { kind: kind as u32, role, layout_hash: 7, layout_text: "text".to_owned(), again: None }
}

fn stranger(directory: &Path, name: &str) -> SeqPacket {
    SeqPacket::connect(&Address::path(directory.join(format!("{name}.sock"))).unwrap()).unwrap()
}

/// What the host answers, if it answers before it closes the line.
fn answer(connection: &SeqPacket) -> Option<Message> {
    let mut buffer = vec![0; 64 * 1024];
    match connection.recv_timeout(&mut buffer, TIMEOUT) {
        Ok(Some(packet)) => Some(Message::decode(&buffer[..packet.len]).expect("hosts speak clearly")),
        Ok(None) => None,
        Err(error) if error.is_peer_dead() => None,
        Err(error) => panic!("the host neither answers nor closes: {error}"),
    }
}

#[test]
fn every_byte_of_a_hello_may_lie() {
    let directory = directory();
    let host = Actor::create(&name_in(directory.path(), "liar"), Role::Producer);
    let again = Again { object: 1, id: 2, linked: vec![3, 4] };
    let honest = Message::Hello(Hello { again: Some(again), ..hello(Role::Consumer) }).encode();
    for place in 0..honest.len() {
        for bits in [1, 0x80, 0xff] {
            let mut lie = honest.clone();
            lie[place] ^= bits;
            let connection = stranger(directory.path(), "liar");
            connection.send(&lie).unwrap();
            let heard = answer(&connection);
            assert!(!matches!(heard, Some(Message::Welcome(_))), "byte {place} ^ {bits}: {heard:?}");
        }
    }
    for len in 1..honest.len() {
        let connection = stranger(directory.path(), "liar");
        connection.send(&honest[..len]).unwrap();
        assert!(matches!(answer(&connection), Some(Message::Refusal(_)) | None), "cut to {len}");
    }
    for seed in 0..200_usize {
        let connection = stranger(directory.path(), "liar");
        connection.send(&data(1 + seed * 37 % 4000)).unwrap();
        let _ = answer(&connection);
    }
    assert_eq!(host.diary.all(), [], "nobody was introduced");
    assert!(open(&name_in(directory.path(), "liar"), offer(Role::Consumer), TIMEOUT).is_ok());
}

#[test]
fn a_member_of_another_object_is_told_that_its_name_is_anothers() {
    let directory = directory();
    let _host = Actor::create(&name_in(directory.path(), "stale"), Role::Producer);
    let connection = stranger(directory.path(), "stale");
    let again = Again { object: 1, id: 2, linked: vec![] };
    connection.send(&Message::Hello(Hello { again: Some(again), ..hello(Role::Consumer) }).encode()).unwrap();
    let Some(Message::Refusal(refusal)) = answer(&connection) else { panic!("refused") };
    assert_eq!(refusal.reason, Reason::Stale);
}

/// What the host begins to watch for who is refused in the end, it does not watch for ever.
#[test]
fn who_says_that_it_is_the_host_costs_nothing() {
    let directory = directory();
    let host = Actor::create(&name_in(directory.path(), "doubled"), Role::Producer);
    let station = &host.membership.station;
    let before = station.keeper.watched(station);
    let again = Again { object: station.about.object, id: host.membership.id().0, linked: vec![] };
    let bytes = Message::Hello(Hello { again: Some(again), ..hello(Role::Consumer) }).encode();
    for _ in 0..50 {
        let connection = stranger(directory.path(), "doubled");
        connection.send(&bytes).unwrap();
        let Some(Message::Refusal(refusal)) = answer(&connection) else { panic!("refused") };
        assert_eq!(refusal.reason, Reason::Protocol);
    }
    eventually("nothing of it is left", || station.keeper.watched(station) == before);
}

#[test]
fn descriptors_that_nobody_asked_for_are_not_kept() {
    if let Some(me) = tieline_testkit::role() {
        let directory = me.env("DIRECTORY");
        let name = name_in(Path::new(&directory), "fds");
        let host = Actor::create(&name, Role::Producer);
        let guest = Actor::open(&name, Role::Consumer);
        host.diary.wait("connected", 1, is_connected);
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = count();
        let file = std::fs::File::open("/dev/null").unwrap();
        let fds = [file.as_fd(); 8];
        for _ in 0..20 {
            let connection = stranger(Path::new(&directory), "fds");
            let bytes = Message::Hello(hello(Role::Consumer)).encode();
            // Either the kernel refuses to send them (SO_PASSRIGHTS off), or they are dropped on arrival.
            let _ = connection.send_with(&[IoSlice::new(&bytes)], SendOptions::new().fds(&fds));
            drop(connection);
        }
        // On a line, the channel gets those that one message may carry, and drops what it does not want.
        host.diary.links()[0].send(b"fds", &fds).unwrap();
        guest.diary.wait("received", 1, is_received);
        drop(file);
        // Fewer, if the host had not yet closed its copy of a line when they were counted.
        eventually("all are closed", || count() <= before);
        me.say("done");
        return;
    }
    let directory = directory();
    let path = directory.path().to_str().unwrap();
    let mut peer = tieline_testkit::Peer::of(tieline_testkit::test_name!()).role("host").env("DIRECTORY", path).spawn();
    peer.wait_for("done");
    peer.succeeds();
}

#[test]
fn a_flood_of_silent_strangers_keeps_nobody_out() {
    if !tieline_testkit::room_for_descriptors(900) {
        tieline_testkit::skip!("needs more descriptors than this machine lets a process have");
    }
    let directory = directory();
    let name = name_in(directory.path(), "flood");
    let host = Actor::create(&name, Role::Producer);
    let flooded = Instant::now();
    let silent: Vec<_> = (0..400).map(|_| stranger(directory.path(), "flood")).collect();
    let guest = Actor::open(&name, Role::Consumer);
    host.diary.wait("connected", 1, is_connected);
    // All but the sixteen youngest of this user were dropped at once, and those are when their time is over.
    let closed = || {
        silent.iter().filter(|line| matches!(line.try_recv(&mut [0; 8]), Ok(None) | Err(_)) && !is_open(line)).count()
    };
    eventually("most are dropped", || closed() >= 400 - 16);
    // Not because their time was over, at least where the machine is fast enough to tell.
    let all = closed() == 400;
    assert!(!all || flooded.elapsed() >= HELLO_PATIENCE, "the youngest have their time");
    eventually("the rest is dropped", || closed() == 400);
    drop((guest, host));
}

/// A sharer that does not read is given witnesses no longer than its line and a little more have room for.
#[test]
fn a_sharer_that_does_not_read_costs_a_bounded_number_of_descriptors() {
    if let Some(me) = tieline_testkit::role() {
        let directory = me.env("DIRECTORY");
        let name = name_in(Path::new(&directory), "deaf");
        let _host = Actor::create(&name, Role::Sharer);
        let deaf = stranger(Path::new(&directory), "deaf");
        deaf.send(&Message::Hello(hello(Role::Sharer)).encode()).unwrap();
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = count();
        for _ in 0..1000 {
            drop(tieline_testkit::until("it joins", || open(&name, offer(Role::Sharer), TIMEOUT).ok()));
        }
        eventually("its line is closed", || {
            let mut buffer = vec![0; 64 * 1024];
            while matches!(deaf.try_recv(&mut buffer), Ok(Some(_))) {}
            !is_open(&deaf)
        });
        assert!(count() < before + 50, "{before} -> {}", count());
        me.say("done");
        return;
    }
    let directory = directory();
    let path = directory.path().to_str().unwrap();
    let mut peer = tieline_testkit::Peer::of(tieline_testkit::test_name!()).role("host").env("DIRECTORY", path).spawn();
    peer.wait_for("done");
    peer.succeeds();
}

fn is_open(line: &SeqPacket) -> bool {
    matches!(line.try_recv(&mut [0; 8]), Err(error) if error.is_would_block())
}

#[test]
fn a_member_that_talks_to_the_host_is_dropped_and_nobody_else() {
    let directory = directory();
    let name = name_in(directory.path(), "talker");
    let host = Actor::create(&name, Role::Producer);
    let other = Actor::open(&name, Role::Consumer);
    let connection = stranger(directory.path(), "talker");
    connection.send(&Message::Hello(hello(Role::Consumer)).encode()).unwrap();
    assert!(matches!(answer(&connection), Some(Message::Welcome(_))));
    assert!(matches!(answer(&connection), Some(Message::Introduction(_))));
    host.diary.wait("both", 2, is_connected);
    connection.send(b"more").unwrap();
    eventually("the line is closed", || !is_open(&connection));
    assert_eq!(other.diary.count(is_disconnected), 0);
}

#[test]
fn a_message_against_the_rules_ends_that_line_alone() {
    let directory = directory();
    let name = name_in(directory.path(), "rules");
    let host = Actor::create(&name, Role::Producer);
    let other = Actor::open(&name, Role::Consumer);
    let guest = Actor::open(&name, Role::Consumer);
    host.diary.wait("both", 2, is_connected);
    let link = guest.diary.links().remove(0);
    assert_eq!(link.send(&[0; 4097], &[]).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(link.send(&[], &[]).unwrap_err().kind(), ErrorKind::InvalidInput);
    // Past our own check, as a foreign program would.
    link.socket().send(&[0; 4097]).unwrap();
    host.diary.wait("disconnected", 1, is_disconnected);
    guest.diary.wait("disconnected", 1, is_disconnected);
    assert_eq!(other.diary.count(is_disconnected), 0);
}

/// A program in the place of the host that answers as it likes.
#[test]
fn a_host_that_lies_is_an_error_for_the_joiner() {
    let directory = directory();
    let name = name_in(directory.path(), "false");
    let listener = SeqPacketListener::bind(&Address::path(directory.path().join("false.sock")).unwrap()).unwrap();
    std::fs::write(directory.path().join("false.lock"), b"").unwrap();
    let me = rustix::process::geteuid().as_raw();
    let good = Welcome {
        id: 5,
        object: 6,
        owner: me,
        peers_max: 8,
        layout_hash: 7,
        introductions: 1,
        has_core: false,
        has_roll: false,
        number: None,
        access: Access::owner().subscribe(Allowed::Group(4)),
        config: vec![1, 2, 3],
    };
    let file = std::fs::File::open("/dev/null").unwrap();
    let introduction = Message::Introduction(Introduction { id: 9, uid: me, gid: 0, pid: 1 }).encode();
    let welcome = |change: &dyn Fn(&mut Welcome)| {
        let mut welcome = good.clone();
        change(&mut welcome);
        Message::Welcome(welcome).encode()
    };
    let text = Refusal { reason: Reason::Access, text: "x\u{1b}[31m".to_owned() };
    let honest = welcome(&|_| {});
    let mut lies: Vec<(Vec<Vec<u8>>, usize)> = vec![
        (vec![Message::Refusal(text).encode()], 0),
        (vec![Message::Hello(hello(Role::Producer)).encode()], 0),
        (vec![introduction.clone()], 1),
        (vec![honest.clone(), honest.clone()], 0),
        (vec![honest.clone(), introduction.clone()], 0),
        (vec![honest.clone(), introduction.clone()], 1),
        (vec![honest.clone()], 8),
        (vec![welcome(&|welcome| welcome.introductions = u32::MAX)], 0),
        (vec![welcome(&|welcome| welcome.peers_max = 0)], 0),
        (vec![welcome(&|welcome| welcome.has_core = true)], 0),
        (vec![welcome(&|welcome| welcome.has_core = true)], 1),
        (vec![welcome(&|welcome| welcome.has_roll = true)], 1),
        (vec![welcome(&|welcome| (welcome.has_core, welcome.has_roll) = (true, true))], 2),
        (vec![welcome(&|welcome| welcome.number = Some(1))], 0),
        (vec![welcome(&|welcome| welcome.layout_hash = 8)], 0),
        (vec![welcome(&|welcome| welcome.owner = 4242), introduction.clone()], 1),
        (vec![vec![]], 0),
        (vec![vec![0xff; 60_000]], 0),
    ];
    for place in 0..honest.len() {
        let mut lie = honest.clone();
        lie[place] ^= 0xff;
        lies.push((vec![lie], 0));
    }
    for (messages, fds) in lies {
        let shown = format!("{:?} with {fds} descriptors", messages.first().and_then(|bytes| Message::decode(bytes)));
        let error = std::thread::scope(|scope| {
            let joiner = scope.spawn(|| open(&name, offer(Role::Consumer), Duration::from_millis(60)));
            // The joiner may come back if it takes us for one that went.
            while let Ok(connection) = listener.accept_timeout(Duration::from_millis(80)) {
                for message in &messages {
                    let options = vec![file.as_fd(); fds];
                    let _ = connection.send_with(&[IoSlice::new(message)], SendOptions::new().fds(&options));
                }
            }
            joiner.join().expect("no panic").expect_err("a lie is not believed")
        });
        assert!(!error.to_string().contains('\u{1b}'), "{shown}: {error}");
        assert!(
            matches!(
                error.kind(),
                ErrorKind::Corrupted
                    | ErrorKind::PermissionDenied
                    | ErrorKind::TimedOut
                    | ErrorKind::LimitReached
                    | ErrorKind::NotFound
            ),
            "{shown}: {error}"
        );
    }
}
