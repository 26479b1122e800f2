//! The one error type of this crate: a kernel's answer with its context.
//!
//! The invariant: an [`Error`] made from an errno keeps that errno. Nothing here knows which facility failed.

use std::borrow::Cow;
use std::{fmt, io};

use rustix::io::Errno;

/// The result of an operation on an operating-system facility.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operating-system facility refused: what was asked, of which object, the kernel's answer, what to do.
///
/// `Display` is one sentence for a person. Programs ask [`kind`](Self::kind), [`errno`](Self::errno) or one of the
/// questions (`is_timeout`, `is_would_block`, `is_peer_dead`, …). Making one without an object or a hint does not
/// allocate, so that "would block" in a polling loop costs nothing.
///
/// ```
/// use tieline_os::{Error, ErrorKind};
/// let error = tieline_os::fifo::open_writer_timeout("/no/such/fifo", std::time::Duration::ZERO).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert!(error.to_string().contains("/no/such/fifo"));
/// ```
pub struct Error {
    operation: &'static str,
    errno: Option<Errno>,
    kind: ErrorKind,
    context: Option<Box<Context>>,
}

#[derive(Debug, Default)]
struct Context {
    object: Option<String>,
    hint: Option<Cow<'static, str>>,
}

/// What sort of refusal an [`Error`] is, whichever errno a facility uses for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such object (`ENOENT`, `ESRCH`), or no such child (`ECHILD`).
    NotFound,
    /// An object of that name or key exists already (`EEXIST`, `EADDRINUSE`).
    AlreadyExists,
    /// The caller may not do this (`EACCES`, `EPERM`).
    PermissionDenied,
    /// It cannot be done at once, and the caller asked not to wait (`EAGAIN`, `ENOMSG`).
    WouldBlock,
    /// The deadline passed first (`ETIMEDOUT`).
    TimedOut,
    /// A signal handler ran in the middle and the caller asked to be told (`EINTR`).
    Interrupted,
    /// It was cancelled, by a request to do so or by an event that ends it (`ECANCELED`).
    Cancelled,
    /// Nobody is at the other end, or nobody any more (`EPIPE`, `ECONNRESET`, `ECONNREFUSED`, `ECONNABORTED`,
    /// `ENOTCONN`, `ESHUTDOWN`).
    PeerGone,
    /// Nobody has the FIFO open for reading (`ENXIO`).
    NoReader,
    /// The object was removed while it was in use (`EIDRM`).
    Removed,
    /// The previous owner of a lock died while holding it (`EOWNERDEAD`).
    OwnerDied,
    /// The lock was abandoned by a dead owner and never repaired (`ENOTRECOVERABLE`).
    NotRecoverable,
    /// Waiting would never end: the caller, or a cycle of owners, holds what it waits for (`EDEADLK`).
    Deadlock,
    /// A limit of the process, the user or the machine is reached (`EMFILE`, `ENFILE`, `ENOSPC`, `EDQUOT`, …).
    LimitReached,
    /// The message or value is larger than the object takes or than the buffer holds (`EMSGSIZE`, `E2BIG`, `ERANGE`,
    /// `EOVERFLOW`, `EFBIG`).
    TooLarge,
    /// An argument has no meaning for this object (`EINVAL`, `EBADF`, `ENAMETOOLONG`, …).
    InvalidInput,
    /// The object is in use in a way that forbids this (`EBUSY`, `ETXTBSY`).
    Busy,
    /// This kernel, machine or build does not have the facility (`ENOSYS`, `EOPNOTSUPP`, …).
    Unsupported,
    /// The machine is out of memory, or the region cannot be backed (`ENOMEM`).
    OutOfMemory,
    /// Anything else; see [`Error::errno`].
    Other,
}

impl Error {
    /// The kernel answered `errno` to `operation`, which reads after "cannot", as in "open FIFO".
    pub(crate) const fn new(operation: &'static str, errno: Errno) -> Self {
        Self { operation, errno: Some(errno), kind: kind_of(errno), context: None }
    }

    /// We refused before asking the kernel: `why` says what is wrong with the argument and what would be right.
    pub(crate) fn invalid(operation: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        Self { operation, errno: None, kind: ErrorKind::InvalidInput, context: None }.hint(why)
    }

    /// Neither kernel nor argument is wrong, but the answer has this kind (a facility that is missing, say).
    pub(crate) fn of_kind(operation: &'static str, kind: ErrorKind, why: impl Into<Cow<'static, str>>) -> Self {
        Self { operation, errno: None, kind, context: None }.hint(why)
    }

