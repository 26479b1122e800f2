//! The options of both versions, and which of them exclude each other.

use crate::compat::getopt::Options;
use crate::compat::getopt::Takes::{Nothing, Value};
use crate::compat::program::Compat;

/// What an option means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flag {
    Bytes,
    Creator,
    Export,
    Global,
    Help,
    Id,
    Json,
    List,
    Name,
    Newline,
    NoHeadings,
    NoTruncate,
    NumericPerms,
    Output,
    PosixQueues,
    PosixSegments,
    PosixSemaphores,
    Queues,
    Raw,
    Segments,
    Sets,
    Shell,
    Time,
    TimeFormat,
    Version,
}

pub(super) fn options(compat: Compat) -> Options<Flag> {
    match compat {
        Compat::V2_38 => OPTIONS_2_38,
        Compat::V2_43 => OPTIONS_2_43,
    }
}

const OPTIONS_2_38: Options<Flag> = Options {
    short: &[
        (b'b', Nothing, Flag::Bytes),
        (b'c', Nothing, Flag::Creator),
        (b'e', Nothing, Flag::Export),
        (b'g', Nothing, Flag::Global),
        (b'h', Nothing, Flag::Help),
        (b'i', Value, Flag::Id),
        (b'J', Nothing, Flag::Json),
        (b'l', Nothing, Flag::List),
        (b'm', Nothing, Flag::Segments),
        (b'n', Nothing, Flag::Newline),
        (b'o', Value, Flag::Output),
        (b'P', Nothing, Flag::NumericPerms),
        (b'q', Nothing, Flag::Queues),
        (b'r', Nothing, Flag::Raw),
        (b's', Nothing, Flag::Sets),
        (b't', Nothing, Flag::Time),
        (b'V', Nothing, Flag::Version),
        (b'y', Nothing, Flag::Shell),
    ],
    long: &[
        ("bytes", Nothing, Flag::Bytes),
        ("creator", Nothing, Flag::Creator),
        ("export", Nothing, Flag::Export),
        ("global", Nothing, Flag::Global),
        ("help", Nothing, Flag::Help),
        ("id", Value, Flag::Id),
        ("json", Nothing, Flag::Json),
        ("list", Nothing, Flag::List),
        ("newline", Nothing, Flag::Newline),
        ("noheadings", Nothing, Flag::NoHeadings),
        ("notruncate", Nothing, Flag::NoTruncate),
        ("numeric-perms", Nothing, Flag::NumericPerms),
        ("output", Value, Flag::Output),
        ("queues", Nothing, Flag::Queues),
        ("raw", Nothing, Flag::Raw),
        ("semaphores", Nothing, Flag::Sets),
        ("shmems", Nothing, Flag::Segments),
        ("time", Nothing, Flag::Time),
        ("time-format", Value, Flag::TimeFormat),
        ("version", Nothing, Flag::Version),
        ("shell", Nothing, Flag::Shell),
    ],
};

const OPTIONS_2_43: Options<Flag> = Options {
    short: &[
        (b'b', Nothing, Flag::Bytes),
        (b'c', Nothing, Flag::Creator),
        (b'e', Nothing, Flag::Export),
        (b'g', Nothing, Flag::Global),
        (b'h', Nothing, Flag::Help),
        (b'i', Value, Flag::Id),
        (b'J', Nothing, Flag::Json),
        (b'l', Nothing, Flag::List),
        (b'M', Nothing, Flag::PosixSegments),
        (b'm', Nothing, Flag::Segments),
        (b'N', Value, Flag::Name),
        (b'n', Nothing, Flag::Newline),
        (b'o', Value, Flag::Output),
        (b'P', Nothing, Flag::NumericPerms),
        (b'Q', Nothing, Flag::PosixQueues),
        (b'q', Nothing, Flag::Queues),
        (b'r', Nothing, Flag::Raw),
        (b'S', Nothing, Flag::PosixSemaphores),
        (b's', Nothing, Flag::Sets),
        (b't', Nothing, Flag::Time),
        (b'V', Nothing, Flag::Version),
        (b'y', Nothing, Flag::Shell),
    ],
    long: &[
        ("bytes", Nothing, Flag::Bytes),
        ("creator", Nothing, Flag::Creator),
        ("export", Nothing, Flag::Export),
        ("global", Nothing, Flag::Global),
        ("help", Nothing, Flag::Help),
        ("id", Value, Flag::Id),
        ("json", Nothing, Flag::Json),
        ("list", Nothing, Flag::List),
        ("name", Value, Flag::Name),
        ("newline", Nothing, Flag::Newline),
        ("noheadings", Nothing, Flag::NoHeadings),
        ("notruncate", Nothing, Flag::NoTruncate),
        ("numeric-perms", Nothing, Flag::NumericPerms),
        ("output", Value, Flag::Output),
        ("posix-mqueues", Nothing, Flag::PosixQueues),
        ("posix-semaphores", Nothing, Flag::PosixSemaphores),
        ("posix-shmems", Nothing, Flag::PosixSegments),
        ("queues", Nothing, Flag::Queues),
        ("raw", Nothing, Flag::Raw),
        ("semaphores", Nothing, Flag::Sets),
        ("shmems", Nothing, Flag::Segments),
        ("time", Nothing, Flag::Time),
        ("time-format", Value, Flag::TimeFormat),
        ("version", Nothing, Flag::Version),
        ("shell", Nothing, Flag::Shell),
    ],
};

