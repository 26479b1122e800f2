//! Compares a snapshot with what the makers of its objects say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use tieline_observe::Snapshot;
use tieline_observe::model::{
    Detail, FindingKind, Hold, How, Identity, Kind, LinkKind, LockKind, Object, ObjectRef, Role, Unit, WaitReason,
};
use tieline_testkit::zoo::{Object as Told, Specimen};

/// Where the snapshot is not what the makers say, one line each; empty if it is.
pub(crate) fn differences(snapshot: &Snapshot, specimens: &[Specimen]) -> Vec<String> {
    let mut all = Comparison { snapshot, places: BTreeMap::new(), differences: Vec::new() };
    for (index, specimen) in specimens.iter().enumerate() {
        for told in &specimen.objects {
            all.place(index, specimen, told);
        }
    }
    for (index, specimen) in specimens.iter().enumerate() {
        for told in &specimen.objects {
            if let Some(&found) = all.places.get(&(index, told.label.as_str())) {
                let found = snapshot.object(found);
                all.facts(specimen, told, found);
                all.home(specimen, told, found);
                all.holders(specimen, told, found);
                all.findings(specimen, told, found);
            }
        }
        all.links(index, specimen);
        all.waits(index, specimen);
    }
    all.nothing_else(specimens);
    all.differences
}

struct Comparison<'s> {
    snapshot: &'s Snapshot,
    /// Where the objects of the specimens stand in the snapshot.
    places: BTreeMap<(usize, &'s str), ObjectRef>,
    differences: Vec<String>,
}

impl<'s> Comparison<'s> {
    fn differ(&mut self, specimen: &Specimen, label: &str, what: &str) {
        self.differences.push(format!("{} (seed {}), {label}: {what}", specimen.species, specimen.seed));
    }

    fn same<T: PartialEq + std::fmt::Debug>(
        &mut self,
        specimen: &Specimen,
        label: &str,
        what: &str,
        (found, told): (T, T),
    ) {
        if found != told {
            self.differ(specimen, label, &format!("{what} is {found:?}, its maker says {told:?}"));
        }
    }

    /// Finds an object by what its maker knows of it: exactly one.
    fn place(&mut self, index: usize, specimen: &'s Specimen, told: &'s Told) {
        let kind = Kind::from_name(&told.kind).unwrap_or_else(|| panic!("the zoo invented the kind {}", told.kind));
        let found: Vec<ObjectRef> = match self.identity(specimen, told, kind) {
            Some(identity) => self.with(|object| object.identity == identity),
            None => self.held_by_first(specimen, told, kind),
        };
        let [found] = found[..] else {
            return self.differ(specimen, &told.label, &format!("was found {} times", found.len()));
        };
        let object = self.snapshot.object(found);
        self.same(specimen, &told.label, "the kind", (object.kind, kind));
        if let Some(name) = &object.name {
            let named = |other: &&Object| {
                (other.kind, &other.name, other.namespace) == (object.kind, &object.name, object.namespace)
            };
            let same = self.snapshot.objects().iter().filter(named).count();
            // A socket that accepted a connection has the name of its listener; a removed name may be used again.
            let may_repeat = kind.is_unix() || told.fact("unlinked").is_some();
            if same != 1 && !may_repeat {
                self.differ(specimen, &told.label, &format!("is one of {same} objects called {name}"));
            }
        }
        self.places.insert((index, &told.label), found);
    }

    fn with(&self, is_it: impl Fn(&Object) -> bool) -> Vec<ObjectRef> {
        self.snapshot.objects().iter().filter(|object| is_it(object)).map(|object| object.reference).collect()
    }

    fn identity(&self, specimen: &Specimen, told: &Told, kind: Kind) -> Option<Identity> {
        let inode = told.number("inode");
        let keeper = self.snapshot.process_with_pid(specimen.keeper());
        Some(match kind {
            Kind::Pipe => Identity::Pipe { inode: inode? },
            Kind::Tcp | Kind::Udp | Kind::Vsock | Kind::OtherSocket => Identity::Socket { inode: inode? },
            _ if kind.is_unix() => Identity::Socket { inode: inode? },
            _ if kind.is_sysv() => {
                let id = told.number("id")?.try_into().expect("an identifier");
                Identity::SystemV { kind, namespace: keeper?.namespaces.ipc?, id }
            }
            Kind::Fifo | Kind::File | Kind::Memfd | Kind::PosixShm | Kind::PosixMq | Kind::PosixSem => {
                Identity::File { device: told.number("device")?, inode: inode? }
            }
            // Their inode is everybody's or nobody's: they are found by their holder.
            _ => return None,
        })
    }

