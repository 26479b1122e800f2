//! Processes as a tree, each with what it holds and who is at the other end.

use std::collections::{HashMap, HashSet};

use crate::model::{How, Identity, Kind, Link, LinkKind, Object, ObjectRef, Process, ProcessRef, SocketState};

use super::grid::{Column, Grid, Tone};
use super::label::{is_full, socket_state};
use super::party::Company;
use super::{List, Selection, View, process_name};

/// How the branches of a tree are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branches {
    /// With the line-drawing characters of Unicode.
    Lines,
    /// With ASCII.
    Ascii,
}

impl Branches {
    fn fork(self) -> &'static str {
        if self == Self::Lines { "├─ " } else { "|- " }
    }

    fn last(self) -> &'static str {
        if self == Self::Lines { "└─ " } else { "`- " }
    }

    fn past(self) -> &'static str {
        if self == Self::Lines { "│  " } else { "|  " }
    }
}

/// Deeper generations than this are drawn at this depth: a chain of forks must not make lines of any length.
const DEEPEST: usize = 24;

impl<'a> View<'a> {
    /// The selected objects under the processes that hold them. Processes without any stand there only if they are
    /// ancestors of such; objects without a holder are not in a tree.
    #[must_use]
    pub fn tree(&self, selection: &Selection, branches: Branches) -> List {
        let selected = self.select(selection);
        let wanted: HashSet<ObjectRef> = selected.objects.iter().copied().collect();
        let mut grid = Grid::new([
            Column::text("PROCESS"),
            Column::words("KIND"),
            Column::text("WHAT"),
            Column::words("FILL"),
            Column::text("WITH"),
        ]);
        let chosen: Option<HashSet<ProcessRef>> = (!selection.processes.is_empty())
            .then(|| selection.processes.iter().flat_map(|choice| self.processes(choice)).collect());
        let family = Family::of(self, |process| {
            chosen.as_ref().is_none_or(|chosen| chosen.contains(&process))
                && self.snapshot.held_by(process).any(|hold| hold.how.is_use() && wanted.contains(&hold.object))
        });
        let mut shown: HashSet<ObjectRef> = HashSet::new();
        let mut companies = Companies::new(self);
        for step in family.walk(branches) {
            let process = self.snapshot.process(step.process);
            grid.push(
                Tone::Plain,
                [step.branch + &process_name(process), String::new(), String::new(), String::new(), String::new()],
            );
            if !family.has_objects(step.process) {
                continue;
            }
            for (object, ways) in self.used_by(step.process) {
                if !wanted.contains(&object) {
                    continue;
                }
                shown.insert(object);
                let object = self.snapshot.object(object);
                let tone = if is_full(object) { Tone::Bad } else { Tone::Plain };
                let cells = [
                    step.below.clone() + "  " + &self.does(object, &ways),
                    object.kind.name().to_owned(),
                    self.conversation(object),
                    self.fullness(object),
                    self.others(process, object, &mut companies),
                ];
                grid.push(tone, cells);
            }
        }
        List { grid, objects: shown.len(), folded: selected.folded }
    }

    /// What a process uses, each object once with all the ways in which: by kind, then by descriptor.
    pub(super) fn used_by(&self, process: ProcessRef) -> Vec<(ObjectRef, Vec<&'a How>)> {
        let mut used: Vec<(ObjectRef, Vec<&'a How>)> = Vec::new();
        // The ties of one process are sorted by object.
        for hold in self.snapshot.held_by(process).filter(|hold| hold.how.is_use()) {
            match used.last_mut() {
                Some((object, ways)) if *object == hold.object => ways.push(&hold.how),
                _ => used.push((hold.object, vec![&hold.how])),
            }
        }
        let first_descriptor = |ways: &[&How]| {
            let numbers = ways.iter().filter_map(|how| match how {
                How::Descriptor { fd, .. } => Some(*fd),
                _ => None,
            });
            numbers.min().unwrap_or(i32::MAX)
        };
        used.sort_by_key(|(object, ways)| (self.snapshot.object(*object).kind, first_descriptor(ways)));
        used
    }

    /// By what a process has the object: `5 w`, `0 r`, `map rw`.
    pub(super) fn does(&self, object: &Object, ways: &[&How]) -> String {
        const MOST: usize = 3;
        let is_named_by_descriptor = matches!(object.identity, Identity::Descriptor { .. } | Identity::Numbered { .. });
        let word = |how: &&How| match how {
            How::Descriptor { fd, .. } if is_named_by_descriptor => fd.to_string(),
            How::Descriptor { fd, access } => format!("{fd} {}", access.letters()),
            How::Mapping { access, .. } => format!("map {}", access.letters()),
            How::Lock(lock) if lock.is_waiting => "waits for lock".to_owned(),
            How::Lock(_) => "lock".to_owned(),
            How::Notified => "notified".to_owned(),
            How::Remembered(_) => "remembered".to_owned(),
        };
        let words: Vec<String> = ways.iter().take(MOST).map(word).collect();
        let more = ways.len().saturating_sub(MOST);
        if more > 0 { format!("{} +{more}", words.join(", ")) } else { words.join(", ") }
    }

    /// Who else has to do with it, from where this process stands.
    pub(super) fn others(&self, process: &Process, object: &Object, companies: &mut Companies<'_, 'a>) -> String {
        let own = process.reference;
        if object.kind == Kind::Pipe || object.kind == Kind::Fifo {
            return self.other_ends(own, companies.of(object.reference));
        }
        if let Some(peer) = self.snapshot.peer(object.reference) {
            let theirs = companies.of(peer);
            if theirs.is_only(own) {
                return "itself".to_owned();
            }
            let other = theirs.but(&theirs.users, None);
            return if other.is_empty() { self.nobody().to_owned() } else { other };
        }
        // Who has a part of it has the whole, too.
        let is_client = |link: &Link| !matches!(link.kind, LinkKind::Watches | LinkKind::PartOf);
        let clients = self.snapshot.linked(object.reference).filter(|(link, _)| is_client(link));
        let names = |(_, other)| {
            let theirs = companies.of(other);
            theirs.but(&theirs.users, None)
        };
        let linked: Vec<String> = clients.map(names).filter(|names| !names.is_empty()).take(4).collect();
        if !linked.is_empty() {
            return linked.join(", ");
        }
        let all = companies.of(object.reference);
        let others = all.but(&all.users, Some(own));
        match (socket_state(object) == Some(SocketState::Listening), others.is_empty()) {
            (true, true) => "listens".to_owned(),
            (true, false) => format!("listens with {others}"),
            (false, _) => others,
        }
    }

    /// Who reads what this process writes, and who writes what it reads.
    fn other_ends(&self, own: ProcessRef, all: &Company<'_>) -> String {
        let access = all.access(own);
        let others = |list: &[usize]| {
            let names = all.but(list, Some(own));
            if !names.is_empty() {
                names
            } else if access.read && access.write {
                "itself".to_owned()
            } else {
                self.nobody().to_owned()
            }
        };
        match (access.write, access.read) {
            (true, true) if all.readers == all.writers => others(&all.readers),
            (true, true) => format!("> {}, < {}", others(&all.readers), others(&all.writers)),
            (true, false) => format!("> {}", others(&all.readers)),
            _ => format!("< {}", others(&all.writers)),
        }
    }
}

/// The companies of objects, each worked out once: an object that hundreds share is met hundreds of times in a tree.
pub(super) struct Companies<'v, 'a> {
    view: &'v View<'a>,
    known: HashMap<ObjectRef, Company<'a>>,
}

impl<'v, 'a> Companies<'v, 'a> {
    pub(super) fn new(view: &'v View<'a>) -> Self {
        Self { view, known: HashMap::new() }
    }

