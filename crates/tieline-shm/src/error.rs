//! The one error type of this crate: who is to blame, for what, and what to do.

use std::borrow::Cow;
use std::fmt;

/// The result of an operation on shared memory.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something with shared memory could not be done.
///
/// `Display` is one sentence for a person; programs ask [`kind`](Self::kind) or one of the questions. Making one of
/// [`ErrorKind::WouldBlock`], [`TimedOut`](ErrorKind::TimedOut) or [`Full`](ErrorKind::Full) does not allocate.
pub struct Error {
    operation: &'static str,
    kind: ErrorKind,
    context: Option<Box<Context>>,
}

#[derive(Debug, Default)]
struct Context {
    object: Option<String>,
    why: Option<Cow<'static, str>>,
    system: Option<tieline_os::Error>,
}

/// What sort of refusal an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nobody offers this name (any more).
    NotFound,
    /// Somebody offers this name already.
    AlreadyExists,
    /// The object's access rule, its owner or the file system does not allow it.
    PermissionDenied,
    /// The name belongs to an object of another kind, direction, layout or configuration; the text shows both.
    Mismatch,
    /// Nothing is there, and the caller asked not to wait.
    WouldBlock,
    /// The deadline passed first.
    TimedOut,
    /// No room: the channel, the pool of loans or the arena is full.
    Full,
    /// More peers, loans, readers or names than the object was made for.
    LimitReached,
    /// The payload is larger than the channel takes or than the buffer holds.
    TooLarge,
    /// The peer died or left, and all it had sent has been received.
    PeerGone,
    /// The holder of the lock died holding it; what it guards may be half changed.
    OwnerDied,
    /// The lock was given up by a dead owner and never repaired.
    NotRecoverable,
    /// The wait would never end: the caller holds what it waits for, or the order of locks is reversed.
    Deadlock,
    /// A subscriber fell too far behind and its policy is to be disconnected.
    Lagged,
    /// Shared memory holds what no peer of ours writes: a peer is hostile or broken. The object is not used any more.
    Corrupted,
    /// The server could not do what was asked; the text is its own.
    Failed,
    /// An argument has no meaning for this object.
    InvalidInput,
    /// The handle was inherited by `fork`; open the object again in the child.
    Forked,
    /// This kernel, machine or build cannot do it.
    Unsupported,
    /// There is not enough memory.
    OutOfMemory,
    /// The system refused for another reason; see [`Error::system`].
    System,
}

impl Error {
    /// `operation` reads after "cannot", as in "publish".
    pub(crate) const fn new(operation: &'static str, kind: ErrorKind) -> Self {
        Self { operation, kind, context: None }
    }

    /// The same, met by another operation than the one that tells of it.
    pub(crate) fn while_to(mut self, operation: &'static str) -> Self {
        self.operation = operation;
        self
    }

    /// Says why and what to do, as the end of a sentence.
    pub(crate) fn because(mut self, why: impl Into<Cow<'static, str>>) -> Self {
        self.context.get_or_insert_default().why = Some(why.into());
        self
    }

    /// Adds to the reason.
    pub(crate) fn also(mut self, more: impl fmt::Display) -> Self {
        let kind = self.kind;
        let context = self.context.get_or_insert_default();
        context.why = Some(match &context.why {
            Some(why) => format!("{why}; {more}").into(),
            None => format!("{kind}; {more}").into(),
        });
        self
    }

    /// Names the object.
    pub(crate) fn on(mut self, object: impl fmt::Display) -> Self {
        self.context.get_or_insert_default().object = Some(object.to_string());
        self
    }

    /// The system refused `operation`.
    pub(crate) fn system_refused(operation: &'static str, error: tieline_os::Error) -> Self {
        let kind = match error.kind() {
            tieline_os::ErrorKind::NotFound => ErrorKind::NotFound,
            tieline_os::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            tieline_os::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            tieline_os::ErrorKind::WouldBlock => ErrorKind::WouldBlock,
            tieline_os::ErrorKind::TimedOut => ErrorKind::TimedOut,
            tieline_os::ErrorKind::PeerGone => ErrorKind::PeerGone,
            tieline_os::ErrorKind::OutOfMemory => ErrorKind::OutOfMemory,
            tieline_os::ErrorKind::LimitReached => ErrorKind::LimitReached,
            tieline_os::ErrorKind::Unsupported => ErrorKind::Unsupported,
            tieline_os::ErrorKind::TooLarge => ErrorKind::TooLarge,
            tieline_os::ErrorKind::InvalidInput => ErrorKind::InvalidInput,
            _ => ErrorKind::System,
        };
        let context = Context { system: Some(error), ..Context::default() };
        Self { operation, kind, context: Some(Box::new(context)) }
    }

    /// What sort of refusal this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The system's own error, if the system was asked.
    #[must_use]
    pub fn system(&self) -> Option<&tieline_os::Error> {
        self.context.as_ref()?.system.as_ref()
    }

    /// Whether the deadline passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind == ErrorKind::TimedOut
    }

    /// Whether it could not be done at once.
    #[must_use]
    pub fn is_would_block(&self) -> bool {
        self.kind == ErrorKind::WouldBlock
    }

    /// Whether the peer, or the holder of a lock, is dead or gone.
    #[must_use]
    pub fn is_peer_dead(&self) -> bool {
        matches!(self.kind, ErrorKind::PeerGone | ErrorKind::OwnerDied | ErrorKind::NotRecoverable)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.operation)?;
        let context = self.context.as_deref();
        if let Some(object) = context.and_then(|context| context.object.as_ref()) {
            write!(f, " {object}")?;
        }
        match context.and_then(|context| context.why.as_ref()) {
            Some(why) => write!(f, ": {why}")?,
            None if context.is_none_or(|context| context.system.is_none()) => write!(f, ": {}", self.kind)?,
            None => {}
        }
        match context.and_then(|context| context.system.as_ref()) {
            Some(system) => write!(f, ": {system}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "nobody offers this name",
            Self::AlreadyExists => "it exists already",
            Self::PermissionDenied => "not allowed",
            Self::Mismatch => "it is of another kind or layout",
            Self::WouldBlock => "nothing is there yet",
            Self::TimedOut => "the deadline passed",
            Self::Full => "there is no room",
            Self::LimitReached => "a limit is reached",
            Self::TooLarge => "it is too large",
            Self::PeerGone => "the peer is gone",
            Self::OwnerDied => "the owner died holding it",
            Self::NotRecoverable => "it was given up by a dead owner and never repaired",
            Self::Deadlock => "the wait would never end",
            Self::Lagged => "the subscriber fell too far behind",
            Self::Corrupted => "shared memory holds what no peer writes",
            Self::Failed => "the server could not do it",
            Self::InvalidInput => "the argument has no meaning here",
            Self::Forked => "the handle was inherited by fork",
            Self::Unsupported => "not supported here",
            Self::OutOfMemory => "not enough memory",
            Self::System => "the system refused",
        })
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("operation", &self.operation)
            .field("kind", &self.kind)
            .field("context", &self.context)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.system().map(|error| error as _)
    }
}

impl From<tieline_os::Error> for Error {
    fn from(error: tieline_os::Error) -> Self {
        Self::system_refused("use shared memory", error)
    }
}
