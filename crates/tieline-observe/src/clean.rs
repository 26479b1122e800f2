//! Removing what was left behind, and nothing else.
//!
//! [`plan`] chooses from a snapshot's findings what may go, with its evidence, and changes nothing. [`perform`] looks at
//! the whole machine once more and removes only what is still there unchanged and still has no user; each removal is
//! preceded by one more look at the object itself, because a number or a name may mean another object by then.
//!
//! Objects of other namespaces are never removed from here: enter the namespace (`nsenter`) and look from inside.
//!
//! ```no_run
//! use tieline_observe::{Scan, clean};
//! let scan = Scan::new().waits(true).socket_files(true);
//! let steps = clean::plan(&scan.take()?, &clean::Rules::new());
//! for step in &steps {
//!     println!("would remove {} {}", step.kind(), step.name());
//! }
//! for (step, outcome) in steps.iter().zip(clean::perform(&steps)?) {
//!     println!("{}: {outcome:?}", step.name());
//! }
//! # Ok::<(), tieline_observe::Error>(())
//! ```

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::Stat;
use rustix::io::Errno;
use tieline_os::lock::{LockKind, RangeLock, range_holder};
use tieline_os::posix::mq::MessageQueue as PosixQueue;
use tieline_os::posix::sem::NamedSemaphore;
use tieline_os::posix::shm::SharedMemory;
use tieline_os::sysv::msg::MessageQueue;
use tieline_os::sysv::sem::SemaphoreSet;
use tieline_os::sysv::shm::Segment;
use tieline_os::sysv::{Id, Permissions};
use tieline_os::{ErrorKind, Result as OsResult};

use crate::findings::age;
use crate::folder::Folder;
use crate::model::{Detail, Evidence, FindingKind, Identity, Kind, Object, Snapshot, Text};
use crate::{Result, Scan};

/// What may be removed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Rules {
    /// Only what has not been used or changed for so long.
    pub minimum_age: Duration,
    /// Only these kinds; all of them without.
    pub kinds: Option<Vec<Kind>>,
    /// Only files in this directory or below it, by an absolute path without links; everywhere without.
    pub under: Option<PathBuf>,
    /// Also what is merely [unused](FindingKind::Unused): nobody has it open or mapped, but somebody might come back to
    /// it by its name or number, or not everything could be seen. For who knows better than the evidence.
    pub unused: bool,
}

impl Rules {
    /// Orphans of every kind that were not used for five minutes.
    #[must_use]
    pub fn new() -> Self {
        Self { minimum_age: Duration::from_secs(300), kinds: None, under: None, unused: false }
    }

    fn allow(&self, snapshot: &Snapshot, object: &Object, finding: FindingKind) -> bool {
        let is_left = match finding {
            FindingKind::Orphan | FindingKind::DeadSocketFile | FindingKind::DeadName => true,
            FindingKind::Unused => self.unused,
            _ => false,
        };
        is_left
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&object.kind))
            && self.under.as_ref().is_none_or(|under| is_under(object, under))
            && age(snapshot, object).map_or(self.minimum_age.is_zero(), |age| age >= self.minimum_age)
    }
}

/// Whether it is a file there; a POSIX object is none, though its name begins with a slash.
fn is_under(object: &Object, directory: &Path) -> bool {
    let name = object.name.as_ref().filter(|_| object.kind == Kind::SocketFile);
    name.is_some_and(|name| Path::new(OsStr::from_bytes(name.as_bytes())).starts_with(directory))
}

impl Default for Rules {
    fn default() -> Self {
        Self::new()
    }
}

/// One object to remove, and why it may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    target: Target,
    kind: Kind,
    finding: FindingKind,
    evidence: Vec<Evidence>,
}

impl Step {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What it is called: a number for System V, else a name or path.
    #[must_use]
    pub fn name(&self) -> Text {
        match &self.target {
            Target::SystemV { id, .. } => Text::from(id.to_string()),
            Target::Named { name, .. } => name.clone(),
        }
    }

    /// [`Orphan`](FindingKind::Orphan), [`DeadSocketFile`](FindingKind::DeadSocketFile),
    /// [`DeadName`](FindingKind::DeadName) or [`Unused`](FindingKind::Unused).
    #[must_use]
    pub fn finding(&self) -> FindingKind {
        self.finding
    }

