//! A member for tests, in this process or as another one.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tieline_testkit::{PATIENCE, Peer, PeerBuilder};

use crate::error::Result;
use crate::rendezvous::{
    Access, Allowed, Joined, Link, Members, Membership, Name, Offer, Participant, PeerId, Role, create, open,
    open_or_create,
};
use crate::segment::{Kind, Purpose, Segment};

pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// A directory of the test's own, in which others can look if the test lets them.
pub(super) fn directory() -> TempDir {
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    tempfile::Builder::new().permissions(private).tempdir().expect("a temporary directory")
}

pub(super) fn name_in(directory: &Path, name: &str) -> Name {
    Name::new(&format!("{}/{name}", directory.display())).expect("a good name")
}

/// What is left in a directory.
pub(super) fn files(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).expect("readable").flatten().map(|entry| entry.path()).collect()
}

/// An offer; sharers bring a core segment of one page behind the table of members.
pub(super) fn offer(role: Role) -> Offer<'static> {
    let kind = if role.shares() { Kind::Queue } else { Kind::Log };
    offer_of(kind, role, 8)
}

/// One of a kind whose members are told of deaths by the host alone.
pub(super) fn locks(role: Role) -> Offer<'static> {
    offer_of(Kind::Locks, role, 8)
}

pub(super) fn offer_of(kind: Kind, role: Role, members_max: u32) -> Offer<'static> {
    Offer {
        kind,
        role,
        layout_hash: 7,
        layout_text: "struct Payload { x: u64 }".to_owned(),
        config: b"configuration".to_vec(),
        access: Access::owner(),
        members_max,
        core: role.shares().then(|| {
            let make = move || {
                let purpose = Purpose { kind, name: "test", layout_hash: 7 };
                Segment::create(&purpose, Members::bytes(members_max) + 4096)
            };
            Box::new(make) as Box<dyn FnOnce() -> Result<Segment>>
        }),
    }
}

/// What a channel was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Connected(PeerId),
    Received(PeerId, Vec<u8>, usize),
    Disconnected(PeerId),
    Departed(u32),
}

/// A channel that writes down what it is told.
#[derive(Default)]
pub(super) struct Diary {
    told: Mutex<Vec<(Instant, Told)>>,
    more: Condvar,
    links: Mutex<Vec<Link>>,
    /// What it says to each counterpart at once.
    pub(super) greeting: Option<Vec<u8>>,
}

impl Diary {
    pub(super) fn greeting(text: &str) -> Self {
        Self { greeting: Some(text.as_bytes().to_vec()), ..Self::default() }
    }

    fn note(&self, told: Told) {
        self.told.lock().unwrap().push((Instant::now(), told));
        self.more.notify_all();
    }

    pub(super) fn all(&self) -> Vec<Told> {
        self.told.lock().unwrap().iter().map(|(_, told)| told.clone()).collect()
    }

    pub(super) fn count(&self, wanted: impl Fn(&Told) -> bool) -> usize {
        self.told.lock().unwrap().iter().filter(|(_, told)| wanted(told)).count()
    }

    /// Waits until it was told `count` times what is `wanted`; when the last of them was.
    pub(super) fn wait(&self, what: &str, count: usize, wanted: impl Fn(&Told) -> bool) -> Instant {
        let mut told = self.told.lock().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found: Vec<_> = told.iter().filter(|(_, told)| wanted(told)).collect();
            if count > 0 && found.len() >= count {
                return found[count - 1].0;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not told in time: {what}; told was {:?}", *told);
            told = self.more.wait_timeout(told, left).unwrap().0;
        }
    }

    pub(super) fn links(&self) -> Vec<Link> {
        self.links.lock().unwrap().clone()
    }
}

pub(super) fn is_connected(told: &Told) -> bool {
    matches!(told, Told::Connected(_))
}

pub(super) fn is_disconnected(told: &Told) -> bool {
    matches!(told, Told::Disconnected(_))
}

pub(super) fn is_received(told: &Told) -> bool {
    matches!(told, Told::Received(..))
}

pub(super) fn is_departed(told: &Told) -> bool {
    matches!(told, Told::Departed(_))
}

impl Participant for Diary {
    fn connected(&self, link: &Link) -> Result<()> {
        self.links.lock().unwrap().push(link.clone());
        self.note(Told::Connected(link.peer().id));
        match &self.greeting {
            Some(greeting) => link.send(greeting, &[]),
            None => Ok(()),
        }
    }