    /// The objects of that kind that the first told holder has in the told way.
    fn held_by_first(&self, specimen: &Specimen, told: &Told, kind: Kind) -> Vec<ObjectRef> {
        let first = specimen.holds.iter().find(|hold| hold.label == told.label);
        let first = first.unwrap_or_else(|| panic!("{}: nobody holds {}", specimen.species, told.label));
        let Some(process) = self.snapshot.process_with_pid(first.pid) else { return Vec::new() };
        let is_it = |how: &How| match (first.fd, how) {
            (Some(first), How::Descriptor { fd, .. }) => first == *fd,
            (None, How::Mapping { .. }) => true,
            _ => false,
        };
        let held = self.snapshot.held_by(process.reference).filter(|hold| is_it(&hold.how)).map(|hold| hold.object);
        held.filter(|&object| self.snapshot.object(object).kind == kind).collect()
    }

    fn facts(&mut self, specimen: &Specimen, told: &Told, found: &Object) {
        // By these it was found.
        let others = told.facts().filter(|(key, _)| !matches!(*key, "device" | "inode" | "id" | "ends"));
        for (key, value) in others {
            let label = told.label.as_str();
            match fact(found, key) {
                Some(shown) => self.same(specimen, label, key, (shown.as_str(), value)),
                // Its length is asked of the file behind the mapping, which only the privileged reach.
                None if (found.kind, key) == (Kind::AnonymousShm, "size") && !reaches_mapped_files() => {}
                None => self.differ(specimen, label, &format!("{key} is not known, its maker says {value}")),
            }
        }
    }

    /// What has a name or number has it in the namespace of its makers.
    fn home(&mut self, specimen: &Specimen, told: &Told, found: &Object) {
        let Some(keeper) = self.snapshot.process_with_pid(specimen.keeper()) else {
            return self.differ(specimen, &told.label, "the keeper was not found");
        };
        let home = match found.kind {
            Kind::SysvShm | Kind::SysvMq | Kind::SysvSem | Kind::PosixMq => keeper.namespaces.ipc,
            Kind::Tcp | Kind::Udp | Kind::UnixStream | Kind::UnixDatagram | Kind::UnixSeqpacket => {
                keeper.namespaces.net
            }
            Kind::Fifo | Kind::PosixShm | Kind::PosixSem | Kind::File => keeper.namespaces.mnt,
            _ => None,
        };
        self.same(specimen, &told.label, "the namespace", (found.namespace, home));
    }

    fn holders(&mut self, specimen: &Specimen, told: &Told, found: &Object) {
        let label = told.label.as_str();
        let held = specimen.holds.iter().filter(|hold| hold.label == label).map(|hold| match hold.fd {
            Some(fd) => format!("{} fd {fd} {}", hold.pid, hold.access),
            None => format!("{} map {}", hold.pid, hold.access),
        });
        let locked = specimen.locks.iter().filter(|lock| lock.label == label).map(|lock| {
            let (start, end) = lock.range.map_or((0, None), |(start, end)| (start, Some(end)));
            let state = if lock.is_held { "held" } else { "waiting" };
            let sharing = if lock.is_shared { "shared" } else { "exclusive" };
            format!("{} {} {sharing} {state} {start} {end:?}", lock.pid, lock.kind)
        });
        let notified = specimen.notified.iter().filter(|(one, _)| one == label);
        let notified = notified.map(|(_, pid)| format!("{pid} notified"));
        let remembered = specimen.remembered.iter().filter(|(one, ..)| one == label);
        let remembered = remembered.map(|(_, pid, role)| format!("{pid} {role}"));
        let mut all: Vec<String> = held.chain(locked).chain(notified).chain(remembered).collect();
        all.sort();
        let shown = self.snapshot.holders(found.reference);
        let mut shown: Vec<String> =
            shown.map(|hold| tell_how(self.snapshot.process(hold.process).pid, &hold.how)).collect();
        shown.sort();
        for missing in without(&all, &shown) {
            self.differ(specimen, label, &format!("has no holder {missing}"));
        }
        for invented in without(&shown, &all) {
            self.differ(specimen, label, &format!("has a holder {invented}, of which its maker knows nothing"));
        }
        self.numbers_of_locks(specimen, label, found);
    }

