//! Answers for people and programs, made out of a [`Snapshot`]: tables, sentences, JSON.
//!
//! A [`View`] is a snapshot together with the names of users. It asks nobody anything: the same snapshot gives the same
//! words, and whoever has one (a command, a page, a test that built it by hand) gets them.
//!
//! * [`View::list`]: every object, with who holds which end and how full it is ([`Selection`] says which objects).
//! * [`View::tree`]: the same, under the processes.
//! * [`View::who`]: who is on the other end of one thing, in a sentence and a table ([`Query`] names the thing).
//! * [`View::leaks`], [`View::limits`], [`View::locks`]: what their names say.
//! * [`json`]: the same as JSON, in the forms of `docs/formats/json.md`.
//!
//! **The invariant: what others chose is never passed on raw.** Names, paths and command lines reach a cell, a sentence
//! or a JSON text only in the escaped form of [`Text`](crate::model::Text).

mod grid;
pub mod json;
mod label;
mod leaks;
mod limits;
mod list;
mod locks;
mod party;
mod query;
mod segment;
mod segment_json;
mod select;
mod sentence;
mod summary;
mod tree;
mod who;
pub mod words;

use std::borrow::Cow;
use std::collections::HashMap;

use crate::model::{NamespaceKind, Object, Process, Snapshot};

pub use grid::{Column, Grid, Line, Tone};
pub use leaks::Leak;
pub use limits::LimitRow;
pub use list::{Field, List, Order};
pub use locks::LockSet;
pub use query::{ParseQueryError, Query};
pub use select::{Group, NamespaceChoice, ProcessChoice, Selection};
pub use tree::Branches;
pub use who::{Answer, Subject};

/// A snapshot to be looked at.
#[derive(Debug)]
pub struct View<'a> {
    snapshot: &'a Snapshot,
    users: Users,
}

impl<'a> View<'a> {
    /// A view of that snapshot, with these names of users.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot, users: Users) -> Self {
        Self { snapshot, users }
    }

    /// What is looked at.
    #[must_use]
    pub fn snapshot(&self) -> &'a Snapshot {
        self.snapshot
    }

    /// The number of the namespace in which the object's name has its meaning, if it is another than the viewer's.
    fn foreign_namespace(&self, object: &Object) -> Option<u64> {
        let own = &self.snapshot.viewer().namespaces;
        let own = match label::namespace_kind(object) {
            NamespaceKind::Ipc => own.ipc,
            NamespaceKind::Net => own.net,
            _ => own.mnt,
        };
        object.namespace.filter(|&inode| own.is_some_and(|own| own != inode))
    }
}

/// The names of users, as the system's user database has them.
#[derive(Debug, Clone, Default)]
pub struct Users(HashMap<u32, String>);

impl Users {
    /// The name of that user; its number if it has none.
    #[must_use]
    pub fn name(&self, uid: u32) -> Cow<'_, str> {
        self.0.get(&uid).map_or_else(|| Cow::Owned(uid.to_string()), |name| Cow::Borrowed(name.as_str()))
    }
}

impl FromIterator<(u32, String)> for Users {
    /// The first name of a number counts.
    fn from_iter<I: IntoIterator<Item = (u32, String)>>(pairs: I) -> Self {
        let mut names = HashMap::new();
        for (uid, name) in pairs {
            names.entry(uid).or_insert(name);
        }
        Self(names)
    }
}

/// `NAME PID`, as every view calls a process.
fn process_name(process: &Process) -> String {
    format!("{} {}", process.name, process.pid)
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