    /// What speaks for it, and what against.
    #[must_use]
    pub fn evidence(&self) -> &[Evidence] {
        &self.evidence
    }

    /// The call that removes it, as the manuals write it.
    #[must_use]
    pub fn call(&self) -> String {
        let name = self.name();
        if let Some((_, lock)) = self.dead_name() {
            return format!("unlink(\"{name}\"), unlink(\"{lock}\")");
        }
        match self.kind {
            Kind::SysvShm => format!("shmctl({name}, IPC_RMID)"),
            Kind::SysvMq => format!("msgctl({name}, IPC_RMID)"),
            Kind::SysvSem => format!("semctl({name}, IPC_RMID)"),
            Kind::PosixShm => format!("shm_unlink(\"{name}\")"),
            Kind::PosixMq => format!("mq_unlink(\"{name}\")"),
            Kind::PosixSem => format!("sem_unlink(\"{name}\")"),
            _ => format!("unlink(\"{name}\")"),
        }
    }
}

/// What names the object, and what tells that it is still the same and was not used since.
#[derive(Debug, Clone, PartialEq)]
enum Target {
    SystemV {
        id: i32,
        key: i32,
        uid: u32,
        /// Its times, in seconds: of last use (two for segments and queues) and of change.
        times: [i64; 3],
        /// What changes with use within one second too: who used it last, how much is in it.
        traces: Vec<u64>,
    },
    Named {
        name: Text,
        identity: Identity,
        changed: Option<SystemTime>,
        /// Of the socket of a name of `tieline-shm`: the lock file beside it.
        lock: Option<Identity>,
    },
}

impl Target {
    fn of(snapshot: &Snapshot, object: &Object) -> Option<Self> {
        let own = snapshot.viewer().namespaces;
        if let Identity::SystemV { id, namespace, .. } = object.identity {
            if own.ipc != Some(namespace) {
                return None;
            }
            let uid = object.owner?.uid;
            let (key, times, traces) = match &object.detail {
                Detail::SysvShm(segment) => {
                    let times = [segment.attached_at, segment.detached_at, segment.changed_at];
                    (segment.key, times, vec![segment.last.into()])
                }
                Detail::SysvMq(queue) => {
                    let times = [queue.sent_at, queue.received_at, queue.changed_at];
                    let last = [queue.last_sender.into(), queue.last_receiver.into()];
                    (queue.key, times, [[queue.messages, queue.bytes], last].concat())
                }
                Detail::SysvSem(set) => {
                    let traces = set.semaphores.iter().flat_map(|one| [one.value.into(), one.last.into()]);
                    (set.key, [set.operated_at, 0, set.changed_at], traces.collect())
                }
                _ => return None,
            };
            return Some(Self::SystemV { id, key, uid, times, traces });
        }
        let home = if object.kind == Kind::PosixMq { own.ipc } else { own.mnt };
        if object.namespace.is_some() && object.namespace != home {
            return None;
        }
        Some(Self::Named {
            name: object.name.clone()?,
            identity: object.identity,
            changed: object.changed,
            lock: object.lock_file(),
        })
    }
}

/// What may be removed by these rules, kind by kind. Changes nothing.
///
/// A snapshot without [waits](Scan::waits) has no orphaned queues, one without [socket files](Scan::socket_files) no
/// dead sockets.
#[must_use]
pub fn plan(snapshot: &Snapshot, rules: &Rules) -> Vec<Step> {
    let step = |finding: &crate::model::Finding| {
        let object = snapshot.object(finding.object?);
        rules.allow(snapshot, object, finding.kind).then_some(())?;
        Some(Step {
            target: Target::of(snapshot, object)?,
            kind: object.kind,
            finding: finding.kind,
            evidence: finding.evidence.clone(),
        })
    };
    snapshot.findings().iter().filter_map(step).collect()
}

/// What became of one step.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It was removed.
    Removed,
    /// It was there no more.
    Gone,
    /// It was used or changed meanwhile, or another has its name or number: it was left alone.
    Changed,
    /// The system refused: no permission, most often. It was left alone.
    Failed(tieline_os::Error),
}

