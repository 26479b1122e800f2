//! Where a lock lies: in a segment that is handed on as a descriptor, or under a name.
//!
//! The invariant: nobody else has the memory before the lock in it is made. It must not know what locks are.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tieline_os::Access;

use crate::error::{Error, ErrorKind, Result};
use crate::rendezvous::{self, Joined, Members, Membership, Name, Offer, Participant, Role};
use crate::segment::{Kind, Purpose, Segment, SegmentOptions};

/// How often a lock, or a shared arena, may be open by its name at once, in all processes.
pub(crate) const HANDLES_MAX: u32 = 256;

/// A host that does not answer for so long is stopped.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What a lock is, for those who must have the same.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) kind: Kind,
    pub(crate) layout_hash: u64,
    /// In words, for the error of whoever has another.
    pub(crate) text: String,
}

impl Form {
    pub(in crate::sync) fn lock(layout_hash: u64, text: impl Into<String>) -> Self {
        Self { kind: Kind::Locks, layout_hash, text: text.into() }
    }
}

/// A lock to be made.
pub(crate) struct Plan<'a> {
    pub(crate) form: Form,
    pub(crate) len_bytes: usize,
    /// What lies between the table of members and the body, in bytes; for structures of two parts.
    pub(crate) front_bytes: usize,
    /// How its memory is obtained.
    pub(crate) memory: SegmentOptions,
    pub(crate) make: Maker<'a>,
}

/// Makes a lock, in memory full of zeros that nobody else has.
pub(crate) type Maker<'a> = Box<dyn FnOnce(&Segment) -> Result<()> + 'a>;

impl<'a> Plan<'a> {
    pub(in crate::sync) fn new(form: Form, len_bytes: usize, make: impl FnOnce(&Segment) -> Result<()> + 'a) -> Self {
        Self { form, len_bytes, front_bytes: 0, memory: SegmentOptions::new(""), make: Box::new(make) }
    }
}

/// A lock's memory, and its place at a name if it has one.
pub(crate) struct Place {
    segment: Segment,
    /// Keeps the name.
    _membership: Option<Membership>,
}

impl Place {
    /// Makes a lock in a segment without a name; `label` is for people.
    pub(crate) fn anonymous(label: &str, plan: Plan<'_>) -> Result<Self> {
        let purpose = Purpose { kind: plan.form.kind, name: label, layout_hash: plan.form.layout_hash };
        let segment = Segment::create(&purpose, plan.len_bytes)?;
        (plan.make)(&segment)?;
        Ok(Self { segment, _membership: None })
    }

    /// The lock whose segment a peer sent.
    pub(crate) fn received(fd: OwnedFd, form: &Form) -> Result<Self> {
        let segment = Segment::accept(fd, form.kind, form.layout_hash, Access::ReadWrite)?;
        Ok(Self { segment, _membership: None })
    }

    /// Makes a lock under a free name.
    pub(crate) fn create(name: &Name, plan: Plan<'_>) -> Result<Self> {
        Self::make(name, plan, rendezvous::create)
    }

    /// Opens the lock of that name, or makes it.
    pub(crate) fn open_or_create(name: &Name, plan: Plan<'_>) -> Result<Self> {
        Self::make(name, plan, rendezvous::open_or_create)
    }

    /// Opens the lock of that name.
    pub(crate) fn open(name: &Name, form: Form) -> Result<Self> {
        Self::of(rendezvous::open(name, offer(form, None), TIMEOUT)?)
    }

