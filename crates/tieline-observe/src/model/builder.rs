//! Makes a snapshot out of what the probes find, in whatever order they find it.

use std::collections::HashMap;
use std::collections::btree_map::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;

use super::{
    Detail, Finding, Hold, How, Identity, Kind, Limit, LimitRef, Link, LinkKind, Namespace, Object, ObjectRef, Process,
    ProcessRef, Snapshot, Taken, Unseen, UnseenWhat, UnseenWhy, Viewer, Wait,
};

/// A snapshot in the making.
///
/// Processes, objects, ties and links are added in any order, objects as often as they are met: each [identity](Identity)
/// is one object. References given out here hold until [`finish`](Self::finish), which sorts.
#[derive(Debug)]
pub struct Builder {
    viewer: Viewer,
    processes: Vec<Process>,
    by_pid: HashMap<u32, ProcessRef, Quick>,
    objects: Vec<Object>,
    by_identity: HashMap<Identity, ObjectRef, Quick>,
    holds: Vec<Hold>,
    links: Vec<Link>,
    waits: Vec<Wait>,
    namespaces: Vec<Namespace>,
    limits: Vec<Limit>,
    unseen: BTreeMap<(UnseenWhat, UnseenWhy), u64>,
    files: Vec<OpenFile>,
    segments: Vec<MappedSegment>,
}

impl Builder {
    /// An empty one, for that viewer.
    #[must_use]
    pub fn new(viewer: Viewer) -> Self {
        Self {
            viewer,
            processes: Vec::new(),
            by_pid: HashMap::default(),
            objects: Vec::new(),
            by_identity: HashMap::default(),
            holds: Vec::new(),
            links: Vec::new(),
            waits: Vec::new(),
            namespaces: Vec::new(),
            limits: Vec::new(),
            unseen: BTreeMap::new(),
            files: Vec::new(),
            segments: Vec::new(),
        }
    }

    /// Who looks.
    #[must_use]
    pub fn viewer(&self) -> &Viewer {
        &self.viewer
    }

    /// Adds a process; its `reference` is filled in. A pid that is there already is replaced.
    pub fn process(&mut self, mut process: Process) -> ProcessRef {
        if let Some(&there) = self.by_pid.get(&process.pid) {
            process.reference = there;
            self.processes[there.index()] = process;
            return there;
        }
        let reference = ProcessRef::at(self.processes.len());
        process.reference = reference;
        self.by_pid.insert(process.pid, reference);
        self.processes.push(process);
        reference
    }

    /// The processes so far, in the order in which they were added.
    #[must_use]
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// A process, to complete.
    pub fn process_mut(&mut self, reference: ProcessRef) -> &mut Process {
        &mut self.processes[reference.index()]
    }

    /// The process with that id.
    #[must_use]
    pub fn process_with_pid(&self, pid: u32) -> Option<ProcessRef> {
        self.by_pid.get(&pid).copied()
    }

    /// The object of that identity; a new one of that kind, with nothing else known, if it was not met before.
    pub fn object(&mut self, identity: Identity, kind: Kind) -> ObjectRef {
        let objects = &mut self.objects;
        *self.by_identity.entry(identity).or_insert_with(|| {
            let reference = ObjectRef::at(objects.len());
            objects.push(Object {
                reference,
                identity,
                kind,
                name: None,
                namespace: None,
                owner: None,
                mode: None,
                fill: None,
                changed: None,
                detail: Detail::None,
            });
            reference
        })
    }

    /// The object of that identity, if it was met.
    #[must_use]
    pub fn find(&self, identity: Identity) -> Option<ObjectRef> {
        self.by_identity.get(&identity).copied()
    }

    /// The objects so far, in the order in which they were met.
    #[must_use]
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// An object, to look at.
    #[must_use]
    pub fn object_at(&self, reference: ObjectRef) -> &Object {
        &self.objects[reference.index()]
    }

    /// An object, to complete.
    pub fn object_mut(&mut self, reference: ObjectRef) -> &mut Object {
        &mut self.objects[reference.index()]
    }

    /// Adds a tie between a process and an object.
    pub fn hold(&mut self, process: ProcessRef, object: ObjectRef, how: How) {
        self.holds.push(Hold { process, object, how });
    }

    /// The ties so far, in the order in which they were added.
    #[must_use]
    pub fn holds(&self) -> &[Hold] {
        &self.holds
    }

    /// Adds a tie between two objects. The two ends of a connection may both be told: one link comes of it.
    pub fn link(&mut self, from: ObjectRef, to: ObjectRef, kind: LinkKind) {
        self.links.push(Link { from, to, kind });
    }

