//! What is said when processes meet, as bytes: little-endian, one message per packet. `docs/formats/shm-rendezvous.md`
//! has the picture.
//!
//! The invariant: whatever bytes come, reading them ends with a message or with `None`, and takes no more memory than
//! the packet did.

use super::{Access, Role};

/// The most bytes of one packet: the longest list of peers, and the longest text.
pub(super) const PACKET_MAX: usize = 32 * 1024;
/// The most bytes of the description of a layout that travel.
pub(super) const TEXT_MAX: usize = 8 * 1024;
/// The most bytes of an object's configuration.
pub(super) const CONFIG_MAX: usize = 4 * 1024;

const MAGIC: u32 = u32::from_le_bytes(*b"TLm\x01");

#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    #[cfg(test)]
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// At most `max` bytes of it.
    fn bytes(&mut self, bytes: &[u8], max: usize) {
        let bytes = &bytes[..bytes.len().min(max)];
        self.u32(u32::try_from(bytes.len()).unwrap_or(0));
        self.0.extend_from_slice(bytes);
    }
}

#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn bool(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn bytes(&mut self, max: usize) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok().filter(|len| *len <= max)?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<String> {
        let bytes = self.bytes(TEXT_MAX)?;
        // Control characters of a peer's text do not reach anybody's terminal.
        let text = String::from_utf8_lossy(bytes);
        Some(text.chars().map(|c| if c.is_control() && c != '\n' { '?' } else { c }).collect())
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// What somebody says who wants to join, or to join again after the host's death.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) kind: u32,
    pub(super) role: Role,
    pub(super) layout_hash: u64,
    pub(super) layout_text: String,
    pub(super) again: Option<Again>,
}

/// What a member says of itself to a new host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Again {
    pub(super) object: u64,
    pub(super) id: u64,
    pub(super) linked: Vec<u64>,
}

/// The host's yes. The core segment comes with it, if there is one, and then the roll, if other users share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Welcome {
    pub(super) id: u64,
    pub(super) object: u64,
    pub(super) owner: u32,
    pub(super) peers_max: u32,
    pub(super) layout_hash: u64,
    /// How many introductions follow at once.
    pub(super) introductions: u32,
    pub(super) has_core: bool,
    pub(super) has_roll: bool,
    /// The joiner's number, if it is locked on the roll.
    pub(super) number: Option<u32>,
    pub(super) access: Access,
    pub(super) config: Vec<u8>,
}

/// A counterpart; its line comes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Introduction {
    pub(super) id: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) pid: u32,
}

/// The host's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reason {
    /// It is of another kind, or the sides do not fit.
    Mismatch = 1,
    /// The access rule.
    Access = 2,
    /// As many members as it was made for, or no descriptor left.
    Full = 3,
    /// A member of an object that is gone: another has the name now.
    Stale = 4,
    /// Bytes without meaning.
    Protocol = 5,
    /// There is room, but no number: those of the dead are not yet free, or somebody keeps more than its own.
    Busy = 6,
}

/// The host's answer to who only asks, and joins nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) kind: u32,
    pub(super) owner: u32,
    pub(super) peers_max: u32,
    /// How many there are, the host included.
    pub(super) peers: u32,
    pub(super) layout_hash: u64,
    pub(super) layout_text: String,
    pub(super) config: Vec<u8>,
}