    /// Names the object: a path, a queue's name, a key, a process id.
    pub(crate) fn on(mut self, object: impl fmt::Display) -> Self {
        self.context.get_or_insert_default().object = Some(object.to_string());
        self
    }

    /// Says what to do about it, as the end of a sentence.
    pub(crate) fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.context.get_or_insert_default().hint = Some(hint.into());
        self
    }

    /// Sorts this errno under another kind than the usual one, where a facility uses it for something else.
    pub(crate) fn sorted_as(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// The system answered with error number `errno` to `operation`, which reads after "cannot": for what was done
    /// through the standard library and shall be told like the rest.
    ///
    /// ```
    /// let error = tieline_os::Error::from_errno("write the report", 28);
    /// assert_eq!(error.kind(), tieline_os::ErrorKind::LimitReached);
    /// assert_eq!(error.reason().as_deref(), Some("no space left on device (ENOSPC)"));
    /// ```
    #[must_use]
    pub fn from_errno(operation: &'static str, errno: i32) -> Self {
        Self::new(operation, Errno::from_raw_os_error(errno))
    }

    /// The kernel's error in words and by its symbolic name, if the kernel was asked at all.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.errno.map(|errno| Reason(errno).to_string())
    }

    /// What sort of refusal this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The kernel's error number, if the kernel was asked at all.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.errno.map(Errno::raw_os_error)
    }

    /// What was asked, as in "open message queue".
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// The object it was asked of, if it has a name.
    #[must_use]
    pub fn object(&self) -> Option<&str> {
        self.context.as_ref()?.object.as_deref()
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

    /// Nobody is at the other end, or the owner of a lock died: `PeerGone`, `NoReader` or `OwnerDied`.
    #[must_use]
    pub fn is_peer_dead(&self) -> bool {
        matches!(self.kind, ErrorKind::PeerGone | ErrorKind::NoReader | ErrorKind::OwnerDied)
    }

    /// A signal handler ran in the middle.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.kind == ErrorKind::Interrupted
    }

    /// The kernel, machine or build lacks the facility.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        self.kind == ErrorKind::Unsupported
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.operation)?;
        let context = self.context.as_deref();
        if let Some(object) = context.and_then(|context| context.object.as_deref()) {
            write!(f, " {object}")?;
        }
        let hint = context.and_then(|context| context.hint.as_deref());
        match (self.errno, hint) {
            (Some(errno), Some(hint)) => write!(f, ": {}; {hint}", Reason(errno)),
            (Some(errno), None) => write!(f, ": {}", Reason(errno)),
            (None, Some(hint)) => write!(f, ": {hint}"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("operation", &self.operation)
            .field("kind", &self.kind)
            .field("errno", &self.errno.map(errno_name))
            .field("context", &self.context)
            .finish()
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    /// Keeps the sentence; the `io::ErrorKind` is the nearest one.
    fn from(error: Error) -> Self {
        let kind = match error.kind {
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::AlreadyExists => io::ErrorKind::AlreadyExists,
            ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
            ErrorKind::WouldBlock => io::ErrorKind::WouldBlock,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::Interrupted => io::ErrorKind::Interrupted,
            ErrorKind::PeerGone | ErrorKind::NoReader => io::ErrorKind::BrokenPipe,
            ErrorKind::InvalidInput | ErrorKind::TooLarge => io::ErrorKind::InvalidInput,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            ErrorKind::OutOfMemory => io::ErrorKind::OutOfMemory,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Adds the operation to a bare errno: `sys::foo(..).during("open FIFO")?`.
pub(crate) trait During<T> {
    fn during(self, operation: &'static str) -> Result<T>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, operation: &'static str) -> Result<T> {
        self.map_err(|errno| Error::new(operation, errno))
    }
}

struct Reason(Errno);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // std appends " (os error N)"; the symbolic name says more and can be looked up.
        let text = io::Error::from_raw_os_error(self.0.raw_os_error()).to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        let mut letters = text.chars();
        let first = letters.next().map(|letter| letter.to_lowercase().to_string()).unwrap_or_default();
        write!(f, "{first}{} ({})", letters.as_str(), errno_name(self.0))
    }
}

const fn kind_of(errno: Errno) -> ErrorKind {
    match errno {
        Errno::NOENT | Errno::SRCH | Errno::CHILD => ErrorKind::NotFound,
        Errno::EXIST | Errno::ADDRINUSE => ErrorKind::AlreadyExists,
        Errno::ACCESS | Errno::PERM => ErrorKind::PermissionDenied,
        Errno::AGAIN | Errno::NOMSG => ErrorKind::WouldBlock,
        Errno::TIMEDOUT => ErrorKind::TimedOut,
        Errno::INTR => ErrorKind::Interrupted,
        Errno::CANCELED => ErrorKind::Cancelled,
        Errno::PIPE | Errno::CONNRESET | Errno::CONNREFUSED | Errno::CONNABORTED | Errno::SHUTDOWN | Errno::NOTCONN => {
            ErrorKind::PeerGone
        }
        Errno::NXIO => ErrorKind::NoReader,
        Errno::IDRM => ErrorKind::Removed,
        Errno::OWNERDEAD => ErrorKind::OwnerDied,
        Errno::NOTRECOVERABLE => ErrorKind::NotRecoverable,
        Errno::DEADLK => ErrorKind::Deadlock,
        Errno::MFILE | Errno::NFILE | Errno::NOSPC | Errno::DQUOT | Errno::TOOMANYREFS | Errno::NOBUFS => {
            ErrorKind::LimitReached
        }
        Errno::MSGSIZE | Errno::TOOBIG | Errno::RANGE | Errno::OVERFLOW | Errno::FBIG => ErrorKind::TooLarge,
        Errno::INVAL
        | Errno::BADF
        | Errno::NAMETOOLONG
        | Errno::NOTDIR
        | Errno::ISDIR
        | Errno::SPIPE
        | Errno::NOTSOCK
        | Errno::PROTOTYPE
        | Errno::FAULT
        | Errno::LOOP => ErrorKind::InvalidInput,
        Errno::BUSY | Errno::TXTBSY => ErrorKind::Busy,
        Errno::NOSYS
        | Errno::OPNOTSUPP
        | Errno::AFNOSUPPORT
        | Errno::PROTONOSUPPORT
        | Errno::SOCKTNOSUPPORT
        | Errno::NOPKG
        | Errno::NODEV => ErrorKind::Unsupported,
        Errno::NOMEM => ErrorKind::OutOfMemory,
        _ => ErrorKind::Other,
    }
}

/// The symbolic name of an errno, or its number in words where this table does not have it.
fn errno_name(errno: Errno) -> Cow<'static, str> {
    macro_rules! names {
        ($($errno:ident)*) => {
            match errno.raw_os_error() {
                $(libc::$errno => Cow::Borrowed(stringify!($errno)),)*
                other => Cow::Owned(format!("errno {other}")),
            }
        };
    }
    names! {
        E2BIG EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY EBADF EBADMSG EBUSY ECANCELED ECHILD
        ECONNABORTED ECONNREFUSED ECONNRESET EDEADLK EDESTADDRREQ EDOM EDQUOT EEXIST EFAULT EFBIG EHOSTUNREACH EIDRM
        EILSEQ EINPROGRESS EINTR EINVAL EIO EISCONN EISDIR ELOOP EMFILE EMLINK EMSGSIZE ENAMETOOLONG ENETDOWN
        ENETUNREACH ENFILE ENOBUFS ENODATA ENODEV ENOENT ENOEXEC ENOLCK ENOMEM ENOMSG ENOPKG ENOPROTOOPT ENOSPC
        ENOSYS ENOTCONN ENOTDIR ENOTEMPTY ENOTRECOVERABLE ENOTSOCK ENOTTY ENXIO EOPNOTSUPP EOVERFLOW EOWNERDEAD
        EPERM EPIPE EPROTO EPROTONOSUPPORT EPROTOTYPE ERANGE EROFS ESHUTDOWN ESOCKTNOSUPPORT ESPIPE ESRCH ETIMEDOUT
        ETOOMANYREFS ETXTBSY EXDEV
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_names_operation_object_reason_and_remedy() {
        let error = Error::new("open message queue", Errno::NOENT).on("/jobs").hint("create it first");
        assert_eq!(
            error.to_string(),
            "cannot open message queue /jobs: no such file or directory (ENOENT); create it first"
        );
        assert_eq!(error.errno(), Some(libc::ENOENT));
    }

    #[test]
    fn would_block_does_not_allocate() {
        let error = Error::new("receive", Errno::AGAIN);
        assert!(error.context.is_none() && error.is_would_block());
    }

    #[test]
    fn an_unknown_errno_keeps_its_number() {
        assert_eq!(errno_name(Errno::from_raw_os_error(4000)), "errno 4000");
    }
}