    fn make(name: &Name, plan: Plan<'_>, join: fn(&Name, Offer<'_>, Duration) -> Result<Joined>) -> Result<Self> {
        let Plan { form, len_bytes, front_bytes, memory, make } = plan;
        let (kind, layout_hash) = (form.kind, form.layout_hash);
        let core = Box::new(move || {
            let purpose = Purpose { kind, name: name.as_str(), layout_hash };
            let memory = memory.named(name.as_str()).front(table_bytes() + front_bytes);
            let segment = Segment::create_with(&purpose, len_bytes, &memory)?;
            make(&segment)?;
            segment.with_front(0).declare(&Members::facts(HANDLES_MAX))?;
            Ok(segment)
        });
        Self::of(join(name, offer(form, Some(core)), TIMEOUT)?)
    }

    fn of(joined: Joined) -> Result<Self> {
        let core = joined.core().ok_or_else(|| Error::new("open", ErrorKind::Corrupted).because("it has no memory"))?;
        let segment = core.share();
        let membership = joined.start(Arc::new(Bystander))?;
        Ok(Self { segment, _membership: Some(membership) })
    }

    /// The same place, with another view of its memory.
    pub(crate) fn moved(self, segment: Segment) -> Self {
        Self { segment, ..self }
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.segment.as_fd()
    }
}

/// How many bytes the table of members takes, with what is lost to alignment.
pub(crate) const fn table_bytes() -> usize {
    Members::bytes(HANDLES_MAX).next_multiple_of(128)
}

fn offer(form: Form, core: Option<rendezvous::CoreMaker<'_>>) -> Offer<'_> {
    Offer {
        kind: form.kind,
        role: Role::Sharer,
        layout_hash: form.layout_hash,
        layout_text: form.text,
        config: Vec::new(),
        // Whoever has a lock can write it and what it guards: nobody is let in by a rule.
        access: rendezvous::Access::owner(),
        members_max: HANDLES_MAX,
        core,
    }
}

/// What a lock does when others come and go: nothing, because the kernel itself gives back what the dead held.
struct Bystander;

impl Participant for Bystander {}

/// The constructors of a lock that has a name, from its `plan`, `form` and `over`.
macro_rules! by_name {
    ($what:literal; $($argument:ident: $type:ty),*; $($plan:expr),*) => {
        #[doc = concat!("Makes ", $what, " under a free name, for the processes of this user.")]
        ///
        /// It lives while any process has it open; the last to leave or die takes it along. Waits 5 s at most, for
        /// a host of the name that does not answer.
        ///
        /// # Errors
        /// * `AlreadyExists`: somebody uses the name. `InvalidInput`: it is no [`Name`](crate::Name), or as for
        ///   [`anonymous`](Self::anonymous).
        /// * `PermissionDenied`, `NotFound`: of the directory of names. `OutOfMemory`, `LimitReached`, `System`.
        pub fn create(name: impl crate::IntoName, $($argument: $type),*) -> crate::Result<Self> {
            let name = name.into_name()?;
            Self::over(crate::sync::place::Place::create(&name, Self::plan($($plan),*)?)?, name.as_str())
        }

        #[doc = concat!("Opens ", $what, " by its name, as its creator made it.")]
        ///
        /// It can be open 256 times at once, in all processes. Waits 5 s at most, for a host that does not answer.
        ///
        /// # Errors
        /// * `NotFound`: nobody uses the name. `Mismatch`: it is something else's; the text shows both.
        /// * `PermissionDenied`: it is another user's. `LimitReached`: it is open 256 times. `TimedOut`: its host is
        ///   stopped. `Corrupted`; `InvalidInput`, `OutOfMemory`, `System`.
        pub fn open(name: impl crate::IntoName) -> crate::Result<Self> {
            let name = name.into_name()?;
            Self::over(crate::sync::place::Place::open(&name, Self::form())?, name.as_str())
        }

        #[doc = concat!("Opens ", $what, " by its name, or makes it.")]
        ///
        /// Of all who call it at the same moment one makes it, and nobody finds it half made. What the others gave is
        /// ignored.
        ///
        /// # Errors
        /// As [`create`](Self::create) and [`open`](Self::open).
        pub fn open_or_create(name: impl crate::IntoName, $($argument: $type),*) -> crate::Result<Self> {
            let name = name.into_name()?;
            Self::over(crate::sync::place::Place::open_or_create(&name, Self::plan($($plan),*)?)?, name.as_str())
        }
    };
}
pub(crate) use by_name;
