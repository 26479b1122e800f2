//! How single values look in cells.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::time::SystemTime;

use tieline_os::locale::Locale;
use tieline_os::{LocalTime, account};

use super::request::Request;
use crate::compat::number;
use crate::compat::program::Compat;
use crate::compat::time;

/// What a cell shows; nothing where there is nothing to show.
pub(super) type Shown = Option<Vec<u8>>;

/// How moments are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeFormat {
    /// The time of today, the date of another day.
    Short,
    /// As the C library writes a moment.
    Full,
    Iso,
}

/// How values look in this run.
pub(super) struct Look<'a> {
    pub(super) compat: Compat,
    bytes: bool,
    numeric_perms: bool,
    time_format: TimeFormat,
    today: Option<LocalTime>,
    locale: &'a Locale,
    users: HashMap<u32, Option<OsString>>,
    groups: HashMap<u32, Option<OsString>>,
}

impl<'a> Look<'a> {
    pub(super) fn new(request: &Request, compat: Compat, locale: &'a Locale) -> Self {
        Self {
            compat,
            bytes: request.bytes,
            numeric_perms: request.numeric_perms,
            time_format: request.time_format,
            today: LocalTime::of(SystemTime::now()).ok(),
            locale,
            users: HashMap::new(),
            groups: HashMap::new(),
        }
    }

    /// The name of a user, or the number of one without.
    pub(super) fn owner(&mut self, uid: u32) -> Shown {
        self.user(uid).or_else(|| number(uid))
    }

    pub(super) fn user(&mut self, uid: u32) -> Shown {
        let name = self.users.entry(uid).or_insert_with(|| account::user_name(uid).ok().flatten());
        name.clone().map(OsString::into_vec)
    }

    pub(super) fn group(&mut self, gid: u32) -> Shown {
        let name = self.groups.entry(gid).or_insert_with(|| account::group_name(gid).ok().flatten());
        name.clone().map(OsString::into_vec)
    }

    /// Whether permissions are shown as a number.
    pub(super) fn has_numeric_perms(&self) -> bool {
        self.numeric_perms
    }

    /// The nine bits of a mode.
    pub(super) fn perms(&self, mode: u32) -> Shown {
        let mode = mode & 0o777;
        if self.numeric_perms {
            return text(if mode == 0 { "0".to_owned() } else { format!("0{mode:o}") });
        }
        let letter = |bit: u32| if mode >> bit & 1 == 1 { ["x", "w", "r"][bit as usize % 3] } else { "-" };
        text((0..9).rev().map(letter).collect::<String>())
    }

    /// A number of bytes.
    pub(super) fn size(&self, bytes: u64) -> Shown {
        if self.bytes { number(bytes) } else { text(number::human(bytes).replace('.', self.locale.decimal_point())) }
    }

    /// A moment, if there was one.
    pub(super) fn moment(&self, moment: Option<SystemTime>) -> Shown {
        let at = LocalTime::of(moment?).ok()?;
        let (year, day, hour, minute, second) = (at.year, at.day, at.hour, at.minute, at.second);
        let full = time::full(moment);
        // Behind the weekday.
        let month = &full[4..7];
        text(match self.time_format {
            TimeFormat::Full => full,
            TimeFormat::Short => match self.today {
                Some(today) if (today.year, today.month, today.day) == (year, at.month, day) => {
                    format!("{hour:02}:{minute:02}")
                }
                Some(today) if today.year == year => format!("{month}{day:02}"),
                _ => format!("{year}-{month}{day:02}"),
            },
            TimeFormat::Iso => {
                // Only the hours have a sign, so that a zone less than an hour behind UTC seems ahead of it.
                let (hours, minutes) = (at.utc_offset_seconds / 3600, (at.utc_offset_seconds / 60 % 60).abs());
                let month = at.month;
                format!("{year:>4}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{hours:+03}:{minutes:02}")
            }
        })
    }
}

/// A number.
pub(super) fn number(number: impl ToString) -> Shown {
    text(number.to_string())
}

/// A process id; 0 where there is none.
pub(super) fn pid(pid: Option<u32>) -> Shown {
    number(pid.unwrap_or(0))
}

/// The key of a System V object.
pub(super) fn key(key: i32) -> Shown {
    text(format!("0x{key:08x}"))
}

pub(super) fn text(text: impl Into<String>) -> Shown {
    Some(text.into().into_bytes())
}

/// How much of a command line is read.
const COMMAND_LINE_BYTES: u64 = 8192;

/// The words that a process was started with, between blanks, whatever they hold; the last byte, which ends the last
/// word, is left out. Nothing if the process is gone or has none.
pub(super) fn command_line(pid: Option<u32>) -> Shown {
    let file = File::open(format!("/proc/{}/cmdline", pid?)).ok()?;
    let mut words = Vec::new();
    file.take(COMMAND_LINE_BYTES).read_to_end(&mut words).ok()?;
    words.pop()?;
    for byte in &mut words {
        if *byte == 0 {
            *byte = b' ';
        }
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_command_line_is_words_between_blanks() {
        let words: Vec<String> = std::env::args().collect();
        assert_eq!(command_line(Some(std::process::id())), text(words.join(" ")));
        assert_eq!(command_line(None), None);
    }
}