    /// Who waits for a lock waits behind one that is held.
    fn numbers_of_locks(&mut self, specimen: &Specimen, label: &str, found: &Object) {
        let locks = self.snapshot.holders(found.reference).filter_map(|hold| match &hold.how {
            How::Lock(lock) => Some(lock),
            _ => None,
        });
        let (waiting, held): (Vec<_>, Vec<_>) = locks.partition(|lock| lock.is_waiting);
        if waiting.iter().any(|lock| held.iter().all(|held| held.number != lock.number)) {
            self.differ(specimen, label, "a process waits behind a lock that nobody holds");
        }
    }

    /// What somebody uses is never called left behind, and what a message carries has its other end.
    fn findings(&mut self, specimen: &Specimen, told: &Told, found: &Object) {
        let label = told.label.as_str();
        let is_used = specimen.holds.iter().any(|hold| hold.label == label)
            || specimen.locks.iter().any(|lock| lock.label == label)
            || specimen.waits.iter().any(|wait| wait.label == label);
        for finding in self.snapshot.findings().iter().filter(|finding| finding.object == Some(found.reference)) {
            let is_wrong = match finding.kind {
                FindingKind::Orphan | FindingKind::Unused => is_used,
                FindingKind::OneEnded => told.fact("ends").is_some_and(|ends| ends == "2"),
                _ => false,
            };
            if is_wrong {
                self.differ(specimen, label, &format!("is said to be {:?}", finding.kind));
            }
        }
    }

    /// The label of an object of the specimen.
    fn label(&self, index: usize, object: ObjectRef) -> String {
        let mut own = self.places.iter().filter(|((one, _), _)| *one == index);
        let own = own.find(|(_, place)| **place == object).map(|((_, label), _)| (*label).to_owned());
        own.unwrap_or_else(|| format!("{:?}", self.snapshot.object(object).identity))
    }

    fn links(&mut self, index: usize, specimen: &Specimen) {
        let tell = |from: &str, to: &str, how: &str| {
            let (from, to) = if how == "peer" && from > to { (to, from) } else { (from, to) };
            format!("{from} {how} {to}")
        };
        let mut told: Vec<String> = specimen.links.iter().map(|(from, to, how)| tell(from, to, how)).collect();
        told.sort();
        let mut shown = Vec::new();
        for (_, &object) in self.places.iter().filter(|((one, _), _)| *one == index) {
            for (link, _) in self.snapshot.linked(object) {
                let how = match link.kind {
                    LinkKind::Peer => "peer",
                    LinkKind::SendsTo => "sends-to",
                    LinkKind::Pending => "pending",
                    LinkKind::Watches => "watches",
                    other => panic!("the comparison does not know {other:?}"),
                };
                shown.push(tell(&self.label(index, link.from), &self.label(index, link.to), how));
            }
        }
        shown.sort();
        // Each link within the specimen was met from both of its ends.
        shown.dedup();
        for missing in without(&told, &shown) {
            self.differ(specimen, "links", &format!("{missing:?} is missing"));
        }
        for invented in without(&shown, &told) {
            self.differ(specimen, "links", &format!("{invented:?} is none that its maker knows"));
        }
    }

