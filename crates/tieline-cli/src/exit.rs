//! The exit codes, and what ends up as which. They are a promise to scripts: `docs/formats/exit-codes.md`.

use std::fmt;
use std::io;
use std::process::ExitCode;

use serde::Serialize;
use tieline_os::ErrorKind;
use tieline_transport::ErrorKind as TransportErrorKind;
use tieline_transport::addr::AddressError;

use crate::output;

/// What a command answers.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why the command did not do what it was asked: a code for scripts and a sentence for people.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    sentence: String,
    /// Whether the sentence has been said already.
    told: bool,
}

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Refused by the system for a reason that has no code of its own.
    Failed,
    /// The command line makes no sense: an unknown flag, a malformed address, an option that does not fit.
    Usage,
    /// The object or process does not exist.
    NotFound,
    /// The caller may not do this.
    PermissionDenied,
    /// An object of that name exists already.
    AlreadyExists,
    /// It cannot be done without waiting, and waiting was ruled out.
    WouldBlock,
    /// The deadline passed first.
    TimedOut,
    /// Nobody is at the other end, or nobody any more; what was already delivered is told on standard error.
    PeerGone,
    /// A limit is reached: a full queue, a message larger than the object takes, too many descriptors.
    Limit,
    /// The kernel, or this build, does not have it.
    Unsupported,
    /// Ended by the signal of this number.
    Signalled(u8),
    /// Standard output is closed: as a program that dies of SIGPIPE.
    BrokenPipe,
}

impl Code {
    /// The number that the shell sees.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::PermissionDenied => 4,
            Self::AlreadyExists => 5,
            Self::WouldBlock => 6,
            Self::TimedOut => 7,
            Self::PeerGone => 8,
            Self::Limit => 9,
            Self::Unsupported => 10,
            Self::Signalled(signal) => signal.saturating_add(128),
            Self::BrokenPipe => 141,
        }
    }

    /// Its word in JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::NotFound => "not-found",
            Self::PermissionDenied => "permission-denied",
            Self::AlreadyExists => "already-exists",
            Self::WouldBlock => "would-block",
            Self::TimedOut => "timed-out",
            Self::PeerGone => "peer-gone",
            Self::Limit => "limit",
            Self::Unsupported => "unsupported",
            Self::Signalled(_) => "signalled",
            Self::BrokenPipe => "broken-pipe",
        }
    }
}

/// A failure as JSON.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    error: Fault<'a>,
}

/// What other documents hold where something failed.
#[derive(Serialize)]
pub(crate) struct Fault<'a> {
    code: u8,
    kind: &'static str,
    sentence: &'a str,
}

impl Failure {
    pub(crate) fn new(code: Code, sentence: impl fmt::Display) -> Self {
        Self { code, sentence: sentence.to_string(), told: false }
    }

    pub(crate) fn usage(sentence: impl fmt::Display) -> Self {
        Self::new(Code::Usage, sentence)
    }

    /// Only an exit code: everything has been said.
    pub(crate) fn told(code: Code) -> Self {
        Self { code, sentence: String::new(), told: true }
    }

    /// Says what to do about a failure of this sort, unless the sentence says something of that already.
    pub(crate) fn advised(mut self, code: Code, advice: impl fmt::Display) -> Self {
        if self.code == code && !self.sentence.contains("; ") {
            self.sentence = format!("{}; {advice}", self.sentence);
        }
        self
    }

    /// The same with a further remark.
    pub(crate) fn and(mut self, remark: impl fmt::Display) -> Self {
        self.sentence = format!("{}; {remark}", self.sentence);
        self
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    pub(crate) fn fault(&self) -> Fault<'_> {
        Fault { code: self.code.number(), kind: self.code.word(), sentence: &self.sentence }
    }

    /// Says the sentence on standard error, unless it has been said.
    pub(crate) fn tell(&self, as_json: bool) {
        // A closed pipe ends us quietly, as it ends every other filter.
        if self.told || self.code == Code::BrokenPipe {
        } else if as_json {
            output::json_to_stderr(&Document { schema: "tieline.error/1", error: self.fault() });
        } else {
            output::say(&self.sentence);
        }
    }

