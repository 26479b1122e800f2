//! The segments of `tieline-shm`: what they say of themselves, read out of the memory of one who maps them.
//!
//! A segment is known by the name of its memory, `/memfd:tieline:KIND:NAME`. Its bytes are copied from the address space
//! of a process that has it mapped (`process_vm_readv`), so nothing is attached, opened, locked or told to anybody. Names
//! and bytes are whatever others wrote: `tieline_shm::inspect` bounds what is read and believes nothing; what can be
//! asked of the kernel (who maps it, which process a thread belongs to) is asked.
//!
//! Where no process has a segment mapped this is one look at each name of a memfd.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, StatxFlags, statx};
use tieline_os::ErrorKind;
use tieline_os::process_memory::ProcessMemory;
use tieline_shm::inspect::{self, Live, LockUse, State, WaitsFor};

use super::procfs::{self, Folders};
use crate::model::{
    Builder, Detail, Fill, How, Identity, Kind, LinkKind, Lock, LockKind, MappedSegment, Member, Memory, ObjectRef,
    ProcessRef, Reading, Segment, Text, Told, Unit, UnseenWhat, UnseenWhy, WaitReason,
};

/// The most segments that are read in one scan, and the most processes that are tried for each.
const SEGMENTS_MAX: usize = 10_000;
const TRIED_MAX: usize = 8;
/// How often a thread is looked for among the users of its lock.
const THREADS_MAX: usize = 20_000;

/// What is known of the segments once they are read, for when locks and waits are known too.
#[derive(Default)]
pub(crate) struct Segments {
    states: BTreeMap<ObjectRef, State>,
    /// The log that a roster belongs to.
    logs: HashMap<ObjectRef, ObjectRef>,
}

/// Reads every segment that is mapped by a process into whose memory the viewer may look.
pub(crate) fn look(builder: &mut Builder, folders: &Folders) -> Segments {
    let mapped = by_object(builder);
    name(builder);
    let mut segments = Segments::default();
    if mapped.is_empty() {
        return segments;
    }
    let left = mapped.len().saturating_sub(SEGMENTS_MAX);
    builder.unseen(UnseenWhat::Segments, UnseenWhy::TooMany, left as u64);
    let mut memories = Memories { open: None, viewer: builder.viewer().pid };
    for (object, places) in mapped.into_iter().take(SEGMENTS_MAX) {
        match read(builder, folders, &mut memories, &places) {
            Ok(state) => {
                segments.states.insert(object, state);
            }
            Err(Unread::Damaged(why)) => {
                if let Detail::Segment(segment) = &mut builder.object_mut(object).detail {
                    segment.damage = Some(Text::from(why.as_bytes()));
                }
            }
            Err(Unread::Refused) => builder.unseen(UnseenWhat::Segments, UnseenWhy::NoPermission, 1),
            Err(Unread::Gone) => builder.unseen(UnseenWhat::Segments, UnseenWhy::Vanished, 1),
        }
    }
    segments.describe(builder);
    segments.lock_holders(builder, folders);
    segments
}

/// Where each segment is mapped, by process.
fn by_object(builder: &mut Builder) -> BTreeMap<ObjectRef, Vec<MappedSegment>> {
    let mut mapped: BTreeMap<ObjectRef, Vec<MappedSegment>> = BTreeMap::new();
    for one in builder.take_segments() {
        mapped.entry(one.object).or_default().push(one);
    }
    mapped
}

/// Gives each memfd that is called like a segment the kind and name that its memory's name tells.
fn name(builder: &mut Builder) {
    let is_called =
        |object: &&crate::model::Object| object.kind == Kind::Memfd && object.name.as_ref().is_some_and(is_ours);
    let ours: Vec<ObjectRef> = builder.objects().iter().filter(is_called).map(|object| object.reference).collect();
    for reference in ours {
        let object = builder.object_mut(reference);
        let Some((kind, name)) = object.name.as_ref().and_then(|name| parse(name.as_bytes())) else { continue };
        let memory = match std::mem::replace(&mut object.detail, Detail::None) {
            Detail::Memory(memory) => memory,
            _ => Memory { size_bytes: None, allocated_bytes: None, seals: None, is_unlinked: false },
        };
        (object.kind, object.name) = (kind, Some(name).filter(|name| !name.is_empty()));
        // Nobody opens it by its file: the rule of the name says who may.
        object.mode = None;
        let segment = Segment { memory, told: None, damage: None, path: None, host: None };
        object.detail = Detail::Segment(Box::new(segment));
    }
}