    /// Adds a thread that waits.
    pub fn wait(&mut self, wait: Wait) {
        self.waits.push(wait);
    }

    /// Adds a namespace.
    pub fn namespace(&mut self, namespace: Namespace) {
        self.namespaces.push(namespace);
    }

    /// The namespaces so far, to complete.
    pub fn namespaces_mut(&mut self) -> &mut [Namespace] {
        &mut self.namespaces
    }

    /// The namespaces so far.
    #[must_use]
    pub fn namespaces(&self) -> &[Namespace] {
        &self.namespaces
    }

    /// Adds a limit.
    pub fn limit(&mut self, limit: Limit) -> LimitRef {
        let reference = LimitRef::at(self.limits.len());
        self.limits.push(limit);
        reference
    }

    /// Counts something that could not be seen.
    pub fn unseen(&mut self, what: UnseenWhat, why: UnseenWhy, count: u64) {
        if count > 0 {
            *self.unseen.entry((what, why)).or_default() += count;
        }
    }

    /// Whether anything of that sort was counted.
    pub(crate) fn has_unseen(&self, what: UnseenWhat, why: UnseenWhy) -> bool {
        self.unseen.contains_key(&(what, why))
    }

    /// Remembers a descriptor of a file or directory, which may turn out to be locked.
    pub(crate) fn file(&mut self, open: OpenFile) {
        self.files.push(open);
    }

    /// Takes the descriptors that were remembered.
    pub(crate) fn take_files(&mut self) -> Vec<OpenFile> {
        std::mem::take(&mut self.files)
    }

    /// Remembers where a process has mapped a segment of `tieline-shm`.
    pub(crate) fn segment(&mut self, mapped: MappedSegment) {
        self.segments.push(mapped);
    }

    /// Takes what was remembered.
    pub(crate) fn take_segments(&mut self) -> Vec<MappedSegment> {
        std::mem::take(&mut self.segments)
    }

    /// The threads that wait, to complete.
    pub(crate) fn waits_mut(&mut self) -> &mut [Wait] {
        &mut self.waits
    }

    /// Sorts everything and makes the snapshot; `find` sees it whole and says what is worth a look.
    #[must_use]
    pub fn finish(self, taken: Taken, find: impl FnOnce(&Snapshot) -> Vec<Finding>) -> Snapshot {
        let mut processes = self.processes;
        processes.sort_unstable_by_key(|process| process.pid);
        let new_process = renumber(&mut processes, |process| &mut process.reference, ProcessRef::at);
        let mut objects = self.objects;
        objects.sort_by_cached_key(|object| (object.kind, object.identity));
        let new_object = renumber(&mut objects, |object| &mut object.reference, ObjectRef::at);

        let process = |old: ProcessRef| new_process[old.index()];
        let object = |old: ObjectRef| new_object[old.index()];
        let mut holds = self.holds;
        for hold in &mut holds {
            hold.process = process(hold.process);
            hold.object = object(hold.object);
        }
        holds.sort_by_cached_key(|hold| (hold.object, hold.process));
        let mut links = self.links;
        for link in &mut links {
            (link.from, link.to) = (object(link.from), object(link.to));
            if link.kind == LinkKind::Peer && link.from > link.to {
                (link.from, link.to) = (link.to, link.from);
            }
        }
        links.sort_unstable_by_key(|link| (link.from, link.to, link.kind as u8));
        links.dedup();
        let mut waits = self.waits;
        for wait in &mut waits {
            wait.process = process(wait.process);
            wait.object = wait.object.map(object);
        }
        waits.sort_by_key(|wait| (wait.process, wait.thread));
        let mut namespaces = self.namespaces;
        for namespace in &mut namespaces {
            namespace.named_after = namespace.named_after.map(process);
        }
        namespaces.sort_by_key(|namespace| (namespace.kind, namespace.inode));
        let mut limits = self.limits;
        for limit in &mut limits {
            limit.scope = match limit.scope {
                super::Scope::Process(old) => super::Scope::Process(process(old)),
                super::Scope::Object(old) => super::Scope::Object(object(old)),
                other => other,
            };
        }
        let unseen =
            self.unseen.into_iter().map(|((what, why), count)| Unseen { what, why, count }).collect::<Vec<_>>();
        let index = Index::new(&processes, &objects, &holds, &links);
        let mut snapshot = Snapshot {
            taken,
            viewer: self.viewer,
            processes,
            objects,
            holds,
            links,
            waits,
            namespaces,
            limits,
            findings: Vec::new(),
            unseen,
            index,
        };
        snapshot.findings = find(&snapshot);
        snapshot
    }
}

