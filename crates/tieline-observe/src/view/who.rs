//! Who is on the other end: a question, and its answers in a sentence and a table.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::model::{
    Access, Detail, Identity, Kind, LinkKind, Object, ObjectRef, Process, ProcessRef, Role, SocketState, Text,
    WaitReason,
};

use super::grid::{Column, Grid, Tone};
use super::label::{is_full, socket_state};
use super::party::Party;
use super::query::{Query, SystemVName};
use super::segment::member_words;
use super::select::ProcessChoice;
use super::sentence::{halted, lock_words, reason};
use super::tree::Companies;
use super::{View, process_name, words};

/// One thing that the question can mean, and what there is to say of it.
#[derive(Debug)]
pub struct Answer {
    /// What it is about.
    pub subject: Subject,
    /// The answer in sentences, the first being the answer and the rest what else one would ask.
    pub sentences: Vec<String>,
    /// The same in rows: who, how, through what.
    pub grid: Grid,
    /// The objects that it speaks of: the subject, its other ends, connections and clients.
    pub objects: Vec<ObjectRef>,
}

/// What an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A process and all its conversations.
    Process(ProcessRef),
    /// An object.
    Object(ObjectRef),
}

impl View<'_> {
    /// The answers to a question: one for each thing it can mean, none if there is no such thing to be seen.
    ///
    /// The two ends of a connection are one thing, and so are a listener and the connections it accepted.
    #[must_use]
    pub fn who(&self, query: &Query) -> Vec<Answer> {
        let mut answers: Vec<Answer> =
            self.processes_asked(query).into_iter().map(|process| self.of_process(process)).collect();
        let objects = self.objects_asked(query);
        let mut told: HashSet<ObjectRef> = HashSet::new();
        let is_listener =
            |object: &ObjectRef| socket_state(self.snapshot.object(*object)) == Some(SocketState::Listening);
        let (listeners, others): (Vec<ObjectRef>, Vec<ObjectRef>) = objects.iter().copied().partition(is_listener);
        for object in listeners {
            let accepted = others.iter().copied().filter(|other| self.is_accepted_by(*other, object));
            let accepted: Vec<ObjectRef> = accepted.filter(|other| told.insert(*other)).collect();
            told.extend(accepted.iter().filter_map(|other| self.snapshot.peer(*other)));
            answers.push(self.of_listener(object, &accepted, query));
        }
        for object in others {
            if told.insert(object) {
                told.extend(self.snapshot.peer(object));
                answers.push(self.of_object(object, query));
            }
        }
        answers
    }

    /// Whether there is no answer because the viewer may not see it: the process is there, its descriptors are hidden.
    #[must_use]
    pub fn is_hidden(&self, query: &Query) -> bool {
        let pid = match query {
            Query::Descriptor { pid, .. } => pid,
            Query::Name { file: None, is_missing, .. } => return !is_missing,
            _ => return false,
        };
        self.snapshot.process_with_pid(*pid).is_some_and(|process| process.descriptors.is_none())
    }

    /// Why there is no answer, and what to try; for who got none from [`who`](Self::who).
    #[must_use]
    pub fn not_found(&self, query: &Query) -> String {
        let process = |pid: &u32| self.snapshot.process_with_pid(*pid);
        let mut text = match query {
            Query::Number(number) => format!("there is no process {number}, and nothing is at port {number}"),
            Query::Process(name) => {
                format!("no process is called {name}; an object is asked for by path, /name, @name or kind:number")
            }
            Query::Descriptor { pid, fd } => match process(pid) {
                None => format!("there is no process {pid}"),
                Some(process) if process.descriptors.is_none() => {
                    return format!("the descriptors of {} may not be seen: run as root", process_name(process));
                }
                Some(process) => format!(
                    "descriptor {fd} of {} is not open, or is no inter-process communication (a plain file, folder, \
                     terminal or device)",
                    process_name(process)
                ),
            },
            Query::Pipe(inode) => format!("nobody holds pipe:[{inode}]"),
            Query::Socket(inode) => format!("there is no socket:[{inode}]"),
            Query::File { .. } => "no such file is a FIFO, shared memory, mapped or locked".to_owned(),
            Query::SystemV { kind, by, .. } => {
                let word = super::label::sysv_word(*kind);
                match by {
                    SystemVName::Id(id) => format!("there is no {word}:{id}; `tieline ls sysv` lists those there are"),
                    SystemVName::Key(key) => {
                        format!("there is no {word} with key {key:#x}; `tieline ls sysv` lists those there are")
                    }
                }
            }
            Query::Name { name, file: Some(_), .. } => {
                format!("{name} is there, but nobody has it open as a FIFO or socket, mapped or locked")
            }
            Query::Name { name, is_missing: true, .. } => {
                format!("there is no {name}, neither as a path nor as a POSIX object")
            }
            Query::Name { name, .. } => {
                format!("no object is called {name}, and whether there is such a path is unknown")
            }
            Query::Abstract(name) => format!("no Unix socket is called {name}"),
            Query::Port { port, .. } => format!("nothing is at port {port}"),
            Query::Segment(name) => {
                format!("nobody has a channel, lock or arena called {name}; `tieline ls shm` lists those there are")
            }
            Query::Memfd(name) => format!("no memfd is called {name:?}"),
            Query::Numbered { kind, number } => format!("there is no {kind} of number {number}"),
        };
        // What the kernel lists by itself is there or not, whoever holds it.
        let is_listed =
            matches!(query, Query::Abstract(_) | Query::Socket(_) | Query::SystemV { .. } | Query::Port { .. });
        if let Some(unseen) = self.unseen().first().filter(|_| !is_listed && self.may_have_hidden_holders()) {
            text += &format!("; but {unseen}");
        }
        text
    }

    pub(super) fn processes_asked(&self, query: &Query) -> Vec<ProcessRef> {
        match query {
            Query::Number(number) => self.processes(&ProcessChoice::Pid(*number)),
            Query::Process(name) => self.processes(&ProcessChoice::Name(name.clone())),
            _ => Vec::new(),
        }
    }

    pub(super) fn objects_asked(&self, query: &Query) -> Vec<ObjectRef> {
        let by_identity =
            |identity| self.snapshot.object_with(identity).map(|object| object.reference).into_iter().collect();
        let all = |is_it: &dyn Fn(&Object) -> bool| {
            self.snapshot.objects().iter().filter(|object| is_it(object)).map(|object| object.reference).collect()
        };
        match query {
            Query::Process(_) => Vec::new(),
            Query::Number(number) => match u16::try_from(*number) {
                Ok(port) => all(&|object| is_at_port(object, None, None, port)),
                Err(_) => Vec::new(),
            },
            Query::Port { kind, host, port } => all(&|object| is_at_port(object, *kind, *host, *port)),
            Query::Descriptor { pid, fd } => {
                let process = self.snapshot.process_with_pid(*pid);
                let mut holds = process.into_iter().flat_map(|process| self.snapshot.held_by(process.reference));
                let through = |how: &crate::model::How| matches!(how, crate::model::How::Descriptor { fd: there, .. } if there == fd);
                holds.find(|hold| through(&hold.how)).map(|hold| hold.object).into_iter().collect()
            }
            Query::Pipe(inode) => by_identity(Identity::Pipe { inode: *inode }),
            Query::Socket(inode) => by_identity(Identity::Socket { inode: *inode }),
            Query::File { device, inode } => by_identity(Identity::File { device: *device, inode: *inode }),
            Query::Numbered { kind, number } => by_identity(Identity::Numbered { kind: *kind, number: *number }),
            Query::SystemV { kind, by, namespace } => {
                let own = self.snapshot.viewer().namespaces.ipc;
                let is_it = |object: &Object| {
                    let Identity::SystemV { kind: of, namespace: at, id } = object.identity else { return false };
                    let named = match by {
                        SystemVName::Id(wanted) => id == *wanted,
                        SystemVName::Key(wanted) => sysv_key(object) == Some(*wanted),
                    };
                    of == *kind && named && namespace.is_none_or(|wanted| wanted == at)
                };
                let found: Vec<ObjectRef> = all(&is_it);
                // An id without a namespace means our own, if there is one.
                let is_own = |object: &&ObjectRef| self.snapshot.object(**object).namespace == own && own.is_some();
                let ours: Vec<ObjectRef> = found.iter().filter(is_own).copied().collect();
                if ours.is_empty() { found } else { ours }
            }
            Query::Name { name, kinds, file, .. } => {
                let is_it = |object: &Object| {
                    (kinds.is_empty() || kinds.contains(&object.kind))
                        && (is_called(object, name) || file.is_some_and(|file| is_file(object, file)))
                };
                all(&is_it)
            }
            Query::Abstract(name) => all(&|object| object.kind.is_unix() && is_named(object, name)),
            Query::Segment(name) => {
                let is_it = |object: &Object| object.kind.is_segment() && object.kind != Kind::ShmRoster;
                all(&|object| is_it(object) && is_named(object, name) && !self.is_part(object))
            }
            Query::Memfd(name) => all(&|object| object.kind == Kind::Memfd && is_named(object, name)),
        }
    }

    /// Whether a socket is one that a listener has made: of the same name and kind, and connected.
    fn is_accepted_by(&self, socket: ObjectRef, listener: ObjectRef) -> bool {
        let (socket, listener) = (self.snapshot.object(socket), self.snapshot.object(listener));
        if socket.kind != listener.kind
            || socket_state(socket) == Some(SocketState::Listening)
            || socket.namespace != listener.namespace
        {
            return false;
        }
        match (&socket.detail, &listener.detail) {
            (Detail::Inet(socket), Detail::Inet(listener)) => {
                let host = listener.local.ip();
                socket.local.port() == listener.local.port() && (host.is_unspecified() || host == socket.local.ip())
            }
            (Detail::Unix(one), Detail::Unix(other)) => {
                socket.name.is_some() && socket.name == listener.name && one.file == other.file
            }
            _ => false,
        }
    }

    fn of_object(&self, reference: ObjectRef, query: &Query) -> Answer {
        let object = self.snapshot.object(reference);
        let mut sentences = self.sentences(object);
        if let Query::Descriptor { pid, fd } = query {
            sentences.insert(0, self.descriptor_sentence(object, *pid, *fd));
        }
        sentences.extend(self.reach(object, query));
        let mut grid = party_grid();
        self.party_rows(&mut grid, object, "");
        let mut objects = vec![reference];
        for (link, other) in self.snapshot.linked(reference) {
            let whose = match link.kind {
                LinkKind::Peer => "the other end: ",
                LinkKind::SendsTo if link.from == reference => "is sent to: ",
                LinkKind::SendsTo => "sends to it: ",
                LinkKind::Pending => "waits to be accepted: ",
                // That its own process waits for it with epoll is no conversation.
                LinkKind::Watches if link.to == reference => continue,
                LinkKind::Watches => "is watched: ",
                // Who is there is told with the messages.
                LinkKind::PartOf => continue,
            };
            self.party_rows(&mut grid, self.snapshot.object(other), whose);
            objects.push(other);
        }
        tidy(&mut grid);
        Answer { subject: Subject::Object(reference), sentences, grid, objects }
    }

    fn of_listener(&self, listener: ObjectRef, accepted: &[ObjectRef], query: &Query) -> Answer {
        let mut answer = self.of_object(listener, query);
        let pending = || self.snapshot.linked(listener).filter(|(link, _)| link.kind == LinkKind::Pending);
        let clients = pending().count() as u64;
        if clients > 0 {
            let count = words::count(clients, "client waits", "clients wait");
            answer.sentences.push(format!("{count} to be accepted."));
        }
        if accepted.is_empty() {
            return answer;
        }
        let names: Vec<String> = {
            let ends = accepted.iter().filter_map(|socket| self.snapshot.peer(*socket));
            let mut names: Vec<String> =
                ends.flat_map(|peer| self.parties(peer)).map(|party| party.process.name.to_string()).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        let count = words::count(accepted.len() as u64, "connection is", "connections are");
        let with = if names.is_empty() {
            String::new()
        } else {
            format!(" with {}", words::and(&names[..names.len().min(5)]))
        };
        let more = if names.len() > 5 { " and others" } else { "" };
        answer.sentences.push(format!("{count} open{with}{more}."));
        // The grid was tidied: begin anew, so that its columns are all there.
        let mut grid = party_grid();
        self.party_rows(&mut grid, self.snapshot.object(listener), "");
        for (_, waiting) in pending() {
            self.party_rows(&mut grid, self.snapshot.object(waiting), "waits to be accepted: ");
        }
        for &socket in accepted {
            self.party_rows(&mut grid, self.snapshot.object(socket), "accepted: ");
            answer.objects.push(socket);
            if let Some(peer) = self.snapshot.peer(socket) {
                self.party_rows(&mut grid, self.snapshot.object(peer), "client: ");
                answer.objects.push(peer);
            }
        }
        tidy(&mut grid);
        answer.grid = grid;
        answer
    }

    /// What one descriptor is, before its object is told of.
    fn descriptor_sentence(&self, object: &Object, pid: u32, fd: i32) -> String {
        let parties = self.parties(object.reference);
        let party = parties.iter().find(|party| party.process.pid == pid);
        let access = party.and_then(|party| party.descriptors.iter().find(|(number, _)| *number == fd));
        let name = party.map_or_else(|| pid.to_string(), |party| process_name(party.process));
        let part = match (object.kind, access.map(|(_, access)| *access)) {
            (Kind::Pipe | Kind::Fifo, Some(Access::READ)) => "the reading end of ",
            (Kind::Pipe | Kind::Fifo, Some(Access::WRITE)) => "the writing end of ",
            _ => "",
        };
        format!("Descriptor {fd} of {name} is {part}{}.", self.title(object))
    }

    /// Whether a path still leads to this socket, where that was looked at.
    fn reach(&self, object: &Object, query: &Query) -> Option<String> {
        let (Query::Name { name, file, is_missing, .. }, Detail::Unix(socket)) = (query, &object.detail) else {
            return None;
        };
        let bound = socket.file?;
        let has_rival = || {
            let rivals = self.snapshot.objects().iter().filter(|other| {
                other.reference != object.reference && other.name == object.name && other.kind == object.kind
            });
            rivals.filter(|other| matches!(&other.detail, Detail::Unix(other) if other.file != socket.file)).count() > 0
        };
        let own_mounts = self.snapshot.viewer().namespaces.mnt;
        let is_elsewhere = |party: &Party<'_>| party.process.namespaces.mnt.is_some_and(|mnt| Some(mnt) != own_mounts);
        if socket_state(object) == Some(SocketState::Connected)
            || self.parties(object.reference).iter().any(is_elsewhere)
        {
            return None;
        }
        match file {
            Some(file) if *file != bound => {
                Some(format!("{name} leads to another socket by now: no new connection can reach this one."))
            }
            Some(_) if has_rival() => Some(format!("New connections to {name} reach this one: the path leads to it.")),
            // Whoever may not look there, or copied what a table shows of the name, has not seen that it is gone.
            None if !*is_missing || object.name.as_ref() != Some(name) => None,
            None => Some(format!("{name} does not exist any more: no new connection can reach it.")),
            Some(_) => None,
        }
    }

    fn of_process(&self, reference: ProcessRef) -> Answer {
        let process = self.snapshot.process(reference);
        let mut grid = Grid::new([
            Column::text("THROUGH"),
            Column::words("KIND"),
            Column::text("WHAT"),
            Column::words("FILL"),
            Column::text("WITH"),
        ]);
        let (mut partners, mut folded, mut shared) = (HashSet::new(), 0_u64, 0_u64);
        let mut objects = Vec::new();
        let mut companies = Companies::new(self);
        for (used, ways) in self.used_by(reference) {
            let object = self.snapshot.object(used);
            if self.is_quiet(object) {
                folded += 1;
                continue;
            }
            let reachable = [Some(used), self.snapshot.peer(used)].into_iter().flatten();
            let others = reachable.flat_map(|object| self.snapshot.holders(object)).filter(|hold| hold.how.is_use());
            let others: HashSet<ProcessRef> =
                others.map(|hold| hold.process).filter(|other| *other != reference).collect();
            shared += u64::from(!others.is_empty());
            partners.extend(others);
            let tone = if is_full(object) { Tone::Bad } else { Tone::Plain };
            let cells = [
                self.does(object, &ways),
                object.kind.name().to_owned(),
                self.conversation(object),
                self.fullness(object),
                self.others(process, object, &mut companies),
            ];
            grid.push(tone, cells);
            objects.push(used);
            objects.extend(self.snapshot.peer(used));
        }
        let user = process.uid.map(|uid| format!(" of user {}", self.users.name(uid))).unwrap_or_default();
        let container = process.container.as_ref().map(|name| format!(" in container {name}")).unwrap_or_default();
        let name = process_name(process);
        let mut sentences = vec![match (partners.len() as u64, process.descriptors) {
            (0, _) if process.is_kernel_thread => format!("{name} is a thread of the kernel, which talks to nobody."),
            (0, None) if objects.is_empty() => format!("{name}{user}{container} could not be looked into."),
            (0, _) => format!("{name}{user}{container} shares nothing with another process."),
            (count, _) => format!(
                "{name}{user}{container} shares {} with {}.",
                words::count(shared, "thing", "things"),
                words::count(count, "other process", "other processes")
            ),
        }];
        sentences.extend(halted(process).map(|halted| format!("It is {halted}.")));
        for wait in self.snapshot.waits().iter().filter(|wait| wait.process == reference) {
            let on = wait
                .object
                .map(|object| format!(" ({})", self.title(self.snapshot.object(object))))
                .unwrap_or_default();
            sentences.push(format!("Thread {} waits {}{on}.", wait.thread, reason(&wait.reason)));
        }
        if folded > 0 {
            sentences.push(format!(
                "{} it has to itself; `tieline ls --process {}` shows {}.",
                words::count(folded, "more", "more"),
                process.pid,
                if folded == 1 { "it" } else { "them" }
            ));
        }
        grid.drop_if_empty("FILL");
        objects.sort_unstable();
        objects.dedup();
        Answer { subject: Subject::Process(reference), sentences, grid, objects }
    }

    /// A row for each process that has to do with an object.
    fn party_rows(&self, grid: &mut Grid, object: &Object, whose: &str) {
        for party in self.parties(object.reference) {
            let user = party.process.uid.map(|uid| self.users.name(uid).into_owned()).unwrap_or_default();
            let mut how = self.party_words(&party);
            if let Detail::Segment(segment) = &object.detail {
                segment.of_process(party.process.pid).for_each(|member| member_words(object, member, &mut how));
            }
            let waits = self.waits_on(object.reference).filter(|wait| {
                wait.process == party.process.reference && (wait.reason != WaitReason::Lock || party.locks.is_empty())
            });
            for wait in waits {
                how.push(format!("waits {}", reason(&wait.reason)));
            }
            how.extend(halted(party.process).map(|halted| format!("is {halted}")));
            let cells = [
                process_name(party.process),
                user,
                format!("{whose}{}", how.join("; ")),
                self.id(object),
                party.process.container.as_ref().map(Text::to_string).unwrap_or_default(),
                command(party.process),
            ];
            grid.push(if party.is_user() { Tone::Plain } else { Tone::Quiet }, cells);
        }
        if let Detail::Segment(segment) = &object.detail {
            for member in segment.stale().filter(|member| !member.is_seen) {
                let mut how = Vec::new();
                member_words(object, member, &mut how);
                let (name, how) = (self.member(member), format!("{whose}{}", how.join("; ")));
                grid.push(Tone::Warning, [name, String::new(), how, self.id(object), String::new(), String::new()]);
            }
        }
        for wait in self.waits_on(object.reference) {
            if self.snapshot.holders(object.reference).any(|hold| hold.process == wait.process) {
                continue;
            }
            let process = self.snapshot.process(wait.process);
            let user = process.uid.map(|uid| self.users.name(uid).into_owned()).unwrap_or_default();
            let how = format!("{whose}waits {}", reason(&wait.reason));
            let container = process.container.as_ref().map(Text::to_string).unwrap_or_default();
            grid.push(Tone::Warning, [process_name(process), user, how, self.id(object), container, command(process)]);
        }
    }

    /// What a process has of an object, one phrase for each way.
    fn party_words(&self, party: &Party<'_>) -> Vec<String> {
        let mut how = Vec::new();
        for access in [Access::BOTH, Access::WRITE, Access::READ, Access::NONE] {
            let numbers: Vec<String> =
                party.descriptors.iter().filter(|(_, has)| *has == access).map(|(fd, _)| fd.to_string()).collect();
            if let Some(shown) = numbers.get(..numbers.len().min(3)).filter(|shown| !shown.is_empty()) {
                let more = numbers.len() - shown.len();
                let more = if more > 0 { format!("+{more}") } else { String::new() };
                how.push(format!("fd {}{more} {}", shown.join(","), access.letters()));
            }
        }
        for (access, bytes) in &party.mappings {
            how.push(format!("maps {} {}", words::bytes(*bytes), access.letters()));
        }
        for lock in &party.locks {
            how.push(format!("{} {}", if lock.is_waiting { "waits for" } else { "has" }, lock_words(lock)));
        }
        if party.is_notified {
            how.push("is told of messages".to_owned());
        }
        how.extend(party.roles.iter().map(|role| role_words(*role).to_owned()));
        how
    }
}