fn is_ours(name: &Text) -> bool {
    parse(name.as_bytes()).is_some()
}

/// Reads `tieline:KIND:NAME`.
fn parse(name: &[u8]) -> Option<(Kind, Text)> {
    let rest = name.strip_prefix(b"tieline:")?;
    let colon = rest.iter().position(|&byte| byte == b':')?;
    let kind = match &rest[..colon] {
        b"log" => Kind::ShmTopic,
        b"roster" => Kind::ShmRoster,
        b"queue" => Kind::ShmQueue,
        b"stream" => Kind::ShmStream,
        b"calls" => Kind::ShmCalls,
        b"latest" => Kind::ShmLatest,
        b"event" => Kind::ShmEvent,
        b"locks" => Kind::ShmLocks,
        b"arena" => Kind::ShmArena,
        b"memory" => Kind::ShmMemory,
        _ => return None,
    };
    Some((kind, Text::from(&rest[colon + 1..])))
}

/// Why a segment tells nothing.
enum Unread {
    Damaged(String),
    Refused,
    Gone,
}

/// The memory of the process that was read last: those who share one segment often share the next.
struct Memories {
    open: Option<(u32, Result<Reader, Unread>)>,
    viewer: u32,
}

enum Reader {
    Process(ProcessMemory),
    /// The viewer's own memory, by a file of its own: no call reads it as another's.
    Own(File),
}

impl Reader {
    fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Own(memory) => memory.read_exact_at(buffer, address),
            Self::Process(memory) => {
                let address = usize::try_from(address).map_err(|_| io::ErrorKind::InvalidInput)?;
                memory.read_exact(address, buffer).map_err(io::Error::other)
            }
        }
    }
}

impl Memories {
    fn of(&mut self, folders: &Folders, pid: u32) -> &Result<Reader, Unread> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != pid) {
            self.open = Some((pid, self.fresh(folders, pid)));
        }
        &self.open.as_ref().expect("just opened").1
    }

    fn fresh(&self, folders: &Folders, pid: u32) -> Result<Reader, Unread> {
        if pid == self.viewer {
            return File::open("/proc/self/mem").map(Reader::Own).map_err(|_| Unread::Refused);
        }
        let memory = ProcessMemory::open(pid).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Unread::Gone,
            _ => Unread::Refused,
        })?;
        // The number meant the process whose mappings were seen if that one lives still.
        let folder = folders.iter().find(|folder| folder.pid == pid).ok_or(Unread::Gone)?;
        let opened = folders.open(folder).map_err(|_| Unread::Gone)?;
        procfs::read(opened.as_fd(), c"stat", &mut [0; 64]).map_err(|_| Unread::Gone)?;
        Ok(Reader::Process(memory))
    }
}

/// Reads a segment from one of those who map it.
fn read(
    builder: &Builder,
    folders: &Folders,
    memories: &mut Memories,
    places: &[MappedSegment],
) -> Result<State, Unread> {
    let mut answer = Unread::Gone;
    for places in places.chunk_by(|one, other| one.process == other.process).take(TRIED_MAX) {
        let pid = builder.processes()[places[0].process.index()].pid;
        let reader = match memories.of(folders, pid) {
            Ok(reader) => reader,
            Err(Unread::Refused) => {
                answer = Unread::Refused;
                continue;
            }
            Err(_) => continue,
        };
        match inspect::describe(&|offset: u64, buffer: &mut [u8]| copy(reader, places, offset, buffer)) {
            Ok(state) => return Ok(state),
            Err(error) if error.kind() == tieline_shm::ErrorKind::System => {}
            Err(error) => answer = Unread::Damaged(error.to_string()),
        }
    }
    Err(answer)
}