/// A descriptor of a file or directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenFile {
    pub(crate) process: ProcessRef,
    pub(crate) fd: i32,
    pub(crate) file: Identity,
}

/// A part of a segment in the address space of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MappedSegment {
    pub(crate) object: ObjectRef,
    pub(crate) process: ProcessRef,
    /// First address, and the one after the last.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Where in the segment it begins.
    pub(crate) offset: u64,
}

/// Gives each value its place as its reference, and for each old reference the new one.
fn renumber<T, R: Copy + Into<usize>>(
    values: &mut [T],
    reference: impl Fn(&mut T) -> &mut R,
    at: impl Fn(usize) -> R,
) -> Vec<R> {
    let mut new = vec![at(0); values.len()];
    for (index, value) in values.iter_mut().enumerate() {
        let there = reference(value);
        new[(*there).into()] = at(index);
        *there = at(index);
    }
    new
}

/// Ways through a finished snapshot.
#[derive(Debug)]
pub(super) struct Index {
    by_identity: HashMap<Identity, ObjectRef, Quick>,
    /// For each object the range of its ties, which are sorted by object.
    holds_of: Vec<Range<u32>>,
    /// The ties of the first process, then those of the second, and so on.
    held_by: Vec<u32>,
    /// Where in it each process's ties begin; one entry more than there are processes.
    held_from: Vec<u32>,
    /// For each object that has any: its links.
    links_of: HashMap<ObjectRef, Vec<u32>, Quick>,
}

impl Index {
    fn new(processes: &[Process], objects: &[Object], holds: &[Hold], links: &[Link]) -> Self {
        let mut holds_of = vec![0..0; objects.len()];
        let mut held_from = vec![0; processes.len() + 1];
        for (index, hold) in (0_u32..).zip(holds) {
            let range = &mut holds_of[hold.object.index()];
            if range.start == range.end {
                range.start = index;
            }
            range.end = index + 1;
            held_from[hold.process.index() + 1] += 1;
        }
        for index in 1..held_from.len() {
            held_from[index] += held_from[index - 1];
        }
        let mut next = held_from.clone();
        let mut held_by = vec![0; holds.len()];
        for (index, hold) in (0_u32..).zip(holds) {
            let place = &mut next[hold.process.index()];
            held_by[*place as usize] = index;
            *place += 1;
        }
        let mut links_of: HashMap<ObjectRef, Vec<u32>, Quick> = HashMap::default();
        for (index, link) in (0_u32..).zip(links) {
            links_of.entry(link.from).or_default().push(index);
            if link.to != link.from {
                links_of.entry(link.to).or_default().push(index);
            }
        }
        let by_identity = objects.iter().map(|object| (object.identity, object.reference)).collect();
        Self { by_identity, holds_of, held_by, held_from, links_of }
    }

    pub(super) fn object(&self, identity: Identity) -> Option<ObjectRef> {
        self.by_identity.get(&identity).copied()
    }

    pub(super) fn holds_of(&self, object: ObjectRef) -> Range<usize> {
        let range = &self.holds_of[object.index()];
        range.start as usize..range.end as usize
    }

    pub(super) fn held_by(&self, process: ProcessRef) -> &[u32] {
        let [from, to] = [0, 1].map(|next| self.held_from[process.index() + next] as usize);
        &self.held_by[from..to]
    }

    pub(super) fn links_of(&self, object: ObjectRef) -> &[u32] {
        self.links_of.get(&object).map_or(&[], Vec::as_slice)
    }
}

/// Makes hashers for the kernel's small numbers, much quicker than the standard library's. The kernel counts most inode
/// numbers up, but on a file system of their own people choose them: the seed, which is another in each map, keeps them
/// from choosing numbers that collide.
#[derive(Debug, Clone)]
pub(crate) struct Quick(u64);

impl Default for Quick {
    fn default() -> Self {
        Self(RandomState::new().hash_one(()))
    }
}

impl BuildHasher for Quick {
    type Hasher = QuickHasher;

    fn build_hasher(&self) -> QuickHasher {
        QuickHasher(self.0)
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct QuickHasher(u64);

impl Hasher for QuickHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_i32(&mut self, value: i32) {
        self.write_u64(u64::from(value.cast_unsigned()));
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value.cast_unsigned() as u64);
    }
}
