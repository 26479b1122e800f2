//! Limits of the system, of users and of processes, with their use.

use super::{ObjectRef, ProcessRef, Unit};

/// One limit and how near it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// Its name as the manuals have it: `shmmni`, `msgmnb`, `RLIMIT_NOFILE`, `pipe-user-pages-soft`.
    pub name: &'static str,
    /// What it bounds, in words.
    pub meaning: &'static str,
    /// For whom it holds.
    pub scope: Scope,
    /// How much is used; `None` if nobody counts it or it could not be seen.
    pub used: Option<u64>,
    /// The most; `None` for no bound.
    pub maximum: Option<u64>,
    /// In which unit.
    pub unit: Unit,
    /// What a program sees when the limit is reached: call and error.
    pub symptom: &'static str,
    /// How to raise it: a file of `/proc/sys`, or a command.
    pub raise: &'static str,
}

impl Limit {
    /// Used part of the maximum, 0 to 1 (more if a lowered limit was passed); `None` without either figure, or with a
    /// maximum of zero.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let maximum = self.maximum.filter(|&maximum| maximum > 0)?;
        #[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
        Some(self.used? as f64 / maximum as f64)
    }
}

/// For whom a limit holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// The whole machine.
    Machine,
    /// One namespace, by its inode.
    Namespace(u64),
    /// All processes of one user.
    User(u32),
    /// One process.
    Process(ProcessRef),
    /// One object.
    Object(ObjectRef),
}
