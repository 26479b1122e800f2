//! The limits that programs run into, with their use.
//!
//! Use is the kernel's own count where it has one, and else counted from the objects of the snapshot: then it is what
//! the viewer could see, and a lower bound.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::str::FromStr;

use tieline_os::sysv;

use crate::Scan;
use crate::model::{Builder, Detail, Kind, Limit, Object, ProcessRef, Scope, Unit};

/// A process uses a limit of its own so much, in per cent, that it is listed without being asked for.
const NEAR_PERCENT: u64 = 80;

pub(crate) fn look(builder: &mut Builder, scan: &Scan) {
    system_v(builder);
    queues(builder);
    machine(builder);
    users(builder);
    processes(builder, scan.limits_of_processes);
}

/// System V: counts and limits of the viewer's IPC namespace, both from the kernel.
fn system_v(builder: &mut Builder) {
    let scope = builder.viewer().namespaces.ipc.map_or(Scope::Machine, Scope::Namespace);
    let mut add = |name, meaning, used: Option<u64>, maximum: u64, unit, symptom, raise| {
        builder.limit(Limit { name, meaning, scope, used, maximum: Some(maximum), unit, symptom, raise });
    };
    if let (Ok(limits), Ok(usage)) = (sysv::shm::limits(), sysv::shm::usage()) {
        add(
            "shmmni",
            "System V segments",
            Some(usage.segments as u64),
            limits.segments_max,
            Unit::Count,
            "shmget: ENOSPC",
            "kernel.shmmni",
        );
        add(
            "shmall",
            "memory of all System V segments",
            Some(usage.pages),
            limits.pages_max,
            Unit::Pages,
            "shmget: ENOSPC",
            "kernel.shmall",
        );
        add(
            "shmmax",
            "the largest System V segment",
            None,
            limits.segment_max_bytes,
            Unit::Bytes,
            "shmget: EINVAL",
            "kernel.shmmax",
        );
    }
    if let (Ok(limits), Ok(usage)) = (sysv::msg::limits(), sysv::msg::usage()) {
        add(
            "msgmni",
            "System V message queues",
            Some(usage.queues as u64),
            limits.queues_max as u64,
            Unit::Count,
            "msgget: ENOSPC",
            "kernel.msgmni",
        );
        add(
            "msgmnb",
            "bytes in a new System V queue",
            None,
            limits.capacity_max_bytes as u64,
            Unit::Bytes,
            "msgsnd waits, or EAGAIN",
            "kernel.msgmnb",
        );
        add(
            "msgmax",
            "the longest System V message",
            None,
            limits.message_max_bytes as u64,
            Unit::Bytes,
            "msgsnd: EINVAL",
            "kernel.msgmax",
        );
    }
    if let (Ok(limits), Ok(usage)) = (sysv::sem::limits(), sysv::sem::usage()) {
        add(
            "semmni",
            "System V semaphore sets",
            Some(usage.sets as u64),
            limits.sets_max as u64,
            Unit::Count,
            "semget: ENOSPC",
            "kernel.sem (4th)",
        );
        add(
            "semmns",
            "System V semaphores in all sets",
            Some(usage.semaphores as u64),
            limits.semaphores_max as u64,
            Unit::Count,
            "semget: ENOSPC",
            "kernel.sem (2nd)",
        );
        add(
            "semmsl",
            "semaphores in one System V set",
            None,
            limits.semaphores_per_set_max as u64,
            Unit::Count,
            "semget: EINVAL",
            "kernel.sem (1st)",
        );
        add(
            "semopm",
            "operations in one semop",
            None,
            limits.operations_max as u64,
            Unit::Count,
            "semop: E2BIG",
            "kernel.sem (3rd)",
        );
    }
}

/// POSIX message queues of the viewer's IPC namespace.
fn queues(builder: &mut Builder) {
    let own = builder.viewer().namespaces.ipc;
    let used = of_kind(builder, Kind::PosixMq).filter(|queue| queue.namespace == own).count() as u64;
    let scope = own.map_or(Scope::Machine, Scope::Namespace);
    let mut add = |name, meaning, used, unit, symptom, raise| {
        let Some(maximum) = number(&format!("fs/mqueue/{name}")) else { return };
        builder.limit(Limit { name, meaning, scope, used, maximum: Some(maximum), unit, symptom, raise });
    };
    add("queues_max", "POSIX message queues", Some(used), Unit::Count, "mq_open: ENOSPC", "fs.mqueue.queues_max");
    add("msg_max", "messages in one POSIX queue", None, Unit::Messages, "mq_open: EINVAL", "fs.mqueue.msg_max");
    add("msgsize_max", "the longest POSIX message", None, Unit::Bytes, "mq_open: EINVAL", "fs.mqueue.msgsize_max");
}

