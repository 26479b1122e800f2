//! File locks: who has which, and who waits behind whom.

use std::collections::HashSet;

use crate::model::{Lock, Object, ObjectRef, ProcessRef};

use super::grid::{Column, Grid, Tone};
use super::query::Query;
use super::sentence::lock_label;
use super::{View, process_name, words};

/// One lock, held or waited for.
#[derive(Debug, Clone)]
pub struct LockSet<'a> {
    /// Of which file.
    pub object: ObjectRef,
    /// Whose.
    pub process: ProcessRef,
    /// Which.
    pub lock: &'a Lock,
    /// Of a lock that is waited for: the processes that hold what is in the way.
    pub behind: Vec<ProcessRef>,
}

impl View<'_> {
    /// The locks that processes hold and wait for: of a process, of a file, or all without a query. A waiter comes after
    /// who it waits for.
    #[must_use]
    pub fn locks(&self, query: Option<&Query>) -> Vec<LockSet<'_>> {
        let only_process: Option<Vec<ProcessRef>> = query.and_then(|query| match query {
            Query::Number(_) | Query::Process(_) => Some(self.processes_asked(query)),
            _ => None,
        });
        let only_objects: Option<Vec<ObjectRef>> =
            query.filter(|_| only_process.is_none()).map(|query| self.objects_asked(query));
        let mut sets: Vec<LockSet<'_>> = Vec::new();
        for object in self.snapshot.objects() {
            if only_objects.as_ref().is_some_and(|objects| !objects.contains(&object.reference)) {
                continue;
            }
            let of_object = self.locks_of(object);
            let is_asked = |set: &LockSet<'_>| {
                only_process.as_ref().is_none_or(|asked| {
                    // Who is in the way of one that was asked for belongs to the answer.
                    asked.contains(&set.process)
                        || set.behind.iter().any(|process| asked.contains(process))
                        || of_object
                            .iter()
                            .any(|other| asked.contains(&other.process) && other.behind.contains(&set.process))
                })
            };
            sets.extend(of_object.iter().filter(|set| is_asked(set)).cloned());
        }
        sets
    }

    /// How many locks these are: those that are held, each once however many processes have it by inheritance, and those
    /// that are waited for.
    #[must_use]
    pub fn lock_counts(&self, locks: &[LockSet<'_>]) -> (u64, u64) {
        let (waiting, held): (Vec<_>, Vec<_>) = locks.iter().partition(|set| set.lock.is_waiting);
        let held: HashSet<(ObjectRef, u64)> = held.iter().map(|set| (set.object, set.lock.number)).collect();
        (held.len() as u64, waiting.len() as u64)
    }

    fn locks_of(&self, object: &Object) -> Vec<LockSet<'_>> {
        let locks = || {
            self.snapshot.holders(object.reference).filter_map(|hold| match &hold.how {
                crate::model::How::Lock(lock) => Some((hold.process, lock)),
                _ => None,
            })
        };
        let mut sets: Vec<LockSet<'_>> = Vec::new();
        for (process, lock) in locks() {
            let is_in_the_way = |(_, held): &(ProcessRef, &Lock)| !held.is_waiting && held.number == lock.number;
            let mut behind: Vec<ProcessRef> = if lock.is_waiting {
                locks().filter(is_in_the_way).map(|(process, _)| process).collect()
            } else {
                Vec::new()
            };
            behind.dedup();
            sets.push(LockSet { object: object.reference, process, lock, behind });
        }
        sets.sort_by_key(|set| (set.lock.number, set.lock.is_waiting));
        sets
    }

    /// Locks as a table.
    #[must_use]
    pub fn lock_grid(&self, locks: &[LockSet<'_>]) -> Grid {
        let mut grid = Grid::new([
            Column::words("PROCESS"),
            Column::words("DOES"),
            Column::words("LOCK"),
            Column::text("FILE"),
            Column::text("BEHIND"),
        ]);
        for set in locks {
            let behind: Vec<String> =
                set.behind.iter().map(|process| process_name(self.snapshot.process(*process))).collect();
            let unknown = if set.lock.is_waiting && behind.is_empty() { "somebody unseen" } else { "" };
            let cells = [
                process_name(self.snapshot.process(set.process)),
                if set.lock.is_waiting { "waits for" } else { "holds" }.to_owned(),
                lock_label(set.lock),
                self.what(self.snapshot.object(set.object)),
                if behind.is_empty() { unknown.to_owned() } else { words::and(&behind) },
            ];
            grid.push(if set.lock.is_waiting { Tone::Warning } else { Tone::Plain }, cells);
        }
        grid.drop_if_empty("BEHIND");
        grid
    }
}
