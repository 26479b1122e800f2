//! Who has to do with an object: one party for each process, with everything it has of the object.

use std::fmt::Write as _;

use crate::findings::FIRST_PID_NAMESPACE;
use crate::model::{
    Access, Hold, How, Kind, LinkKind, Lock, Object, ObjectRef, Process, ProcessRef, Role, SocketState,
};
use crate::model::{Detail, Unseen, UnseenWhat, UnseenWhy};

use super::{View, process_name};

/// One process and what it has of one object.
#[derive(Debug)]
pub(super) struct Party<'a> {
    pub(super) process: &'a Process,
    /// Its descriptors, by number.
    pub(super) descriptors: Vec<(i32, Access)>,
    /// Its mappings: what the pages allow, and how many bytes.
    pub(super) mappings: Vec<(Access, u64)>,
    pub(super) locks: Vec<&'a Lock>,
    pub(super) roles: Vec<Role>,
    pub(super) is_notified: bool,
}

impl Party<'_> {
    /// What it can do, by all its descriptors and mappings.
    pub(super) fn access(&self) -> Access {
        let all =
            self.descriptors.iter().map(|(_, access)| access).chain(self.mappings.iter().map(|(access, _)| access));
        all.fold(Access::NONE, |sum, access| Access { read: sum.read || access.read, write: sum.write || access.write })
    }

    /// Whether the object cannot go away under it.
    pub(super) fn is_user(&self) -> bool {
        !self.descriptors.is_empty() || !self.mappings.is_empty() || !self.locks.is_empty() || self.is_notified
    }

    /// Its descriptors in brackets or words: `5`, `5 and 6`, `3, 4 and 17 more`.
    pub(super) fn descriptor_numbers(&self) -> String {
        const MOST: usize = 3;
        let mut numbers: Vec<String> = self.descriptors.iter().take(MOST).map(|(fd, _)| fd.to_string()).collect();
        if self.descriptors.len() > MOST {
            numbers.push(format!("{} more", self.descriptors.len() - MOST));
        }
        super::words::and(&numbers)
    }
}

/// Which end of an object a party is counted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Writing,
    Reading,
}

/// How many processes of one end are named in a row, before the rest is only counted.
const MOST_NAMED: usize = 4;

