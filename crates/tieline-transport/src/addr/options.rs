//! What may follow the question mark: typed options, each of which knows its name, its meaning and its values.
//!
//! The invariant: an [`Options`] holds only values that print and parse back to themselves. Which option fits which
//! scheme is the scheme table's business.

use std::fmt;
use std::time::Duration;

use tieline_os::Mode;

use super::error::{AddressError, AddressErrorKind};
use super::percent::{decode_text, encode};
use super::piece::Piece;
use super::quantity::{duration, parse_duration, parse_size, size};
use super::scheme::{Scheme, edits};
use crate::frame::Framing;

/// The options of an address; every one may be absent.
///
/// ```
/// use std::time::Duration;
/// use tieline_transport::addr::Address;
/// let address: Address = "fifo:/tmp/f?mode=640&timeout=5s".parse().unwrap();
/// assert_eq!(address.options().timeout, Some(Duration::from_secs(5)));
/// assert_eq!(address.options().mode.unwrap().to_string(), "0640");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Options {
    /// Permission bits of what is created.
    pub mode: Option<Mode>,
    /// Who shall own what is created.
    pub owner: Option<Owner>,
    /// How much fits: bytes of a pipe, a socket's buffers, a memory; messages of a POSIX queue; bytes of a System V one.
    pub capacity: Option<u64>,
    /// The largest message in bytes: of a queue when it is created, and of what is received.
    pub message_size: Option<u64>,
    /// How long opening may wait for the other side.
    pub timeout: Option<Duration>,
    /// Whether to wait for a peer at the address instead of going to one.
    pub listen: Option<bool>,
    /// The address of our own end, where it matters; of the same kind as the target.
    pub bind: Option<String>,
    /// Whether to make the object.
    pub create: Option<Create>,
    /// The first byte of a memory or file to use.
    pub offset: Option<u64>,
    /// How many bytes of it to use.
    pub length: Option<u64>,
    /// The type of a System V message: sent with it; received by it, where 0 is any and negative the lowest up to it.
    pub kind: Option<i64>,
    /// The priority of a POSIX queue's message.
    pub priority: Option<u32>,
    /// How messages are marked off in bytes.
    pub frame: Option<Framing>,
}

/// The name of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Key {
    /// [`Options::mode`]
    Mode,
    /// [`Options::owner`]
    Owner,
    /// [`Options::capacity`]
    Capacity,
    /// [`Options::message_size`]
    MessageSize,
    /// [`Options::timeout`]
    Timeout,
    /// [`Options::listen`]
    Listen,
    /// [`Options::bind`]
    Bind,
    /// [`Options::create`]
    Create,
    /// [`Options::offset`]
    Offset,
    /// [`Options::length`]
    Length,
    /// [`Options::kind`], written `type`
    Type,
    /// [`Options::priority`]
    Priority,
    /// [`Options::frame`]
    Frame,
}

/// Whether opening makes the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Create {
    /// It must exist.
    No,
    /// It is made if it does not exist.
    Yes,
    /// It must not exist.
    New,
}

/// A user and a group, as `chown` takes them; at least one of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    user: Option<String>,
    group: Option<String>,
}

impl Owner {
    /// The user's name or number.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The group's name or number.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    fn parse(text: &str) -> Option<Self> {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let plain = |name: &str| !name.is_empty() && !name.contains([':', '\0', '\n']);
        let user = if user.is_empty() { None } else { Some(user) };
        let fits = user.is_none_or(plain) && group.is_none_or(plain) && (user.is_some() || group.is_some());
        fits.then(|| Self { user: user.map(str::to_owned), group: group.map(str::to_owned) })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.user().unwrap_or_default())?;
        self.group().map_or(Ok(()), |group| write!(f, ":{group}"))
    }
}

