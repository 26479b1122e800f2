//! Which objects are shown: by kind, process and namespace, and without the quiet ones.

use std::collections::HashSet;

use crate::model::{Detail, Kind, Link, LinkKind, Object, ObjectRef, ProcessRef, SocketState, Text};

use super::View;
use super::label::{is_full, socket_state};
use super::query::NAMED_SHM;

/// Kinds that people think of together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// What it is called.
    pub name: &'static str,
    /// What is in it.
    pub kinds: &'static [Kind],
}

impl Group {
    /// Every group, by name.
    pub const ALL: &[Self] = &[
        Self {
            name: "events",
            kinds: &[
                Kind::EventFd,
                Kind::Epoll,
                Kind::SignalFd,
                Kind::TimerFd,
                Kind::PidFd,
                Kind::Inotify,
                Kind::IoUring,
                Kind::OtherAnonymous,
            ],
        },
        Self { name: "inet", kinds: &[Kind::Tcp, Kind::Udp] },
        Self {
            name: "memory",
            kinds: &[
                Kind::SysvShm,
                Kind::PosixShm,
                Kind::Memfd,
                Kind::ShmTopic,
                Kind::ShmRoster,
                Kind::ShmQueue,
                Kind::ShmStream,
                Kind::ShmCalls,
                Kind::ShmLatest,
                Kind::ShmEvent,
                Kind::ShmLocks,
                Kind::ShmArena,
                Kind::ShmMemory,
                Kind::AnonymousShm,
                Kind::File,
            ],
        },
        Self { name: "pipes", kinds: &[Kind::Pipe, Kind::Fifo] },
        Self { name: "posix", kinds: &[Kind::PosixShm, Kind::PosixMq, Kind::PosixSem] },
        Self { name: "queues", kinds: &[Kind::SysvMq, Kind::PosixMq] },
        Self { name: "semaphores", kinds: &[Kind::SysvSem, Kind::PosixSem] },
        Self { name: "shm", kinds: NAMED_SHM },
        Self {
            name: "sockets",
            kinds: &[
                Kind::UnixStream,
                Kind::UnixDatagram,
                Kind::UnixSeqpacket,
                Kind::SocketFile,
                Kind::Tcp,
                Kind::Udp,
                Kind::Vsock,
                Kind::OtherSocket,
            ],
        },
        Self { name: "sysv", kinds: &[Kind::SysvShm, Kind::SysvMq, Kind::SysvSem] },
        Self {
            name: "unix-sockets",
            kinds: &[Kind::UnixStream, Kind::UnixDatagram, Kind::UnixSeqpacket, Kind::SocketFile],
        },
    ];

    /// The kinds that a word means: a group's, or the one of that name. `None` for a word that means nothing here.
    #[must_use]
    pub fn kinds_of(word: &str) -> Option<Vec<Kind>> {
        let group = Self::ALL.iter().find(|group| group.name == word).map(|group| group.kinds.to_vec());
        group.or_else(|| Kind::from_name(word).map(|kind| vec![kind]))
    }
}

/// Which objects are wanted. The default is every one, the quiet ones folded.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Of these kinds; of every kind if empty.
    pub kinds: Vec<Kind>,
    /// With which any of these processes has to do, at either end; whoever has, if empty.
    pub processes: Vec<ProcessChoice>,
    /// Of this namespace; of any without.
    pub namespace: Option<NamespaceChoice>,
    /// Whether the quiet ones are wanted too: what one process has to itself (a counter, a timer, a pipe or connection to itself) and
    /// sockets that nobody visible holds. They are never folded where a kind or process was asked for.
    pub quiet: bool,
}

/// A process by what people know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessChoice {
    /// Its id.
    Pid(u32),
    /// Its name, as the kernel has it (`comm`) or as the last part of the program's path.
    Name(Text),
}

impl From<&str> for ProcessChoice {
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(Text::from(text)), Self::Pid)
    }
}

/// A namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceChoice {
    /// The viewer's.
    Own,
    /// Any but the viewer's.
    Other,
    /// The one of that number.
    Number(u64),
}

/// What was selected.
#[derive(Debug, Default)]
pub(super) struct Selected {
    /// The objects, in the order of the snapshot.
    pub(super) objects: Vec<ObjectRef>,
    /// How many were left out for being quiet.
    pub(super) folded: usize,
}

