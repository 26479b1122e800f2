//! System V semaphore sets: up to thousands of counters, of which several are changed in one indivisible step.
//!
//! What only they can do: take two resources or none ([`SemaphoreSet::operate`]), wait until a counter *is* zero, and
//! have the kernel take back a dead process's operations ([`Operation::undo`]). A value is from 0 to [`VALUE_MAX`].
//!
//! # The initialisation race
//! Creating a set and giving it its values are two calls. On Linux a new set is all zeros, so a second process that
//! opens it in between waits, or worse, sees zeros that mean something. [`SemaphoreSet::create_initialised`] and
//! [`SemaphoreSet::open_initialised`] close the gap in the way that works with programs in C, too: the creator marks
//! the set by a first operation, and the opener waits for the mark (`sem_otime`).
//!
//! # Undo
//! An operation with [`undo`](Operation::undo) is reversed by the kernel when its process ends, however it ends. That
//! suits a lock or a slot that the same process takes and gives back. It does not suit a counter that one process
//! raises and another lowers: each side's undo sum only grows, and one past 32,767 the operation fails (`TooLarge`),
//! after hours of faultless service. Setting values ([`SemaphoreSet::set_value`], [`SemaphoreSet::set_values`]) clears
//! everybody's undo sums for them.
//!
//! See sysvipc(7), and semop(2) for the calls.

use std::time::{Duration, SystemTime};

use rustix::io::{Errno, retry_on_intr};

use super::{
    Id, Key, Permissions, Remove, Walk, change_mode, change_owner, check_names_something, count, get_refused, moment,
    process, refused, sealed, set_part,
};
use crate::backoff::retry_with_pauses;
use crate::error::During;
use crate::sys::sysv_sem::{RawOperation, SemaphoreQuery, semid_ds};
use crate::wait::Wait;
use crate::{Error, ErrorKind, Mode, Result, sys};

/// The highest value of a semaphore.
pub const VALUE_MAX: u16 = 32_767;

/// Up to this many operations are handed to the kernel from the stack; more go by the heap.
const STACK_OPERATIONS: usize = 16;

/// A handle to one set of semaphores.
///
/// ```
/// use tieline_os::Mode;
/// use tieline_os::sysv::{Key, RemoveOnDrop};
/// use tieline_os::sysv::sem::{Operation, SemaphoreSet};
///
/// let set = RemoveOnDrop::new(SemaphoreSet::create_initialised(Key::PRIVATE, &[1, 5], Mode::OWNER)?);
/// // One of the first and three of the second, or nothing.
/// set.operate(&[Operation::new(0, -1).undo(), Operation::new(1, -3).undo()])?;
/// assert_eq!(set.values()?, [0, 2]);
/// assert!(set.try_operate(&[Operation::new(0, -1)]).unwrap_err().is_would_block());
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SemaphoreSet {
    id: Id,
}

/// A change of, or a condition on, one semaphore of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    index: u16,
    delta: i16,
    undo: bool,
    no_wait: bool,
}

impl Operation {
    /// Changes the semaphore at `index` (from 0) by `delta`.
    ///
    /// Above zero it adds and never waits. Below zero it waits until the value is large enough, and subtracts. Zero
    /// changes nothing: it waits until the value is zero.
    #[must_use]
    pub const fn new(index: u16, delta: i16) -> Self {
        Self { index, delta, undo: false, no_wait: false }
    }

    /// Waits until the semaphore at `index` is zero.
    #[must_use]
    pub const fn wait_for_zero(index: u16) -> Self {
        Self::new(index, 0)
    }

    /// The kernel shall reverse this when the process ends; see the [module's head](self) for when that is wrong.
    ///
    /// The process's sum of such changes is kept per semaphore, from -32,768 to 32,767.
    #[doc(alias = "SEM_UNDO")]
    #[must_use]
    pub const fn undo(self) -> Self {
        Self { undo: true, ..self }
    }

    /// If it is this operation for which the call would have to wait, the call answers `WouldBlock` instead.
    #[doc(alias = "IPC_NOWAIT")]
    #[must_use]
    pub const fn no_wait(self) -> Self {
        Self { no_wait: true, ..self }
    }

