//! What a command line asks for.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::columns::{Family, Field, NoColumn};
use super::help;
use super::look::TimeFormat;
use super::options::{Exclusions, Flag, options};
use crate::compat::number::i32_or_err;
use crate::compat::program::{Compat, Exit, Program};

/// A sort of object. In the order in which they are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Queues,
    PosixQueues,
    Segments,
    PosixSegments,
    Sets,
    PosixSemaphores,
}

/// How the answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// A table for people.
    List,
    /// A line for each property of one object, and a table of its semaphores.
    Details,
    /// `NAME="value"` pairs, all of an object in one line.
    Pairs,
    /// The same with a line for each.
    Lines,
    Raw,
    Json,
}

#[derive(Debug)]
pub(super) struct Request {
    kinds: [bool; KINDS.len()],
    /// Limits, instead of objects.
    pub(super) global: bool,
    /// The System V object asked for. A negative one lists all.
    pub(super) id: Option<i32>,
    /// The POSIX object asked for.
    pub(super) name: Option<OsString>,
    pub(super) columns: Vec<Field>,
    pub(super) output: Output,
    pub(super) time_format: TimeFormat,
    pub(super) headings: bool,
    pub(super) truncate: bool,
    pub(super) shell_names: bool,
    pub(super) bytes: bool,
    pub(super) numeric_perms: bool,
}

const KINDS: [Kind; 6] =
    [Kind::Queues, Kind::PosixQueues, Kind::Segments, Kind::PosixSegments, Kind::Sets, Kind::PosixSemaphores];

impl Request {
    /// Reads the command line.
    ///
    /// # Errors
    /// The end of the program: where help or the version is asked for, or something is wrong.
    pub(super) fn read(program: &mut Program) -> Result<Self, Exit> {
        let compat = program.compat();
        let mut reading = Reading::new(compat);
        program
            .options(options(compat), |program, flag, value| reading.take(program, flag, value.unwrap_or_default()))?;
        reading.finish(program)
    }

    /// The sorts of objects asked for.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> {
        KINDS.into_iter().zip(self.kinds).filter_map(|(kind, wanted)| wanted.then_some(kind))
    }
}

impl Kind {
    /// The columns that are shown if none are named.
    fn columns(self) -> &'static [Field] {
        use Field::{
            Command, Cpid, Ctime, Id, Key, Lpid, Lrpid, Lspid, Msgs, Mtime, Name, Nattch, Nsems, Owner, Perms, Size,
            Status, Sval, UsedBytes,
        };
        match self {
            Self::Queues => &[Key, Id, Perms, Owner, UsedBytes, Msgs, Lspid, Lrpid],
            Self::PosixQueues => &[Name, Perms, Owner, Mtime, UsedBytes, Msgs],
            Self::Segments => &[Key, Id, Perms, Owner, Size, Nattch, Status, Ctime, Cpid, Lpid, Command],
            Self::PosixSegments => &[Name, Perms, Owner, Size, Mtime],
            Self::Sets => &[Key, Id, Perms, Owner, Nsems],
            Self::PosixSemaphores => &[Name, Perms, Owner, Mtime, Sval],
        }
    }

    /// The columns that may be named.
    fn family(self) -> Family {
        match self {
            Self::Queues => Family::Queues,
            Self::Segments => Family::Segments,
            Self::Sets => Family::Sets,
            Self::PosixQueues | Self::PosixSegments | Self::PosixSemaphores => Family::Posix,
        }
    }
}

/// A command line of which a part has been read.
struct Reading {
    compat: Compat,
    exclusions: Exclusions,
    request: Request,
    output: Option<Output>,
    time_format: Option<TimeFormat>,
    /// The columns that may be named: those of the last option that says what to list.
    family: Family,
    /// The value of `--output`.
    named: Option<OsString>,
    creator: bool,
    time: bool,
}

impl Reading {
    fn new(compat: Compat) -> Self {
        let request = Request {
            kinds: [false; KINDS.len()],
            global: false,
            id: None,
            name: None,
            columns: Vec::new(),
            output: Output::List,
            time_format: TimeFormat::Short,
            headings: true,
            truncate: true,
            shell_names: false,
            bytes: false,
            numeric_perms: false,
        };
        Self {
            compat,
            exclusions: Exclusions::new(compat),
            request,
            output: None,
            time_format: None,
            family: Family::Summary,
            named: None,
            creator: false,
            time: false,
        }
    }

    fn take(&mut self, program: &mut Program, flag: Flag, value: &OsStr) -> Result<(), Exit> {
        self.exclusions.note(flag).map_err(|message| program.errx(message))?;
        match flag {
            Flag::Bytes => self.request.bytes = true,
            Flag::Creator => self.creator = true,
            Flag::Export => self.output = Some(Output::Pairs),
            Flag::Global => self.request.global = true,
            Flag::Help => return Err(help::print(program)),
            Flag::Id => {
                let id = i32_or_err(program, value, "failed to parse IPC identifier")?;
                // The number that stands for none there.
                self.request.id = Some(id).filter(|id| *id != -1);
            }
            Flag::Json => self.output = Some(Output::Json),
            Flag::List => self.output = Some(Output::List),
            Flag::Name => self.request.name = Some(value.to_owned()),
            Flag::Newline => self.output = Some(Output::Lines),
            Flag::NoHeadings => self.request.headings = false,
            Flag::NoTruncate => self.request.truncate = false,
            Flag::NumericPerms => self.request.numeric_perms = true,
            Flag::Output => self.named = Some(value.to_owned()),
            Flag::PosixQueues => self.want(program, Kind::PosixQueues)?,
            Flag::PosixSegments => self.want(program, Kind::PosixSegments)?,
            Flag::PosixSemaphores => self.want(program, Kind::PosixSemaphores)?,
            Flag::Queues => self.want(program, Kind::Queues)?,
            Flag::Raw => self.output = Some(Output::Raw),
            Flag::Segments => self.want(program, Kind::Segments)?,
            Flag::Sets => self.want(program, Kind::Sets)?,
            Flag::Shell => self.request.shell_names = true,
            Flag::Time => self.time = true,
            Flag::TimeFormat => self.time_format = Some(time_format(program, value)?),
            Flag::Version => return Err(program.version()),
        }
        Ok(())
    }