/// Copies from a segment that lies in one or several places of an address space.
fn copy(reader: &Reader, places: &[MappedSegment], mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        let beyond = |place: &MappedSegment| offset.checked_sub(place.offset);
        let is_there = |place: &&MappedSegment| beyond(place).is_some_and(|beyond| beyond < place.end - place.start);
        let place = places.iter().find(is_there).ok_or(io::ErrorKind::UnexpectedEof)?;
        let address = place.start + beyond(place).unwrap_or_default();
        let len = usize::try_from(place.end - address).unwrap_or(usize::MAX).min(buffer.len());
        let (now, rest) = buffer.split_at_mut(len);
        reader.read(address, now)?;
        (offset, buffer) = (offset + len as u64, rest);
    }
    Ok(())
}

impl Segments {
    /// Completes the objects with what was read.
    fn describe(&mut self, builder: &mut Builder) {
        let users = users(builder, self.states.keys().copied().collect());
        for (&object, state) in &self.states {
            let pids = users.get(&object);
            let is_seen = |pid: u32| pids.is_some_and(|pids| pids.contains(&pid));
            let description = &state.description;
            let told = Told {
                layout: Text::from(description.layout_name.as_bytes()),
                layout_hash: description.layout_hash,
                creator: description.creator_pid,
                members: members(state, &is_seen),
                live: state.live.clone(),
                is_cut: state.is_cut,
            };
            let fill = fill(&state.live);
            let one = builder.object_mut(object);
            one.fill = fill;
            if let Detail::Segment(segment) = &mut one.detail {
                segment.told = Some(told);
            }
        }
        let own_logs: Vec<(ObjectRef, u64)> = self
            .states
            .iter()
            .filter_map(|(object, state)| match &state.live {
                Live::OwnLog(own) => Some((*object, own.log_inode)),
                _ => None,
            })
            .collect();
        for (object, inode) in own_logs {
            if let Some(log) = beside(builder, object, inode) {
                builder.link(object, log, LinkKind::PartOf);
            }
        }
        let rosters: Vec<(ObjectRef, inspect::Roster)> = self
            .states
            .iter()
            .filter_map(|(object, state)| match &state.live {
                Live::Roster(roster) => Some((*object, roster.clone())),
                _ => None,
            })
            .collect();
        for (object, roster) in rosters {
            let Some(log) = beside(builder, object, roster.log_inode) else { continue };
            if self.logs.insert(object, log).is_none() {
                builder.link(object, log, LinkKind::PartOf);
                let pids = users.get(&log);
                subscribe(builder, log, &roster, &|pid| pids.is_some_and(|pids| pids.contains(&pid)));
            }
        }
    }

    /// Adds who has the locks.
    fn lock_holders(&self, builder: &mut Builder, folders: &Folders) {
        let mut left = THREADS_MAX;
        let own = builder.viewer().namespaces.pid;
        let by_process: HashMap<ProcessRef, _> = folders.iter().map(|folder| (folder.process, folder)).collect();
        let users = users_of(builder, self.states.keys().copied().collect());
        for (&object, state) in &self.states {
            for lock in state.locks.iter().filter(|lock| lock.what != LockUse::Waiter) {
                let Some(thread) = lock.owner else { continue };
                let is_its = |process: &&ProcessRef| {
                    // A thread's number is one of its own namespace.
                    let namespace = builder.processes()[process.index()].namespaces.pid;
                    if left == 0 || namespace != own {
                        return false;
                    }
                    left -= 1;
                    let opened = by_process.get(process).and_then(|folder| folders.open(folder).ok());
                    let flags = AtFlags::STATX_DONT_SYNC;
                    opened
                        .is_some_and(|opened| statx(&opened, format!("task/{thread}"), flags, StatxFlags::TYPE).is_ok())
                };
                match users.get(&object).into_iter().flatten().find(is_its).copied() {
                    Some(process) => builder.hold(process, object, How::Lock(held(lock, false))),
                    None => builder.unseen(UnseenWhat::LockHolders, UnseenWhy::Vanished, 1),
                }
            }
        }
    }