    /// Which semaphore.
    #[must_use]
    pub const fn index(self) -> u16 {
        self.index
    }

    /// By how much it changes; 0 is the wait for zero.
    #[must_use]
    pub const fn delta(self) -> i16 {
        self.delta
    }

    fn raw(self) -> RawOperation {
        let undo = if self.undo { libc::SEM_UNDO } else { 0 };
        let no_wait = if self.no_wait { libc::IPC_NOWAIT } else { 0 };
        // Both flags lie within fifteen bits.
        RawOperation { sem_num: self.index, sem_op: self.delta, sem_flg: (undo | no_wait) as i16 }
    }
}

/// The state of a set at one moment, save its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetStat {
    /// Its id.
    pub id: Id,
    /// Who may use it.
    pub permissions: Permissions,
    /// How many semaphores it has.
    pub semaphores: usize,
    /// When an operation was made last, in whole seconds; `None` before the first, which is how an opener sees that
    /// the creator is not done.
    pub operated_at: Option<SystemTime>,
    /// When it was created, or values or permissions were set last, in whole seconds.
    pub changed_at: Option<SystemTime>,
}

/// The limits of this IPC namespace for semaphore sets, changed by the administrator in `/proc/sys/kernel/sem`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Semaphores in one set (`SEMMSL`).
    pub semaphores_per_set_max: usize,
    /// Semaphores in all sets (`SEMMNS`).
    pub semaphores_max: usize,
    /// Operations in one call (`SEMOPM`).
    pub operations_max: usize,
    /// Sets (`SEMMNI`).
    pub sets_max: usize,
    /// The highest value (`SEMVMX`), always [`VALUE_MAX`] on Linux.
    pub value_max: usize,
}

/// How much of the limits of this IPC namespace is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Sets.
    pub sets: usize,
    /// Semaphores in all of them.
    pub semaphores: usize,
}

const TOO_MANY: &str =
    "the namespace's limit of sets or of semaphores in all sets (kernel.sem) is reached; remove unused ones";

impl SemaphoreSet {
    /// Opens the set with this key. Does not block, and checks no permission: that is done at each use.
    ///
    /// Its creator may not have given it values yet; see [`open_initialised`](Self::open_initialised).
    ///
    /// # Errors
    /// * `NotFound`: no set has this key.
    /// * `InvalidInput`: the key is [`Key::PRIVATE`], which names no set.
    #[doc(alias = "semget")]
    pub fn open(key: Key) -> Result<Self> {
        check_names_something("open semaphore set", key)?;
        Self::find("open semaphore set", key, 0, 0)
    }

    /// Creates the set with this key, which must not exist: `count` semaphores, for those whom `mode` lets in.
    ///
    /// The values are zero on Linux; POSIX leaves them undefined.
    ///
    /// # Errors
    /// * `AlreadyExists`: a set has this key.
    /// * `InvalidInput`: `count` is 0 or above [`Limits::semaphores_per_set_max`].
    /// * `LimitReached`: too many sets, or too many semaphores in all of them.
    #[doc(alias = "semget")]
    pub fn create(key: Key, count: u16, mode: Mode) -> Result<Self> {
        let flags = libc::IPC_CREAT | libc::IPC_EXCL | i32::from(mode.bits());
        Self::find("create semaphore set", key, count, flags)
    }

    /// Opens the set with this key, or creates it with `count` semaphores and `mode` if there is none.
    ///
    /// Who created it cannot be told, so nobody can know who should give it values: use it where zeros are right, or
    /// [`open_or_create_initialised`](Self::open_or_create_initialised).
    ///
    /// # Errors
    /// * `PermissionDenied`: it exists, and does not allow the caller what `mode` says.
    /// * `InvalidInput`: it exists with fewer semaphores; or as [`create`](Self::create).
    /// * `LimitReached`: as [`create`](Self::create).
    #[doc(alias = "semget")]
    pub fn open_or_create(key: Key, count: u16, mode: Mode) -> Result<Self> {
        Self::find("open or create semaphore set", key, count, libc::IPC_CREAT | i32::from(mode.bits()))
    }

