//! System V objects as rows.

use rustix::io::Errno;
use tieline_os::sysv::sem::{SemaphoreSet, SetStat};
use tieline_os::sysv::{Id, Permissions, Walk, msg, sem, shm};

use super::columns::Field;
use super::look::{Look, Shown, command_line, key, number, pid, text};
use super::{List, new_table};
use crate::compat::program::{Compat, Exit, Program, errno};
use crate::table::{Column, Table};

pub(super) fn add_queues(program: &mut Program, list: &mut List<'_>, look: &mut Look<'_>) {
    let queues = asked_for(list, msg::queues(), |queue| queue.id);
    if queues.is_empty() {
        return complain_of_id(program, list);
    }
    list.table.name = "messages";
    for queue in queues {
        list.add(|field| match field {
            Field::Perms if look.compat == Compat::V2_38 && look.has_numeric_perms() => None,
            Field::Cgid => creator_gid(look, &queue.permissions),
            Field::Ctime => look.moment(queue.changed_at),
            Field::UsedBytes => look.size(queue.bytes),
            Field::Msgs => number(queue.messages),
            Field::Send => look.moment(queue.sent_at),
            Field::Recv => look.moment(queue.received_at),
            Field::Lspid => pid(queue.last_sender),
            Field::Lrpid => pid(queue.last_receiver),
            _ => generic(look, field, queue.id, &queue.permissions),
        });
    }
}

pub(super) fn add_segments(program: &mut Program, list: &mut List<'_>, look: &mut Look<'_>) {
    let segments = asked_for(list, shm::segments(), |segment| segment.id);
    if segments.is_empty() {
        return complain_of_id(program, list);
    }
    list.table.name = "sharedmemory";
    for segment in segments {
        list.add(|field| match field {
            Field::Cgid => creator_gid(look, &segment.permissions),
            Field::Ctime => look.moment(segment.changed_at),
            Field::Size => look.size(segment.len as u64),
            Field::Nattch => number(segment.attachments),
            Field::Status => text(match (segment.removed, segment.locked) {
                (false, false) => "",
                (true, false) => "dest",
                (false, true) => "locked",
                (true, true) => "dest,locked",
            }),
            Field::Attach => look.moment(segment.attached_at),
            Field::Detach => look.moment(segment.detached_at),
            Field::Cpid => pid(segment.creator),
            Field::Lpid => pid(segment.last_user),
            Field::Command => command_line(segment.creator),
            _ => generic(look, field, segment.id, &segment.permissions),
        });
    }
}

/// Adds semaphore sets, and the semaphores of the one asked for.
///
/// # Errors
/// The end of the program: the semaphores may not be read.
pub(super) fn add_sets(program: &mut Program, list: &mut List<'_>, look: &mut Look<'_>) -> Result<(), Exit> {
    list.table.name = "semaphores";
    let sets = asked_for(list, sem::sets(), |set| set.id);
    if sets.is_empty() {
        complain_of_id(program, list);
        return Ok(());
    }
    for set in &sets {
        if wanted_id(list).is_some() {
            let elements = elements(program, list, look.compat, set)?;
            // They are shown below the object that is shown, which is the first.
            list.elements = list.table.rows.is_empty().then_some(elements);
        }
        list.add(|field| match field {
            Field::Ctime => look.moment(set.changed_at),
            Field::Nsems => number(set.semaphores),
            Field::Otime => look.moment(set.operated_at),
            _ => generic(look, field, set.id, &set.permissions),
        });
    }
    Ok(())
}

/// What every System V object has.
fn generic(look: &mut Look<'_>, field: Field, id: Id, permissions: &Permissions) -> Shown {
    match field {
        Field::Key => key(permissions.key.number()),
        Field::Id => number(id),
        Field::Owner => look.owner(permissions.uid),
        Field::Perms => look.perms(permissions.mode.bits().into()),
        Field::Cuid => number(permissions.creator_uid),
        Field::Cuser => look.user(permissions.creator_uid),
        Field::Cgid => number(permissions.creator_gid),
        Field::Cgroup => look.group(permissions.creator_gid),
        Field::Uid => number(permissions.uid),
        Field::User => look.user(permissions.uid),
        Field::Gid => number(permissions.gid),
        Field::Group => look.group(permissions.gid),
        _ => None,
    }
}

/// The creator's group, for which the older version shows the user of queues and segments.
fn creator_gid(look: &Look<'_>, permissions: &Permissions) -> Shown {
    number(match look.compat {
        Compat::V2_38 => permissions.creator_uid,
        Compat::V2_43 => permissions.creator_gid,
    })
}

/// The id asked for, if it can be one.
fn wanted_id(list: &List<'_>) -> Option<i32> {
    list.request.id.filter(|id| *id >= 0)
}

/// The object asked for, or all. What cannot be looked at is left out.
fn asked_for<T>(list: &List<'_>, walk: tieline_os::Result<Walk<T>>, id_of: impl Fn(&T) -> Id) -> Vec<T> {
    let objects = walk.into_iter().flatten().flatten();
    match wanted_id(list) {
        None => objects.collect(),
        Some(id) => objects.filter(|object| id_of(object).number() == id).take(1).collect(),
    }
}

fn complain_of_id(program: &mut Program, list: &List<'_>) {
    if let Some(id) = wanted_id(list) {
        program.warnx(format!("id {id} not found"));
    }
}

/// A table of the semaphores of a set.
fn elements(program: &mut Program, list: &List<'_>, compat: Compat, stat: &SetStat) -> Result<Table, Exit> {
    let mut table = new_table(list.request, compat);
    table.name = "elements";
    table.headings = true;
    table.columns =
        ["SEMNUM", "VALUE", "NCOUNT", "ZCOUNT", "PID", "COMMAND"].map(|name| Column::new(name).right()).into();
    let set = SemaphoreSet::from_id(stat.id);
    for index in 0..u16::try_from(stat.semaphores).unwrap_or(u16::MAX) {
        let value = answered(program, "semctl(GETVAL)", set.value(index))?;
        let for_increase = answered(program, "semctl(GETNCNT)", set.waiters_for_increase(index))?;
        let for_zero = answered(program, "semctl(GETZCNT)", set.waiters_for_zero(index))?;
        let last = answered(program, "semctl(GETPID)", set.last_operator(index))?;
        table.rows.push(vec![
            number(index),
            number(value),
            number(for_increase),
            number(for_zero),
            pid(last),
            command_line(last),
        ]);
    }
    Ok(table)
}

fn answered<T>(program: &mut Program, call: &str, answer: tieline_os::Result<T>) -> Result<T, Exit> {
    answer.map_err(|error| {
        let errno: Errno = errno(error);
        program.err(errno, format!("{call} failed"))
    })
}