/// Groups of options of which only one may be given, by letter.
fn groups(compat: Compat) -> &'static [&'static [u8]] {
    match compat {
        Compat::V2_38 => &[b"Jelnr", b"gi", b"cot", b"mqs"],
        Compat::V2_43 => &[b"Jelnr", b"Ngi", b"cot", b"MQSmqs"],
    }
}

/// Watches over options that exclude each other.
pub(super) struct Exclusions {
    compat: Compat,
    /// The option seen of each group.
    seen: [Option<u8>; 4],
}

impl Exclusions {
    pub(super) fn new(compat: Compat) -> Self {
        Self { compat, seen: [None; 4] }
    }

    /// Takes note of an option. The error is the message that another of its group was given before.
    ///
    /// A group is looked at only if its first letter and those of the groups before it are not behind the option's in
    /// the alphabet: so the original searches, although its groups are not sorted that way, and some options that
    /// would exclude each other pass.
    pub(super) fn note(&mut self, flag: Flag) -> Result<(), String> {
        let options = options(self.compat);
        let Some(&(letter, ..)) = options.short.iter().find(|(_, _, meaning)| *meaning == flag) else { return Ok(()) };
        for (group, seen) in groups(self.compat).iter().zip(&mut self.seen) {
            if group[0] > letter {
                break;
            }
            if !group.contains(&letter) {
                continue;
            }
            let before = *seen.get_or_insert(letter);
            if before != letter {
                return Err(match self.compat {
                    Compat::V2_38 => format!("mutually exclusive arguments:{}", names(&options, group).concat()),
                    Compat::V2_43 => {
                        format!("options{} cannot be combined", names(&options, &[before, letter]).join(" and"))
                    }
                });
            }
        }
        Ok(())
    }
}

/// The long names of some one-letter options, each behind a blank and its dashes.
fn names(options: &Options<Flag>, letters: &[u8]) -> Vec<String> {
    let meaning =
        |letter: &u8| options.short.iter().find(|(known, ..)| known == letter).map(|(_, _, meaning)| *meaning);
    let name = |flag: Flag| options.long.iter().find(|(_, _, meaning)| *meaning == flag).map(|(name, ..)| *name);
    letters.iter().filter_map(meaning).filter_map(name).map(|name| format!(" --{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(compat: Compat, flags: &[Flag]) -> bool {
        let mut exclusions = Exclusions::new(compat);
        flags.iter().all(|flag| exclusions.note(*flag).is_ok())
    }

    #[test]
    fn options_of_a_group_exclude_each_other_as_far_as_the_original_looks() {
        let old = Compat::V2_38;
        assert!(!accepts(old, &[Flag::Json, Flag::Raw]));
        assert!(!accepts(old, &[Flag::Time, Flag::Output]));
        assert!(accepts(old, &[Flag::Creator, Flag::Time]), "c stands before the group that begins with g");
        assert!(accepts(old, &[Flag::Raw, Flag::Raw]));
        assert!(accepts(Compat::V2_43, &[Flag::PosixQueues, Flag::Queues]), "Q stands before c");
        assert!(!accepts(Compat::V2_43, &[Flag::Creator, Flag::Time]));
    }

    #[test]
    fn the_message_names_long_options() {
        let message = |compat| {
            let mut exclusions = Exclusions::new(compat);
            exclusions.note(Flag::Sets).unwrap();
            exclusions.note(Flag::Queues).unwrap_err()
        };
        assert_eq!(message(Compat::V2_38), "mutually exclusive arguments: --shmems --queues --semaphores");
        assert_eq!(message(Compat::V2_43), "options --semaphores and --queues cannot be combined");
    }
}
