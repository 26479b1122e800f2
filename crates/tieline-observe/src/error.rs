//! What a whole scan can fail with. A part that cannot be seen is not an error: it is [counted](crate::model::Unseen).

use std::fmt;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why there is no snapshot, or no answer from it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// `/proc` is not there, or is not a procfs: nothing can be seen without it.
    NoProc(std::io::Error),
    /// `TIELINE_ENGINE` names an engine that this program does not have.
    UnknownEngine(String),
    /// A call of the operating system failed; the error says which and on what.
    Os(tieline_os::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProc(error) => write!(f, "/proc cannot be read ({error}); mount a procfs there"),
            Self::UnknownEngine(name) => {
                write!(f, "TIELINE_ENGINE={name:?} is not an engine of this program; use proc, or unset it")
            }
            Self::Os(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoProc(error) => Some(error),
            Self::UnknownEngine(_) => None,
            Self::Os(error) => Some(error),
        }
    }
}

impl From<tieline_os::Error> for Error {
    fn from(error: tieline_os::Error) -> Self {
        Self::Os(error)
    }
}