    /// Says of those who sleep in a segment what they wait for, and of names where they lie. After locks of files and
    /// waits are known.
    pub(crate) fn join(&self, builder: &mut Builder) {
        if self.states.is_empty() {
            return;
        }
        let mut waiting = Vec::new();
        for wait in builder.waits_mut() {
            let Some(object) = wait.object else { continue };
            let Some(state) = self.states.get(&object) else { continue };
            let WaitReason::Futex { offset: Some(offset), .. } = wait.reason else { continue };
            match state.waits_for(offset) {
                Some(WaitsFor::Something) => wait.reason = WaitReason::Read,
                Some(WaitsFor::Room) => wait.reason = WaitReason::Write,
                Some(WaitsFor::Lock) => {
                    if let Some(lock) =
                        state.locks.iter().find(|lock| (lock.offset..lock.offset + 40).contains(&offset))
                        && lock.what != LockUse::Waiter
                    {
                        wait.reason = WaitReason::Lock;
                        waiting.push((wait.process, object, held(lock, true)));
                    }
                }
                _ => {}
            }
            // Subscribers sleep in the roster, and wait for messages.
            wait.object = Some(self.logs.get(&object).copied().unwrap_or(object));
        }
        for (process, object, lock) in waiting {
            builder.hold(process, object, How::Lock(lock));
        }
        self.paths(builder);
    }

    /// Where the names of segments lie: who has one holds a lock of the name's file.
    fn paths(&self, builder: &mut Builder) {
        let mut files: HashMap<Vec<u8>, Vec<ObjectRef>> = HashMap::new();
        for object in builder.objects().iter().filter(|object| object.kind == Kind::File) {
            let Some(path) = object.name.as_ref().and_then(|name| name.as_bytes().strip_suffix(b".lock")) else {
                continue;
            };
            let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
            files.entry(name.to_vec()).or_default().push(object.reference);
        }
        if files.is_empty() {
            return;
        }
        let all: HashSet<ObjectRef> = files.values().flatten().copied().collect();
        let mut locks: HashMap<ObjectRef, Vec<(ProcessRef, u64)>> = HashMap::new();
        for hold in builder.holds() {
            if let How::Lock(lock) = &hold.how
                && lock.kind == LockKind::Ofd
                && !lock.is_waiting
                && all.contains(&hold.object)
            {
                locks.entry(hold.object).or_default().push((hold.process, lock.start));
            }
        }
        name_sockets(builder, &locks);
        let users = users_of(builder, self.states.keys().copied().collect());
        for &object in self.states.keys() {
            let Some(name) = builder.object_at(object).name.clone() else { continue };
            let user = |process: &ProcessRef| users.get(&object).is_some_and(|users| users.contains(process));
            let candidates = files.get(name.as_bytes()).into_iter().flatten();
            let found = candidates
                .copied()
                .find(|file| locks.get(file).is_some_and(|locks| locks.iter().any(|(process, _)| user(process))));
            let Some(file) = found else { continue };
            let path = builder.object_at(file).name.as_ref();
            let path = path.and_then(|path| path.as_bytes().strip_suffix(b".lock")).map(Text::from);
            let host = locks[&file].iter().find(|(_, byte)| *byte == 0).map(|(process, _)| *process);
            let host = host.map(|host| builder.processes()[host.index()].pid);
            if let Detail::Segment(segment) = &mut builder.object_mut(object).detail {
                (segment.path, segment.host) = (path, host);
            }
        }
    }
}

