//! Signals by name and number.

use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;

/// A signal: one of the named ones, or a real-time signal.
///
/// `Display` writes `SIGTERM` or `SIGRTMIN+3`; parsing takes that, the form without `SIG`, `RTMAX-2`, the number, and
/// any case.
///
/// ```
/// use tieline_os::signal::Signal;
/// assert_eq!("term".parse(), Ok(Signal::TERM));
/// assert_eq!("15".parse(), Ok(Signal::TERM));
/// let third = Signal::realtime(3).unwrap();
/// assert_eq!(third.to_string(), "SIGRTMIN+3");
/// assert_eq!("RTMIN+3".parse(), Ok(third));
/// assert!("SIGNAL".parse::<Signal>().is_err());
/// ```
///
/// See [signal(7)](https://man7.org/linux/man-pages/man7/signal.7.html) and POSIX `<signal.h>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(NonZeroU8);

/// What a signal does to a process that neither handles, ignores nor blocks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The process ends.
    Terminate,
    /// The process ends and may leave a core file.
    Dump,
    /// Nothing.
    Ignore,
    /// The process stops until it is continued.
    Stop,
    /// A stopped process goes on.
    Continue,
}

/// The highest signal number of the kernel.
pub(crate) const HIGHEST: i32 = 64;

struct Named {
    signal: Signal,
    name: &'static str,
    action: Action,
    description: &'static str,
}

macro_rules! named {
    ($($constant:ident $number:ident $long:literal $action:ident $description:literal;)*) => {
        impl Signal {
            $(
                #[doc = concat!("`", $long, "`: ", $description, ".")]
                #[doc(alias = $long)]
                pub const $constant: Self = Self::known(libc::$number);
            )*
        }

        const NAMED: &[Named] = &[$(Named {
            signal: Signal::$constant,
            name: $long,
            action: Action::$action,
            description: $description,
        },)*];
    };
}

named! {
    HUP SIGHUP "SIGHUP" Terminate "the terminal hung up, or the session's leader ended";
    INT SIGINT "SIGINT" Terminate "interrupt from the keyboard (Ctrl-C)";
    QUIT SIGQUIT "SIGQUIT" Dump "quit from the keyboard (Ctrl-\\)";
    ILL SIGILL "SIGILL" Dump "the processor does not know this instruction";
    TRAP SIGTRAP "SIGTRAP" Dump "a breakpoint or trace trap";
    ABRT SIGABRT "SIGABRT" Dump "the process gave up by abort()";
    BUS SIGBUS "SIGBUS" Dump "memory that is mapped but cannot be had, such as beyond the end of a shortened file";
    FPE SIGFPE "SIGFPE" Dump "an arithmetic fault, such as an integer division by zero";
    KILL SIGKILL "SIGKILL" Terminate "kill at once; cannot be caught, blocked or ignored";
    USR1 SIGUSR1 "SIGUSR1" Terminate "the first one free for programs";
    SEGV SIGSEGV "SIGSEGV" Dump "memory that is not mapped, or not for this use";
    USR2 SIGUSR2 "SIGUSR2" Terminate "the second one free for programs";
    PIPE SIGPIPE "SIGPIPE" Terminate "a write to a pipe or socket without a reader";
    ALRM SIGALRM "SIGALRM" Terminate "the timer of alarm() or setitimer() ran out";
    TERM SIGTERM "SIGTERM" Terminate "a request to end";
    STKFLT SIGSTKFLT "SIGSTKFLT" Terminate "unused";
    CHLD SIGCHLD "SIGCHLD" Ignore "a child ended, stopped or went on";
    CONT SIGCONT "SIGCONT" Continue "go on after a stop";
    STOP SIGSTOP "SIGSTOP" Stop "stop at once; cannot be caught, blocked or ignored";
    TSTP SIGTSTP "SIGTSTP" Stop "stop from the keyboard (Ctrl-Z)";
    TTIN SIGTTIN "SIGTTIN" Stop "a background process reads from its terminal";
    TTOU SIGTTOU "SIGTTOU" Stop "a background process writes to or changes its terminal";
    URG SIGURG "SIGURG" Ignore "urgent data on a socket";
    XCPU SIGXCPU "SIGXCPU" Dump "the limit of processor time is used up";
    XFSZ SIGXFSZ "SIGXFSZ" Dump "the limit of a file's size is reached";
    VTALRM SIGVTALRM "SIGVTALRM" Terminate "the timer of the process's own processor time ran out";
    PROF SIGPROF "SIGPROF" Terminate "the profiling timer ran out";
    WINCH SIGWINCH "SIGWINCH" Ignore "the terminal's window changed its size";
    IO SIGIO "SIGIO" Terminate "a descriptor is ready (asynchronous I/O)";
    PWR SIGPWR "SIGPWR" Terminate "the power supply fails";
    SYS SIGSYS "SIGSYS" Dump "a system call that does not exist or that a filter forbids";
}