impl Key {
    /// Every option, in the order in which they are printed.
    pub const ALL: [Self; 13] = [
        Self::Create,
        Self::Mode,
        Self::Owner,
        Self::Capacity,
        Self::MessageSize,
        Self::Timeout,
        Self::Listen,
        Self::Bind,
        Self::Offset,
        Self::Length,
        Self::Type,
        Self::Priority,
        Self::Frame,
    ];

    /// The word before the equals sign.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// An example of its value.
    #[must_use]
    pub fn example(self) -> &'static str {
        self.words().1
    }

    /// Its meaning in a line.
    #[must_use]
    pub fn summary(self) -> &'static str {
        self.words().2
    }

    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Mode => ("mode", "0640", "permission bits of what is created, in octal"),
            Self::Owner => ("owner", "app:staff", "user, user:group or :group of what is created"),
            Self::Capacity => ("capacity", "64K", "how much fits: bytes, or messages of mq:"),
            Self::MessageSize => ("message-size", "8K", "the largest message in bytes"),
            Self::Timeout => ("timeout", "5s", "how long opening may wait for the other side"),
            Self::Listen => ("listen", "yes", "wait for a peer here instead of going to one: yes or no"),
            Self::Bind => ("bind", "127.0.0.1:7001", "the address of our own end, in the scheme's form"),
            Self::Create => ("create", "yes", "make the object: yes (if missing), new (must be missing) or no"),
            Self::Offset => ("offset", "4K", "the first byte to use"),
            Self::Length => ("length", "1M", "how many bytes to use"),
            Self::Type => ("type", "2", "the message's type; on receiving 0 is any, negative the lowest up to it"),
            Self::Priority => ("priority", "3", "the message's priority, from 0 to 32767"),
            Self::Frame => ("frame", "line", "how messages are marked off in bytes: line, nul, u32, …"),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The highest priority of a POSIX message (`MQ_PRIO_MAX - 1`).
const MAX_PRIORITY: u32 = 32_767;

impl Options {
    /// Reads `key=value&key=value` for an address of `scheme`.
    pub(super) fn parse(scheme: Scheme, text: Piece<'_>) -> Result<Self, AddressError> {
        let mut options = Self::default();
        for pair in text.parts('&') {
            let (name, value) = pair.split('=').ok_or_else(|| {
                AddressError::new(
                    AddressErrorKind::OptionValue,
                    pair.at,
                    format!("option {:?} has no value", pair.text),
                    format!("write options as key=value joined by &; {}", fitting(scheme)),
                )
            })?;
            let key = key(scheme, name)?;
            if options.has(key) {
                let what = format!("option {key} stands there twice");
                return Err(AddressError::new(AddressErrorKind::DuplicateOption, name.at, what, "write it once"));
            }
            options.set(key, value)?;
        }
        Ok(options)
    }

    /// Whether the option is there.
    #[must_use]
    pub fn has(&self, key: Key) -> bool {
        self.value(key).is_some()
    }

    /// The options that are there, as text before percent-encoding.
    pub fn pairs(&self) -> impl Iterator<Item = (Key, String)> {
        Key::ALL.into_iter().filter_map(|key| Some((key, self.value(key)?)))
    }

    fn value(&self, key: Key) -> Option<String> {
        match key {
            Key::Mode => self.mode.map(|mode| mode.to_string()),
            Key::Owner => self.owner.as_ref().map(Owner::to_string),
            Key::Capacity => self.capacity.map(|bytes| size(bytes).to_string()),
            Key::MessageSize => self.message_size.map(|bytes| size(bytes).to_string()),
            Key::Timeout => self.timeout.map(|time| duration(time).to_string()),
            Key::Listen => self.listen.map(|listen| if listen { "yes" } else { "no" }.to_owned()),
            Key::Bind => self.bind.clone(),
            Key::Create => self.create.map(|create| create.to_string()),
            Key::Offset => self.offset.map(|bytes| size(bytes).to_string()),
            Key::Length => self.length.map(|bytes| size(bytes).to_string()),
            Key::Type => self.kind.map(|kind| kind.to_string()),
            Key::Priority => self.priority.map(|priority| priority.to_string()),
            Key::Frame => self.frame.map(|frame| frame.to_string()),
        }
    }