/// Names the sockets at which those who answer for names are met by where they lie. The kernel remembers how they were
/// bound: through the descriptor of a folder, under a name that they had for a moment only.
fn name_sockets(builder: &mut Builder, locks: &HashMap<ObjectRef, Vec<(ProcessRef, u64)>>) {
    let mut places: HashMap<(ProcessRef, Vec<u8>), Option<Text>> = HashMap::new();
    for (&file, locks) in locks {
        let path = builder.object_at(file).name.as_ref();
        let Some(path) = path.and_then(|path| path.as_bytes().strip_suffix(b".lock")) else { continue };
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let socket = Text::from([path, b".sock"].concat());
        let processes: HashSet<ProcessRef> = locks.iter().map(|(process, _)| *process).collect();
        for process in processes {
            // A process may have the same name in two folders; then nobody can say which it is.
            let place = places.entry((process, name.to_vec()));
            place.and_modify(|place| *place = None).or_insert_with(|| Some(socket.clone()));
        }
    }
    let mut named = Vec::new();
    for hold in builder.holds() {
        let object = builder.object_at(hold.object);
        if object.kind == Kind::UnixSeqpacket
            && let Some(name) = object.name.as_ref().and_then(|name| bound_by_descriptor(name.as_bytes()))
            && let Some(Some(place)) = places.get(&(hold.process, name.to_vec()))
        {
            named.push((hold.object, place.clone()));
        }
    }
    for (object, place) in named {
        builder.object_mut(object).name = Some(place);
    }
}

/// Reads `/proc/self/fd/N/NAME.new`.
fn bound_by_descriptor(path: &[u8]) -> Option<&[u8]> {
    let rest = path.strip_prefix(b"/proc/self/fd/")?;
    let slash = rest.iter().position(|&byte| byte == b'/')?;
    let (number, name) = (&rest[..slash], &rest[slash + 1..]);
    let is_number = !number.is_empty() && number.iter().all(u8::is_ascii_digit);
    name.strip_suffix(b".new").filter(|name| is_number && !name.is_empty() && !name.contains(&b'/'))
}

/// The log of that inode beside another segment: memory without a name is one file system, so it has its device.
fn beside(builder: &Builder, object: ObjectRef, inode: u64) -> Option<ObjectRef> {
    let Identity::File { device, .. } = builder.object_at(object).identity else { return None };
    builder.find(Identity::File { device, inode }).filter(|log| builder.object_at(*log).kind == Kind::ShmTopic)
}

/// A lock in the words of the snapshot: a waiter has the number of the lock that it waits for.
fn held(lock: &inspect::Lock, is_waiting: bool) -> Lock {
    Lock {
        kind: LockKind::Shm,
        is_exclusive: lock.what.is_exclusive(),
        start: lock.offset,
        end: Some(lock.offset + 3),
        number: lock.offset,
        is_waiting,
    }
}

/// The processes that have any of those objects.
fn users_of(builder: &Builder, objects: HashSet<ObjectRef>) -> HashMap<ObjectRef, Vec<ProcessRef>> {
    let mut users: HashMap<ObjectRef, Vec<ProcessRef>> = HashMap::new();
    for hold in builder.holds().iter().filter(|hold| objects.contains(&hold.object)) {
        let users = users.entry(hold.object).or_default();
        if matches!(hold.how, How::Mapping { .. }) && users.last() != Some(&hold.process) {
            users.push(hold.process);
        }
    }
    users
}

/// The same by their numbers.
fn users(builder: &Builder, objects: HashSet<ObjectRef>) -> HashMap<ObjectRef, HashSet<u32>> {
    let pid = |process: &ProcessRef| builder.processes()[process.index()].pid;
    let users = users_of(builder, objects).into_iter();
    users.map(|(object, users)| (object, users.iter().map(pid).collect())).collect()
}

/// Who takes part, by the table of members and what the structure says of each.
fn members(state: &State, is_seen: &dyn Fn(u32) -> bool) -> Vec<Member> {
    if let Live::Roster(roster) = &state.live {
        // How far behind they are stands with the messages.
        return subscribers(roster, None, is_seen);
    }
    let of = |member: &inspect::Member| Member {
        number: member.number,
        pid: member.pid,
        is_seen: is_seen(member.pid),
        is_alive: member.is_alive,
        reading: None,
        items: match &state.live {
            Live::Queue(queue) => {
                let held = queue.held.iter().find(|(number, ..)| *number == member.number);
                held.map_or((0, 0), |(_, taken, written)| (*taken, *written))
            }
            _ => (0, 0),
        },
        is_writer: matches!(&state.live, Live::Latest(latest) if latest.writer == Some(member.number)),
    };
    state.members.iter().map(of).collect()
}