/// Looks at everything once more, and removes of these steps what is still there unchanged and without a user. One
/// outcome for each step, in order. Takes as long as a scan.
///
/// Between the last look and the removal lies one system call's time. What is taken up in that time is not broken by
/// it: a segment lives on with its attachment, a POSIX object with its descriptor; only a queue or semaphore set could
/// be lost to a program that found it in just that moment, which its owner's absence rules out.
///
/// # Errors
/// As [`Scan::take`]. Nothing was removed then.
pub fn perform(steps: &[Step]) -> Result<Vec<Outcome>> {
    let snapshot = Scan::new().fill(false).waits(true).socket_files(true).take()?;
    // Who made the plan had looser or stricter rules; what counts now is that nothing speaks against it any more than
    // it did then.
    let now = plan(&snapshot, &Rules { minimum_age: Duration::ZERO, kinds: None, under: None, unused: true });
    Ok(steps.iter().map(|step| perform_one(step, &snapshot, &now)).collect())
}

fn perform_one(step: &Step, snapshot: &Snapshot, now: &[Step]) -> Outcome {
    let is_same = |other: &&Step| other.kind == step.kind && other.target == step.target;
    let Some(found) = now.iter().find(is_same) else {
        return if is_there(step, snapshot) { Outcome::Changed } else { Outcome::Gone };
    };
    if found.finding == FindingKind::Unused && step.finding != FindingKind::Unused {
        return Outcome::Changed;
    }
    match remove(step) {
        Ok(true) => Outcome::Removed,
        Ok(false) => Outcome::Changed,
        Err(error) if error.kind() == ErrorKind::NotFound => Outcome::Gone,
        Err(error) => Outcome::Failed(error),
    }
}

/// Whether an object still has the name or number of a step, be it the same or another.
fn is_there(step: &Step, snapshot: &Snapshot) -> bool {
    snapshot.objects().iter().any(|object| {
        object.kind == step.kind
            && match &step.target {
                Target::SystemV { id, .. } => {
                    matches!(object.identity, Identity::SystemV { id: other, .. } if other == *id)
                        && Target::of(snapshot, object).is_some()
                }
                Target::Named { name, .. } => object.name.as_ref() == Some(name),
            }
    })
}

/// Removes the object if it is still the same: `false` if it is not.
fn remove(step: &Step) -> OsResult<bool> {
    match &step.target {
        Target::SystemV { id, .. } => remove_system_v(step, Id::new(*id)),
        Target::Named { name, identity, lock: Some(lock), .. } => {
            remove_dead_name(Path::new(OsStr::from_bytes(name.as_bytes())), *identity, *lock)
        }
        Target::Named { name, identity, changed, lock: None } => {
            let name = OsStr::from_bytes(name.as_bytes());
            match step.kind {
                Kind::PosixMq if !is_queue(name, *identity, *changed)? => return Ok(false),
                Kind::PosixMq => PosixQueue::unlink(name)?,
                Kind::PosixShm | Kind::PosixSem if !is_file(&shm_path(step.kind, name), *identity, *changed) => {
                    return Ok(false);
                }
                Kind::PosixShm => SharedMemory::unlink(name)?,
                Kind::PosixSem => NamedSemaphore::unlink(name)?,
                Kind::SocketFile => return remove_socket_file(Path::new(name), *identity),
                _ => return Ok(false),
            }
            Ok(true)
        }
    }
}

impl Step {
    /// The socket and the lock file of a name of `tieline-shm`.
    fn dead_name(&self) -> Option<(Text, Text)> {
        match &self.target {
            Target::Named { name, lock: Some(_), .. } => {
                let stem = name.as_bytes().strip_suffix(b".sock")?;
                Some((name.clone(), Text::from([stem, b".lock"].concat())))
            }
            _ => None,
        }
    }
}

fn remove_system_v(step: &Step, id: Id) -> OsResult<bool> {
    match step.kind {
        Kind::SysvShm => {
            let segment = Segment::from_id(id);
            let stat = segment.stat()?;
            let times = [stat.attached_at, stat.detached_at, stat.changed_at];
            let traces = [stat.last_user.unwrap_or_default().into()];
            if stat.attachments > 0 || !step.is_still(&stat.permissions, times, &traces) {
                return Ok(false);
            }
            segment.remove()?;
        }
        Kind::SysvMq => {
            let queue = MessageQueue::from_id(id);
            let stat = queue.stat()?;
            let last = [stat.last_sender, stat.last_receiver].map(|pid| pid.unwrap_or_default().into());
            let traces = [[stat.messages, stat.bytes], last].concat();
            if !step.is_still(&stat.permissions, [stat.sent_at, stat.received_at, stat.changed_at], &traces) {
                return Ok(false);
            }
            queue.remove()?;
        }
        _ => {
            let set = SemaphoreSet::from_id(id);
            let stat = set.stat()?;
            // A set that may not be read has no traces here and had none in the plan.
            let traces = traces_of(&set).unwrap_or_default();
            if !step.is_still(&stat.permissions, [stat.operated_at, None, stat.changed_at], &traces) {
                return Ok(false);
            }
            set.remove()?;
        }
    }
    Ok(true)
}

