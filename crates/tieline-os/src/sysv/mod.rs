//! System V's three facilities: message queues ([`msg`]), semaphore sets ([`sem`]), shared memory ([`shm`]).
//!
//! They are the oldest IPC of Unix besides pipes, every system has them, and they are fast; what is old about them is
//! how their objects are named and how long they live. Take them to talk to programs that use them, for several
//! semaphores changed at once, or for messages picked by type; [`crate::posix`] compares the two families. For new
//! designs there is memory that is freed with its last user ([`crate::memfd`]), a queue that can be polled
//! ([`crate::posix::mq`]), and a lock that tells of its owner's death ([`crate::pthread`]).
//!
//! # What to know
//! * **An object is a number.** A [`Key`] is agreed on between programs; `open` and `create` turn it into an [`Id`],
//!   which the kernel chose and which any process may use as it is. A handle here ([`MessageQueue`](msg::MessageQueue),
//!   [`SemaphoreSet`](sem::SemaphoreSet), [`Segment`](shm::Segment)) is that id and nothing more: it is `Copy`, holds
//!   no descriptor, and cannot be polled.
//! * **An object stays until it is removed**, whoever exits or is killed, up to the end of its IPC namespace. Nothing
//!   here removes one by itself except [`RemoveOnDrop`], which a `kill -9` outruns. Every system has a limited number.
//! * **Opening checks nothing.** The [`Mode`] counts at each use (attach, send, operate …). The umask plays no part.
//! * **An id is not used again soon.** It holds a sequence number, so a handle to a removed object meets
//!   [`ErrorKind::Removed`], not the next object, until that number wraps, after hundreds of thousands of objects.
//! * **Interruption.** These calls are interrupted by every signal handler, also one installed with `SA_RESTART`. The
//!   plain forms go on by themselves; the `_interruptible` forms report it.
//! * **Namespaces.** Keys and ids mean something only within one IPC namespace (see `ipc_namespaces(7)`); a container has
//!   its own.
//!
//! The calls may be made from any thread and, save where they allocate (texts above 8 KiB, more than 16 operations,
//! errors that name their object), from a signal handler on Linux, although POSIX does not list them as safe there.
//!
//! The invariant of this module: no method works on an object other than the one its id named, and nothing the kernel
//! or a peer answers is trusted for a length.

mod key;
pub mod msg;
pub mod sem;
pub mod shm;

use std::fmt;
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

pub use key::{Key, ParseKeyError};

use crate::{Error, ErrorKind, Mode, Result, sys};

/// The kernel's number for one object, valid in the whole IPC namespace until the object is removed.
///
/// It can be handed to another process as a plain number, which needs no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(i32);

impl Id {
    /// The id with this number, as `ipcs` prints it.
    #[must_use]
    pub const fn new(number: i32) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who owns an object and who may use it.
///
/// Changing or removing it needs the owner, the creator, or `CAP_SYS_ADMIN`; using it needs a matching bit of `mode`
/// or `CAP_IPC_OWNER`. Owner and creator both count as the owner for `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Permissions {
    /// The key it was created with; [`Key::PRIVATE`] if it has none (any more).
    pub key: Key,
    /// The owner's user id.
    pub uid: u32,
    /// The owner's group id.
    pub gid: u32,
    /// The creator's user id, which never changes.
    pub creator_uid: u32,
    /// The creator's group id, which never changes.
    pub creator_gid: u32,
    /// Read and write bits for owner, group, others; execute bits have no meaning.
    pub mode: Mode,
}

impl Permissions {
    fn of(raw: &libc::ipc_perm) -> Self {
        Self {
            key: Key::new(sys::sysv_flavour::key_of(raw)),
            uid: raw.uid,
            gid: raw.gid,
            creator_uid: raw.cuid,
            creator_gid: raw.cgid,
            mode: mode_of(raw),
        }
    }
}