fn subscribers(roster: &inspect::Roster, head: Option<u64>, is_seen: &dyn Fn(u32) -> bool) -> Vec<Member> {
    let of = |(number, one): (u32, &inspect::Subscriber)| Member {
        number,
        pid: one.pid,
        is_seen: is_seen(one.pid),
        is_alive: true,
        reading: Some(Reading {
            lag: head.map_or(0, |head| one.lag(head)),
            held: one.held,
            received: one.received,
            lost: one.lost,
            policy: one.policy,
        }),
        items: (0, 0),
        is_writer: false,
    };
    (0..).zip(&roster.subscribers).map(of).collect()
}

/// Adds the subscribers of one roster to the log, whose fill is how far behind they are.
fn subscribe(builder: &mut Builder, log: ObjectRef, roster: &inspect::Roster, is_seen: &dyn Fn(u32) -> bool) {
    let one = builder.object_mut(log);
    let Detail::Segment(segment) = &mut one.detail else { return };
    let Some(told) = &mut segment.told else { return };
    let Live::Log(live) = told.live else { return };
    told.members.extend(subscribers(roster, Some(live.head), is_seen));
    let readings = || told.members.iter().filter_map(|member| member.reading);
    let furthest = |waited_for: bool| {
        let of_those = |reading: &Reading| (reading.policy == inspect::Policy::Block) == waited_for;
        readings().filter(of_those).map(|reading| reading.lag).max()
    };
    // Only where the publisher waits for somebody does a full log mean that it waits.
    one.fill = Some(match (furthest(true), furthest(false)) {
        (Some(lag), _) => Fill { used: lag.min(live.slots), capacity: Some(live.slots), unit: Unit::Messages },
        (None, lag) => Fill { used: lag.unwrap_or(0), capacity: None, unit: Unit::Messages },
    });
}

/// How full a segment is, in the unit that decides whether a writer waits.
fn fill(live: &Live) -> Option<Fill> {
    match live {
        Live::Log(_) => Some(Fill { used: 0, capacity: None, unit: Unit::Messages }),
        Live::Queue(queue) => {
            let held: u64 = queue.held.iter().map(|(_, taken, written)| taken + written).sum();
            Some(Fill { used: queue.ready + held, capacity: Some(queue.slots), unit: Unit::Messages })
        }
        Live::Stream(stream) => stream.rings.iter().max_by_key(|ring| ring.waiting).map(|ring| Fill {
            used: ring.waiting,
            capacity: Some(ring.capacity),
            unit: Unit::Bytes,
        }),
        // Where a server sleeps nothing can be full.
        Live::Calls(calls) if calls.requests.entries > 0 => {
            let fuller = [calls.requests, calls.responses].into_iter().max_by_key(|ring| ring.waiting)?;
            Some(Fill { used: fuller.waiting, capacity: Some(fuller.entries), unit: Unit::Messages })
        }
        Live::Arena(arena) => {
            Some(Fill { used: arena.used_bytes, capacity: Some(arena.heap_bytes), unit: Unit::Bytes })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_kind() {
        assert_eq!(parse(b"tieline:log:frames"), Some((Kind::ShmTopic, Text::from("frames"))));
        assert_eq!(parse(b"tieline:locks:"), Some((Kind::ShmLocks, Text::from(""))));
        assert_eq!(parse(b"tieline:queue:a:b"), Some((Kind::ShmQueue, Text::from("a:b"))));
        assert_eq!(bound_by_descriptor(b"/proc/self/fd/7/frames.new"), Some(&b"frames"[..]));
        for other in
            [&b"/proc/self/fd/7/frames"[..], b"/proc/self/fd/7/a/b.new", b"/proc/self/fd/x/a.new", b"/run/a.new"]
        {
            assert_eq!(bound_by_descriptor(other), None, "{other:?}");
        }
        for other in [&b"frames"[..], b"tieline", b"tieline:", b"tieline:log", b"tieline:cat:x", b"TIELINE:log:x"] {
            assert_eq!(parse(other), None, "{other:?}");
        }
    }
}
