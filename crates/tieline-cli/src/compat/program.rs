//! What the tools have in common with every program of util-linux: a name in front of each message, the words of
//! errors, `--version`, the end.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use tieline_os::process;

use super::getopt::{Found, Getopt, Options};
use super::out::{self, Closed, Out};

/// Which util-linux to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Compat {
    /// 2.38.1, as in Debian 12.
    V2_38,
    /// 2.43, which knows POSIX objects too.
    V2_43,
}

impl Compat {
    /// What `--version` says.
    fn package(self) -> &'static str {
        match self {
            Self::V2_38 => "util-linux 2.38.1",
            Self::V2_43 => "util-linux 2.43",
        }
    }

    /// The version of this name.
    pub(crate) fn named(name: &OsStr) -> Option<Self> {
        match name.as_bytes() {
            b"2.38" | b"2.38.1" => Some(Self::V2_38),
            b"2.43" => Some(Self::V2_43),
            _ => None,
        }
    }
}

/// The end of a tool with this exit code, wherever it is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    pub(crate) const SUCCESS: Self = Self(0);
    pub(crate) const FAILURE: Self = Self(1);
}

/// A tool that runs: its command line, its standard output, and how it talks.
pub(crate) struct Program {
    argv0: OsString,
    arguments: Vec<OsString>,
    compat: Compat,
    pub(crate) out: Out,
    /// A message could not be written.
    message_lost: bool,
}

impl Program {
    pub(crate) fn new(argv0: OsString, arguments: Vec<OsString>, compat: Compat) -> Self {
        Self { argv0, arguments, compat, out: Out::new(), message_lost: false }
    }

    /// Which util-linux to be.
    pub(crate) fn compat(&self) -> Compat {
        self.compat
    }

    /// The words behind the program's name.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        self.arguments.clone()
    }

    /// The name in messages: the last part of `argv[0]`.
    pub(crate) fn name(&self) -> &[u8] {
        let argv0 = self.argv0.as_bytes();
        argv0.rsplit(|byte| *byte == b'/').next().unwrap_or(argv0)
    }

    /// Reads all options, giving each to `take`. Answers the operands.
    ///
    /// # Errors
    /// What `take` answers; the end of the program where something is no option.
    pub(crate) fn options<T: Copy + PartialEq>(
        &mut self,
        options: Options<T>,
        mut take: impl FnMut(&mut Self, T, Option<&OsStr>) -> Result<(), Exit>,
    ) -> Result<Vec<OsString>, Exit> {
        let (argv0, arguments) = (self.argv0.clone(), self.arguments.clone());
        let mut line = Getopt::new(&argv0, &arguments, options);
        while let Some(found) = line.next() {
            match found {
                Found::Option(option, value) => take(self, option, value)?,
                Found::Bad(message) => {
                    self.say(&message);
                    return Err(self.try_help());
                }
            }
        }
        Ok(line.operands().into_iter().map(OsStr::to_owned).collect())
    }

    /// A message: `name: words`.
    pub(crate) fn warnx(&mut self, words: impl AsRef<[u8]>) {
        let message = [self.name(), b": ", words.as_ref()].concat();
        self.say(&message);
    }

    /// A message with an error of the system: `name: words: reason`.
    pub(crate) fn warn(&mut self, errno: Errno, words: impl AsRef<[u8]>) {
        self.warnx([words.as_ref(), b": ", strerror(errno).as_bytes()].concat());
    }

    /// A message, and the end.
    pub(crate) fn errx(&mut self, words: impl AsRef<[u8]>) -> Exit {
        self.warnx(words);
        Exit::FAILURE
    }

    /// A message with an error of the system, and the end.
    pub(crate) fn err(&mut self, errno: Errno, words: impl AsRef<[u8]>) -> Exit {
        self.warn(errno, words);
        Exit::FAILURE
    }

    /// Where to find help, and the end.
    pub(crate) fn try_help(&mut self) -> Exit {
        let message = [b"Try '", self.name(), b" --help' for more information."].concat();
        self.say(&message);
        Exit::FAILURE
    }

    /// The version, and the end.
    pub(crate) fn version(&mut self) -> Exit {
        let line = [self.name(), b" from ", self.compat.package().as_bytes(), b"\n"].concat();
        self.out.put(line);
        Exit::SUCCESS
    }

    /// The help text, and the end. In `synopsis` and nowhere else `{}` is the program's name.
    pub(crate) fn help(&mut self, help: &Help) -> Exit {
        let name = String::from_utf8_lossy(self.name()).into_owned();
        self.out.put(help.text().replace("{}", &name));
        Exit::SUCCESS
    }

    /// One line on standard error.
    fn say(&mut self, line: &[u8]) {
        let line = [line, b"\n"].concat();
        let written = if process::was_closed_at_start(2) {
            Err(Errno::BADF)
        } else {
            out::write_all(rustix::stdio::stderr(), &line)
        };
        self.message_lost |= written.is_err();
    }

    /// Writes what is left of standard output, complains if that fails, and answers what the process ends with.
    pub(crate) fn finish(mut self, exit: Exit) -> Exit {
        match self.out.close() {
            Closed::Well => {}
            Closed::Lost(reason) => {
                match reason {
                    Some(errno) => self.warn(errno, "write error"),
                    None => self.warnx("write error"),
                }
                return Exit::FAILURE;
            }
        }
        if self.message_lost { Exit::FAILURE } else { exit }
    }
}

/// The words of the C library for an error.
pub(crate) fn strerror(errno: Errno) -> String {
    let text = io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    let number = format!(" (os error {})", errno.raw_os_error());
    text.strip_suffix(&number).unwrap_or(&text).to_owned()
}

/// The error number behind an error of ours. One without was noticed before the kernel could say the same.
pub(crate) fn errno(error: tieline_os::Error) -> Errno {
    error.errno().map_or(Errno::INVAL, Errno::from_raw_os_error)
}

/// A help text: lines of usage, then blocks with a blank line between them.
pub(crate) struct Help {
    /// Lines below `Usage:`, where `{}` is the program's name.
    pub(crate) synopsis: &'static [&'static str],
    /// What the program does.
    pub(crate) about: &'static str,
    pub(crate) blocks: &'static [Block],
    /// The page of the manual.
    pub(crate) page: &'static str,
}

/// A part of a help text.
pub(crate) enum Block {
    /// A heading and entries below it.
    Table { heading: &'static str, entries: Entries },
    /// Entries without a heading of their own.
    Entries(Entries),
}

/// Options and what they do, in two columns. An entry without a description is a line of its own.
pub(crate) struct Entries {
    pub(crate) width: usize,
    pub(crate) rows: &'static [(&'static str, &'static str)],
}

impl Help {
    fn text(&self) -> String {
        let mut text = String::from("\nUsage:\n");
        for line in self.synopsis {
            let _ = writeln!(text, " {line}");
        }
        let _ = writeln!(text, "\n{}", self.about);
        for block in self.blocks {
            text.push('\n');
            match block {
                Block::Table { heading, entries } => {
                    let _ = writeln!(text, "{heading}");
                    entries.write(&mut text);
                }
                Block::Entries(entries) => entries.write(&mut text),
            }
        }
        let _ = writeln!(text, "\nFor more details see {}.", self.page);
        text
    }
}

impl Entries {
    fn write(&self, text: &mut String) {
        for (option, does) in self.rows {
            let _ = match *does {
                "" => writeln!(text, " {option}"),
                does => writeln!(text, " {option:<width$}{does}", width = self.width),
            };
        }
    }
}
