//! One object in sentences: who is at which end, what waits in it, what is odd about it.

use crate::model::{
    Access, Detail, Kind, Lock, LockKind, Object, ObjectRef, Process, ProcessState, Role, SocketState, SysvMq, SysvSem,
    SysvShm, Unit, Wait, WaitReason,
};

use super::party::Party;
use super::{View, process_name, words};

/// How many processes a sentence names, before the rest is only counted.
const MOST_NAMED: usize = 3;

impl View<'_> {
    /// What a sentence calls the object: `pipe:[12]`, `the FIFO /tmp/jobs`, `segment shm:3`.
    pub(super) fn title(&self, object: &Object) -> String {
        let what = self.what(object);
        let noun = match object.kind {
            Kind::Pipe => return what,
            Kind::Fifo => "the FIFO",
            kind if kind.is_unix() && object.name.is_none() => "the Unix socket",
            kind if kind.is_unix() => "the Unix socket at",
            Kind::Tcp => "TCP",
            Kind::Udp => "UDP",
            Kind::SysvShm => "segment",
            Kind::SysvMq => "queue",
            Kind::SysvSem => "semaphore set",
            Kind::PosixShm => "shared memory",
            Kind::PosixMq => "queue",
            Kind::PosixSem => "semaphore",
            Kind::AnonymousShm => "anonymous shared memory",
            Kind::File => "the file",
            Kind::Memfd => return what,
            Kind::ShmTopic => "the topic",
            Kind::ShmRoster => "the subscribers of",
            Kind::ShmQueue => "the queue",
            Kind::ShmStream => "a stream of",
            Kind::ShmCalls => "a connection to",
            Kind::ShmLatest => "the latest value",
            Kind::ShmEvent => "the events",
            Kind::ShmLocks => "the lock",
            Kind::ShmArena => "the arena",
            Kind::ShmMemory => "the segment",
            Kind::EventFd if object.name.is_none() => return what,
            kind => return format!("{} {what}", kind.name()),
        };
        format!("{noun} {what}")
    }

    /// Everything worth saying of one object.
    pub(super) fn sentences(&self, object: &Object) -> Vec<String> {
        let parties = self.parties(object.reference);
        let mut sentences = match &object.detail {
            _ if matches!(object.kind, Kind::Pipe | Kind::Fifo) => self.of_pipe(object, &parties),
            Detail::Unix(socket) => self.of_socket(object, socket.state, &parties),
            Detail::Inet(socket) => self.of_socket(object, socket.state, &parties),
            Detail::SysvShm(segment) => self.of_segment(object, segment, &parties),
            Detail::SysvMq(queue) => self.of_sysv_queue(object, queue, &parties),
            Detail::SysvSem(set) => self.of_set(object, set, &parties),
            Detail::Segment(segment) => self.of_shared_segment(object, segment, &parties),
            Detail::PidFd { pid } => {
                let of = pid.map_or_else(|| "a process that has ended".to_owned(), |pid| self.pid(pid));
                vec![format!("{} {} a descriptor of {of}.", self.all(&parties), has(&parties))]
            }
            _ => self.of_anything(object, &parties),
        };
        if let Some(fill) = &object.fill
            && !matches!(object.detail, Detail::Unix(_) | Detail::Inet(_))
            // Of a counter only that it can go no further is worth a word: the count has been told.
            && (fill.unit != Unit::Count || fill.capacity == Some(fill.used))
        {
            let used = words::number(fill.used);
            let unit = words::unit(fill.unit, fill.capacity.unwrap_or(fill.used));
            sentences.push(match fill.capacity {
                Some(_) if fill.unit == Unit::Count => "It can count no further; the next write waits.".to_owned(),
                Some(capacity) if fill.used >= capacity && capacity > 0 => {
                    format!("It is full: it holds all {used} {unit} that fit; the next write waits.")
                }
                Some(capacity) => format!("It holds {used} of {} {unit}.", words::number(capacity)),
                None => format!("It holds {used} {unit}."),
            });
        }
        self.locks_in_words(object, &parties, &mut sentences);
        // Who waits for a file lock has been told of with the lock.
        let waits = self.waits_on(object.reference).filter(|wait| wait.reason != WaitReason::Lock);
        sentences.extend(waits.map(|wait| self.wait_in_words(wait)));
        let users = parties.iter().filter(|party| party.is_user());
        let stands = |party: &Party<'_>| {
            halted(party.process).map(|halted| format!("{} is {halted}.", process_name(party.process)))
        };
        sentences.extend(users.filter_map(stands).take(MOST_NAMED));
        if let Some(namespace) = self.foreign_namespace(object) {
            sentences.push(format!("It is of another namespace, {}.", self.namespace(namespace)));
        }
        sentences
    }

    fn namespace(&self, inode: u64) -> String {
        let named = self.snapshot.namespaces().iter().find(|namespace| namespace.inode == inode);
        let process = named.and_then(|namespace| namespace.named_after).map(|process| self.snapshot.process(process));
        process.map_or_else(|| inode.to_string(), |process| format!("{inode} (that of {})", process_name(process)))
    }

    fn of_pipe(&self, object: &Object, parties: &[Party<'_>]) -> Vec<String> {
        let at = |is_there: fn(&Access) -> bool| {
            parties.iter().filter(|party| is_there(&party.access())).collect::<Vec<_>>()
        };
        let (writers, readers) = (at(|access| access.write), at(|access| access.read));
        let title = self.title(object);
        if let ([writer], [reader]) = (&*writers, &*readers)
            && writer.process.reference == reader.process.reference
        {
            return vec![format!("{} has both ends of {title} to itself.", through(writer))];
        }
        let caveat = if self.may_have_hidden_holders() { "Nobody that could be seen" } else { "Nobody" };
        let writes = match &*writers {
            [] => format!("{caveat} has the writing end of {title}"),
            some => format!("{} to {title}", verb(some, "writes", "write")),
        };
        let reads = match &*readers {
            [] => format!("{} has its reading end", caveat.to_lowercase()),
            some => format!("{} from it", verb(some, "reads", "read")),
        };
        vec![format!("{writes}; {reads}.")]
    }

    fn of_socket(&self, object: &Object, state: SocketState, parties: &[Party<'_>]) -> Vec<String> {
        let (names, title) = (self.all(parties), self.title(object));
        let mut sentences = Vec::new();
        if let Some(peer) = self.snapshot.peer(object.reference) {
            let peer = self.snapshot.object(peer);
            let others = self.parties(peer.reference);
            // A connection is called by the name of the end that has one.
            let title = if object.name.is_none() && peer.name.is_some() { self.title(peer) } else { title };
            sentences.push(format!("{names} {} connected with {} by {title}.", is(parties), self.all(&others)));
            self.queued(object, parties, &mut sentences);
            self.queued(peer, &others, &mut sentences);
            sentences.iter_mut().for_each(|sentence| *sentence = capital(sentence));
            return sentences;
        }
        sentences.push(match state {
            SocketState::Listening => format!("{names} {} at {title}.", s(parties, "listens", "listen")),
            SocketState::Connected if matches!(object.detail, Detail::Inet(_)) => {
                format!("{names} {} connected by {title}; the other end is not on this host.", is(parties))
            }
            SocketState::Connected => {
                format!("{names} {} connected by {title}; the other end could not be found.", is(parties))
            }
            SocketState::Connecting => format!("{names} {} to {title}.", s(parties, "is connecting", "are connecting")),
            SocketState::Closing => format!("{names} {} {title}, which is being closed.", has(parties)),
            SocketState::Unconnected if object.name.is_some() || matches!(object.detail, Detail::Inet(_)) => {
                format!("{names} {} at {title}.", s(parties, "receives", "receive"))
            }
            SocketState::Unconnected => format!("{names} {} {title}, which is not connected.", has(parties)),
        });
        let backlog = match &object.detail {
            Detail::Unix(socket) => socket.backlog.map(|(pending, most)| (u64::from(pending), u64::from(most))),
            Detail::Inet(socket) if state == SocketState::Listening => Some((socket.receive_queue, socket.send_queue)),
            _ => None,
        };
        // UDP listens without a backlog. The kernel takes one more than the most.
        if let Some((pending, most)) = backlog.filter(|(_, most)| *most > 0) {
            let full = if pending > most { ": it is full, and the next client waits" } else { "" };
            sentences.push(format!("{pending} of {most} places of its backlog are taken{full}."));
        }
        if let Detail::Unix(socket) = &object.detail
            && socket.in_flight > 0
        {
            let count = words::count(u64::from(socket.in_flight), "descriptor is", "descriptors are");
            sentences.push(format!("{count} in flight to it."));
        }
        self.queued(object, parties, &mut sentences);
        sentences.iter_mut().for_each(|sentence| *sentence = capital(sentence));
        sentences
    }

    /// What waits to be read from a socket.
    fn queued(&self, object: &Object, parties: &[Party<'_>], sentences: &mut Vec<String>) {
        let bytes = match &object.detail {
            Detail::Unix(socket) if socket.state != SocketState::Listening => socket.receive_queue,
            Detail::Inet(socket) if socket.state != SocketState::Listening => socket.receive_queue,
            _ => 0,
        };
        if bytes > 0 {
            let by = if parties.is_empty() { "the other end".to_owned() } else { self.all(parties) };
            let count = words::count(bytes, "byte waits", "bytes wait");
            sentences.push(format!("{count} to be read by {by}."));
        }
    }

    fn of_segment(&self, object: &Object, segment: &SysvShm, parties: &[Party<'_>]) -> Vec<String> {
        let title = self.title(object);
        let users: Vec<&Party<'_>> = parties.iter().filter(|party| party.is_user()).collect();
        let size = words::count(segment.size_bytes, "byte", "bytes");
        let mut sentences = vec![match (users.is_empty(), segment.attached) {
            (true, 0) => format!("Nobody has {title} attached ({size})."),
            (true, count) => format!(
                "{} {title} attached {} ({size}).",
                if count == 1 { "Somebody who could not be seen has" } else { "Processes that could not be seen have" },
                if count == 1 { "once".to_owned() } else { format!("{count} times") }
            ),
            (false, _) => format!("{} {title} attached ({size}).", verb(&users, "has", "have")),
        }];
        if !users.is_empty() && segment.attached > users.len() as u64 {
            let count = words::count(segment.attached, "attachment", "attachments");
            sentences.push(format!("The kernel counts {count}: some process has several, or could not be seen."));
        }
        if segment.is_removed {
            sentences.push(
                "It is marked for removal (`dest`): its key is free again, ipcrm has nothing more to do, and the kernel \
                 frees it when the last of them detaches or ends."
                    .to_owned(),
            );
        }
        let mut remembered: Vec<String> = Vec::new();
        if segment.creator != 0 {
            remembered.push(format!("{} made it", self.pid(segment.creator)));
        }
        if segment.last != 0 {
            remembered.push(format!("{} attached or detached it last", self.pid(segment.last)));
        }
        if !remembered.is_empty() {
            sentences.push(capital(&format!("{}.", remembered.join("; "))));
        }
        sentences
    }

    fn of_sysv_queue(&self, object: &Object, queue: &SysvMq, parties: &[Party<'_>]) -> Vec<String> {
        let last = |role, pid: u32| {
            let known = parties.iter().find(|party| party.roles.contains(&role));
            match (known, pid) {
                (Some(party), _) => process_name(party.process),
                (None, 0) => "nobody".to_owned(),
                (None, pid) => self.pid(pid),
            }
        };
        let (title, sender) = (self.title(object), last(Role::LastSender, queue.last_sender));
        let receiver = last(Role::LastReceiver, queue.last_receiver);
        let mut sentences = vec![capital(&format!(
            "{sender} was the last to send to {title}, {receiver} the last to receive from it."
        ))];
        let counts = words::count(queue.messages, "message waits", "messages wait");
        sentences.push(format!("{counts} in it."));
        sentences
    }

    fn of_set(&self, object: &Object, set: &SysvSem, parties: &[Party<'_>]) -> Vec<String> {
        let mut sentences = Vec::new();
        let operators: Vec<String> = (parties.iter())
            .filter(|party| party.roles.contains(&Role::LastOperator))
            .map(|party| process_name(party.process))
            .collect();
        let title = self.title(object);
        if set.semaphores.is_empty() {
            return vec![format!(
                "{} has {}, which may not be read.",
                capital(&title),
                words::count(u64::from(set.count), "semaphore", "semaphores")
            )];
        }
        sentences.push(match &*operators {
            [] if set.semaphores.iter().all(|sem| sem.last == 0) => format!("Nobody has changed {title} yet."),
            [] => format!("Those who last changed {title} have ended."),
            some => format!("{} changed {title} last.", words::and(&limited(some.to_vec()))),
        });
        if let [only] = &*set.semaphores {
            sentences.push(format!("Its value is {}.", only.value));
        } else if !set.semaphores.is_empty() {
            let values: Vec<String> = set.semaphores.iter().take(16).map(|sem| sem.value.to_string()).collect();
            let more = if set.semaphores.len() > 16 { " ..." } else { "" };
            sentences.push(format!("Its {} values are {}{more}.", set.count, values.join(", ")));
        }
        for (index, semaphore) in set.semaphores.iter().enumerate() {
            let (up, zero) = (semaphore.waiting_for_increase, semaphore.waiting_for_zero);
            if up > 0 {
                let count = words::count(u64::from(up), "waits", "wait");
                sentences.push(format!("{count} for semaphore {index} to grow; its value is {}.", semaphore.value));
            }
            if zero > 0 {
                let count = words::count(u64::from(zero), "waits", "wait");
                sentences
                    .push(format!("{count} for semaphore {index} to become zero; its value is {}.", semaphore.value));
            }
        }
        sentences
    }

    fn of_anything(&self, object: &Object, parties: &[Party<'_>]) -> Vec<String> {
        let title = self.title(object);
        let mut sentences = Vec::new();
        let with = |is_it: fn(&Party<'_>) -> bool| parties.iter().filter(|party| is_it(party)).collect::<Vec<_>>();
        let mapped = with(|party| !party.mappings.is_empty());
        let open = with(|party| !party.descriptors.is_empty() && party.mappings.is_empty());
        if !mapped.is_empty() {
            let names = limited(mapped.iter().map(|party| process_name(party.process)).collect());
            sentences.push(format!(
                "{} {} {title} mapped.",
                words::and(&names),
                if mapped.len() == 1 { "has" } else { "have" }
            ));
        }
        if !open.is_empty() {
            let it = if mapped.is_empty() { title.as_str() } else { "it" };
            sentences.push(format!("{} {it} open.", verb(&open, "has", "have")));
        }
        if mapped.is_empty() && open.is_empty() && parties.iter().all(|party| party.locks.is_empty()) {
            let nobody = if self.may_have_hidden_holders() { "Nobody that could be seen" } else { "Nobody" };
            sentences.push(format!("{nobody} has {title} open or mapped."));
        }
        match &object.detail {
            Detail::PosixSem(sem) => {
                sentences.extend(sem.value.map(|value| format!("Its value is {value}.")));
                if let Some(waiters) = sem.waiters.filter(|&waiters| waiters > 0) {
                    sentences
                        .push(format!("{} for it.", words::count(u64::from(waiters), "thread waits", "threads wait")));
                }
            }
            Detail::PosixMq(queue) => {
                if let Some((pid, _)) = queue.notify {
                    sentences.push(format!("{} is told when a message comes.", capital(&self.pid(pid))));
                }
            }
            Detail::Memory(memory) => {
                sentences.extend(
                    memory
                        .size_bytes
                        .filter(|_| object.fill.is_none())
                        .map(|size| format!("It is {} long.", words::count(size, "byte", "bytes"))),
                );
                if memory.is_unlinked {
                    sentences.push("Its name is removed: nobody else can open it by name.".to_owned());
                }
            }
            Detail::EventFd(event) => sentences.push(format!("Its count is {}.", event.count)),
            _ => {}
        }
        sentences
    }

    fn locks_in_words(&self, object: &Object, parties: &[Party<'_>], sentences: &mut Vec<String>) {
        let locks = || parties.iter().flat_map(|party| party.locks.iter().map(move |lock| (party.process, *lock)));
        let name = |(process, lock): (&Process, &Lock)| format!("{} ({})", process_name(process), lock_words(lock));
        let holders: Vec<String> = locks().filter(|(_, lock)| !lock.is_waiting).map(name).collect();
        let waiters: Vec<String> = locks().filter(|(_, lock)| lock.is_waiting).map(name).collect();
        if !holders.is_empty() {
            let it = if sentences.is_empty() { self.title(object) } else { "it".to_owned() };
            let verb = if holders.len() == 1 { "has locked" } else { "have locked" };
            sentences.push(format!("{} {verb} {it}.", words::and(&limited(holders))));
        }
        if !waiters.is_empty() {
            let verb = if waiters.len() == 1 { "waits" } else { "wait" };
            sentences.push(format!("{} {verb} for a lock of it.", words::and(&limited(waiters))));
        }
    }

    pub(super) fn waits_on(&self, object: ObjectRef) -> impl Iterator<Item = &Wait> {
        self.snapshot.waits().iter().filter(move |wait| wait.object == Some(object))
    }

    fn wait_in_words(&self, wait: &Wait) -> String {
        let process = self.snapshot.process(wait.process);
        let thread = if wait.thread == process.pid { String::new() } else { format!(", thread {},", wait.thread) };
        format!("{}{thread} waits {}.", process_name(process), reason(&wait.reason))
    }

    /// All users of one end, or that there are none.
    pub(super) fn all(&self, parties: &[Party<'_>]) -> String {
        let users: Vec<&Party<'_>> = parties.iter().filter(|party| party.is_user()).collect();
        match (&*users, self.may_have_hidden_holders()) {
            ([], true) => "somebody who could not be seen".to_owned(),
            ([], false) => "nobody".to_owned(),
            (some, _) => words::and(&limited(some.iter().map(|party| brief(party)).collect())),
        }
    }
}

/// Why a process does nothing at all, behind "is".
pub(super) fn halted(process: &Process) -> Option<&'static str> {
    match process.state {
        ProcessState::Stopped => Some("stopped, until SIGCONT"),
        ProcessState::Traced => Some("stopped by a debugger"),
        _ => None,
    }
}

/// For what a thread waits, behind "waits".
pub(super) fn reason(reason: &WaitReason) -> String {
    match reason {
        WaitReason::Read => "for something to read".to_owned(),
        WaitReason::Write => "for room to write".to_owned(),
        WaitReason::Open(path) => format!("for the other side to open {path}"),
        WaitReason::Connect => "for room in the backlog".to_owned(),
        WaitReason::Accept => "for a connection to accept".to_owned(),
        WaitReason::Semaphores(operations) => {
            let one = |(index, change): &(u16, i16)| match change {
                0 => format!("semaphore {index} to become zero"),
                change => format!("semaphore {index} to allow {change:+}"),
            };
            format!("for {}", words::and(&limited(operations.iter().map(one).collect())))
        }
        WaitReason::Message { message_type: 0 } => "for any message".to_owned(),
        WaitReason::Message { message_type } if *message_type < 0 => {
            format!("for a message of type {} or less", message_type.unsigned_abs())
        }
        WaitReason::Message { message_type } => format!("for a message of type {message_type}"),
        WaitReason::Room { bytes } => format!("for room for {}", words::count(*bytes, "byte", "bytes")),
        WaitReason::Lock => "for a lock".to_owned(),
        WaitReason::Futex { offset: Some(offset), .. } => format!("on the futex at offset {offset}"),
        WaitReason::Futex { address, .. } => format!("on the futex at address {address:#x}"),
    }
}

/// `exclusive flock`, `shared POSIX lock of bytes 0 to 9`.
pub(super) fn lock_words(lock: &Lock) -> String {
    let how = if lock.is_exclusive { "exclusive" } else { "shared" };
    let kind = match lock.kind {
        LockKind::Posix => "POSIX lock",
        LockKind::Ofd => "OFD lock",
        LockKind::Flock => return format!("{how} flock"),
        LockKind::Shm => return format!("{how} lock at byte {}", lock.start),
        LockKind::Lease => return format!("{} lease", if lock.is_exclusive { "write" } else { "read" }),
    };
    match (lock.start, lock.end) {
        (0, None) => format!("{how} {kind} of the whole file"),
        (start, None) => format!("{how} {kind} from byte {start} on"),
        (start, Some(end)) if start == end => format!("{how} {kind} of byte {start}"),
        (start, Some(end)) => format!("{how} {kind} of bytes {start} to {end}"),
    }
}

/// The same for a column: `exclusive flock`, `shared POSIX 0-9`.
pub(super) fn lock_label(lock: &Lock) -> String {
    let how = if lock.is_exclusive { "exclusive" } else { "shared" };
    let kind = match lock.kind {
        LockKind::Posix => "POSIX",
        LockKind::Ofd => "OFD",
        LockKind::Flock | LockKind::Lease => return lock_words(lock),
        LockKind::Shm => return format!("{how} shm {}", lock.start),
    };
    match (lock.start, lock.end) {
        (0, None) => format!("{how} {kind}"),
        (start, None) => format!("{how} {kind} {start}-"),
        (start, Some(end)) => format!("{how} {kind} {start}-{end}"),
    }
}

/// `sort 4712 (descriptor 0)`.
fn brief(party: &Party<'_>) -> String {
    let name = process_name(party.process);
    match party.descriptors.len() {
        0 => name,
        1 => format!("{name} (descriptor {})", party.descriptor_numbers()),
        _ => format!("{name} (descriptors {})", party.descriptor_numbers()),
    }
}

/// `sort 4712 through descriptor 0`.
fn through(party: &Party<'_>) -> String {
    let name = process_name(party.process);
    match party.descriptors.len() {
        0 => name,
        1 => format!("{name}, through descriptor {},", party.descriptor_numbers()),
        _ => format!("{name}, through descriptors {},", party.descriptor_numbers()),
    }
}

/// The parties and what they do: of one with `one`, of several with `many`.
fn verb(parties: &[&Party<'_>], one: &str, many: &str) -> String {
    let names = words::and(&limited(parties.iter().map(|party| brief(party)).collect()));
    format!("{names} {}", if parties.len() == 1 { one } else { many })
}

fn s<'a>(parties: &[Party<'_>], one: &'a str, many: &'a str) -> &'a str {
    if parties.iter().filter(|party| party.is_user()).count() > 1 { many } else { one }
}

fn is(parties: &[Party<'_>]) -> &'static str {
    s(parties, "is", "are")
}

fn has(parties: &[Party<'_>]) -> &'static str {
    s(parties, "has", "have")
}

/// The first few, and how many more.
pub(super) fn limited(mut parts: Vec<String>) -> Vec<String> {
    if parts.len() > MOST_NAMED + 1 {
        let more = parts.len() - MOST_NAMED;
        parts.truncate(MOST_NAMED);
        parts.push(format!("{more} more"));
    }
    parts
}

/// What something holds, by unit, in a sentence.
pub(super) fn amount(amount: u64, unit: Unit) -> String {
    format!("{} {}", words::number(amount), words::unit(unit, amount))
}

fn capital(text: &str) -> String {
    // Names of processes stay as they are; only our own word at the beginning of a sentence grows.
    for word in ["process ", "nobody ", "somebody ", "semaphore "] {
        if let Some(rest) = text.strip_prefix(word) {
            let (first, tail) = word.split_at(1);
            return format!("{}{tail}{rest}", first.to_uppercase());
        }
    }
    text.to_owned()
}
