//! Channels that carry types this program was not compiled with: what lies under a name, and values as bytes by the
//! layout that the name's owner tells.
//!
//! ```no_run
//! use tieline_shm::topic::Topic;
//! use tieline_shm::untyped;
//!
//! let found = untyped::look("camera")?;
//! println!("{} with {} members, of\n{}", found.what(), found.members(), found.carried().layout());
//! let mut frames = Topic::<[u8]>::open("camera")?.carrying(found.carried()).subscriber()?;
//! let frame = frames.recv()?;
//! println!("{} bytes", frame.len());
//! # Ok::<(), tieline_shm::Error>(())
//! ```
//!
//! The layout is the word of the name's owner. Bytes are shown by it whatever they are; bytes to be sent are
//! [checked](Contents::check) by it, and every receiver that has the type itself checks them again.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::channel::payload::{self, Payload};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Misfit, Schema, SchemaError};
use crate::rendezvous::{self, IntoName, Seen};
use crate::segment::Kind;

/// How long a host may take to answer: longer only if it is stopped.
const TIMEOUT: Duration = Duration::from_secs(5);

/// No layout of a stranger makes us reserve more for a value.
const VALUE_MAX_BYTES: usize = 1 << 30;

/// What the layout of a topic of slices begins with.
pub(crate) const SLICES: &str = "slices of ";

/// Asks who offers the name what it is, without joining it. Waits 5 s at most, for a host that does not answer.
///
/// # Errors
/// * `NotFound`: nobody offers the name.
/// * `PermissionDenied`: its rule lets this user neither publish nor subscribe, or its host is a user whose objects are
///   not accepted.
/// * `TimedOut`: its host is stopped. `Corrupted`: it answers nonsense. `InvalidInput`: it is no [`Name`](crate::Name).
pub fn look(name: impl IntoName) -> Result<Found> {
    rendezvous::look(&name.into_name()?, TIMEOUT).map(Found)
}

/// Tells when somebody may have begun to offer the name: make it, then [`look`], then wait until it is readable.
///
/// The directory of the name is watched (inotify), the user's own made if it is not there. It costs one descriptor, and
/// nothing while nothing happens there.
///
/// ```no_run
/// use tieline_os::poll::{self, Interest};
/// use tieline_shm::untyped;
///
/// let mut news = untyped::news("camera")?;
/// let found = loop {
///     match untyped::look("camera") {
///         Err(error) if error.kind() == tieline_shm::ErrorKind::NotFound => {}
///         found => break found?,
///     }
///     while !news.take()? {
///         poll::wait(&news, Interest::READABLE)?;
///     }
/// };
/// println!("{}", found.what());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `NotFound`: the directory is not there. `PermissionDenied`: it may not be listed, or is not to be believed.
/// `LimitReached`: descriptors, or `fs.inotify.max_user_instances`. `InvalidInput`: it is no [`Name`](crate::Name).
pub fn news(name: impl IntoName) -> Result<News> {
    rendezvous::Watch::new(&name.into_name()?).map(News)
}

/// What [`news`] gives: a descriptor that is readable when a look at the name may be worth while.
#[derive(Debug)]
pub struct News(rendezvous::Watch);

impl News {
    /// Takes what was told since the last call; whether a [`look`] is worth while. Never waits.
    ///
    /// # Errors
    /// `NotFound`: the directory is gone, and nothing more will be told.
    pub fn take(&mut self) -> Result<bool> {
        self.0.take()
    }
}

impl AsFd for News {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What lies under a name, as its host says.
#[derive(Debug)]
pub struct Found(Seen);

impl Found {
    /// What sort of object it is; a topic is told by its [`Kind::Log`].
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The same for people, with its article: `a topic`, `a queue`.
    #[must_use]
    pub fn what(&self) -> &'static str {
        rendezvous::kind_name(self.0.kind)
    }

    /// What its messages, items or values are.
    #[must_use]
    pub fn carried(&self) -> Carried {
        Carried { hash: self.0.layout_hash, layout: self.0.layout_text.clone() }
    }

    /// How many processes use it.
    #[must_use]
    pub fn members(&self) -> u32 {
        self.0.members
    }

    /// How many may.
    #[must_use]
    pub fn members_max(&self) -> u32 {
        self.0.members_max
    }

    /// The user who created it.
    #[must_use]
    pub fn owner(&self) -> u32 {
        self.0.owner
    }
}

/// What a channel carries, as those who meet at its name must agree on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    hash: u64,
    layout: String,
}

impl Carried {
    /// As [`hash`](Self::hash) and [`layout`](Self::layout) told it before, perhaps to a file. Nothing is checked: who
    /// meets others with a wrong hash is refused, and with a wrong layout shows nonsense.
    #[must_use]
    pub fn new(hash: u64, layout: impl Into<String>) -> Self {
        Self { hash, layout: layout.into() }
    }

    /// Messages of that type: `Carried::of::<Frame>()`, or `Carried::of::<[u8]>()` for bytes.
    #[must_use]
    pub fn of<P: Payload + ?Sized>() -> Self {
        Self { hash: payload::hash::<P>(), layout: payload::text::<P>() }
    }

    /// The number that is compared at joining.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The layout in words, as a [`Layout`](crate::Layout)'s `Display` gives it; `slices of` stands before it if a
    /// message is any number of values: `slices of u8` is bytes.
    #[must_use]
    pub fn layout(&self) -> &str {
        &self.layout
    }