/// The mode with the flags that the kernel keeps beside it.
#[allow(clippy::useless_conversion, reason = "the field has 16 bits on some architectures and 32 on others")]
fn mode_bits(raw: &libc::ipc_perm) -> u32 {
    raw.mode.into()
}

fn mode_of(raw: &libc::ipc_perm) -> Mode {
    u16::try_from(mode_bits(raw) & 0o777).ok().and_then(Mode::new).expect("masked to nine bits")
}

/// Writes a new mode into what `IPC_SET` will read.
#[allow(clippy::useless_conversion, reason = "the field has 16 bits on some architectures and 32 on others")]
fn change_mode(raw: &mut libc::ipc_perm, mode: Mode) {
    raw.mode = mode.bits().into();
}

/// Writes new owners into what `IPC_SET` will read.
fn change_owner(raw: &mut libc::ipc_perm, uid: Option<u32>, gid: Option<u32>) {
    raw.uid = uid.unwrap_or(raw.uid);
    raw.gid = gid.unwrap_or(raw.gid);
}

/// An object that can be removed: a handle of one of the three families. Not to be implemented elsewhere.
pub trait Remove: sealed::Sealed + Copy {
    /// Removes the object for everybody; see the method of the same name on the handle.
    ///
    /// # Errors
    /// As that method.
    fn remove(self) -> Result<()>;
}

mod sealed {
    pub trait Sealed {}
}

/// A handle that removes its object when it is dropped, also by a panic.
///
/// Not when the process is killed or exits without unwinding. A child made by `fork` holds a copy and would remove the
/// object too.
///
/// ```
/// # use tieline_os::{Mode, sysv::{Key, RemoveOnDrop, sem::SemaphoreSet}};
/// let set = RemoveOnDrop::new(SemaphoreSet::create(Key::PRIVATE, 1, Mode::OWNER)?);
/// let id = set.id();
/// drop(set);
/// assert!(SemaphoreSet::from_id(id).value(0).is_err());
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it removes the object"]
pub struct RemoveOnDrop<T: Remove>(T);

impl<T: Remove> RemoveOnDrop<T> {
    /// Takes over the object behind `handle`.
    pub fn new(handle: T) -> Self {
        Self(handle)
    }

    /// Gives up the duty: the object stays.
    pub fn keep(self) -> T {
        std::mem::ManuallyDrop::new(self).0
    }
}

impl<T: Remove> std::ops::Deref for RemoveOnDrop<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Remove> Drop for RemoveOnDrop<T> {
    fn drop(&mut self) {
        let _ = self.0.remove();
    }
}

/// A walk over all objects of one family in this IPC namespace, whoever owns them.
///
/// It needs no read permission, and those of a `readable_` function skip what lacks it. It covers the slots in use when it began: an object made or removed meanwhile may or
/// may not be seen, each is seen at most once, and the walk never waits.
pub struct Walk<T> {
    next_slot: i32,
    last_slot: i32,
    skips_unreadable: bool,
    look: fn(i32) -> Result<T, Errno>,
}

impl<T> Walk<T> {
    fn new(last_slot: i32, look: fn(i32) -> Result<T, Errno>) -> Self {
        Self { next_slot: 0, last_slot, skips_unreadable: false, look }
    }

    /// A walk with a `look` that answers `EACCES` for what the caller may not read.
    fn of_readable(last_slot: i32, look: fn(i32) -> Result<T, Errno>) -> Self {
        Self { skips_unreadable: true, ..Self::new(last_slot, look) }
    }
}

impl<T> fmt::Debug for Walk<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").field("next_slot", &self.next_slot).field("last_slot", &self.last_slot).finish()
    }
}

