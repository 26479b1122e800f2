//! What an object is called: by people, and by this program.

use std::fmt::Write as _;

use crate::model::{
    Detail, Identity, Kind, Memory, NamespaceKind, Object, Owner, SocketState, SysvShm, Unit, UnixSocket,
};

use super::{View, process_name, words};

/// Which kind of namespace gives the object's name its meaning.
pub(super) fn namespace_kind(object: &Object) -> NamespaceKind {
    match object.kind {
        Kind::SysvShm | Kind::SysvMq | Kind::SysvSem | Kind::PosixMq => NamespaceKind::Ipc,
        kind if kind.is_unix() || matches!(kind, Kind::Tcp | Kind::Udp | Kind::Vsock | Kind::OtherSocket) => {
            NamespaceKind::Net
        }
        _ => NamespaceKind::Mnt,
    }
}

/// The short word of a System V kind, as `ipcs` and `who` have it.
pub(super) fn sysv_word(kind: Kind) -> &'static str {
    match kind {
        Kind::SysvShm => "shm",
        Kind::SysvMq => "msg",
        _ => "sem",
    }
}

impl View<'_> {
    /// What names the object in one snapshot and no other object: `pipe:[N]`, `socket:[N]`, `shm:ID`. `tieline who`
    /// takes it.
    #[must_use]
    pub fn id(&self, object: &Object) -> String {
        match object.identity {
            Identity::Pipe { inode } => format!("pipe:[{inode}]"),
            Identity::Socket { inode } => format!("socket:[{inode}]"),
            Identity::File { device, inode } => {
                let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
                format!("file:[{major}:{minor}:{inode}]")
            }
            Identity::SystemV { kind, namespace, id } => match self.snapshot.viewer().namespaces.ipc {
                Some(own) if own != namespace => format!("{}:{id}@{namespace}", sysv_word(kind)),
                _ => format!("{}:{id}", sysv_word(kind)),
            },
            Identity::Numbered { kind, number } => format!("{kind}:[{number}]"),
            Identity::Descriptor { pid, fd } => format!("{pid}:{fd}"),
        }
    }

    /// What people call the object; behind an @ the number of its namespace, if that is not the viewer's.
    #[must_use]
    pub fn what(&self, object: &Object) -> String {
        let what = self.what_at_home(object);
        // The identifier of a System V object tells its namespace already.
        match self.foreign_namespace(object).filter(|_| !object.kind.is_sysv()) {
            Some(namespace) => format!("{what} @{namespace}"),
            None => what,
        }
    }

    /// What the conversation through it is called: of two ends, by the one that has a name.
    pub(super) fn conversation(&self, object: &Object) -> String {
        let peer = self.snapshot.peer(object.reference).map(|peer| self.snapshot.object(peer));
        let named = peer.filter(|peer| object.kind.is_unix() && object.name.is_none() && peer.name.is_some());
        self.what(named.unwrap_or(object))
    }

    fn what_at_home(&self, object: &Object) -> String {
        match &object.detail {
            Detail::Inet(socket) => {
                return match socket.remote {
                    Some(remote) => format!("{} > {remote}", socket.local),
                    None => socket.local.to_string(),
                };
            }
            Detail::Socket(socket) if !socket.protocol.is_empty() => {
                return format!("{} {}", socket.protocol, self.id(object));
            }
            Detail::SysvShm(SysvShm { key, .. }) => return self.keyed(object, *key),
            Detail::SysvMq(queue) => return self.keyed(object, queue.key),
            Detail::SysvSem(set) => return self.keyed(object, set.key),
            Detail::Epoll(epoll) => {
                return words::count(epoll.watched.len() as u64, "descriptor watched", "descriptors watched");
            }
            Detail::SignalFd { signals } => return signal_names(*signals),
            Detail::TimerFd { remaining, .. } if remaining.is_zero() => return "not set".to_owned(),
            Detail::TimerFd { remaining, .. } => return format!("fires in {}", words::duration(*remaining)),
            Detail::PidFd { pid: None } => return "of a process that has ended".to_owned(),
            Detail::PidFd { pid: Some(pid) } => return format!("of {}", self.pid(*pid)),
            Detail::Inotify { watches } => return words::count(u64::from(*watches), "watch", "watches"),
            Detail::Anonymous { name } => return name.to_string(),
            _ => {}
        }
        match &object.name {
            Some(name) if object.kind == Kind::Memfd => format!("memfd:{name}"),
            Some(name) => name.to_string(),
            None => self.id(object),
        }
    }

    fn keyed(&self, object: &Object, key: i32) -> String {
        let id = self.id(object);
        if key == 0 { id } else { format!("{id} key {:#010x}", key.cast_unsigned()) }
    }

    /// The process of that id by name, as far as it is known.
    pub(super) fn pid(&self, pid: u32) -> String {
        self.snapshot.process_with_pid(pid).map_or_else(|| format!("process {pid} (ended)"), process_name)
    }

    /// How full it is, or how large, or what value it has.
    #[must_use]
    pub fn fullness(&self, object: &Object) -> String {
        match (&object.detail, &object.fill) {
            // Its capacity is the largest number there is, which tells nothing.
            (Detail::EventFd(event), _) => return format!("={}", event.count),
            (_, Some(fill)) => return words::fill(fill),
            (_, None) => {}
        }
        match &object.detail {
            Detail::SysvShm(segment) => words::bytes(segment.size_bytes),
            Detail::SysvSem(set) => {
                let mut values: Vec<String> = set.semaphores.iter().take(4).map(|sem| sem.value.to_string()).collect();
                if set.semaphores.len() > 4 {
                    values.push("...".to_owned());
                }
                if values.is_empty() { String::new() } else { format!("={}", values.join(",")) }
            }
            Detail::PosixSem(sem) => sem.value.map(|value| format!("={value}")).unwrap_or_default(),
            Detail::PosixMq(queue) if queue.messages.is_none() => words::bytes(queue.bytes),
            Detail::Memory(Memory { size_bytes: Some(size), allocated_bytes: Some(allocated), .. })
                if object.kind != Kind::File =>
            {
                format!("{}/{}", words::bytes(*allocated), words::bytes(*size))
            }
            Detail::Memory(Memory { size_bytes: Some(size), .. }) => words::bytes(*size),
            _ => String::new(),
        }
    }

    /// The owner's name.
    pub(super) fn owner(&self, object: &Object) -> String {
        object.owner.map(|Owner { uid, .. }| self.users.name(uid).into_owned()).unwrap_or_default()
    }

    /// What only this kind has to say, in few words.
    pub(super) fn detail(&self, object: &Object) -> String {
        let mut words: Vec<String> = Vec::new();
        match &object.detail {
            Detail::Unix(socket) => unix_words(socket, &mut words),
            Detail::Inet(socket) => {
                words.push(state(socket.state).to_owned());
                if let (Some(sent), Some(received)) = (socket.acknowledged_bytes, socket.received_bytes) {
                    words.push(format!("sent {}, received {}", words::bytes(sent), words::bytes(received)));
                }
                words.extend(socket.rtt_us.map(|rtt| format!("rtt {rtt} us")));
            }
            Detail::SysvShm(segment) => {
                words.push(words::count(segment.attached, "attachment", "attachments"));
                words.extend(segment.is_removed.then(|| "dest".to_owned()));
                words.extend(segment.is_locked.then(|| "locked".to_owned()));
            }
            Detail::SysvMq(queue) => words.push(words::count(queue.messages, "message", "messages")),
            Detail::SysvSem(set) => {
                words.push(words::count(u64::from(set.count), "semaphore", "semaphores"));
                let waiting: u32 =
                    set.semaphores.iter().map(|sem| sem.waiting_for_increase + sem.waiting_for_zero).sum();
                words.extend((waiting > 0).then(|| format!("{waiting} waiting")));
            }
            Detail::PosixMq(queue) => {
                words.push(format!("{} bytes", queue.bytes));
                words.extend(queue.message_size.map(|size| format!("messages of {size} bytes at most")));
                words.extend(queue.notify.map(|(pid, _)| format!("notifies {pid}")));
            }
            Detail::PosixSem(sem) => words.extend(sem.waiters.filter(|&n| n > 0).map(|n| format!("{n} waiting"))),
            Detail::Memory(memory) => {
                words.extend(memory.is_unlinked.then(|| "unlinked".to_owned()));
                words.extend(memory.seals.filter(|&seals| seals != 0).map(seal_names));
            }
            Detail::Segment(segment) => super::segment::details(segment, &mut words),
            Detail::EventFd(event) => words.extend(event.is_semaphore.then(|| "semaphore".to_owned())),
            Detail::IoUring(ring) => words.push(format!(
                "{} submissions and {} completions pending, rings of {} and {}",
                ring.submissions_pending, ring.completions_pending, ring.submission_entries, ring.completion_entries
            )),
            Detail::TimerFd { clock, .. } => words.push(format!("clock {clock}")),
            _ => {}
        }
        words.join(", ")
    }
}

