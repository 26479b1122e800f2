//! Who is measured.

use std::path::Path;

use serde::Serialize;

use super::stage::{Figure, Stage};
use super::subject::Subject;
use crate::control::Outcome;

/// What a contestant is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    /// The bare form, without what makes it useful.
    Floor,
    /// Ours.
    Ours,
    /// Somebody else's.
    Peer,
}

/// A way to do what some of the subjects ask for. One file for each; the `bench/` workspace adds those of others.
pub trait Contestant: Sync {
    /// Its name in tables.
    fn name(&self) -> &'static str;

    /// What it is to us.
    fn rank(&self) -> Rank;

    /// Whether it does this at all.
    fn takes(&self, subject: Subject) -> bool;

    /// Plays one of the two parts; runs in a process of its own for each figure. The figures of the two processes are
    /// added up (of descriptors and mappings the greater counts); the one that has none answers `None`.
    ///
    /// # Errors
    /// A sentence; the figure is missing then.
    fn play(&self, subject: Subject, stage: &Stage<'_>) -> Outcome<Option<Figure>>;

    /// Removes what processes that were killed have left outside of the stage's folder.
    fn clean_up(&self, _folder: &Path) {}
}
