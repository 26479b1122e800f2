//! The one error type of opening endpoints and moving data between them.
//!
//! The invariant: an error that came from the kernel keeps its errno, and its text ends with what to do where that is
//! known.

use std::borrow::Cow;
use std::{fmt, io};

use tieline_os::ErrorKind as OsErrorKind;

use crate::frame::{FrameError, FrameErrorKind};

/// The result of an operation on an endpoint.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an endpoint could not be opened or used: a sentence for people, a kind and an errno for programs.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    text: Cow<'static, str>,
    errno: Option<i32>,
}

/// What sort of refusal an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// This build has no transport for the address's scheme.
    NotInThisBuild,
    /// The address, its options and what is wanted of it do not go together.
    InvalidInput,
    /// A message is longer than the endpoint, or the framing, takes.
    TooLarge,
    /// The bytes are not what the framing says, or the message cannot be framed.
    Framing,
    /// It cannot be done without waiting, and the caller asked not to wait.
    WouldBlock,
    /// The deadline passed first.
    TimedOut,
    /// Somebody asked to stop ([`Stop`](crate::Stop)).
    Stopped,
    /// There is nobody at the other end, or nobody any more.
    PeerGone,
    /// The host name is not known.
    UnknownHost,
    /// Any other refusal of the system; see [`Error::errno`].
    System(OsErrorKind),
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, text: text.into(), errno: None }
    }

    /// The system refused `operation`, which reads after "cannot".
    pub(crate) fn system(operation: impl fmt::Display, error: &io::Error) -> Self {
        let named = error.raw_os_error().map(|number| tieline_os::Error::from_errno("", number));
        let reason = named.as_ref().and_then(tieline_os::Error::reason).unwrap_or_else(|| error.to_string());
        let kind = match (kind_of(error.kind()), named) {
            // The standard library has no kind for many of them.
            (ErrorKind::System(OsErrorKind::Other), Some(named)) => Self::from(named).kind,
            (kind, _) => kind,
        };
        Self { kind, text: format!("cannot {operation}: {reason}").into(), errno: error.raw_os_error() }
    }

    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.text = format!("{}; {hint}", self.text).into();
        self
    }

    /// Says which message, counted from 1, was too large; other errors are not about one message.
    pub(crate) fn at_message(mut self, number: u64) -> Self {
        if self.kind == ErrorKind::TooLarge {
            self.text = format!("message {number}: {}", self.text).into();
        }
        self
    }

    /// What sort of refusal this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The kernel's error number, if the kernel refused.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// The deadline passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind == ErrorKind::TimedOut
    }

    /// It cannot be done now without waiting.
    #[must_use]
    pub fn is_would_block(&self) -> bool {
        self.kind == ErrorKind::WouldBlock
    }

    /// Somebody asked to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.kind == ErrorKind::Stopped
    }

    /// There is nobody at the other end.
    #[must_use]
    pub fn is_peer_dead(&self) -> bool {
        self.kind == ErrorKind::PeerGone
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

impl From<tieline_os::Error> for Error {
    fn from(error: tieline_os::Error) -> Self {
        let kind = match error.kind() {
            OsErrorKind::PeerGone | OsErrorKind::NoReader => ErrorKind::PeerGone,
            OsErrorKind::TimedOut => ErrorKind::TimedOut,
            OsErrorKind::WouldBlock => ErrorKind::WouldBlock,
            OsErrorKind::TooLarge => ErrorKind::TooLarge,
            OsErrorKind::InvalidInput => ErrorKind::InvalidInput,
            other => ErrorKind::System(other),
        };
        // "Would block" in a polling loop costs no allocation.
        let text = if error.is_would_block() { "it would block".into() } else { error.to_string().into() };
        Self { kind, text, errno: error.errno() }
    }
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        let too_large = matches!(error.kind(), FrameErrorKind::TooLong { .. });
        let kind = if too_large { ErrorKind::TooLarge } else { ErrorKind::Framing };
        Self::new(kind, error.to_string())
    }
}

impl From<Error> for io::Error {
    /// Keeps the sentence; the `io::ErrorKind` is the nearest one.
    fn from(error: Error) -> Self {
        let kind = match error.kind {
            ErrorKind::NotInThisBuild => io::ErrorKind::Unsupported,
            ErrorKind::InvalidInput | ErrorKind::TooLarge => io::ErrorKind::InvalidInput,
            ErrorKind::Framing => io::ErrorKind::InvalidData,
            ErrorKind::WouldBlock => io::ErrorKind::WouldBlock,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::Stopped => io::ErrorKind::Interrupted,
            ErrorKind::PeerGone => io::ErrorKind::BrokenPipe,
            ErrorKind::UnknownHost | ErrorKind::System(OsErrorKind::NotFound) => io::ErrorKind::NotFound,
            ErrorKind::System(OsErrorKind::PermissionDenied) => io::ErrorKind::PermissionDenied,
            ErrorKind::System(OsErrorKind::AlreadyExists) => io::ErrorKind::AlreadyExists,
            ErrorKind::System(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

fn kind_of(kind: io::ErrorKind) -> ErrorKind {
    match kind {
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected => ErrorKind::PeerGone,
        io::ErrorKind::TimedOut => ErrorKind::TimedOut,
        io::ErrorKind::WouldBlock => ErrorKind::WouldBlock,
        io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
            ErrorKind::InvalidInput
        }
        io::ErrorKind::NotFound => ErrorKind::System(OsErrorKind::NotFound),
        io::ErrorKind::PermissionDenied => ErrorKind::System(OsErrorKind::PermissionDenied),
        io::ErrorKind::AlreadyExists | io::ErrorKind::AddrInUse => ErrorKind::System(OsErrorKind::AlreadyExists),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::System(OsErrorKind::LimitReached),
        io::ErrorKind::Unsupported => ErrorKind::System(OsErrorKind::Unsupported),
        io::ErrorKind::OutOfMemory => ErrorKind::System(OsErrorKind::OutOfMemory),
        _ => ErrorKind::System(OsErrorKind::Other),
    }
}