    fn received(&self, peer: PeerId, message: &[u8], fds: Vec<OwnedFd>) -> Result<()> {
        self.note(Told::Received(peer, message.to_vec(), fds.len()));
        Ok(())
    }

    fn disconnected(&self, peer: PeerId) {
        self.links.lock().unwrap().retain(|link| link.peer().id != peer);
        self.note(Told::Disconnected(peer));
    }

    fn departed(&self, member: u32) {
        self.note(Told::Departed(member));
    }
}

/// A member in this process.
pub(super) struct Actor {
    pub(super) membership: Membership,
    pub(super) diary: Arc<Diary>,
}

impl Actor {
    pub(super) fn start(joined: Joined, diary: Diary) -> Self {
        let diary = Arc::new(diary);
        let membership = joined.start(Arc::clone(&diary) as Arc<dyn Participant>).expect("started");
        Self { membership, diary }
    }

    pub(super) fn create(name: &Name, role: Role) -> Self {
        Self::start(create(name, offer(role), TIMEOUT).expect("created"), Diary::default())
    }

    pub(super) fn open(name: &Name, role: Role) -> Self {
        Self::start(open(name, offer(role), TIMEOUT).expect("opened"), Diary::default())
    }
}

/// Starts another process that plays `play` below in the test `test`.
pub(super) fn peer(test: String, name: &Name, role: Role, mode: &str) -> PeerBuilder {
    Peer::of(test)
        .role("actor")
        .env("ACTOR_NAME", name.to_string())
        .env("ACTOR_ROLE", format!("{role:?}"))
        .env("ACTOR_MODE", mode)
}

/// If this process was started by [`peer`]: plays, and returns true.
pub(super) fn play() -> bool {
    let Some(me) = tieline_testkit::role() else { return false };
    assert_eq!(me.name(), "actor");
    let name: Name = me.env("ACTOR_NAME").parse().expect("a name");
    let role = match me.env("ACTOR_ROLE").as_str() {
        "Sharer" => Role::Sharer,
        "Reader" => Role::Reader,
        "Producer" => Role::Producer,
        _ => Role::Consumer,
    };
    let mut offer = if std::env::var_os("ACTOR_LOCKS").is_some() { locks(role) } else { offer(role) };
    if std::env::var_os("ACTOR_FOR_ALL").is_some() {
        offer.access = Access::owner().publish(Allowed::Anyone).subscribe(Allowed::Anyone);
    }
    let joined = match me.env("ACTOR_MODE").as_str() {
        "create" => create(&name, offer, TIMEOUT),
        "open" => open(&name, offer, TIMEOUT),
        _ => open_or_create(&name, offer, TIMEOUT),
    };
    let joined = match joined {
        Ok(joined) => joined,
        Err(error) => {
            me.say(&format!("failed {:?}", error.kind()));
            return true;
        }
    };
    let created = joined.is_created();
    // Sharers have nothing to say to each other.
    let diary = if role == Role::Sharer { Diary::default() } else { Diary::greeting("hello") };
    let actor = Actor::start(joined, diary);
    me.say(if created { "created" } else { "joined" });
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).is_ok_and(|len| len > 0) {
        match line.trim() {
            "links" => me.say(&actor.membership.links().len().to_string()),
            "host" => me.say(&actor.membership.is_host().to_string()),
            "member" => me.say(&format!("{:?}", actor.membership.member())),
            "departed" => me.say(&actor.diary.count(is_departed).to_string()),
            "lost" => me.say(&actor.diary.count(is_disconnected).to_string()),
            "received" => me.say(&actor.diary.count(is_received).to_string()),
            "send" => {
                let sent = actor.diary.links().iter().filter(|link| link.send(b"more", &[]).is_ok()).count();
                me.say(&sent.to_string());
            }
            "send fds" => {
                let file = std::io::stdin();
                for link in actor.diary.links() {
                    link.send(b"fds", &[file.as_fd(), file.as_fd()]).expect("sent");
                }
            }
            "leave" => break,
            other => panic!("what is {other:?}?"),
        }
        line.clear();
    }
    drop(actor);
    true
}

/// Asks a peer and gives its answer.
pub(super) fn ask(peer: &mut Peer, question: &str) -> String {
    peer.say(question);
    peer.hear()
}

/// Waits until a peer answers so.
pub(super) fn answers(peer: &mut Peer, question: &str, answer: &str) {
    tieline_testkit::eventually(&format!("{question} is {answer}"), || ask(peer, question) == answer);
}