    fn of(&mut self, object: ObjectRef) -> &Company<'a> {
        self.known.entry(object).or_insert_with(|| Company::new(self.view.parties(object)))
    }
}

/// Who is whose child, among the processes that are shown.
struct Family {
    roots: Vec<ProcessRef>,
    children: HashMap<ProcessRef, Vec<ProcessRef>>,
    with_objects: HashSet<ProcessRef>,
}

/// One line of a tree that is for a process.
struct Step {
    process: ProcessRef,
    /// What is drawn before its name.
    branch: String,
    /// What is drawn before what it holds.
    below: String,
}

impl Family {
    /// Those that `has_objects`, and their ancestors.
    fn of(view: &View<'_>, has_objects: impl Fn(ProcessRef) -> bool) -> Self {
        let snapshot = view.snapshot;
        let parent = |process: &Process| {
            let parent = snapshot.process_with_pid(process.parent)?;
            // A parent is older; a pid that was used again is not.
            let is_older = (parent.start_ticks, parent.pid) < (process.start_ticks, process.pid)
                || parent.start_ticks < process.start_ticks;
            (is_older && parent.reference != process.reference).then_some(parent.reference)
        };
        let with_objects: HashSet<ProcessRef> = snapshot
            .processes()
            .iter()
            .map(|process| process.reference)
            .filter(|process| has_objects(*process))
            .collect();
        let mut shown = HashSet::new();
        let (mut roots, mut children) = (Vec::new(), HashMap::<ProcessRef, Vec<ProcessRef>>::new());
        let mut sorted: Vec<ProcessRef> = with_objects.iter().copied().collect();
        sorted.sort_unstable();
        for mut process in sorted {
            while shown.insert(process) {
                let Some(above) = parent(snapshot.process(process)) else {
                    roots.push(process);
                    break;
                };
                children.entry(above).or_default().push(process);
                process = above;
            }
        }
        roots.sort_unstable();
        children.values_mut().for_each(|list| list.sort_unstable());
        Self { roots, children, with_objects }
    }

    fn has_objects(&self, process: ProcessRef) -> bool {
        self.with_objects.contains(&process)
    }

    /// Every process, parents before children, without recursion: a chain of forks may be longer than a stack.
    fn walk(&self, branches: Branches) -> Vec<Step> {
        let mut steps = Vec::with_capacity(self.with_objects.len());
        // For each one to come: the process, the prefix of its siblings, whether it is the last of them, its depth.
        let mut to_do: Vec<(ProcessRef, String, bool, usize)> =
            self.roots.iter().rev().map(|root| (*root, String::new(), true, 0)).collect();
        while let Some((process, prefix, is_last, depth)) = to_do.pop() {
            let children = self.children.get(&process).map(Vec::as_slice).unwrap_or_default();
            let (branch, inside) = match depth {
                0 => (String::new(), String::new()),
                _ if is_last => (prefix.clone() + branches.last(), prefix + "   "),
                _ => (prefix.clone() + branches.fork(), prefix + branches.past()),
            };
            let inside = if depth > DEEPEST { branch.chars().take(3 * DEEPEST).collect() } else { inside };
            for (index, child) in children.iter().enumerate().rev() {
                to_do.push((*child, inside.clone(), index + 1 == children.len(), depth + 1));
            }
            let below = if children.is_empty() { inside } else { inside + branches.past() };
            steps.push(Step { process, branch, below });
        }
        steps
    }
}