    fn want(&mut self, program: &mut Program, kind: Kind) -> Result<(), Exit> {
        self.request.kinds[kind as usize] = true;
        self.family = kind.family();
        self.add(program, kind.columns())
    }

    fn wants(&self, kind: Kind) -> bool {
        self.request.kinds[kind as usize]
    }

    fn finish(mut self, program: &mut Program) -> Result<Request, Exit> {
        let asks_for_one = self.request.id.is_some() || self.request.name.is_some();
        if self.request.kinds().next().is_none() {
            self.request.kinds = [true; KINDS.len()];
            self.request.global = true;
            if self.time || self.creator || asks_for_one {
                let others = match self.compat {
                    Compat::V2_38 => "--creator, --id and --time",
                    Compat::V2_43 => "--creator, --id, --name and --time",
                };
                return Err(program.errx(format!("--global is mutually exclusive with {others}")));
            }
        }
        if self.request.global {
            self.family = Family::Summary;
            let columns: Vec<Field> = Field::of(Family::Summary).collect();
            self.add(program, &columns)?;
        }
        self.request.output = match self.output {
            None if asks_for_one => Output::Details,
            output => output.unwrap_or(Output::List),
        };
        let details = self.request.output == Output::Details;
        let usual_format = if details { TimeFormat::Full } else { TimeFormat::Short };
        self.request.time_format = self.time_format.unwrap_or(usual_format);
        if details && !self.creator && !self.time {
            self.request.columns = Field::all(self.compat).collect();
        } else {
            self.add_more_columns(program)?;
        }
        if let Some(list) = self.named.take() {
            self.take_named(program, list.as_bytes())?;
        }
        Ok(self.request)
    }

    /// The columns of `--creator` and `--time`.
    fn add_more_columns(&mut self, program: &mut Program) -> Result<(), Exit> {
        if self.creator {
            self.add(program, &[Field::Cuid, Field::Cgid])?;
            let posix = [Kind::PosixQueues, Kind::PosixSegments, Kind::PosixSemaphores];
            if !posix.into_iter().any(|kind| self.wants(kind)) {
                self.add(program, &[Field::Uid, Field::Gid])?;
            }
        }
        if self.time && self.wants(Kind::Queues) {
            self.add(program, &[Field::Send, Field::Recv, Field::Ctime])?;
        }
        if self.time && self.wants(Kind::Segments) {
            // The command line stays the last column.
            let command = self.request.columns.pop_if(|last| *last == Field::Command);
            self.add(program, &[Field::Attach, Field::Detach])?;
            self.add(program, command.as_slice())?;
        }
        if self.time && self.wants(Kind::Sets) {
            self.add(program, &[Field::Otime, Field::Ctime])?;
        }
        Ok(())
    }

    /// How many columns there may be.
    fn most_columns(&self) -> usize {
        Field::all(self.compat).count() * 2
    }

    fn add(&mut self, program: &mut Program, fields: &[Field]) -> Result<(), Exit> {
        let most = self.most_columns();
        for field in fields {
            if self.request.columns.len() >= most {
                return Err(program.errx(format!("too many columns specified, the limit is {} columns", most - 1)));
            }
            self.request.columns.push(*field);
        }
        Ok(())
    }

    /// Reads the value of `--output`: names between commas, behind a plus if they come in addition. An empty name ends
    /// the program without a word, and a comma at the very end belongs to the last name.
    fn take_named(&mut self, program: &mut Program, list: &[u8]) -> Result<(), Exit> {
        let mut rest = match list.strip_prefix(b"+") {
            Some(rest) => rest,
            None => {
                self.request.columns.clear();
                list
            }
        };
        if rest.is_empty() {
            return Err(Exit::FAILURE);
        }
        while !rest.is_empty() {
            let comma = rest.iter().position(|byte| *byte == b',');
            let (end, next) = match comma {
                Some(0) if rest.len() > 1 => return Err(Exit::FAILURE),
                Some(comma) if comma + 1 < rest.len() => (comma, comma + 1),
                _ => (rest.len(), rest.len()),
            };
            if self.request.columns.len() >= self.most_columns() {
                return Err(Exit::FAILURE);
            }
            let field = Field::named(&rest[..end], self.family, self.compat).map_err(|why| {
                // What stands behind the name is part of the message.
                let message: [&[u8]; 3] = match why {
                    NoColumn::Unknown => [b"unknown column: ", rest, b""],
                    NoColumn::DoesNotApply => [b"column ", rest, b" does not apply to the specified IPC"],
                };
                program.errx(message.concat())
            })?;
            self.request.columns.push(field);
            rest = &rest[next..];
        }
        Ok(())
    }
}

fn time_format(program: &mut Program, name: &OsStr) -> Result<TimeFormat, Exit> {
    match name.as_bytes() {
        b"iso" => Ok(TimeFormat::Iso),
        b"full" => Ok(TimeFormat::Full),
        b"short" => Ok(TimeFormat::Short),
        name => Err(program.errx([b"unknown time format: ", name].concat())),
    }
}