/// Other names under which some systems and older programs know a signal.
const ALIASES: &[(&str, Signal)] =
    &[("SIGIOT", Signal::ABRT), ("SIGCLD", Signal::CHLD), ("SIGPOLL", Signal::IO), ("SIGUNUSED", Signal::SYS)];

impl Signal {
    /// The signal of this number, or `None` outside 1 to 64.
    ///
    /// The C library keeps a few numbers below the first real-time signal for itself (32 and 33 with glibc); they
    /// have a number but no name, and the calls of this module leave them alone.
    #[must_use]
    pub const fn new(number: i32) -> Option<Self> {
        if 1 <= number && number <= HIGHEST {
            match NonZeroU8::new(number as u8) {
                Some(number) => Some(Self(number)),
                None => None,
            }
        } else {
            None
        }
    }

    /// The real-time signal `SIGRTMIN+n`, or `None` beyond `SIGRTMAX`. There are at least eight; Linux has 31.
    #[doc(alias = "SIGRTMIN")]
    #[doc(alias = "SIGRTMAX")]
    #[must_use]
    pub fn realtime(n: u32) -> Option<Self> {
        let number = libc::SIGRTMIN().checked_add(i32::try_from(n).ok()?)?;
        Self::new(number).filter(|signal| signal.is_realtime())
    }

    /// The number, from 1 to 64, as C programs on this machine know it.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0.get() as i32
    }

    /// The name with its `SIG`, for signals that have one of their own; `None` for real-time signals.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        self.named().map(|named| named.name)
    }

    /// What the signal is for, as a phrase.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self.named() {
            Some(named) => named.description,
            None if self.is_realtime() => "a queued real-time signal, free for programs",
            None => "kept by the C library for itself",
        }
    }

    /// What it does to a process that has made no arrangement for it.
    #[must_use]
    pub fn default_action(self) -> Action {
        self.named().map_or(Action::Terminate, |named| named.action)
    }

    /// Whether it is queued rather than merged, and may carry a value in order.
    #[must_use]
    pub fn is_realtime(self) -> bool {
        (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&self.number())
    }

    /// Whether the C library keeps this number for itself.
    #[must_use]
    pub fn is_reserved(self) -> bool {
        self.named().is_none() && !self.is_realtime()
    }

    /// Whether the kernel itself raises it for a faulty instruction, which a handler that returns would run again.
    #[must_use]
    pub fn is_fault(self) -> bool {
        matches!(self, Self::SEGV | Self::BUS | Self::FPE | Self::ILL)
    }

    /// Every signal this system names, lowest number first, without the C library's own.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=HIGHEST).filter_map(Self::new).filter(|signal| !signal.is_reserved())
    }

    const fn known(number: i32) -> Self {
        match Self::new(number) {
            Some(signal) => signal,
            None => panic!("the system's own signals lie between 1 and 64"),
        }
    }

    fn named(self) -> Option<&'static Named> {
        NAMED.iter().find(|named| named.signal == self)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None if !self.is_realtime() => f.pad(&format!("SIG{}", self.number())),
            None => match self.number() - libc::SIGRTMIN() {
                0 => f.pad("SIGRTMIN"),
                n => f.pad(&format!("SIGRTMIN+{n}")),
            },
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text names no signal of this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseSignalError(String);

