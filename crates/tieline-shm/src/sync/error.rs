//! What locking answers when the lock is not simply ours.

use std::fmt;

use crate::error::{Error, ErrorKind};

/// The result of locking: a guard, or why not.
pub type LockResult<G> = Result<G, LockError<G>>;

/// Why locking did not give a lock whose data is sound.
pub enum LockError<G> {
    /// The lock is ours, but its holder before died holding it: what it guards may be half changed. Repair it through
    /// the guard and say so (`mark_consistent`), or drop the guard, and the lock can never be taken again.
    OwnerDied(G),
    /// The lock is not ours.
    Failed(Error),
}

impl<G> LockError<G> {
    /// What sort of refusal this is; [`ErrorKind::OwnerDied`] if the guard is inside.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OwnerDied(_) => ErrorKind::OwnerDied,
            Self::Failed(error) => error.kind(),
        }
    }

    /// Whether the deadline passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind() == ErrorKind::TimedOut
    }

    /// The same with another guard inside.
    pub(crate) fn map<H>(self, wrap: impl FnOnce(G) -> H) -> LockError<H> {
        match self {
            Self::OwnerDied(guard) => LockError::OwnerDied(wrap(guard)),
            Self::Failed(error) => LockError::Failed(error),
        }
    }
}

impl<G> From<Error> for LockError<G> {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<G> From<LockError<G>> for Error {
    /// Who uses `?` does not repair: a guard inside is dropped, and the lock is dead for everyone.
    fn from(error: LockError<G>) -> Self {
        match error {
            LockError::OwnerDied(_) => Self::new("lock", ErrorKind::OwnerDied),
            LockError::Failed(error) => error,
        }
    }
}

impl<G> fmt::Debug for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnerDied(_) => f.write_str("OwnerDied(..)"),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

impl<G> fmt::Display for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnerDied(_) => write!(f, "cannot lock soundly: {}", ErrorKind::OwnerDied),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<G> std::error::Error for LockError<G> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::OwnerDied(_) => None,
            Self::Failed(error) => error.source(),
        }
    }
}