    fn find(operation: &'static str, key: Key, count: u16, flags: i32) -> Result<Self> {
        let id = sys::sysv_sem::semget(key.number(), count, flags).map_err(|errno| {
            let error = get_refused(operation, errno, key, TOO_MANY);
            match errno {
                Errno::INVAL => error.hint(format!(
                    "it exists with fewer than {count} semaphores, or {count} is not from 1 to the limit (kernel.sem)"
                )),
                _ => error,
            }
        })?;
        Ok(Self { id: Id::new(id) })
    }

    /// Creates the set with this key, which must not exist, gives it one semaphore per value, and marks it as
    /// initialised.
    ///
    /// If the process is killed in between, the set stays without the mark: openers see `TimedOut`, and it has to be
    /// removed.
    ///
    /// # Errors
    /// * As [`create`](Self::create).
    /// * `TooLarge`: a value is above [`VALUE_MAX`]; nothing remains created.
    pub fn create_initialised(key: Key, values: &[u16], mode: Mode) -> Result<Self> {
        const OPERATION: &str = "create semaphore set";
        let count = u16::try_from(values.len()).map_err(|_| {
            Error::invalid(OPERATION, "a set has at most 65,535 semaphores").on(format_args!("key {key}"))
        })?;
        let set = Self::create(key, count, mode)?;
        set.initialise(values).inspect_err(|_| {
            let _ = set.remove();
        })?;
        Ok(set)
    }

    /// Gives all semaphores their values and then makes an operation without effect: it sets `sem_otime`.
    fn initialise(&self, values: &[u16]) -> Result<()> {
        self.set_values(values)?;
        let there_and_back = if values.first() == Some(&0) { [1, -1] } else { [-1, 1] };
        self.try_operate(&there_and_back.map(|delta| Operation::new(0, delta)))
    }

    /// Opens the set with this key and waits, at most `timeout`, until its creator has marked it as initialised by a
    /// first operation.
    ///
    /// Waiting is done by asking again, at pauses of 50 µs to 4 ms. On a set in use it costs two system calls.
    ///
    /// # Errors
    /// * `TimedOut`: no operation has been made on it; its creator is slow, does not follow the custom, or died.
    /// * `Removed`: it was removed meanwhile.
    /// * As [`open`](Self::open).
    #[doc(alias = "sem_otime")]
    pub fn open_initialised(key: Key, timeout: Duration) -> Result<Self> {
        const OPERATION: &str = "wait for the initialisation of semaphore set";
        let set = Self::open(key)?;
        let marked = || match sys::sysv_sem::stat(set.id.number())?.sem_otime {
            0 => Err(Errno::AGAIN),
            _ => Ok(set),
        };
        retry_with_pauses(Wait::timeout(timeout), marked).map_err(|errno| match errno {
            Errno::TIMEDOUT => Error::new(OPERATION, errno)
                .on(format_args!("key {key}"))
                .hint("its creator has made no operation on it yet; if that process is dead, remove the set"),
            _ => refused(OPERATION, errno, set.id),
        })
    }