fn role_words(role: Role) -> &'static str {
    match role {
        Role::Creator => "made it",
        Role::LastAttached => "attached or detached last",
        Role::LastSender => "sent last",
        Role::LastReceiver => "received last",
        Role::LastOperator => "changed it last",
    }
}

fn party_grid() -> Grid {
    Grid::new([
        Column::words("PROCESS"),
        Column::words("USER"),
        Column::words("HOW"),
        Column::words("OBJECT"),
        Column::words("CONTAINER"),
        Column::text("COMMAND"),
    ])
}

/// Leaves out columns that say the same in every row, or nothing.
fn tidy(grid: &mut Grid) {
    ["CONTAINER", "COMMAND"].iter().for_each(|name| grid.drop_if_empty(name));
    if let Some(index) = grid.columns.iter().position(|column| column.name == "OBJECT")
        && grid.rows.windows(2).all(|pair| pair[0].cells[index] == pair[1].cells[index])
    {
        grid.columns.remove(index);
        for row in &mut grid.rows {
            row.cells.remove(index);
        }
    }
}

/// A command line, cut where it becomes a page.
fn command(process: &Process) -> String {
    const MOST: usize = 200;
    let mut text = String::new();
    for word in &process.command {
        if !text.is_empty() {
            text.push(' ');
        }
        text += &word.to_string();
        if let Some((end, _)) = text.char_indices().nth(MOST) {
            text.truncate(end);
            text += "...";
            break;
        }
    }
    text
}