    /// What the layout says.
    ///
    /// # Errors
    /// It is no layout that this version understands, or was too long to be told whole: then the messages can only be
    /// treated as bytes.
    pub fn contents(&self) -> Result<Contents, SchemaError> {
        if *self == Self::of::<[u8]>() {
            return Ok(Contents::Bytes);
        }
        let (text, many) = match self.layout.strip_prefix(SLICES) {
            Some(item) => (item, true),
            None => (self.layout.as_str(), false),
        };
        let schema: Schema = text.parse()?;
        if schema.size > VALUE_MAX_BYTES {
            return Err(SchemaError::too_large());
        }
        Ok(if many { Contents::Many(schema) } else { Contents::One(schema) })
    }
}

/// What a message consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Contents {
    /// Bytes, any number of them.
    Bytes,
    /// One value.
    One(Schema),
    /// Any number of values, one after the other.
    Many(Schema),
}

impl Contents {
    /// The length that each message has, if all have the same.
    #[must_use]
    pub fn len_bytes(&self) -> Option<usize> {
        match self {
            Self::One(schema) => Some(schema.size),
            Self::Bytes | Self::Many(_) => None,
        }
    }

    /// Whether these bytes are such a message: those who have the type refuse others.
    ///
    /// # Errors
    /// [`Unfit`] says what is wrong with them.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Unfit> {
        match self {
            Self::Bytes => Ok(()),
            Self::One(schema) if bytes.len() != schema.size => {
                Err(Unfit::Length { expected: schema.size, len: bytes.len() })
            }
            Self::One(schema) => schema.check(bytes).map_err(Unfit::Value),
            Self::Many(schema) if !bytes.len().is_multiple_of(schema.size.max(1)) => {
                Err(Unfit::Length { expected: schema.size, len: bytes.len() })
            }
            Self::Many(schema) => {
                bytes.chunks(schema.size.max(1)).try_for_each(|bytes| schema.check(bytes)).map_err(Unfit::Value)
            }
        }
    }

    /// A message as JSON, as [`Schema::to_json`] shows values; several values, and bytes, as an array (feature `json`).
    #[cfg(feature = "json")]
    #[must_use]
    pub fn to_json(&self, bytes: &[u8]) -> serde_json::Value {
        match self {
            Self::Bytes => bytes.iter().map(|byte| serde_json::Value::from(*byte)).collect(),
            Self::One(schema) => schema.to_json(bytes),
            Self::Many(schema) => bytes.chunks(schema.size.max(1)).map(|bytes| schema.to_json(bytes)).collect(),
        }
    }

    /// The message that `json` describes, in the form of [`to_json`](Self::to_json) (feature `json`).
    ///
    /// # Errors
    /// [`JsonError`](crate::JsonError) says where in the value something else should be.
    #[cfg(feature = "json")]
    pub fn from_json(&self, json: &serde_json::Value) -> Result<Vec<u8>, crate::JsonError> {
        let byte = || Schema { size: 1, shape: crate::SchemaShape::Primitive(crate::Primitive::U8) };
        match self {
            Self::Bytes => byte().many_from_json(json),
            Self::One(schema) => schema.from_json(json),
            Self::Many(schema) => schema.many_from_json(json),
        }
    }
}

/// Bytes that are no message of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfit {
    /// They are too few or too many.
    Length {
        /// How many a value has.
        expected: usize,
        /// How many they are.
        len: usize,
    },
    /// They hold what the type does not.
    Value(Misfit),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { expected, len } => write!(f, "a value has {expected} bytes, and these are {len}"),
            Self::Value(misfit) => misfit.fmt(f),
        }
    }
}

impl std::error::Error for Unfit {}

impl From<Unfit> for Error {
    fn from(unfit: Unfit) -> Self {
        Self::new("use the bytes", ErrorKind::InvalidInput).because(unfit.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ShmSafe;

    #[test]
    fn what_a_channel_carries_is_understood() {
        let of = |hash, text: String| Carried::new(hash, text).contents();
        assert_eq!(Carried::of::<[u8]>().contents(), Ok(Contents::Bytes));
        let one = Carried::of::<[u32; 2]>().contents().unwrap();
        assert_eq!((one.len_bytes(), one), (Some(8), Contents::One(Schema::from(<[u32; 2]>::LAYOUT))));
        let many = Carried::of::<[bool]>().contents().unwrap();
        assert_eq!((many.len_bytes(), many), (None, Contents::Many(Schema::from(bool::LAYOUT))));
        assert!(of(7, "something else".to_owned()).is_err());
    }

    #[test]
    fn who_waits_for_a_name_is_told_of_its_host_and_of_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let name = |name: &str| format!("{}/{name}", directory.path().display());
        let mut news = news(name("mine")).unwrap();
        assert!(!news.take().unwrap());
        let _other = crate::event::Event::create(name("other")).unwrap();
        assert!(!news.take().unwrap());
        let mine = crate::event::Event::create(name("mine")).unwrap();
        tieline_os::poll::wait_timeout(&news, tieline_os::poll::Interest::READABLE, TIMEOUT).unwrap();
        assert!(news.take().unwrap());
        assert_eq!(look(name("mine")).unwrap().kind(), Kind::Event);
        drop((mine, _other));
        drop(directory);
        let gone = tieline_testkit::until("the end", || news.take().err());
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn bytes_that_are_no_message_are_told() {
        let many = Contents::Many(Schema::from(<[bool; 2]>::LAYOUT));
        assert_eq!(many.check(&[0, 1, 1, 1]), Ok(()));
        assert_eq!(many.check(&[0, 1, 1]).unwrap_err().to_string(), "a value has 2 bytes, and these are 3");
        assert_eq!(many.check(&[0, 1, 1, 7]).unwrap_err().to_string(), "`[1]` should be true or false, and is 7");
    }
}