impl fmt::Display for ParseSignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no signal; examples are TERM, SIGTERM, 15, RTMIN+3", self.0)
    }
}

impl std::error::Error for ParseSignalError {}

impl FromStr for Signal {
    type Err = ParseSignalError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let upper = text.to_ascii_uppercase();
        let short = upper.strip_prefix("SIG").unwrap_or(&upper);
        let signal = plain_number(short).and_then(Self::new).or_else(|| by_name(short)).or_else(|| by_range(short));
        signal.ok_or_else(|| ParseSignalError(text.to_owned()))
    }
}

fn by_name(short: &str) -> Option<Signal> {
    let is_it = |long: &str| &long["SIG".len()..] == short;
    let named = NAMED.iter().find(|named| is_it(named.name)).map(|named| named.signal);
    named.or_else(|| ALIASES.iter().find(|(long, _)| is_it(long)).map(|&(_, signal)| signal))
}

/// `RTMIN`, `RTMIN+n`, `RTMAX`, `RTMAX-n`.
fn by_range(short: &str) -> Option<Signal> {
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        _ => rest.strip_prefix(sign).and_then(plain_number),
    };
    let number = if let Some(rest) = short.strip_prefix("RTMIN") {
        libc::SIGRTMIN().checked_add(offset(rest, '+')?)?
    } else {
        libc::SIGRTMAX().checked_sub(offset(short.strip_prefix("RTMAX")?, '-')?)?
    };
    Signal::new(number).filter(|signal| signal.is_realtime())
}

/// A number without a sign, which `str::parse` would take.
fn plain_number(text: &str) -> Option<i32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_round_trips_through_its_text() {
        for number in 1..=HIGHEST {
            let signal = Signal::new(number).unwrap();
            let text = signal.to_string();
            assert_eq!(text.parse(), Ok(signal));
            assert_eq!(text[3..].to_lowercase().parse(), Ok(signal));
            assert_eq!(number.to_string().parse(), Ok(signal));
            assert!(!signal.description().is_empty());
        }
        assert_eq!(Signal::all().count(), 31 + (libc::SIGRTMAX() - libc::SIGRTMIN() + 1) as usize);
    }

    #[test]
    fn the_table_has_the_numbers_of_the_system() {
        assert_eq!(Signal::KILL.number(), libc::SIGKILL);
        assert_eq!(Signal::SYS.number(), libc::SIGSYS);
        assert_eq!(Signal::new(libc::SIGWINCH), Some(Signal::WINCH));
        assert_eq!(NAMED.len(), 31);
    }

    #[test]
    fn other_spellings_are_understood() {
        assert_eq!("sigiot".parse(), Ok(Signal::ABRT));
        assert_eq!("CLD".parse(), Ok(Signal::CHLD));
        assert_eq!("RTMAX".parse::<Signal>().map(Signal::number), Ok(libc::SIGRTMAX()));
        assert_eq!("SIGRTMAX-1".parse::<Signal>().map(Signal::number), Ok(libc::SIGRTMAX() - 1));
        assert_eq!("RTMIN+0".parse(), Ok(Signal::realtime(0).unwrap()));
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        let wrong = [
            "",
            "SIG",
            "0",
            "65",
            "-1",
            "+9",
            "99999999999",
            "RTMIN-1",
            "RTMAX+1",
            "RTMIN+99",
            "RTMIN+",
            "RTMIN++1",
            "SIGSIGTERM",
            "TERM ",
            "é",
        ];
        for text in wrong {
            assert!(text.parse::<Signal>().is_err(), "{text:?} was taken");
        }
        assert_eq!(Signal::realtime(64), None);
        assert_eq!(Signal::realtime(u32::MAX), None);
        assert_eq!(Signal::new(0), None);
        assert_eq!(Signal::new(65), None);
        assert_eq!(Signal::new(256 + 9), None);
    }
}
