//! The columns: their names, what they show, and which of them go with what.

use crate::compat::program::Compat;
use crate::table::{Column, Hint};

/// What a column shows of an object or a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Key,
    Id,
    Owner,
    Perms,
    Cuid,
    Cuser,
    Cgid,
    Cgroup,
    Uid,
    User,
    Gid,
    Group,
    Ctime,
    Name,
    Mtime,
    UsedBytes,
    Msgs,
    Send,
    Recv,
    Lspid,
    Lrpid,
    Size,
    Nattch,
    Status,
    Attach,
    Detach,
    Command,
    Cpid,
    Lpid,
    Nsems,
    Otime,
    Resource,
    Description,
    Limit,
    Used,
    UsePercent,
    Sval,
}

/// Columns that may be asked for together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Of every System V object, and always allowed.
    Generic,
    Posix,
    Queues,
    Segments,
    Sets,
    Summary,
    PosixSemaphores,
}

struct Entry {
    field: Field,
    name: &'static str,
    /// In `--help`.
    help: &'static str,
    /// Where one object is shown in lines.
    label: &'static str,
    family: Family,
    right: bool,
}

const fn left(field: Field, family: Family, name: &'static str, help: &'static str, label: &'static str) -> Entry {
    Entry { field, name, help, label, family, right: false }
}

const fn right(field: Field, family: Family, name: &'static str, help: &'static str, label: &'static str) -> Entry {
    Entry { right: true, ..left(field, family, name, help, label) }
}

/// In the order of [`Field`], which is that of `--help` and of all columns of an object.
#[rustfmt::skip]
const ENTRIES: &[Entry] = &[
    left(Field::Key, Family::Generic, "KEY", "Resource key", "Key"),
    left(Field::Id, Family::Generic, "ID", "Resource ID", "ID"),
    right(Field::Owner, Family::Generic, "OWNER", "Owner's username or UID", "Owner"),
    right(Field::Perms, Family::Generic, "PERMS", "Permissions", "Permissions"),
    right(Field::Cuid, Family::Generic, "CUID", "Creator UID", "Creator UID"),
    left(Field::Cuser, Family::Generic, "CUSER", "Creator user", "Creator user"),
    right(Field::Cgid, Family::Generic, "CGID", "Creator GID", "Creator GID"),
    left(Field::Cgroup, Family::Generic, "CGROUP", "Creator group", "Creator group"),
    right(Field::Uid, Family::Generic, "UID", "User ID", "UID"),
    left(Field::User, Family::Generic, "USER", "User name", "User name"),
    right(Field::Gid, Family::Generic, "GID", "Group ID", "GID"),
    left(Field::Group, Family::Generic, "GROUP", "Group name", "Group name"),
    right(Field::Ctime, Family::Generic, "CTIME", "Time of the last change", "Last change"),
    left(Field::Name, Family::Posix, "NAME", "POSIX resource name", "Name"),
    right(Field::Mtime, Family::Posix, "MTIME", "Time of last action", "Last action"),
    right(Field::UsedBytes, Family::Queues, "USEDBYTES", "Bytes used", "Bytes used"),
    left(Field::Msgs, Family::Queues, "MSGS", "Number of messages", "Messages"),
    right(Field::Send, Family::Queues, "SEND", "Time of last msg sent", "Msg sent"),
    right(Field::Recv, Family::Queues, "RECV", "Time of last msg received", "Msg received"),
    right(Field::Lspid, Family::Queues, "LSPID", "PID of the last msg sender", "Msg sender"),
    right(Field::Lrpid, Family::Queues, "LRPID", "PID of the last msg receiver", "Msg receiver"),
    right(Field::Size, Family::Segments, "SIZE", "Segment size", "Segment size"),
    right(Field::Nattch, Family::Segments, "NATTCH", "Number of attached processes", "Attached processes"),
    left(Field::Status, Family::Segments, "STATUS", "Status", "Status"),
    right(Field::Attach, Family::Segments, "ATTACH", "Attach time", "Attach time"),
    right(Field::Detach, Family::Segments, "DETACH", "Detach time", "Detach time"),
    left(Field::Command, Family::Segments, "COMMAND", "Creator command line", "Creator command"),
    right(Field::Cpid, Family::Segments, "CPID", "PID of the creator", "Creator PID"),
    right(Field::Lpid, Family::Segments, "LPID", "PID of last user", "Last user PID"),
    right(Field::Nsems, Family::Sets, "NSEMS", "Number of semaphores", "Semaphores"),
    right(Field::Otime, Family::Sets, "OTIME", "Time of the last operation", "Last operation"),
    left(Field::Resource, Family::Summary, "RESOURCE", "Resource name", "Resource"),
    left(Field::Description, Family::Summary, "DESCRIPTION", "Resource description", "Description"),
    right(Field::Limit, Family::Summary, "LIMIT", "System-wide limit", "Limit"),
    right(Field::Used, Family::Summary, "USED", "Currently used", "Used"),
    right(Field::UsePercent, Family::Summary, "USE%", "Currently use percentage", "Use"),
    right(Field::Sval, Family::PosixSemaphores, "SVAL", "Semaphore value", "Value"),
];