    /// Says the sentence and answers the code.
    pub(crate) fn report(self, as_json: bool) -> ExitCode {
        self.tell(as_json);
        ExitCode::from(self.code.number())
    }
}

impl From<tieline_os::Error> for Failure {
    fn from(error: tieline_os::Error) -> Self {
        Self::new(code_of(error.kind()), error)
    }
}

impl From<tieline_transport::Error> for Failure {
    fn from(error: tieline_transport::Error) -> Self {
        Self::new(code_of_transport(error.kind()), error)
    }
}

impl From<tieline_shm::Error> for Failure {
    fn from(error: tieline_shm::Error) -> Self {
        let sentence = error.to_string();
        Self::new(code_of_transport(tieline_transport::Error::from(error).kind()), sentence)
    }
}

impl From<AddressError> for Failure {
    fn from(error: AddressError) -> Self {
        Self::usage(error)
    }
}

impl From<io::Error> for Failure {
    /// For standard output only; other input and output goes through `tieline_os` and keeps its context.
    fn from(error: io::Error) -> Self {
        let (code, reason) = reason(&error);
        let code = if error.kind() == io::ErrorKind::BrokenPipe { Code::BrokenPipe } else { code };
        Self::new(code, format_args!("cannot write to standard output: {reason}"))
    }
}

/// The code and the words for an error of the standard library, the same as for one of `tieline_os`.
pub(crate) fn reason(error: &io::Error) -> (Code, String) {
    let named = error.raw_os_error().map(|number| tieline_os::Error::from_errno("", number));
    match named.and_then(|error| Some((code_of(error.kind()), error.reason()?))) {
        Some(told) => told,
        None => (Code::Failed, error.to_string()),
    }
}

pub(crate) fn code_of(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::NotFound | ErrorKind::Removed => Code::NotFound,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::WouldBlock | ErrorKind::Busy => Code::WouldBlock,
        ErrorKind::TimedOut => Code::TimedOut,
        ErrorKind::PeerGone | ErrorKind::NoReader | ErrorKind::OwnerDied => Code::PeerGone,
        ErrorKind::LimitReached | ErrorKind::TooLarge | ErrorKind::OutOfMemory => Code::Limit,
        ErrorKind::Unsupported => Code::Unsupported,
        ErrorKind::InvalidInput => Code::Usage,
        _ => Code::Failed,
    }
}

pub(crate) fn code_of_transport(kind: TransportErrorKind) -> Code {
    match kind {
        TransportErrorKind::NotInThisBuild => Code::Unsupported,
        TransportErrorKind::InvalidInput => Code::Usage,
        TransportErrorKind::TooLarge => Code::Limit,
        TransportErrorKind::WouldBlock => Code::WouldBlock,
        TransportErrorKind::TimedOut => Code::TimedOut,
        TransportErrorKind::PeerGone => Code::PeerGone,
        TransportErrorKind::UnknownHost => Code::NotFound,
        TransportErrorKind::System(kind) => code_of(kind),
        _ => Code::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_promise() {
        let all = [
            (Code::Failed, 1),
            (Code::Usage, 2),
            (Code::NotFound, 3),
            (Code::PermissionDenied, 4),
            (Code::AlreadyExists, 5),
            (Code::WouldBlock, 6),
            (Code::TimedOut, 7),
            (Code::PeerGone, 8),
            (Code::Limit, 9),
            (Code::Unsupported, 10),
            (Code::Signalled(2), 130),
            (Code::Signalled(15), 143),
            (Code::BrokenPipe, 141),
        ];
        let page = include_str!("../../../docs/formats/exit-codes.md");
        for (code, number) in all {
            assert_eq!(code.number(), number, "{code:?}");
            let line = match code {
                Code::Signalled(_) => format!("| 128+N | `{}` |", code.word()),
                _ => format!("| {number} | `{}` |", code.word()),
            };
            assert!(page.contains(&line), "docs/formats/exit-codes.md lacks {line}");
        }
    }
}