    fn waits(&mut self, index: usize, specimen: &Specimen) {
        let mut told: Vec<String> =
            specimen.waits.iter().map(|wait| tell_wait(wait.pid, &wait.what, &wait.detail, &wait.label)).collect();
        told.sort();
        let waiting: Vec<u32> = specimen.waits.iter().map(|wait| wait.pid).collect();
        let own: Vec<ObjectRef> =
            self.places.iter().filter(|((one, _), _)| *one == index).map(|(_, &place)| place).collect();
        let mut shown = Vec::new();
        for wait in self.snapshot.waits() {
            let pid = self.snapshot.process(wait.process).pid;
            if waiting.contains(&pid) || wait.object.is_some_and(|object| own.contains(&object)) {
                let (what, detail) = reason(&wait.reason);
                let object = wait.object.map_or_else(|| "nothing known".to_owned(), |object| self.label(index, object));
                shown.push(tell_wait(pid, what, &detail, &object));
            }
        }
        shown.sort();
        for missing in without(&told, &shown) {
            self.differ(specimen, "waits", &format!("{missing:?} is missing"));
        }
        for invented in without(&shown, &told) {
            self.differ(specimen, "waits", &format!("{invented:?} is none that its maker knows"));
        }
    }

    /// The processes of the zoo hold nothing that was not told, but for what they speak to the test through and what
    /// they have from it.
    fn nothing_else(&mut self, specimens: &[Specimen]) {
        let mut known: BTreeSet<ObjectRef> = self.places.values().copied().collect();
        known.extend(self.used_by(self.snapshot.viewer().pid).map(|hold| hold.object));
        for specimen in specimens {
            let is_stdio = |hold: &&Hold| matches!(hold.how, How::Descriptor { fd: 0..=2, .. });
            known.extend(self.used_by(specimen.keeper()).filter(is_stdio).map(|hold| hold.object));
        }
        for specimen in specimens {
            for pid in specimen.processes() {
                let others = self.used_by(pid).filter(|hold| !known.contains(&hold.object));
                let others = others.map(|hold| (&hold.how, self.snapshot.object(hold.object).identity));
                for (how, identity) in others.collect::<Vec<_>>() {
                    let what = format!("{} {identity:?}, which nobody told", tell_how(pid, how));
                    self.differ(specimen, "besides", &what);
                }
            }
        }
    }

    fn used_by(&self, pid: u32) -> impl Iterator<Item = &'s Hold> + use<'s> {
        let snapshot = self.snapshot;
        let process = snapshot.process_with_pid(pid);
        let held = process.into_iter().flat_map(|process| snapshot.held_by(process.reference));
        held.filter(|hold| hold.how.is_use())
    }
}

/// Whether this process may follow the links of `/proc/PID/map_files`.
fn reaches_mapped_files() -> bool {
    let mut links = std::fs::read_dir("/proc/self/map_files").into_iter().flatten().flatten();
    links.next().is_some_and(|link| std::fs::metadata(link.path()).is_ok())
}

/// What the snapshot says about one fact; `None` if it says nothing.
fn fact(found: &Object, key: &str) -> Option<String> {
    let memory = match &found.detail {
        Detail::Memory(memory) => Some(memory),
        _ => None,
    };
    let inet = match &found.detail {
        Detail::Inet(socket) => Some(socket),
        _ => None,
    };
    let flag = |is_so: bool| Some(u8::from(is_so).to_string());
    match (key, &found.detail) {
        ("name", _) => found.name.as_ref().map(ToString::to_string),
        ("mode", _) => found.mode.map(|mode| mode.to_string()),
        ("used", _) => found.fill.map(|fill| fill.used.to_string()),
        ("capacity", _) => found.fill?.capacity.map(|capacity| capacity.to_string()),
        ("unit", _) => Some(
            match found.fill?.unit {
                Unit::Bytes => "bytes",
                Unit::Messages => "messages",
                Unit::Connections => "connections",
                Unit::Pages => "pages",
                Unit::Count => "count",
                _ => "unknown",
            }
            .to_owned(),
        ),
        ("queued", Detail::Unix(socket)) => Some(socket.receive_queue.to_string()),
        ("in-flight", Detail::Unix(socket)) => Some(socket.in_flight.to_string()),
        ("local-port", _) => Some(inet?.local.port().to_string()),
        ("remote-port", _) => Some(inet?.remote?.port().to_string()),
        ("state", _) => Some(format!("{:?}", inet?.state).to_lowercase()),
        ("count", Detail::EventFd(counter)) => Some(counter.count.to_string()),
        ("semaphore", Detail::EventFd(counter)) => flag(counter.is_semaphore),
        ("count", Detail::SysvSem(set)) => Some(set.count.to_string()),
        ("values", Detail::SysvSem(set)) => {
            let mut values = String::new();
            for semaphore in &set.semaphores {
                let _ = write!(values, "{}{}", if values.is_empty() { "" } else { "," }, semaphore.value);
            }
            Some(values)
        }
        ("value", Detail::PosixSem(semaphore)) => semaphore.value.map(|value| value.to_string()),
        ("signals", Detail::SignalFd { signals }) => Some(signals.to_string()),
        ("watches", Detail::Inotify { watches }) => Some(watches.to_string()),
        ("target", Detail::PidFd { pid }) => pid.map(|pid| pid.to_string()),
        ("entries", Detail::IoUring(ring)) => Some(ring.submission_entries.to_string()),
        ("completions", Detail::IoUring(ring)) => Some(ring.completion_entries.to_string()),
        ("size", Detail::SysvShm(segment)) => Some(segment.size_bytes.to_string()),
        ("attached", Detail::SysvShm(segment)) => Some(segment.attached.to_string()),
        ("removed", Detail::SysvShm(segment)) => flag(segment.is_removed),
        ("size", _) => memory?.size_bytes.map(|bytes| bytes.to_string()),
        ("seals", _) => memory?.seals.map(|seals| seals.to_string()),
        ("unlinked", _) => flag(memory?.is_unlinked),
        ("messages", Detail::SysvMq(queue)) => Some(queue.messages.to_string()),
        ("bytes", Detail::PosixMq(queue)) => Some(queue.bytes.to_string()),
        _ => None,
    }
}