    /// Creates the set with these values, or opens the one that is there once it is initialised: whoever comes first
    /// creates, everybody goes on when the values are in place.
    ///
    /// An existing set keeps its values and mode; only that it has enough semaphores is checked.
    ///
    /// # Errors
    /// * `InvalidInput`: it exists with fewer semaphores than there are values.
    /// * As [`create_initialised`](Self::create_initialised) and [`open_initialised`](Self::open_initialised), save
    ///   `AlreadyExists` and `NotFound`.
    pub fn open_or_create_initialised(key: Key, values: &[u16], mode: Mode, timeout: Duration) -> Result<Self> {
        let deadline = Wait::timeout(timeout);
        loop {
            match Self::create_initialised(key, values, mode) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                answer => return answer,
            }
            // It may be removed between the two calls, and made anew: then it is ours to try again.
            let left = deadline.remaining().unwrap_or(Duration::MAX);
            match Self::open_initialised(key, left) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Removed) && !deadline.is_over() => {}
                Err(error) => return Err(error),
                Ok(set) => {
                    let existing = set.stat()?.semaphores;
                    if existing < values.len() {
                        return Err(Error::invalid(
                            "open semaphore set",
                            format!("it has {existing} semaphores, not {}", values.len()),
                        )
                        .on(format_args!("key {key}")));
                    }
                    return Ok(set);
                }
            }
        }
    }

    /// The set with this id, unseen: whether there is one shows at the first use.
    #[must_use]
    pub const fn from_id(id: Id) -> Self {
        Self { id }
    }

    /// Its id, which another process may use directly.
    #[must_use]
    pub const fn id(&self) -> Id {
        self.id
    }

    /// Makes all operations in one indivisible step, waiting until all are possible at once; until then none is made.
    ///
    /// They are tried in the order given, so later ones see the values that earlier ones left. Waiters are served in
    /// the order of arrival only among those that could go on.
    ///
    /// # Errors
    /// * `InvalidInput`: no operations, or an index beyond the set.
    /// * `TooLarge`: more than [`Limits::operations_max`] operations; or a value would rise above [`VALUE_MAX`]; or
    ///   the process's undo sum would leave its range.
    /// * `WouldBlock`: an operation with [`no_wait`](Operation::no_wait) is not possible now.
    /// * `Removed`: the set is gone, or was removed meanwhile.
    /// * `PermissionDenied`: its mode does not let the caller write (or read, if all operations wait for zero).
    /// * `LimitReached`, `OutOfMemory`: no memory for the undo record or for the operations.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/semop.html>; semop(2).
    #[doc(alias = "semop")]
    pub fn operate(&self, operations: &[Operation]) -> Result<()> {
        self.operate_within(Wait::Forever, operations)
    }

    /// Makes all operations if that is possible now, else none.
    ///
    /// # Errors
    /// `WouldBlock` if it is not; else as [`operate`](Self::operate).
    pub fn try_operate(&self, operations: &[Operation]) -> Result<()> {
        self.operate_within(Wait::Never, operations)
    }

    /// Makes all operations in one step, waiting for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`; else as [`operate`](Self::operate).
    #[doc(alias = "semtimedop")]
    pub fn operate_timeout(&self, operations: &[Operation], timeout: Duration) -> Result<()> {
        self.operate_within(Wait::timeout(timeout), operations)
    }

    /// Makes all operations in one step, waiting until they are possible or a signal handler has run.
    ///
    /// # Errors
    /// `Interrupted` (none was made), also by a handler installed with `SA_RESTART`; else as
    /// [`operate`](Self::operate).
    pub fn operate_interruptible(&self, operations: &[Operation]) -> Result<()> {
        self.check_some(operations)?;
        with_raw(operations, |raw| sys::sysv_sem::semop(self.id.number(), raw))
            .map_err(|errno| self.operate_refused(errno, operations))
    }

    /// Waits until the semaphore at `index` is zero.
    ///
    /// # Errors
    /// As [`operate`](Self::operate).
    pub fn wait_for_zero(&self, index: u16) -> Result<()> {
        self.operate_within(Wait::Forever, &[Operation::wait_for_zero(index)])
    }

    /// Answers whether the semaphore at `index` is zero, by `WouldBlock` if not.
    ///
    /// # Errors
    /// As [`try_operate`](Self::try_operate).
    pub fn try_wait_for_zero(&self, index: u16) -> Result<()> {
        self.operate_within(Wait::Never, &[Operation::wait_for_zero(index)])
    }

    /// Waits for at most `timeout` until the semaphore at `index` is zero.
    ///
    /// # Errors
    /// As [`operate_timeout`](Self::operate_timeout).
    pub fn wait_for_zero_timeout(&self, index: u16, timeout: Duration) -> Result<()> {
        self.operate_within(Wait::timeout(timeout), &[Operation::wait_for_zero(index)])
    }

    fn operate_within(&self, wait: Wait, operations: &[Operation]) -> Result<()> {
        self.check_some(operations)?;
        with_raw(operations, |raw| match wait {
            Wait::Never => {
                raw.iter_mut().for_each(|operation| operation.sem_flg |= libc::IPC_NOWAIT as i16);
                sys::sysv_sem::semop(self.id.number(), raw)
            }
            Wait::Forever => retry_on_intr(|| sys::sysv_sem::semop(self.id.number(), raw)),
            Wait::Until(_) => retry_on_intr(|| {
                let left = wait.remaining().unwrap_or_default();
                sys::sysv_sem::semop_timeout(self.id.number(), raw, left)
            })
            .map_err(|errno| match errno {
                // The kernel says the same when the time is up and when an operation was told not to wait.
                Errno::AGAIN if wait.is_over() => Errno::TIMEDOUT,
                errno => errno,
            }),
        })
        .map_err(|errno| self.operate_refused(errno, operations))
    }

    /// With the empty case excluded, `EINVAL` means only that the set is gone.
    fn check_some(&self, operations: &[Operation]) -> Result<()> {
        if operations.is_empty() {
            return Err(Error::invalid("operate on semaphore set", "there must be at least one operation")
                .on(format_args!("id {}", self.id)));
        }
        Ok(())
    }

    fn operate_refused(&self, errno: Errno, operations: &[Operation]) -> Error {
        let error = refused("operate on semaphore set", errno, self.id);
        match errno {
            Errno::FBIG => error.sorted_as(ErrorKind::InvalidInput).hint(format!(
                "semaphore {} is beyond the end of the set",
                operations.iter().map(|operation| operation.index()).max().unwrap_or_default()
            )),
            Errno::TOOBIG => {
                error.hint(format!("{} operations are too many for one call (kernel.sem)", operations.len()))
            }
            Errno::RANGE => error.hint(format!(
                "a value would rise above {VALUE_MAX}, or this process's undo sum would; undo is not for counting \
                 between processes"
            )),
            _ => error,
        }
    }

    /// The value of the semaphore at `index`.
    ///
    /// # Errors
    /// * `InvalidInput`: the set has no such semaphore.
    /// * `Removed`: the set is gone.
    /// * `PermissionDenied`: its mode does not let the caller read.
    #[doc(alias = "GETVAL")]
    #[doc(alias = "semctl")]
    pub fn value(&self, index: u16) -> Result<u16> {
        let value = self.ask("read a value of semaphore set", index, SemaphoreQuery::Value)?;
        Ok(u16::try_from(value).unwrap_or(u16::MAX))
    }

    /// The process that changed the semaphore at `index` last, waited there for zero, or set its value.
    ///
    /// That is not who holds anything: the last may have been a release. `None` if nobody has yet, or if that process
    /// is not of our pid namespace; a process id may also have been used again since.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    #[doc(alias = "GETPID")]
    pub fn last_operator(&self, index: u16) -> Result<Option<u32>> {
        self.ask("read the last operator of semaphore set", index, SemaphoreQuery::LastOperator).map(process)
    }

    /// How many threads wait for the value at `index` to rise.
    ///
    /// A thread that waits for several semaphores counts at the one that stopped it.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    #[doc(alias = "GETNCNT")]
    pub fn waiters_for_increase(&self, index: u16) -> Result<usize> {
        self.ask("count the waiters of semaphore set", index, SemaphoreQuery::Increasers).map(count)
    }

    /// How many threads wait for the value at `index` to become zero.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    #[doc(alias = "GETZCNT")]
    pub fn waiters_for_zero(&self, index: u16) -> Result<usize> {
        self.ask("count the waiters of semaphore set", index, SemaphoreQuery::Zeroers).map(count)
    }

    fn ask(&self, operation: &'static str, index: u16, query: SemaphoreQuery) -> Result<i32> {
        sys::sysv_sem::value(self.id.number(), index, query)
            .map_err(|errno| self.semaphore_refused(operation, errno, index))
    }

    /// Sets the value of the semaphore at `index`, waking those for whom it is enough, and clears every process's
    /// undo sum for it.
    ///
    /// # Errors
    /// * `TooLarge`: the value is above [`VALUE_MAX`].
    /// * `PermissionDenied`: its mode does not let the caller write.
    /// * Else as [`value`](Self::value).
    #[doc(alias = "SETVAL")]
    pub fn set_value(&self, index: u16, value: u16) -> Result<()> {
        const OPERATION: &str = "set a value of semaphore set";
        sys::sysv_sem::set_value(self.id.number(), index, value)
            .map_err(|errno| self.semaphore_refused(OPERATION, errno, index))
    }

    /// `EINVAL` from a call with an index: the set has no such semaphore, or is gone.
    fn semaphore_refused(&self, operation: &'static str, errno: Errno, index: u16) -> Error {
        if errno == Errno::INVAL
            && let Ok(stat) = self.stat()
        {
            return Error::new(operation, errno)
                .on(format_args!("id {}", self.id))
                .hint(format!("it has {} semaphores, so none at {index}", stat.semaphores));
        }
        let error = refused(operation, errno, self.id);
        if errno == Errno::RANGE { error.hint(format!("the highest value is {VALUE_MAX}")) } else { error }
    }

    /// All values, as they were at one moment.
    ///
    /// # Errors
    /// * `Removed`: the set is gone.
    /// * `PermissionDenied`: its mode does not let the caller read.
    /// * `OutOfMemory`: no memory for them.
    #[doc(alias = "GETALL")]
    pub fn values(&self) -> Result<Vec<u16>> {
        const OPERATION: &str = "read the values of semaphore set";
        let count = self.stat_for(OPERATION)?.semaphores;
        sys::sysv_sem::values(self.id.number(), count).map_err(|errno| refused(OPERATION, errno, self.id))
    }

    /// Sets all values in one step, one for each semaphore, waking those for whom they are enough, and clears every
    /// process's undo sums.
    ///
    /// # Errors
    /// * `InvalidInput`: not as many values as the set has semaphores.
    /// * `TooLarge`: a value is above [`VALUE_MAX`]; none is set.
    /// * `PermissionDenied`: its mode does not let the caller write.
    /// * Else as [`values`](Self::values).
    #[doc(alias = "SETALL")]
    pub fn set_values(&self, values: &[u16]) -> Result<()> {
        const OPERATION: &str = "set the values of semaphore set";
        let count = self.stat_for(OPERATION)?.semaphores;
        if values.len() != count {
            return Err(Error::invalid(OPERATION, format!("it has {count} semaphores, not {}", values.len()))
                .on(format_args!("id {}", self.id)));
        }
        sys::sysv_sem::set_values(self.id.number(), values).map_err(|errno| {
            let error = refused(OPERATION, errno, self.id);
            if errno == Errno::RANGE { error.hint(format!("the highest value is {VALUE_MAX}")) } else { error }
        })
    }

    /// Its state at this moment; needs no permission.
    ///
    /// # Errors
    /// `Removed`: the set is gone.
    #[doc(alias = "IPC_STAT")]
    pub fn stat(&self) -> Result<SetStat> {
        self.stat_for("look at semaphore set")
    }

    fn stat_for(&self, operation: &'static str) -> Result<SetStat> {
        let raw = sys::sysv_sem::stat(self.id.number()).map_err(|errno| refused(operation, errno, self.id))?;
        Ok(SetStat::of(self.id, &raw))
    }

    /// Gives it to another user, another group, or both.
    ///
    /// The kernel changes owner and mode only together, so this reads them first; two processes that change them at
    /// once may undo each other's change.
    ///
    /// # Errors
    /// * `Removed`: the set is gone.
    /// * `PermissionDenied`: the caller is neither owner, creator nor administrator.
    /// * `InvalidInput`: this user namespace has no such user or group.
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        self.set("change the owner of semaphore set", |raw| change_owner(&mut raw.sem_perm, uid, gid))
    }

    /// Changes who may use it; otherwise as [`set_owner`](Self::set_owner).
    ///
    /// # Errors
    /// As [`set_owner`](Self::set_owner).
    pub fn set_mode(&self, mode: Mode) -> Result<()> {
        self.set("change the mode of semaphore set", |raw| change_mode(&mut raw.sem_perm, mode))
    }

    fn set(&self, operation: &'static str, change: impl FnOnce(&mut semid_ds)) -> Result<()> {
        set_part(operation, self.id, sys::sysv_sem::stat, sys::sysv_sem::set, change)
    }

    /// Removes it. Whoever waits at it gets `Removed` at once.
    ///
    /// # Errors
    /// * `Removed`: it was gone already.
    /// * `PermissionDenied`: the caller is neither owner, creator nor administrator.
    #[doc(alias = "IPC_RMID")]
    pub fn remove(self) -> Result<()> {
        sys::sysv_sem::remove(self.id.number()).map_err(|errno| refused("remove semaphore set", errno, self.id))
    }
}

