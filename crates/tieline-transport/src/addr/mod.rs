//! Addresses: one grammar for every way two processes can meet, used by the library, the command and configuration.
//!
//! An address is `SCHEME:TARGET?OPTIONS`. The scheme says which facility ([`Scheme`] lists them all), the target says
//! which object, the options say how to open or create it. The grammar to the letter, with an example for each
//! scheme, is in `docs/formats/addresses.md`.
//!
//! The invariant: an [`Address`] prints as a text that parses to the same address. Nothing here opens anything, and
//! nothing here depends on the machine: schemes whose transports a build lacks are read and written like the others.
//!
//! ```
//! use tieline_transport::addr::{Address, Target};
//!
//! let address: Address = "mq:/jobs?priority=3&timeout=5s".parse().unwrap();
//! assert!(matches!(address.target(), Target::Mq(name) if name == "/jobs"));
//! assert_eq!(address.options().priority, Some(3));
//! assert_eq!(address.to_string(), "mq:/jobs?timeout=5s&priority=3");
//! ```

mod error;
mod options;
mod percent;
mod piece;
pub mod quantity;
mod scheme;
mod target;

use std::fmt;
use std::str::FromStr;

pub use self::error::{AddressError, AddressErrorKind};
pub use self::options::{Create, Key, Options, Owner};
use self::piece::Piece;
pub use self::scheme::Scheme;
pub use self::target::{Authority, Cid, Host, SysvName, Target, UnixName};

/// Where something is to be opened, and how.
///
/// Read one with `parse`; make one from parts with [`Address::new`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    target: Target,
    options: Options,
}

impl Address {
    /// Puts an address together.
    ///
    /// ```
    /// use tieline_transport::addr::{Address, Options, Target, UnixName};
    /// let target = Target::Unix(UnixName::Path("/tmp/a b".into()));
    /// let mut options = Options::default();
    /// options.listen = Some(true);
    /// assert_eq!(Address::new(target, options).unwrap().to_string(), "unix:/tmp/a%20b?listen=yes");
    /// ```
    ///
    /// # Errors
    /// If no text stands for it: an empty name, a NUL in a path, an option that does not fit the scheme, a priority
    /// above the highest.
    pub fn new(target: Target, options: Options) -> Result<Self, AddressError> {
        let address = Self { target, options };
        let text = address.to_string();
        let read: Self = text.parse()?;
        if read == address {
            return Ok(address);
        }
        let what = "its parts do not survive being written and read";
        Err(AddressError::new(AddressErrorKind::Target, 0, what, format!("this would be read back: {read:?}"))
            .of(&text))
    }

    /// Which facility.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.target.scheme()
    }

    /// Which object.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// How to open or create it.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The same target with other options.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_options(&self, options: Options) -> Result<Self, AddressError> {
        Self::new(self.target.clone(), options)
    }

    /// The target named by the `bind` option: where our own end shall be.
    #[must_use]
    pub fn bind(&self) -> Option<Target> {
        let text = self.options.bind.as_deref()?;
        target::parse(self.scheme(), Piece { text, at: 0 }).ok()
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse(text).map_err(|error| error.of(text))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}{}", self.scheme(), self.target, self.options)
    }
}

fn parse(text: &str) -> Result<Address, AddressError> {
    let Some((name, rest)) = (Piece { text, at: 0 }).split(':').filter(|(name, _)| looks_like_scheme(name.text)) else {
        return Err(AddressError::new(AddressErrorKind::NoScheme, 0, "it has no scheme", without_scheme(text)));
    };
    let Some(scheme) = Scheme::named(name.text) else {
        let what = format!("there is no scheme {:?}", name.text);
        return Err(AddressError::new(AddressErrorKind::UnknownScheme, 0, what, unknown_scheme(name.text, text)));
    };
    if scheme.options().is_empty() {
        // The rest belongs to a shell or to somebody else's grammar: a question mark is theirs.
        return Ok(Address { target: target::parse(scheme, rest)?, options: Options::default() });
    }
    let (wanted, options) = rest.split('?').map_or((rest, None), |(wanted, options)| (wanted, Some(options)));
    let target = target::parse(scheme, wanted)?;
    let options = options.map_or_else(|| Ok(Options::default()), |options| Options::parse(scheme, options))?;
    if let Some(bind) = &options.bind {
        target::parse(scheme, Piece { text: bind, at: 0 }).map_err(|error| {
            let at = options_value_position(text, "bind=");
            AddressError::new(AddressErrorKind::OptionValue, at, format!("option bind: {}", error.what()), error.how())
        })?;
    }
    Ok(Address { target, options })
}

fn options_value_position(text: &str, key: &str) -> usize {
    let options = text.find('?').unwrap_or_default();
    text[options..].find(key).map_or(options, |index| options + index + key.len())
}

fn looks_like_scheme(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '+' | '.' | '_'))
}

/// What somebody may have meant who wrote no scheme.
fn without_scheme(text: &str) -> String {
    let path = percent::encode(text.as_bytes(), &['?']);
    if text.is_empty() {
        "write SCHEME:TARGET, such as unix:/run/app.sock or tcp:localhost:7000".to_owned()
    } else if text == "-" {
        "for standard input and output write stdio:".to_owned()
    } else if text.starts_with('@') {
        format!("for an abstract Unix socket write unix:{path}")
    } else if is_port(text) {
        format!("for a TCP port of this host write tcp:localhost:{text}, for a descriptor fd:{text}")
    } else if text.rsplit_once(':').is_some_and(|(_, port)| is_port(port)) && !text.contains('/') {
        format!("for a TCP connection write tcp:{text}")
    } else {
        format!("for a Unix socket write unix:{path}, for a named pipe fifo:{path}, for a file file:{path}")
    }
}

fn unknown_scheme(name: &str, text: &str) -> String {
    let (here, later): (Vec<Scheme>, Vec<Scheme>) = Scheme::all().partition(|scheme| scheme.is_available());
    let names = |schemes: Vec<Scheme>| schemes.into_iter().map(Scheme::name).collect::<Vec<_>>().join(", ");
    let known = format!("{}; this build reads, but cannot open, {}", names(here), names(later));
    let rest = &text[name.len() + 1..];
    let port = rest.split(['/', '?']).next().unwrap_or_default();
    match scheme::suggestion(name) {
        Some(meant) => format!("did you mean {meant}? The schemes are {known}"),
        None if is_port(port) => format!("for a TCP connection write tcp:{text}; the schemes are {known}"),
        None => format!("the schemes are {known}"),
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests;