impl View<'_> {
    /// The processes that a choice means.
    #[must_use]
    pub fn processes(&self, choice: &ProcessChoice) -> Vec<ProcessRef> {
        match choice {
            ProcessChoice::Pid(pid) => {
                self.snapshot.process_with_pid(*pid).map(|process| process.reference).into_iter().collect()
            }
            ProcessChoice::Name(name) => {
                let is_called = |process: &&crate::model::Process| {
                    let program = process.command.first().map(Text::as_bytes).unwrap_or_default();
                    let program = program.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
                    process.name.is_meant_by(name) || program == name.as_bytes()
                };
                self.snapshot.processes().iter().filter(is_called).map(|process| process.reference).collect()
            }
        }
    }

    pub(super) fn select(&self, selection: &Selection) -> Selected {
        let kinds: HashSet<Kind> = selection.kinds.iter().copied().collect();
        let of_processes = (!selection.processes.is_empty()).then(|| self.objects_of(&selection.processes));
        let folds = !selection.quiet && kinds.is_empty() && of_processes.is_none();
        // Whoever asks for a group means the wholes.
        let folds_parts = !selection.quiet && kinds.len() > 1;
        let mut selected = Selected::default();
        for object in self.snapshot.objects() {
            let wanted = (kinds.is_empty() || kinds.contains(&object.kind))
                && of_processes.as_ref().is_none_or(|objects| objects.contains(&object.reference))
                && selection.namespace.is_none_or(|choice| self.is_in(object, choice));
            if !wanted {
            } else if folds && self.is_quiet(object) || folds_parts && self.is_part(object) {
                selected.folded += 1;
            } else {
                selected.objects.push(object.reference);
            }
        }
        selected
    }

    /// What those processes hold, and the other ends of it.
    fn objects_of(&self, choices: &[ProcessChoice]) -> HashSet<ObjectRef> {
        let processes = choices.iter().flat_map(|choice| self.processes(choice));
        let held = processes.flat_map(|process| self.snapshot.held_by(process)).map(|hold| hold.object);
        held.flat_map(|object| [Some(object), self.snapshot.peer(object)]).flatten().collect()
    }

    fn is_in(&self, object: &Object, choice: NamespaceChoice) -> bool {
        match choice {
            NamespaceChoice::Own => self.foreign_namespace(object).is_none(),
            NamespaceChoice::Other => self.foreign_namespace(object).is_some(),
            NamespaceChoice::Number(number) => object.namespace == Some(number),
        }
    }

    /// Whether nobody talks to anybody through it.
    pub(super) fn is_quiet(&self, object: &Object) -> bool {
        let users = || self.user_count(object.reference);
        // Who listens is asked for by others, also if he himself may not be seen.
        if socket_state(object) == Some(SocketState::Listening) {
            return false;
        }
        match object.kind {
            Kind::EventFd
            | Kind::Epoll
            | Kind::SignalFd
            | Kind::TimerFd
            | Kind::PidFd
            | Kind::Inotify
            | Kind::IoUring
            | Kind::OtherAnonymous
            | Kind::OtherSocket
            | Kind::AnonymousShm => users() <= 1,
            Kind::Pipe => users() == 1 && !is_full(object) && self.has_both_ends(object),
            Kind::Tcp | Kind::Udp => users() == 0,
            kind if kind.is_unix() => self.is_connected_to_itself(object),
            // What it tells stands with the messages.
            Kind::ShmRoster | Kind::ShmTopic => self.is_part(object),
            Kind::Memfd => users() <= 1 && matches!(&object.detail, Detail::Memory(_)),
            _ => false,
        }
    }

    /// Whether it belongs to another segment, with which its numbers stand.
    pub(super) fn is_part(&self, object: &Object) -> bool {
        let is_its = |(link, _): (&Link, ObjectRef)| link.kind == LinkKind::PartOf && link.from == object.reference;
        self.snapshot.linked(object.reference).any(is_its)
    }

    fn has_both_ends(&self, object: &Object) -> bool {
        let parties = self.parties(object.reference);
        parties.iter().any(|party| party.access().read) && parties.iter().any(|party| party.access().write)
    }

    /// Whether both ends are held by the same process, and by no other: by nobody counts too.
    fn is_connected_to_itself(&self, object: &Object) -> bool {
        let ours = self.users(object.reference);
        match self.snapshot.peer(object.reference) {
            Some(peer) => ours.len() <= 1 && self.users(peer) == ours,
            None => ours.is_empty(),
        }
    }

    /// Those who have it open, mapped or locked, each once.
    pub(super) fn users(&self, object: ObjectRef) -> Vec<ProcessRef> {
        let uses = self.snapshot.holders(object).filter(|hold| hold.how.is_use());
        let mut users: Vec<ProcessRef> = uses.map(|hold| hold.process).collect();
        users.dedup();
        users
    }
}