fn tell_how(pid: u32, how: &How) -> String {
    match how {
        How::Descriptor { fd, access } => format!("{pid} fd {fd} {}", access.letters()),
        How::Mapping { access, .. } => format!("{pid} map {}", access.letters()),
        How::Lock(lock) => {
            let kind = match lock.kind {
                LockKind::Posix => "posix",
                LockKind::Ofd => "ofd",
                LockKind::Flock => "flock",
                LockKind::Lease => "lease",
                other => panic!("the comparison does not know {other:?}"),
            };
            let sharing = if lock.is_exclusive { "exclusive" } else { "shared" };
            let state = if lock.is_waiting { "waiting" } else { "held" };
            format!("{pid} {kind} {sharing} {state} {} {:?}", lock.start, lock.end)
        }
        How::Remembered(Role::Creator) => format!("{pid} creator"),
        How::Remembered(Role::LastAttached) => format!("{pid} last-attached"),
        How::Remembered(Role::LastSender) => format!("{pid} last-sender"),
        How::Remembered(Role::LastReceiver) => format!("{pid} last-receiver"),
        How::Remembered(Role::LastOperator) => format!("{pid} last-operator"),
        How::Notified => format!("{pid} notified"),
        other => panic!("the comparison does not know {other:?}"),
    }
}

fn reason(reason: &WaitReason) -> (&'static str, String) {
    match reason {
        WaitReason::Read => ("read", String::new()),
        WaitReason::Write => ("write", String::new()),
        WaitReason::Open(path) => ("open", path.to_string()),
        WaitReason::Connect => ("connect", String::new()),
        WaitReason::Accept => ("accept", String::new()),
        WaitReason::Semaphores(all) => {
            let all: Vec<String> = all.iter().map(|(index, change)| format!("{index}:{change}")).collect();
            ("semaphores", all.join(","))
        }
        WaitReason::Message { message_type } => ("message", message_type.to_string()),
        WaitReason::Room { bytes } => ("room", bytes.to_string()),
        WaitReason::Lock => ("lock", String::new()),
        WaitReason::Futex { .. } => ("futex", String::new()),
        other => panic!("the comparison does not know {other:?}"),
    }
}

fn tell_wait(pid: u32, what: &str, detail: &str, object: &str) -> String {
    format!("{pid} {what} {detail} on {object}")
}

/// What of `all`, which may hold a thing several times, is not in `others` as often.
fn without<'a>(all: &'a [String], others: &[String]) -> Vec<&'a String> {
    let mut left: Vec<&String> = others.iter().collect();
    let is_left = |one: &&'a String| match left.iter().position(|other| other == one) {
        Some(place) => {
            left.swap_remove(place);
            false
        }
        None => true,
    };
    all.iter().filter(is_left).collect()
}