    fn set(&mut self, key: Key, piece: Piece<'_>) -> Result<(), AddressError> {
        let text = decode_text(piece)?;
        let text = text.as_str();
        let refused = |why: String| {
            AddressError::new(
                AddressErrorKind::OptionValue,
                piece.at,
                format!("option {key}: {why}"),
                format!("{} is {}, for example {}={}", key, key.summary(), key, key.example()),
            )
        };
        let odd = || refused(format!("{text:?} is not a value of it"));
        let bytes = || parse_size(text).map_err(|error| refused(error.to_string()));
        match key {
            Key::Mode => self.mode = Some(text.parse().map_err(|_| odd())?),
            Key::Owner => self.owner = Some(Owner::parse(text).ok_or_else(odd)?),
            Key::Capacity => self.capacity = Some(bytes()?),
            Key::MessageSize => self.message_size = Some(bytes()?),
            Key::Timeout => self.timeout = Some(parse_duration(text).map_err(|error| refused(error.to_string()))?),
            Key::Listen => self.listen = Some(yes_or_no(text).ok_or_else(odd)?),
            Key::Bind if text.is_empty() || text.contains('\0') => return Err(odd()),
            Key::Bind => self.bind = Some(text.to_owned()),
            Key::Create => self.create = Some(Create::parse(text).ok_or_else(odd)?),
            Key::Offset => self.offset = Some(bytes()?),
            Key::Length => self.length = Some(bytes()?),
            Key::Type => self.kind = Some(text.parse().map_err(|_| odd())?),
            Key::Priority => {
                let priority = text.parse().ok().filter(|priority| *priority <= MAX_PRIORITY);
                self.priority = Some(priority.ok_or_else(odd)?);
            }
            Key::Frame => self.frame = Some(text.parse().map_err(|error| refused(format!("{error}")))?),
        }
        Ok(())
    }
}

impl fmt::Display for Options {
    /// `?key=value&…`, or nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.pairs().enumerate() {
            let mark = if index == 0 { '?' } else { '&' };
            write!(f, "{mark}{key}={}", encode(value.as_bytes(), &['&', '?']))?;
        }
        Ok(())
    }
}

impl Create {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "new" => Some(Self::New),
            other => yes_or_no(other).map(|yes| if yes { Self::Yes } else { Self::No }),
        }
    }
}

impl fmt::Display for Create {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "no",
            Self::Yes => "yes",
            Self::New => "new",
        })
    }
}

fn yes_or_no(text: &str) -> Option<bool> {
    match text {
        "yes" | "true" | "1" => Some(true),
        "no" | "false" | "0" => Some(false),
        _ => None,
    }
}

fn key(scheme: Scheme, name: Piece<'_>) -> Result<Key, AddressError> {
    let Some(key) = Key::ALL.into_iter().find(|key| key.name() == name.text) else {
        let nearest = scheme.options().iter().find(|key| edits(name.text, key.name()) <= 2);
        let meant = nearest.map(|key| format!("did you mean {key}? ")).unwrap_or_default();
        return Err(AddressError::new(
            AddressErrorKind::UnknownOption,
            name.at,
            format!("there is no option {:?}", name.text),
            format!("{meant}{}", fitting(scheme)),
        ));
    };
    if scheme.options().contains(&key) {
        return Ok(key);
    }
    Err(AddressError::new(
        AddressErrorKind::OptionDoesNotFit,
        name.at,
        format!("option {key} does not fit {scheme}: addresses"),
        fitting(scheme),
    ))
}

fn fitting(scheme: Scheme) -> String {
    let names: Vec<&str> = scheme.options().iter().map(|key| key.name()).collect();
    match names.as_slice() {
        [] => format!("{scheme}: takes no options"),
        names => format!("{scheme}: takes {}", names.join(", ")),
    }
}