/// Either side of a line without a host. The core segment comes with it, from the side that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) hello: Hello,
    pub(super) welcome: Option<Welcome>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Hello(Hello),
    Welcome(Welcome),
    Introduction(Introduction),
    Refusal(Refusal),
    Greeting(Greeting),
    Question,
    Answer(Answer),
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.u32(MAGIC);
        match self {
            Self::Hello(hello) => {
                to.u8(1);
                hello.write(&mut to);
            }
            Self::Welcome(welcome) => {
                to.u8(2);
                welcome.write(&mut to);
            }
            Self::Introduction(introduction) => {
                to.u8(3);
                to.u64(introduction.id);
                to.u32(introduction.uid);
                to.u32(introduction.gid);
                to.u32(introduction.pid);
            }
            Self::Refusal(refusal) => {
                to.u8(4);
                to.u8(refusal.reason as u8);
                to.bytes(refusal.text.as_bytes(), TEXT_MAX);
            }
            Self::Greeting(greeting) => {
                to.u8(5);
                greeting.hello.write(&mut to);
                to.u8(greeting.welcome.is_some().into());
                if let Some(welcome) = &greeting.welcome {
                    welcome.write(&mut to);
                }
            }
            Self::Question => to.u8(6),
            Self::Answer(answer) => {
                to.u8(7);
                to.u32(answer.kind);
                to.u32(answer.owner);
                to.u32(answer.peers_max);
                to.u32(answer.peers);
                to.u64(answer.layout_hash);
                to.bytes(answer.layout_text.as_bytes(), TEXT_MAX);
                to.bytes(&answer.config, CONFIG_MAX);
            }
        }
        to.0
    }

    /// `None` if the bytes mean nothing, or something more.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        if from.u32()? != MAGIC {
            return None;
        }
        let message = match from.u8()? {
            1 => Self::Hello(Hello::read(&mut from)?),
            2 => Self::Welcome(Welcome::read(&mut from)?),
            3 => Self::Introduction(Introduction {
                id: from.u64()?,
                uid: from.u32()?,
                gid: from.u32()?,
                pid: from.u32()?,
            }),
            4 => Self::Refusal(Refusal { reason: Reason::read(&mut from)?, text: from.text()? }),
            5 => {
                let hello = Hello::read(&mut from)?;
                let welcome = match from.u8()? {
                    0 => None,
                    1 => Some(Welcome::read(&mut from)?),
                    _ => return None,
                };
                Self::Greeting(Greeting { hello, welcome })
            }
            6 => Self::Question,
            7 => Self::Answer(Answer {
                kind: from.u32()?,
                owner: from.u32()?,
                peers_max: from.u32()?,
                peers: from.u32()?,
                layout_hash: from.u64()?,
                layout_text: from.text()?,
                config: from.bytes(CONFIG_MAX)?.to_vec(),
            }),
            _ => return None,
        };
        from.end()?;
        Some(message)
    }
}

/// What the bytes mean, as bytes again; `None` if nothing. For the fuzzer.
#[cfg(feature = "steps")]
pub(crate) fn reread(bytes: &[u8]) -> Option<Vec<u8>> {
    Message::decode(bytes).map(|message| message.encode())
}

impl Hello {
    fn write(&self, to: &mut Writer) {
        to.u32(self.kind);
        to.u8(self.role as u8);
        to.u64(self.layout_hash);
        to.bytes(self.layout_text.as_bytes(), TEXT_MAX);
        to.u8(self.again.is_some().into());
        if let Some(again) = &self.again {
            to.u64(again.object);
            to.u64(again.id);
            to.u32(u32::try_from(again.linked.len()).unwrap_or(0));
            again.linked.iter().for_each(|id| to.u64(*id));
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (kind, role, layout_hash, layout_text) = (from.u32()?, Role::read(from.u8()?)?, from.u64()?, from.text()?);
        let again = match from.u8()? {
            0 => None,
            1 => {
                let (object, id, count) = (from.u64()?, from.u64()?, usize::try_from(from.u32()?).ok()?);
                if count > from.0.len() / 8 {
                    return None;
                }
                let linked = (0..count).map(|_| from.u64()).collect::<Option<_>>()?;
                Some(Again { object, id, linked })
            }
            _ => return None,
        };
        Some(Self { kind, role, layout_hash, layout_text, again })
    }
}

impl Welcome {
    fn write(&self, to: &mut Writer) {
        to.u64(self.id);
        to.u64(self.object);
        to.u32(self.owner);
        to.u32(self.peers_max);
        to.u64(self.layout_hash);
        to.u32(self.introductions);
        to.u8(self.has_core.into());
        to.u8(self.has_roll.into());
        to.u8(self.number.is_some().into());
        self.number.iter().for_each(|number| to.u32(*number));
        self.access.write(to);
        to.bytes(&self.config, CONFIG_MAX);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            id: from.u64()?,
            object: from.u64()?,
            owner: from.u32()?,
            peers_max: from.u32()?,
            layout_hash: from.u64()?,
            introductions: from.u32()?,
            has_core: from.bool()?,
            has_roll: from.bool()?,
            number: if from.bool()? { Some(from.u32()?) } else { None },
            access: Access::read(from)?,
            config: from.bytes(CONFIG_MAX)?.to_vec(),
        })
    }
}

impl Reason {
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        [Self::Mismatch, Self::Access, Self::Full, Self::Stale, Self::Protocol, Self::Busy]
            .into_iter()
            .nth(from.u8()?.checked_sub(1)?.into())
    }
}

impl Role {
    fn read(number: u8) -> Option<Self> {
        [Self::Sharer, Self::Reader, Self::Producer, Self::Consumer].into_iter().nth(number.checked_sub(1)?.into())
    }
}