fn unix_words(socket: &UnixSocket, words: &mut Vec<String>) {
    words.push(state(socket.state).to_owned());
    words.extend(socket.backlog.map(|(pending, most)| format!("{pending} of {most} pending")));
    if socket.backlog.is_none() && socket.receive_queue > 0 {
        words.push(format!("{} to read", words::bytes(socket.receive_queue)));
    }
    words.extend((socket.in_flight > 0).then(|| format!("{} descriptors in flight", socket.in_flight)));
    match socket.shut {
        (true, true) => words.push("shut down".to_owned()),
        (true, false) => words.push("shut for reading".to_owned()),
        (false, true) => words.push("shut for writing".to_owned()),
        (false, false) => {}
    }
}

/// Where a socket stands; `None` for what is no connected or connectable socket.
pub(super) fn socket_state(object: &Object) -> Option<SocketState> {
    match &object.detail {
        Detail::Unix(socket) => Some(socket.state),
        Detail::Inet(socket) => Some(socket.state),
        _ => None,
    }
}

/// The word for a state.
pub(super) fn state(state: SocketState) -> &'static str {
    match state {
        SocketState::Listening => "listening",
        SocketState::Connected => "connected",
        SocketState::Connecting => "connecting",
        SocketState::Unconnected => "unconnected",
        SocketState::Closing => "closing",
    }
}