fn sysv_key(object: &Object) -> Option<i32> {
    let key = match &object.detail {
        Detail::SysvShm(segment) => segment.key,
        Detail::SysvMq(queue) => queue.key,
        Detail::SysvSem(set) => set.key,
        _ => return None,
    };
    (key != 0).then_some(key)
}

fn is_called(object: &Object, name: &Text) -> bool {
    match &object.detail {
        // A segment is called by its path, if it is called by one that begins with a slash.
        Detail::Segment(segment) => segment.path.as_ref().is_some_and(|path| path.is_meant_by(name)),
        _ => object.kind != Kind::Memfd && is_named(object, name),
    }
}

fn is_named(object: &Object, name: &Text) -> bool {
    object.name.as_ref().is_some_and(|own| own.is_meant_by(name))
}

fn is_file(object: &Object, file: (u64, u64)) -> bool {
    match (&object.identity, &object.detail) {
        (Identity::File { device, inode }, _) => (*device, *inode) == file,
        (_, Detail::Unix(socket)) => socket.file == Some(file),
        _ => false,
    }
}

fn is_at_port(object: &Object, kind: Option<Kind>, host: Option<IpAddr>, port: u16) -> bool {
    let Detail::Inet(socket) = &object.detail else { return false };
    kind.is_none_or(|kind| kind == object.kind)
        && socket.local.port() == port
        && host.is_none_or(|host| socket.local.ip() == host || socket.local.ip().is_unspecified())
}
