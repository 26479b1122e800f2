//! Members of other users that say to the host what is not so when they register again.

use std::path::Path;
use std::time::{Duration, Instant};

use tieline_os::lock::{LockKind, RangeLock};
use tieline_os::unix::{Address, SeqPacket, SeqPacketListener};
use tieline_testkit::{PATIENCE, Peer, Role as Part, can_run_as, skip, test_name};

use super::actor::{Actor, Diary, TIMEOUT, directory, is_connected, is_disconnected, name_in, offer, peer, play};
use crate::rendezvous::wire::{Again, Hello, Message, Reason};
use crate::rendezvous::{Access, Allowed, Name, PeerId, Role, create};
use crate::segment::Kind;

const OTHER: u32 = 65_531;

/// How many members an [`offer`] is for.
const MEMBERS: usize = 8;

fn found(name: &Name, directory: &Path) -> Actor {
    std::fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut offer = offer(Role::Consumer);
    offer.access = Access::owner().publish(Allowed::Anyone).subscribe(Allowed::Anyone);
    Actor::start(create(name, offer, TIMEOUT).unwrap(), Diary::default())
}

fn impostor(test: String, directory: &Path, host: &Actor, id: PeerId) -> Peer {
    Peer::of(test)
        .role("impostor")
        .env("DIRECTORY", directory.to_str().unwrap())
        .env("OBJECT", host.membership.station.about.object.to_string())
        .env("ID", id.0.to_string())
        .user(OTHER)
        .spawn()
}

/// Registers again as somebody; what the host answers.
fn register(me: &Part, id: u64) -> (SeqPacket, Option<Message>) {
    let directory = me.env("DIRECTORY");
    let connection = SeqPacket::connect(&Address::path(Path::new(&directory).join("name.sock")).unwrap()).unwrap();
    let again = Again { object: me.env("OBJECT").parse().unwrap(), id, linked: vec![] };
    let (kind, layout_text) = (Kind::Log as u32, String::new());
    let hello = Hello { kind, role: Role::Producer, layout_hash: 7, layout_text, again: Some(again) };
    connection.send(&Message::Hello(hello).encode()).unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let answer = match connection.recv_timeout(&mut buffer, TIMEOUT) {
        Ok(Some(packet)) => Message::decode(&buffer[..packet.len]),
        _ => None,
    };
    (connection, answer)
}

#[test]
fn nobody_registers_again_as_another_users_member() {
    if let Some(me) = tieline_testkit::role() {
        let (_line, answer) = register(&me, me.env("ID").parse().unwrap());
        me.say(&format!("{answer:?}"));
        me.wait_for("end");
        return;
    }
    if !can_run_as(OTHER) {
        skip!("only root can be another user");
    }
    let directory = directory();
    let name = name_in(directory.path(), "name");
    let host = found(&name, directory.path());
    let victim = Actor::open(&name, Role::Producer);
    host.diary.wait("the victim", 1, is_connected);
    let mut impostor = impostor(test_name!(), directory.path(), &host, victim.membership.id());
    let answer = impostor.hear();
    let told = (host.diary.count(is_connected), host.diary.count(is_disconnected));
    assert_eq!(told, (1, 0), "the victim's line is as it was: {answer}");
    assert!(answer.contains(&format!("{:?}", Reason::Protocol)), "{answer}");
    host.diary.links()[0].send(b"still", &[]).unwrap();
    victim.diary.wait("it hears", 1, super::actor::is_received);
    impostor.say("end");
    impostor.succeeds();
}

#[test]
fn who_registers_again_and_again_gets_a_bounded_number_of_places() {
    if let Some(me) = tieline_testkit::role() {
        let lines: Vec<_> =
            (1..=10 * MEMBERS as u64).map(|half| register(&me, half << 32 | u64::from(OTHER))).collect();
        let welcomed = lines.iter().filter(|(_, answer)| matches!(answer, Some(Message::Welcome(_)))).count();
        me.say(&welcomed.to_string());
        me.wait_for("end");
        return;
    }
    if !can_run_as(OTHER) {
        skip!("only root can be another user");
    }
    let directory = directory();
    let name = name_in(directory.path(), "name");
    let host = found(&name, directory.path());
    let mut impostor = impostor(test_name!(), directory.path(), &host, PeerId(0));
    let welcomed: usize = impostor.hear().parse().unwrap();
    assert!((MEMBERS..2 * MEMBERS).contains(&welcomed), "{welcomed} of {}", 10 * MEMBERS);
    impostor.kill();
    drop(tieline_testkit::until("there is room again", || {
        crate::rendezvous::open(&name, offer(Role::Producer), TIMEOUT).ok()
    }));
}

/// A host that has no descriptor left closes each line at once. Its members ask again, but not without pause.
#[test]
fn a_host_that_takes_nobody_in_is_not_asked_without_pause() {
    if play() {
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "name");
    let mut host = peer(test_name!(), &name, Role::Consumer, "create").spawn();
    host.wait_for("created");
    let mut member = peer(test_name!(), &name, Role::Producer, "open").spawn();
    member.wait_for("joined");
    member.stop();
    host.kill();
    let file = std::fs::File::options().read(true).write(true).open(directory.path().join("name.lock")).unwrap();
    let _host = RangeLock::try_lock(&file, LockKind::Exclusive, 0..1).expect("nobody else can be the host now");
    std::fs::remove_file(directory.path().join("name.sock")).unwrap();
    let listener = SeqPacketListener::bind(&Address::path(directory.path().join("name.sock")).unwrap()).unwrap();
    member.signal(rustix::process::Signal::CONT);
    drop(listener.accept_timeout(TIMEOUT).expect("it comes"));
    let begin = Instant::now();
    let mut tries = 0;
    while begin.elapsed() < Duration::from_secs(1) || (tries == 0 && begin.elapsed() < PATIENCE) {
        tries += usize::from(listener.accept_timeout(Duration::from_millis(50)).is_ok());
    }
    assert!((1..30).contains(&tries), "{tries} tries in a second");
}