/// Value and last operator of each semaphore.
fn traces_of(set: &SemaphoreSet) -> OsResult<Vec<u64>> {
    let mut traces = Vec::new();
    for (index, value) in (0..).zip(set.values()?) {
        traces.extend([u64::from(value), set.last_operator(index)?.unwrap_or_default().into()]);
    }
    Ok(traces)
}

impl Step {
    /// Whether what the kernel says now is what the plan was made of: the number may be another object's by now.
    fn is_still(&self, now: &Permissions, now_times: [Option<SystemTime>; 3], now_traces: &[u64]) -> bool {
        let Target::SystemV { key, uid, times, traces, .. } = &self.target else { return false };
        let is_unused = now_times.map(seconds) == *times && now_traces == *traces;
        now.key.number() == *key && now.uid == *uid && is_unused
    }
}

fn seconds(time: Option<SystemTime>) -> i64 {
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn shm_path(kind: Kind, name: &OsStr) -> PathBuf {
    let name = name.as_bytes().strip_prefix(b"/").unwrap_or(name.as_bytes());
    let prefix: &[u8] = if kind == Kind::PosixSem { b"sem." } else { b"" };
    Path::new("/dev/shm").join(OsStr::from_bytes(&[prefix, name].concat()))
}

fn is_file(path: &Path, identity: Identity, changed: Option<SystemTime>) -> bool {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return false };
    let seconds = u64::try_from(metadata.ctime()).unwrap_or_default();
    let now = Duration::new(seconds, u32::try_from(metadata.ctime_nsec()).unwrap_or_default());
    identity == Identity::File { device: metadata.dev(), inode: metadata.ino() }
        && changed.is_none_or(|changed| SystemTime::UNIX_EPOCH.checked_add(now) == Some(changed))
}

/// Whether the queue of that name is still the one that was planned for, with no message sent or received since.
fn is_queue(name: &OsStr, identity: Identity, used: Option<SystemTime>) -> OsResult<bool> {
    let listed = PosixQueue::list_unmounted().or_else(|_| PosixQueue::list())?;
    Ok(listed.iter().any(|queue| {
        queue.name == name
            && identity == Identity::File { device: queue.device, inode: queue.inode }
            && used.is_none_or(|used| queue.used_at == used)
    }))
}

/// Removes the file of a socket if it is that file still and dead still. The directory in which it was looked at is the one
/// in which it is removed, and no part of the path may have become a link: whoever owns a directory on the way could
/// otherwise turn the removal to any other place.
fn remove_socket_file(path: &Path, identity: Identity) -> OsResult<bool> {
    let failed = |errno: Errno| tieline_os::Error::from_errno("remove the file of a socket", errno.raw_os_error());
    let (folder, name) = match Folder::of_file(path) {
        Ok(found) => found,
        // Something else has taken the place of a directory.
        Err(Errno::NOTDIR | Errno::LOOP | Errno::INVAL) => return Ok(false),
        Err(errno) => return Err(failed(errno)),
    };
    let file = folder.file(&name).map_err(failed)?;
    let stat = file.stat().map_err(failed)?;
    if identity != (Identity::File { device: stat.st_dev, inode: stat.st_ino }) || file.has_socket() != Some(false) {
        return Ok(false);
    }
    folder.remove(&name).map_err(failed)?;
    Ok(true)
}

/// The bytes of a name's lock file: the host's, and those of members and of who is about to be one.
const HOST: Range<u64> = 0..1;
const WANTED: Range<u64> = 1..3;