impl sealed::Sealed for SemaphoreSet {}

impl Remove for SemaphoreSet {
    fn remove(self) -> Result<()> {
        Self::remove(self)
    }
}

impl SetStat {
    fn of(id: Id, raw: &semid_ds) -> Self {
        Self {
            id,
            permissions: Permissions::of(&raw.sem_perm),
            semaphores: raw.sem_nsems.try_into().unwrap_or(usize::MAX),
            operated_at: moment(raw.sem_otime),
            changed_at: moment(raw.sem_ctime),
        }
    }
}

/// Lends `call` the operations as the kernel reads them.
fn with_raw(
    operations: &[Operation],
    call: impl FnOnce(&mut [RawOperation]) -> Result<(), Errno>,
) -> Result<(), Errno> {
    if operations.len() <= STACK_OPERATIONS {
        let mut raw = [Operation::new(0, 0).raw(); STACK_OPERATIONS];
        let raw = &mut raw[..operations.len()];
        for (raw, operation) in raw.iter_mut().zip(operations) {
            *raw = operation.raw();
        }
        return call(raw);
    }
    let mut raw = Vec::new();
    raw.try_reserve_exact(operations.len()).map_err(|_| Errno::NOMEM)?;
    raw.extend(operations.iter().map(|operation| operation.raw()));
    call(&mut raw)
}