impl<T> Iterator for Walk<T> {
    /// An error is one object that a security module hides; the walk goes on behind it.
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next_slot <= self.last_slot {
            let slot = self.next_slot;
            self.next_slot += 1;
            match (self.look)(slot) {
                // An empty slot, or one emptied at this moment.
                Err(Errno::INVAL | Errno::IDRM) => {}
                Err(Errno::ACCESS) if self.skips_unreadable => {}
                answer => {
                    return Some(answer.map_err(|errno| {
                        Error::new("look at System V object", errno).on(format_args!("in slot {slot}"))
                    }));
                }
            }
        }
        None
    }
}

/// The kernel counts whole seconds since 1970; 0 is never.
fn moment(seconds: i64) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds != 0)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// A process id; 0 is nobody, or a process that this pid namespace does not see.
fn process(pid: libc::pid_t) -> Option<u32> {
    u32::try_from(pid).ok().filter(|pid| *pid != 0)
}

/// The kernel's counters are never negative.
fn count(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// Refuses [`Key::PRIVATE`] where an existing object is meant: the kernel would make a new one.
fn check_names_something(operation: &'static str, key: Key) -> Result<()> {
    if key == Key::PRIVATE {
        return Err(Error::invalid(operation, "the private key names no object; create one, or open it by its id"));
    }
    Ok(())
}

/// A refusal of one of the three "get" calls.
fn get_refused(operation: &'static str, errno: Errno, key: Key, limits: &'static str) -> Error {
    let error = Error::new(operation, errno).on(format_args!("key {key}"));
    match errno {
        Errno::NOSPC => error.hint(limits),
        Errno::ACCESS => error.hint("an object with this key exists and its mode does not allow this"),
        _ => error,
    }
}

/// A refusal by an object that had this id. `EINVAL` must have no other meaning left than that it is gone.
fn refused(operation: &'static str, errno: Errno, id: Id) -> Error {
    let error = Error::new(operation, errno);
    match errno {
        // The answers of a polling loop: they carry nothing, so that they cost nothing.
        Errno::AGAIN | Errno::NOMSG | Errno::INTR | Errno::TIMEDOUT => error,
        Errno::INVAL | Errno::IDRM => {
            error.sorted_as(ErrorKind::Removed).on(format_args!("id {id}")).hint("nothing has this id any more")
        }
        Errno::ACCESS => error.on(format_args!("id {id}")).hint("its mode does not allow this to the caller"),
        Errno::PERM => error.on(format_args!("id {id}")).hint("only its owner, its creator or the administrator may"),
        _ => error.on(format_args!("id {id}")),
    }
}

/// Changes a part of an object's state: the kernel sets the parts only together, so the others are read first.
fn set_part<State>(
    operation: &'static str,
    id: Id,
    stat: fn(i32) -> Result<State, Errno>,
    set: fn(i32, &State) -> Result<(), Errno>,
    change: impl FnOnce(&mut State),
) -> Result<()> {
    let mut state = stat(id.number()).map_err(|errno| refused(operation, errno, id))?;
    change(&mut state);
    set(id.number(), &state).map_err(|errno| match errno {
        // Here it may also be about a user id.
        Errno::INVAL if stat(id.number()).is_ok() => Error::new(operation, errno)
            .on(format_args!("id {id}"))
            .hint("this user namespace has no such user or group"),
        _ => refused(operation, errno, id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_and_nobody_are_none() {
        assert_eq!((moment(0), process(0), process(-1)), (None, None, None));
        assert_eq!(moment(1), SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(1)));
    }

    #[test]
    fn a_walk_skips_empty_slots_and_reports_hidden_ones() {
        let look = |slot| match slot {
            0 | 3 => Err(Errno::INVAL),
            1 => Err(Errno::ACCESS),
            slot => Ok(slot),
        };
        let seen: Vec<_> = Walk::new(4, look).map(|item| item.map_err(|error| error.kind())).collect();
        assert_eq!(seen, [Err(ErrorKind::PermissionDenied), Ok(2), Ok(4)]);
        assert_eq!(Walk::new(-1, look).count(), 0);
    }
}
