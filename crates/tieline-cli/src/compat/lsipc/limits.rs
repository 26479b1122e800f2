//! The limits of the system and how much of them is in use, as rows.

use tieline_os::posix::mq;
use tieline_os::sysv::{msg, sem, shm};

use super::columns::Field;
use super::look::{Look, Shown, number, text};
use super::request::Kind;
use super::{List, posix};
use crate::compat::program::{Compat, Program};

/// One limit.
struct Limit {
    resource: &'static str,
    description: &'static str,
    limit: u64,
    /// How much is in use, where that can be counted.
    used: Option<u64>,
    /// It is a number of bytes.
    bytes: bool,
}

impl Limit {
    fn counted(resource: &'static str, description: &'static str, limit: u64, used: u64) -> Self {
        Self { resource, description, limit, used: Some(used), bytes: false }
    }

    fn number(resource: &'static str, description: &'static str, limit: u64) -> Self {
        Self { resource, description, limit, used: None, bytes: false }
    }

    fn bytes(resource: &'static str, description: &'static str, limit: u64) -> Self {
        Self { bytes: true, ..Self::number(resource, description, limit) }
    }
}

/// Adds the limits of one sort of objects, if it has any.
pub(super) fn add(program: &mut Program, list: &mut List<'_>, look: &Look<'_>, kind: Kind) {
    let limits = match kind {
        Kind::Queues => queues(look.compat),
        Kind::PosixQueues if look.compat >= Compat::V2_43 => posix_queues(program),
        Kind::Segments => segments(),
        Kind::Sets => sets(look.compat),
        Kind::PosixQueues | Kind::PosixSegments | Kind::PosixSemaphores => Vec::new(),
    };
    for limit in limits {
        list.add(|field| show(look, &limit, field));
    }
}

fn show(look: &Look<'_>, limit: &Limit, field: Field) -> Shown {
    let amount = |amount| if limit.bytes { look.size(amount) } else { number(amount) };
    match (field, limit.used) {
        (Field::Resource, _) => text(limit.resource),
        (Field::Description, _) => text(limit.description),
        (Field::Limit, _) => amount(limit.limit),
        (Field::Used | Field::UsePercent, None) => text("-"),
        (Field::Used, Some(used)) => amount(used),
        (Field::UsePercent, Some(used)) => text(percentage(used, limit.limit)),
        _ => None,
    }
}

fn percentage(used: u64, limit: u64) -> String {
    match (used, limit) {
        // As the C library writes nothing divided by nothing.
        (0, 0) => "-nan%".to_owned(),
        (used, limit) => format!("{:.2}%", used as f64 / limit as f64 * 100.0),
    }
}

fn queues(compat: Compat) -> Vec<Limit> {
    let Ok(limits) = msg::limits() else { return Vec::new() };
    let used = msg::queues().into_iter().flatten().flatten().count();
    let (number, message, queue) = match compat {
        Compat::V2_38 => {
            ("Number of message queues", "Max size of message (bytes)", "Default max size of queue (bytes)")
        }
        Compat::V2_43 => (
            "Number of System V message queues",
            "Max size of System V message (bytes)",
            "Default max size of System V queue (bytes)",
        ),
    };
    vec![
        Limit::counted("MSGMNI", number, limits.queues_max as u64, used as u64),
        Limit::bytes("MSGMAX", message, limits.message_max_bytes as u64),
        Limit::bytes("MSGMNB", queue, limits.capacity_max_bytes as u64),
    ]
}

fn posix_queues(program: &mut Program) -> Vec<Limit> {
    let used = posix::count_queues(program);
    let limits = mq::limits();
    let or_nothing = |limit: fn(&mq::Limits) -> u64| limits.as_ref().map_or(0, limit);
    vec![
        Limit::counted("MQUMNI", "Number of POSIX message queues", or_nothing(|of| of.queues as u64), used as u64),
        Limit::bytes("MQUMAX", "Max size of POSIX message (bytes)", or_nothing(|of| of.message_size as u64)),
        Limit::number("MQUMNB", "Number of messages in POSIX message queue", or_nothing(|of| of.capacity as u64)),
    ]
}

fn segments() -> Vec<Limit> {
    let Ok(limits) = shm::limits() else { return Vec::new() };
    let lengths: Vec<u64> = shm::segments().into_iter().flatten().flatten().map(|segment| segment.len as u64).collect();
    let pages = lengths.iter().fold(0, |sum: u64, len| sum.wrapping_add(*len)) / rustix::param::page_size() as u64;
    vec![
        Limit::counted("SHMMNI", "Shared memory segments", limits.segments_max, lengths.len() as u64),
        Limit::counted("SHMALL", "Shared memory pages", limits.pages_max, pages),
        Limit::bytes("SHMMAX", "Max size of shared memory segment (bytes)", limits.segment_max_bytes),
        Limit::bytes("SHMMIN", "Min size of shared memory segment (bytes)", limits.segment_min_bytes),
    ]
}

fn sets(compat: Compat) -> Vec<Limit> {
    let Ok(limits) = sem::limits() else { return Vec::new() };
    let sizes: Vec<u64> = sem::sets().into_iter().flatten().flatten().map(|set| set.semaphores as u64).collect();
    let semaphores = match compat {
        // The older version counts every set as if it were as large as the first.
        Compat::V2_38 => sizes.first().map_or(0, |first| first * sizes.len() as u64),
        Compat::V2_43 => sizes.iter().sum(),
    };
    vec![
        Limit::counted("SEMMNI", "Number of semaphore identifiers", limits.sets_max as u64, sizes.len() as u64),
        Limit::counted("SEMMNS", "Total number of semaphores", limits.semaphores_max as u64, semaphores),
        Limit::number("SEMMSL", "Max semaphores per semaphore set.", limits.semaphores_per_set_max as u64),
        Limit::number("SEMOPM", "Max number of operations per semop(2)", limits.operations_max as u64),
        Limit::number("SEMVMX", "Semaphore max value", limits.value_max as u64),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_two_decimals_also_where_nothing_is_allowed() {
        assert_eq!(percentage(1, 3), "33.33%");
        assert_eq!(percentage(3, 0), "inf%");
        assert_eq!(percentage(0, 0), "-nan%");
    }
}