/// What the whole machine has one of.
fn machine(builder: &mut Builder) {
    let ports = numbers("net/ipv4/ip_local_port_range");
    let ports_used = match ports[..] {
        [first, last] => ports_in_use(builder, first..=last),
        _ => 0,
    };
    let processes = builder.processes().len() as u64;
    let mut add = |name, meaning, used: Option<u64>, maximum: Option<u64>, unit, symptom, raise| {
        if maximum.is_some() || used.is_some() {
            builder.limit(Limit { name, meaning, scope: Scope::Machine, used, maximum, unit, symptom, raise });
        }
    };
    let files = numbers("fs/file-nr");
    let open = files.first().map(|&open| open.saturating_sub(files.get(1).copied().unwrap_or_default()));
    add(
        "file-max",
        "open files of the machine",
        open,
        files.get(2).copied(),
        Unit::Count,
        "open, pipe, socket: ENFILE",
        "fs.file-max",
    );
    add(
        "pid_max",
        "processes and threads (process ids)",
        threads().or(Some(processes)),
        number("kernel/pid_max"),
        Unit::Count,
        "fork: EAGAIN",
        "kernel.pid_max",
    );
    if let [first, last] = ports[..] {
        add(
            "ip_local_port_range",
            "ports for outgoing connections",
            Some(ports_used),
            Some((last + 1).saturating_sub(first)),
            Unit::Count,
            "connect: EADDRNOTAVAIL",
            "net.ipv4.ip_local_port_range",
        );
    }
    add(
        "somaxconn",
        "the longest backlog of a listener",
        None,
        number("net/core/somaxconn"),
        Unit::Connections,
        "connect waits, or EAGAIN",
        "net.core.somaxconn",
    );
    add(
        "pipe-max-size",
        "the largest pipe, without privilege",
        None,
        number("fs/pipe-max-size"),
        Unit::Bytes,
        "fcntl(F_SETPIPE_SZ): EPERM",
        "fs.pipe-max-size",
    );
    if let Ok(space) = rustix::fs::statvfs("/dev/shm") {
        let used = space.f_blocks.saturating_sub(space.f_bfree).saturating_mul(space.f_frsize);
        add(
            "/dev/shm",
            "memory of POSIX shared memory and semaphores",
            Some(used),
            Some(space.f_blocks.saturating_mul(space.f_frsize)).filter(|&size| size > 0),
            Unit::Bytes,
            "SIGBUS at the first touch; fallocate: ENOSPC",
            "mount -o remount,size=… /dev/shm",
        );
    }
}

/// What each user has a share of. Kept by the kernel, told to nobody, and so counted from what is seen.
fn users(builder: &mut Builder) {
    let page = rustix::param::page_size() as u64;
    let mut pipes: BTreeMap<u32, u64> = BTreeMap::new();
    let mut queues: BTreeMap<u32, u64> = BTreeMap::new();
    let mut inotify: BTreeMap<u32, u64> = BTreeMap::new();
    let mut watches: BTreeMap<u32, u64> = BTreeMap::new();
    let mut counted = vec![false; builder.objects().len()];
    for hold in builder.holds() {
        let Some(uid) = builder.processes()[hold.process.index()].uid else { continue };
        let object = builder.object_at(hold.object);
        // The user who made it is charged; the first holder's user stands for it.
        if std::mem::replace(&mut counted[hold.object.index()], true) {
            continue;
        }
        match (&object.detail, object.kind) {
            (Detail::Inotify { watches: own }, _) => {
                *inotify.entry(uid).or_default() += 1;
                *watches.entry(uid).or_default() += u64::from(*own);
            }
            (_, Kind::Pipe | Kind::Fifo) => {
                let capacity = object.fill.and_then(|fill| fill.capacity).unwrap_or_default();
                *pipes.entry(uid).or_default() += capacity.div_ceil(page);
            }
            _ => {}
        }
    }
    for queue in of_kind(builder, Kind::PosixMq) {
        if let (Some(owner), Some(bytes)) = (queue.owner, queue_charge(queue)) {
            *queues.entry(owner.uid).or_default() += bytes;
        }
    }
    let mut add = |name, meaning, used: BTreeMap<u32, u64>, maximum: Option<u64>, unit, symptom, raise| {
        let Some(maximum) = maximum else { return };
        for (uid, used) in used {
            let (scope, used, maximum) = (Scope::User(uid), Some(used), Some(maximum));
            builder.limit(Limit { name, meaning, scope, used, maximum, unit, symptom, raise });
        }
    };
    add(
        "pipe-user-pages-soft",
        "memory of a user's pipes, without privilege",
        pipes,
        number("fs/pipe-user-pages-soft").filter(|&pages| pages > 0),
        Unit::Pages,
        "new pipes hold one page or two only",
        "fs.pipe-user-pages-soft",
    );
    add(
        "RLIMIT_MSGQUEUE",
        "memory of a user's POSIX queues",
        queues,
        own_limit("Max msgqueue size"),
        Unit::Bytes,
        "mq_open: EMFILE",
        "ulimit -q",
    );
    add(
        "max_user_instances",
        "a user's inotify descriptors",
        inotify,
        number("fs/inotify/max_user_instances"),
        Unit::Count,
        "inotify_init: EMFILE",
        "fs.inotify.max_user_instances",
    );
    add(
        "max_user_watches",
        "a user's inotify watches",
        watches,
        number("fs/inotify/max_user_watches"),
        Unit::Count,
        "inotify_add_watch: ENOSPC",
        "fs.inotify.max_user_watches",
    );
}