/// Why a name is no column here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoColumn {
    Unknown,
    /// It belongs to other objects.
    DoesNotApply,
}

impl Field {
    /// All columns of a version, in order.
    pub(super) fn all(compat: Compat) -> impl Iterator<Item = Self> {
        known(compat).map(|entry| entry.field)
    }

    /// The columns of a family, in order.
    pub(super) fn of(family: Family) -> impl Iterator<Item = Self> {
        ENTRIES.iter().filter(move |entry| entry.family == family).map(|entry| entry.field)
    }

    /// The column of this name, in letters of any case, if it is a generic one or of `family`.
    pub(super) fn named(name: &[u8], family: Family, compat: Compat) -> Result<Self, NoColumn> {
        let entry = known(compat).find(|entry| entry.name.as_bytes().eq_ignore_ascii_case(name));
        let entry = entry.ok_or(NoColumn::Unknown)?;
        if entry.family == Family::Generic || entry.family == family {
            Ok(entry.field)
        } else {
            Err(NoColumn::DoesNotApply)
        }
    }

    /// How a table shows it.
    pub(super) fn column(self, truncate: bool) -> Column {
        let entry = self.entry();
        let column = Column::new(entry.name).hint(Hint::Cells(1));
        match self {
            Self::Command => Column { truncate, ..column.hint(Hint::Free) },
            Self::Status => Column { no_extremes: true, ..column },
            _ if entry.right => column.right(),
            _ => column,
        }
    }

    /// What it is called in `--help`, and what it shows.
    pub(super) fn help(self) -> (&'static str, &'static str) {
        (self.entry().name, self.entry().help)
    }

    /// What it is called where one object is shown in lines.
    pub(super) fn label(self) -> &'static str {
        self.entry().label
    }

    fn entry(self) -> &'static Entry {
        &ENTRIES[self as usize]
    }
}

fn known(compat: Compat) -> impl Iterator<Item = &'static Entry> {
    ENTRIES.iter().filter(move |entry| {
        compat >= Compat::V2_43 || !matches!(entry.family, Family::Posix | Family::PosixSemaphores)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_stand_in_the_order_of_the_fields() {
        for (index, entry) in ENTRIES.iter().enumerate() {
            assert_eq!(entry.field as usize, index, "{}", entry.name);
        }
    }

    #[test]
    fn names_are_found_in_any_case_and_only_where_they_apply() {
        let old = Compat::V2_38;
        assert_eq!(Field::named(b"use%", Family::Summary, old), Ok(Field::UsePercent));
        assert_eq!(Field::named(b"Key", Family::Summary, old), Ok(Field::Key));
        assert_eq!(Field::named(b"SIZE", Family::Sets, old), Err(NoColumn::DoesNotApply));
        assert_eq!(Field::named(b"SIZ", Family::Segments, old), Err(NoColumn::Unknown));
        assert_eq!(Field::named(b"NAME", Family::Posix, old), Err(NoColumn::Unknown));
        assert_eq!(Field::named(b"NAME", Family::Posix, Compat::V2_43), Ok(Field::Name));
    }
}