impl<'a> View<'a> {
    /// The parties of an object, by rising pid.
    pub(super) fn parties(&self, object: ObjectRef) -> Vec<Party<'a>> {
        let mut parties: Vec<Party<'a>> = Vec::new();
        // The ties of one object are sorted by process.
        for Hold { process, how, .. } in self.snapshot.holders(object) {
            let process = self.snapshot.process(*process);
            if parties.last().is_none_or(|last| last.process.reference != process.reference) {
                parties.push(Party {
                    process,
                    descriptors: Vec::new(),
                    mappings: Vec::new(),
                    locks: Vec::new(),
                    roles: Vec::new(),
                    is_notified: false,
                });
            }
            let Some(party) = parties.last_mut() else { continue };
            match how {
                How::Descriptor { fd, access } => party.descriptors.push((*fd, *access)),
                How::Mapping { access, bytes } => party.mappings.push((*access, *bytes)),
                How::Lock(lock) => party.locks.push(lock),
                How::Remembered(role) => party.roles.push(*role),
                How::Notified => party.is_notified = true,
            }
        }
        parties
    }

    /// How many processes have it open, mapped or locked.
    pub(super) fn user_count(&self, object: ObjectRef) -> usize {
        let mut last = None;
        let uses = self.snapshot.holders(object).filter(|hold| hold.how.is_use());
        uses.filter(|hold| last.replace(hold.process) != Some(hold.process)).count()
    }

    /// Whether there may be holders that could not be seen: processes that may not be looked into, or that have no id in
    /// the viewer's pid namespace.
    pub(super) fn may_have_hidden_holders(&self) -> bool {
        let hides = |unseen: &Unseen| {
            unseen.why != UnseenWhy::Vanished && matches!(unseen.what, UnseenWhat::Processes | UnseenWhat::Descriptors)
        };
        let is_inside = self.snapshot.viewer().namespaces.pid.is_some_and(|own| own != FIRST_PID_NAMESPACE);
        is_inside || self.snapshot.unseen().iter().any(hides)
    }

    /// Nobody, as far as could be seen.
    pub(super) fn nobody(&self) -> &'static str {
        if self.may_have_hidden_holders() { "?" } else { "nobody" }
    }

    /// Who holds which end, in one cell: `yes 812 > head 813`, `psql 90 <> postgres 7`, `nginx 80 81 82 listen`.
    pub(super) fn holders(&self, object: &Object, peer: Option<&Object>) -> String {
        let parties = self.parties(object.reference);
        match object.kind {
            Kind::Pipe | Kind::Fifo => self.two_ends(&parties),
            Kind::SysvMq | Kind::SysvSem => self.remembered(object, &parties),
            kind if kind.outlives_its_users() && !parties.iter().any(Party::is_user) => match &object.detail {
                Detail::SysvShm(segment) if segment.attached == 0 => Self::unused(&parties, "nobody"),
                Detail::SysvShm(segment) => Self::unused(&parties, &format!("{} unseen", segment.attached)),
                _ => Self::unused(&parties, self.nobody()),
            },
            Kind::SysvShm | Kind::PosixShm | Kind::Memfd | Kind::AnonymousShm | Kind::File => self.sharers(&parties),
            Kind::PosixMq => self.two_ends(&parties),
            Kind::ShmTopic => self.topic_ends(object, &parties),
            kind if kind.is_segment() => self.sharers(&parties),
            _ => match peer {
                Some(peer) => self.connected(&parties, &self.parties(peer.reference)),
                None => self.alone(object, &parties),
            },
        }
    }

    /// The two ends of a connection.
    fn connected(&self, ours: &[Party<'_>], theirs: &[Party<'_>]) -> String {
        if let ([one], [other]) = (ours, theirs)
            && one.process.reference == other.process.reference
        {
            return format!("{} <> itself", process_name(one.process));
        }
        format!("{} <> {}", self.named_or_nobody(ours), self.named_or_nobody(theirs))
    }

    fn alone(&self, object: &Object, parties: &[Party<'_>]) -> String {
        let names = self.named_or_nobody(parties);
        let state = match &object.detail {
            Detail::Unix(socket) => socket.state,
            Detail::Inet(socket) => socket.state,
            _ => return names,
        };
        let sent_to = self
            .snapshot
            .linked(object.reference)
            .find(|(link, other)| matches!(link.kind, LinkKind::SendsTo | LinkKind::Pending) && link.to == *other);
        if let Some((_, other)) = sent_to {
            let theirs = self.parties(other);
            if let ([own], [only]) = (parties, &*theirs)
                && own.process.reference == only.process.reference
            {
                return format!("{names} > itself");
            }
            return format!("{names} > {}", self.named_or_nobody(&theirs));
        }
        let one = parties.len() <= 1;
        match state {
            SocketState::Listening if one => format!("{names} listens"),
            SocketState::Listening => format!("{names} listen"),
            SocketState::Unconnected if object.name.is_some() && one => format!("{names} receives"),
            SocketState::Unconnected if object.name.is_some() => format!("{names} receive"),
            SocketState::Connected if matches!(object.kind, Kind::Tcp | Kind::Udp) => {
                format!("{names} <> another host")
            }
            SocketState::Connected => format!("{names} <> {}", self.nobody()),
            SocketState::Connecting => format!("{names} is connecting"),
            SocketState::Closing => format!("{names} (closing)"),
            SocketState::Unconnected => names,
        }
    }

    /// Writers, `>`, readers.
    fn two_ends(&self, parties: &[Party<'_>]) -> String {
        let at = |end: End| {
            let is_there = |party: &&Party<'_>| {
                let access = party.access();
                if end == End::Writing { access.write } else { access.read }
            };
            parties.iter().filter(is_there).collect::<Vec<_>>()
        };
        self.ends(&at(End::Writing), &at(End::Reading), self.nobody())
    }

    /// Publisher, `>`, subscribers: a publisher can read its own log, and is a subscriber only if it says so.
    fn topic_ends(&self, object: &Object, parties: &[Party<'_>]) -> String {
        let told = match &object.detail {
            Detail::Segment(segment) => segment.told.as_ref().map(|told| (segment, told)),
            _ => None,
        };
        let subscribes = |party: &Party<'_>| {
            let mut members = told.iter().flat_map(|(segment, _)| segment.of_process(party.process.pid));
            members.any(|member| member.reading.is_some())
        };
        let writers: Vec<_> = parties.iter().filter(|party| party.access().write).collect();
        let readers = parties.iter().filter(|party| party.access() == Access::READ || subscribes(party));
        let is_unheard = told.is_some_and(|(_, told)| told.members.is_empty());
        self.ends(&writers, &readers.collect::<Vec<_>>(), if is_unheard { "nobody" } else { self.nobody() })
    }

    fn ends(&self, writers: &[&Party<'_>], readers: &[&Party<'_>], no_reader: &str) -> String {
        if let ([writer], [reader]) = (writers, readers)
            && writer.process.reference == reader.process.reference
        {
            return format!("{} > itself", process_name(writer.process));
        }
        let side = |parties: &[&Party<'_>], nobody: &str| {
            if parties.is_empty() { nobody.to_owned() } else { named(parties.iter().copied()) }
        };
        format!("{} > {}", side(writers, self.nobody()), side(readers, no_reader))
    }

    /// Those who share memory, by what they may do with it.
    fn sharers(&self, parties: &[Party<'_>]) -> String {
        let users: Vec<&Party<'_>> = parties.iter().filter(|party| party.is_user()).collect();
        let mut text = String::new();
        for access in [Access::BOTH, Access::WRITE, Access::READ, Access::NONE] {
            let group: Vec<&Party<'_>> = users.iter().copied().filter(|party| party.access() == access).collect();
            if !group.is_empty() {
                let separator = if text.is_empty() { "" } else { "; " };
                let only_locks = access == Access::NONE && group.iter().all(|party| !party.locks.is_empty());
                let word = if only_locks { "lock" } else { access.letters() };
                let _ = write!(text, "{separator}{} {word}", named(group.iter().copied()));
            }
        }
        if text.is_empty() { self.nobody().to_owned() } else { text }
    }

    /// Those whom the kernel remembers: `last python3 12 > sort 13`. It remembers numbers, so a process may have ended.
    fn remembered(&self, object: &Object, parties: &[Party<'_>]) -> String {
        let known = |role| parties.iter().find(|party| party.roles.contains(&role));
        let side = |role, pid: u32| match (known(role), pid) {
            (Some(party), _) => process_name(party.process),
            (None, 0) => "nobody".to_owned(),
            (None, pid) => format!("{pid} (ended)"),
        };
        match &object.detail {
            Detail::SysvMq(queue) if queue.last_sender != 0 || queue.last_receiver != 0 => {
                let sender = side(Role::LastSender, queue.last_sender);
                format!("last {sender} > {}", side(Role::LastReceiver, queue.last_receiver))
            }
            Detail::SysvSem(set) if set.semaphores.iter().any(|semaphore| semaphore.last != 0) => {
                let alive: Vec<&Party<'_>> =
                    parties.iter().filter(|party| party.roles.contains(&Role::LastOperator)).collect();
                let ended =
                    set.semaphores.iter().map(|semaphore| semaphore.last).find(|pid| *pid != 0).unwrap_or_default();
                if alive.is_empty() {
                    format!("last {ended} (ended)")
                } else {
                    format!("last {}", named(alive.iter().copied()))
                }
            }
            // A set that may not be read does not tell.
            Detail::SysvSem(set) if set.semaphores.is_empty() => "?".to_owned(),
            _ => "unused so far".to_owned(),
        }
    }

    /// What stays without users that could be seen: who made it, if that is known. Of a segment the kernel counts the
    /// attachments, so nobody is nobody there.
    fn unused(parties: &[Party<'_>], nobody: &str) -> String {
        let makers: Vec<&Party<'_>> = parties.iter().filter(|party| party.roles.contains(&Role::Creator)).collect();
        if makers.is_empty() {
            nobody.to_owned()
        } else {
            format!("{nobody} (made by {})", named(makers.iter().copied()))
        }
    }

    fn named_or_nobody(&self, parties: &[Party<'_>]) -> String {
        let users: Vec<&Party<'_>> = parties.iter().filter(|party| party.is_user()).collect();
        if users.is_empty() { self.nobody().to_owned() } else { named(users.iter().copied()) }
    }
}

/// `postgres 812 813 814, psql 90`: each name once, and no more than a few processes.
pub(super) fn named<'p, 'a: 'p>(parties: impl IntoIterator<Item = &'p Party<'a>>) -> String {
    let mut parties = parties.into_iter();
    let first: Vec<&Party<'_>> = parties.by_ref().take(MOST_NAMED).collect();
    first_and(&first, parties.count())
}

/// These, and how many more there are.
fn first_and(first: &[&Party<'_>], more: usize) -> String {
    let mut text = String::new();
    let mut last = None;
    for party in first {
        let separator = if text.is_empty() { "" } else { ", " };
        let name = &party.process.name;
        let _ = match last.replace(name) {
            Some(before) if before == name => write!(text, " {}", party.process.pid),
            _ => write!(text, "{separator}{name} {}", party.process.pid),
        };
    }
    if more > 0 {
        let _ = write!(text, " +{more}");
    }
    text
}

/// The parties of one object, sorted once by what they can do: for who asks from the place of each of them in turn, which
/// must not take longer the more there are.
#[derive(Debug)]
pub(super) struct Company<'a> {
    parties: Vec<Party<'a>>,
    pub(super) users: Vec<usize>,
    pub(super) readers: Vec<usize>,
    pub(super) writers: Vec<usize>,
}

impl<'a> Company<'a> {
    pub(super) fn new(parties: Vec<Party<'a>>) -> Self {
        let with = |is_it: fn(&Party<'a>) -> bool| -> Vec<usize> {
            parties.iter().enumerate().filter(|(_, party)| is_it(party)).map(|(index, _)| index).collect()
        };
        let users = with(Party::is_user);
        let (readers, writers) = (with(|party| party.access().read), with(|party| party.access().write));
        Self { parties, users, readers, writers }
    }

    /// Those of a list, but for one process.
    pub(super) fn but(&self, list: &[usize], process: Option<ProcessRef>) -> String {
        let of = |index: &usize| self.parties[*index].process.reference;
        let own = process.filter(|process| list.binary_search_by_key(process, of).is_ok());
        let others = list.iter().filter(|index| Some(of(index)) != own);
        let first: Vec<&Party<'_>> = others.take(MOST_NAMED).map(|index| &self.parties[*index]).collect();
        let more = list.len() - usize::from(own.is_some()) - first.len();
        first_and(&first, more)
    }

    /// What one process can do; nothing if it is not among them.
    pub(super) fn access(&self, process: ProcessRef) -> Access {
        let place = self.parties.binary_search_by_key(&process, |party| party.process.reference);
        place.map_or(Access::NONE, |place| self.parties[place].access())
    }

    /// Whether that process is the only one.
    pub(super) fn is_only(&self, process: ProcessRef) -> bool {
        matches!(&*self.parties, [only] if only.process.reference == process)
    }
}