/// All semaphore sets of this IPC namespace, whoever owns them.
///
/// # Errors
/// `Other` with the kernel's number; no ordinary condition leads to it.
#[doc(alias = "SEM_STAT_ANY")]
#[doc(alias = "ipcs")]
pub fn sets() -> Result<Walk<SetStat>> {
    let (last_slot, _) = sys::sysv_sem::usage().during("list semaphore sets")?;
    Ok(Walk::new(last_slot, |slot| sys::sysv_sem::stat_any(slot).map(|(id, raw)| SetStat::of(Id::new(id), &raw))))
}

/// Those of [`sets`] that the caller may read, by their mode or by privilege.
///
/// # Errors
/// As [`sets`].
#[doc(alias = "SEM_STAT")]
pub fn readable_sets() -> Result<Walk<SetStat>> {
    let (last_slot, _) = sys::sysv_sem::usage().during("list semaphore sets")?;
    Ok(Walk::of_readable(last_slot, |slot| {
        sys::sysv_sem::stat_readable(slot).map(|(id, raw)| SetStat::of(Id::new(id), &raw))
    }))
}

/// The limits of this IPC namespace.
///
/// # Errors
/// As [`sets`].
#[doc(alias = "IPC_INFO")]
pub fn limits() -> Result<Limits> {
    let raw = sys::sysv_sem::limits().during("read the limits of semaphore sets")?;
    Ok(Limits {
        semaphores_per_set_max: count(raw.semmsl),
        semaphores_max: count(raw.semmns),
        operations_max: count(raw.semopm),
        sets_max: count(raw.semmni),
        value_max: count(raw.semvmx),
    })
}

/// How many sets and semaphores this IPC namespace has.
///
/// # Errors
/// As [`sets`].
#[doc(alias = "SEM_INFO")]
pub fn usage() -> Result<Usage> {
    let (_, raw) = sys::sysv_sem::usage().during("read the usage of semaphore sets")?;
    Ok(Usage { sets: count(raw.semusz), semaphores: count(raw.semaem) })
}