/// The seals by the names of their constants, as `fcntl(F_ADD_SEALS)` has them.
fn seal_names(seals: u32) -> String {
    const NAMES: [&str; 6] = ["seal", "shrink", "grow", "write", "future-write", "exec"];
    let set = NAMES.iter().enumerate().filter(|(bit, _)| seals & (1 << bit) != 0).map(|(_, name)| *name);
    format!("sealed against {}", set.collect::<Vec<_>>().join("+"))
}

/// The signals of a mask, bit 0 being signal 1.
fn signal_names(mask: u64) -> String {
    const MOST: usize = 4;
    let mut text = String::new();
    let signals = (1..=64).filter(|number| mask & (1 << (number - 1)) != 0);
    for (index, number) in signals.clone().take(MOST).enumerate() {
        let separator = if index == 0 { "" } else { "," };
        match tieline_os::signal::Signal::new(number) {
            Some(signal) => write!(text, "{separator}{}", signal.to_string().trim_start_matches("SIG")),
            None => write!(text, "{separator}{number}"),
        }
        .expect("a text takes everything");
    }
    let more = signals.count().saturating_sub(MOST);
    if more > 0 { format!("{text} and {more} more") } else { text }
}

/// Whether a figure of this unit blocks a writer when it reaches its capacity.
pub(super) fn is_full(object: &Object) -> bool {
    object.fill.as_ref().is_some_and(|fill| {
        fill.unit != Unit::Count && fill.capacity.is_some_and(|capacity| capacity > 0 && fill.used >= capacity)
    })
}