/// Removes the files of a name of `tieline-shm` as its last user would have done: as its host, and if nobody wants it. Until
/// they are gone nobody can found the name, and who joins meanwhile looks for the files again.
fn remove_dead_name(path: &Path, identity: Identity, lock: Identity) -> OsResult<bool> {
    let failed = |errno: Errno| tieline_os::Error::from_errno("remove the files of a name", errno.raw_os_error());
    let (folder, socket) = match Folder::of_file(path) {
        Ok(found) => found,
        Err(Errno::NOTDIR | Errno::LOOP | Errno::INVAL) => return Ok(false),
        Err(errno) => return Err(failed(errno)),
    };
    let Some(stem) = socket.as_bytes().strip_suffix(b".sock") else { return Ok(false) };
    let lock_name = [stem, b".lock"].concat();
    let lock_name = OsStr::from_bytes(&lock_name);
    let is = |stat: &Stat, other: Identity| other == (Identity::File { device: stat.st_dev, inode: stat.st_ino });
    let file = folder.to_lock(lock_name).map_err(failed)?;
    let host = match RangeLock::try_lock(file, LockKind::Exclusive, HOST) {
        Err(error) if error.is_would_block() => return Ok(false),
        host => host?,
    };
    let is_wanted = range_holder(host.file(), LockKind::Exclusive, WANTED)?.is_some();
    // What is locked must be what has the name now, and be what the plan was made of.
    let named = folder.file(lock_name).and_then(|named| named.stat()).map_err(failed)?;
    let locked = rustix::fs::fstat(host.file()).map_err(failed)?;
    let there = folder.file(&socket).map_err(failed)?;
    let is_same = is(&named, lock) && is(&locked, lock) && is(&there.stat().map_err(failed)?, identity);
    if is_wanted || !is_same || there.has_socket() != Some(false) {
        return Ok(false);
    }
    folder.remove(&socket).map_err(failed)?;
    folder.remove(lock_name).map_err(failed)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use tieline_os::posix::mq::Attributes;

    use super::*;

    fn identity(path: &Path) -> Identity {
        let metadata = std::fs::symlink_metadata(path).expect("there");
        Identity::File { device: metadata.dev(), inode: metadata.ino() }
    }

    #[test]
    fn a_queue_that_was_made_anew_under_the_name_is_left_alone() {
        let name = format!("/tieline-clean-{}", std::process::id());
        let size = Attributes { capacity: 1, message_size: 8 };
        let queue = || PosixQueue::create(&name, size, tieline_os::Access::ReadWrite, tieline_os::Mode::OWNER);
        let first = match queue() {
            Err(error) if error.is_unsupported() => tieline_testkit::skip!("{error}"),
            queue => queue.expect("made"),
        };
        let listed = PosixQueue::list_unmounted().or_else(|_| PosixQueue::list());
        let Ok(listed) = listed else { tieline_testkit::skip!("the queues may not be listed here") };
        let listed = listed.into_iter().find(|queue| queue.name == *name).expect("listed");
        let step = Step {
            target: Target::Named {
                name: Text::from(&name),
                identity: Identity::File { device: listed.device, inode: listed.inode },
                changed: Some(listed.used_at),
                lock: None,
            },
            kind: Kind::PosixMq,
            finding: FindingKind::Unused,
            evidence: Vec::new(),
        };
        PosixQueue::unlink(&name).expect("ours");
        let _second = queue().expect("made");
        // The first one is open still, so that the second cannot have its number.
        assert!(!remove(&step).expect("left alone"));
        PosixQueue::unlink(&name).expect("still there");
        drop(first);
    }

    #[test]
    fn a_dead_socket_is_not_removed_through_a_link_that_came_into_its_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("its path");
        std::fs::create_dir(path.join("other")).expect("made");
        drop(UnixListener::bind(path.join("other/socket")).expect("bound"));
        std::os::unix::fs::symlink("other", path.join("own")).expect("made");
        let identity = identity(&path.join("other/socket"));
        assert!(!remove_socket_file(&path.join("own/socket"), identity).expect("left alone"));
        assert!(path.join("other/socket").exists());
        assert!(remove_socket_file(&path.join("other/socket"), identity).expect("removed"));
        assert!(!path.join("other/socket").exists());
    }

    #[test]
    fn a_socket_file_that_is_bound_or_another_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("its path").join("socket");
        let _listener = UnixListener::bind(&path).expect("bound");
        assert!(!remove_socket_file(&path, identity(&path)).expect("left alone"));
        let other = Identity::File { device: 1, inode: 1 };
        assert!(!remove_socket_file(&path, other).expect("left alone"));
        assert!(path.exists());
    }
}