/// What a POSIX queue is charged against `RLIMIT_MSGQUEUE`, as getrlimit(2) has it: room for every message, a record
/// for each, and one for each priority that can be in use. `None` if the queue's size could not be asked.
fn queue_charge(queue: &Object) -> Option<u64> {
    /// A message's record and a priority's, in the kernel's memory on a 64-bit machine.
    const RECORD_BYTES: u64 = 48;
    const PRIORITIES: u64 = 32_768;
    let Detail::PosixMq(detail) = &queue.detail else { return None };
    let (messages, size) = (detail.capacity?, detail.message_size?);
    Some(messages * size + messages * RECORD_BYTES + messages.min(PRIORITIES) * RECORD_BYTES)
}

/// Each process's descriptors. Reading the limit takes a file for each process, so without being asked only those are
/// read that have more descriptors open than the usual limit would make comfortable.
fn processes(builder: &mut Builder, all: bool) {
    /// The soft limit that nearly every process starts with.
    const USUAL_LIMIT: u64 = 1024;
    let mut found: Vec<(ProcessRef, u64, Option<u64>)> = Vec::new();
    for process in builder.processes() {
        let Some(open) = process.descriptors.map(u64::from) else { continue };
        if !all && open * 100 < USUAL_LIMIT * NEAR_PERCENT {
            continue;
        }
        let Ok(limits) = fs::read_to_string(format!("/proc/{}/limits", process.pid)) else { continue };
        let Some(maximum) = soft_limit(&limits, "Max open files") else { continue };
        if all || maximum.is_some_and(|maximum| open.saturating_mul(100) >= maximum.saturating_mul(NEAR_PERCENT)) {
            found.push((process.reference, open, maximum));
        }
    }
    for (process, open, maximum) in found {
        builder.process_mut(process).descriptor_limit = maximum;
        builder.limit(Limit {
            name: "RLIMIT_NOFILE",
            meaning: "a process's open descriptors",
            scope: Scope::Process(process),
            used: Some(open),
            maximum,
            unit: Unit::Count,
            symptom: "open, pipe, socket, accept: EMFILE",
            raise: "ulimit -n",
        });
    }
}

fn of_kind(builder: &Builder, kind: Kind) -> impl Iterator<Item = &Object> {
    builder.objects().iter().filter(move |object| object.kind == kind)
}

/// How many different ports of that range are the near end of a connection.
fn ports_in_use(builder: &Builder, range: std::ops::RangeInclusive<u64>) -> u64 {
    let near_end = |socket: &Object| match &socket.detail {
        Detail::Inet(inet) if inet.remote.is_some() => Some(inet.local.port()),
        _ => None,
    };
    let ports: BTreeSet<u16> =
        of_kind(builder, Kind::Tcp).filter_map(near_end).filter(|&port| range.contains(&u64::from(port))).collect();
    ports.len() as u64
}

fn threads() -> Option<u64> {
    // The fourth word of /proc/loadavg: running/all scheduling entities.
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_ascii_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

fn own_limit(name: &str) -> Option<u64> {
    soft_limit(&fs::read_to_string("/proc/self/limits").ok()?, name)?
}

/// The soft limit in a `/proc/PID/limits`: `None` if it is not there, `Some(None)` for no bound.
fn soft_limit(text: &str, name: &str) -> Option<Option<u64>> {
    let soft = text.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()?;
    if soft == "unlimited" { Some(None) } else { soft.parse().ok().map(Some) }
}

fn number(name: &str) -> Option<u64> {
    numbers(name).first().copied()
}

fn numbers(name: &str) -> Vec<u64> {
    let text = fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|word| u64::from_str(word).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Builder, Kind, queue_charge, soft_limit};
    use crate::model::{Detail, Identity, Namespaces, PosixMq, Viewer};

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
        Max file size             unlimited            unlimited            bytes     \n\
        Max open files            20000                20000                files     \n";

    #[test]
    fn a_soft_limit_is_read_and_none_is_not_zero() {
        assert_eq!(soft_limit(LIMITS, "Max open files"), Some(Some(20000)));
        assert_eq!(soft_limit(LIMITS, "Max file size"), Some(None));
        assert_eq!(soft_limit(LIMITS, "Max msgqueue size"), None);
    }

    #[test]
    fn a_queue_is_charged_as_the_manual_says() {
        let mut builder = Builder::new(Viewer { pid: 1, uid: 0, namespaces: Namespaces::default() });
        let queue = builder.object(Identity::File { device: 1, inode: 1 }, Kind::PosixMq);
        assert_eq!(queue_charge(builder.object_at(queue)), None);
        builder.object_mut(queue).detail = Detail::PosixMq(PosixMq {
            bytes: 0,
            messages: Some(0),
            capacity: Some(10),
            message_size: Some(8192),
            notify: None,
        });
        assert_eq!(queue_charge(builder.object_at(queue)), Some(10 * 8192 + 10 * 48 + 10 * 48));
    }
}
