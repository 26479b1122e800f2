//! Names of Unix sockets.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::sys::socket::RawName;

/// The longest pathname the kernel's `sun_path` takes with its closing NUL, in bytes.
pub(super) const PATH_MAX_BYTES: usize = 107;

/// The name of a Unix socket: a path in the file system, an abstract name, or none.
///
/// * A **path** is a file: directory permissions and the file's mode say who may connect, the name outlives the
///   process, and every mount namespace has its own.
/// * An **abstract** name is up to 107 bytes, any bytes, NUL included, counted by length. It lives in the network
///   namespace, vanishes with its socket, and **has no permissions**: anyone in the namespace may connect or take the
///   name first, so check the peer's credentials.
/// * An **unnamed** socket is one never bound, like both ends of a pair and most clients.
///
/// Paths may be longer than the kernel's 107 bytes: the directory is then opened and named through `/proc/self/fd`.
/// Only the last component is limited, and the kernel will report the `/proc` name to peers.
///
/// `Display` writes the path, `@name` with odd bytes escaped for an abstract one, `(unnamed)` otherwise.
/// See unix(7).
///
/// ```
/// use tieline_os::unix::Address;
/// assert_eq!(Address::abstract_name(b"jobs\0two")?.to_string(), "@jobs\\x00two");
/// assert_eq!(Address::path("/run/jobs")?.to_string(), "/run/jobs");
/// assert!(Address::abstract_name([0; 108]).is_err());
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
#[doc(alias = "sockaddr_un")]
pub struct Address(Kind);

/// Short names lie in place, so that a received address costs no allocation.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Kind {
    Unnamed,
    Abstract(Short),
    Path(Short),
    LongPath(Box<Path>),
}

#[derive(Clone, Copy)]
struct Short {
    bytes: [u8; PATH_MAX_BYTES + 1],
    len: u8,
}

impl Address {
    /// The name no socket is bound to; binding to it asks the kernel for a free abstract name (autobind).
    pub const UNNAMED: Self = Self(Kind::Unnamed);

    /// A socket file.
    ///
    /// # Errors
    /// `InvalidInput` if the path is empty or holds a NUL byte.
    pub fn path(path: impl AsRef<Path>) -> Result<Self> {
        const OPERATION: &str = "name a Unix socket by path";
        let path = path.as_ref();
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() {
            return Err(Error::invalid(OPERATION, "the path is empty"));
        }
        if bytes.contains(&0) {
            return Err(Error::invalid(OPERATION, "a path cannot hold a NUL byte").on(path.display()));
        }
        Ok(Self(match Short::new(bytes) {
            Some(short) if bytes.len() <= PATH_MAX_BYTES => Kind::Path(short),
            _ => Kind::LongPath(path.into()),
        }))
    }

    /// A name in the abstract namespace, of which `name` is all that counts (no NUL is put before or after).
    ///
    /// # Errors
    /// `InvalidInput` above 107 bytes.
    pub fn abstract_name(name: impl AsRef<[u8]>) -> Result<Self> {
        let name = name.as_ref();
        match Short::new(name) {
            Some(short) if name.len() <= PATH_MAX_BYTES => Ok(Self(Kind::Abstract(short))),
            _ => Err(Error::invalid(
                "name a Unix socket in the abstract namespace",
                format!("the name has {} bytes and {PATH_MAX_BYTES} is the most", name.len()),
            )),
        }
    }

    /// The path, if it is one.
    #[must_use]
    pub fn as_path(&self) -> Option<&Path> {
        match &self.0 {
            Kind::Path(short) => Some(Path::new(OsStr::from_bytes(short.bytes()))),
            Kind::LongPath(path) => Some(path),
            Kind::Unnamed | Kind::Abstract(_) => None,
        }
    }

    /// The abstract name, if it is one.
    #[must_use]
    pub fn as_abstract(&self) -> Option<&[u8]> {
        match &self.0 {
            Kind::Abstract(short) => Some(short.bytes()),
            _ => None,
        }
    }

    /// Whether it is no name.
    #[must_use]
    pub fn is_unnamed(&self) -> bool {
        matches!(self.0, Kind::Unnamed)
    }

    /// The kernel's form, or `None` for a path that is too long for it.
    pub(super) fn to_raw(&self) -> Option<RawName> {
        let mut rest = [0; PATH_MAX_BYTES + 1];
        match &self.0 {
            Kind::Unnamed => Some(RawName::new(libc::AF_UNIX, &[])),
            Kind::Abstract(short) => {
                rest[1..=short.bytes().len()].copy_from_slice(short.bytes());
                Some(RawName::new(libc::AF_UNIX, &rest[..=short.bytes().len()]))
            }
            // With its closing NUL, although Linux would do without.
            Kind::Path(short) => {
                rest[..short.bytes().len()].copy_from_slice(short.bytes());
                Some(RawName::new(libc::AF_UNIX, &rest[..=short.bytes().len()]))
            }
            Kind::LongPath(_) => None,
        }
    }

    /// What the kernel said; a name of another family reads as unnamed.
    pub(super) fn from_raw(name: &RawName) -> Self {
        let rest = name.rest(libc::AF_UNIX);
        let kind = match rest.split_first() {
            None => None,
            Some((0, name)) => Short::new(name).map(Kind::Abstract),
            Some(_) => {
                let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
                Short::new(&rest[..end]).map(Kind::Path)
            }
        };
        Self(kind.unwrap_or(Kind::Unnamed))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Unnamed => f.write_str("(unnamed)"),
            Kind::Abstract(short) => write!(f, "@{}", short.bytes().escape_ascii()),
            Kind::Path(_) | Kind::LongPath(_) => write!(f, "{}", self.as_path().unwrap_or(Path::new("")).display()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl Short {
    fn new(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; PATH_MAX_BYTES + 1];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(Self { bytes, len: from.len().try_into().ok()? })
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl PartialEq for Short {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Short {}

impl std::hash::Hash for Short {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sort_of_name_survives_the_kernels_form() {
        let longest = "/".to_owned() + &"x".repeat(PATH_MAX_BYTES - 1);
        for address in [
            Address::UNNAMED,
            Address::path("a").unwrap(),
            Address::path(&longest).unwrap(),
            Address::abstract_name(b"").unwrap(),
            Address::abstract_name(b"\0\0").unwrap(),
            Address::abstract_name([7; PATH_MAX_BYTES]).unwrap(),
        ] {
            let raw = address.to_raw().expect("short enough");
            assert_eq!(Address::from_raw(&raw), address);
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        assert!(Address::path("").is_err());
        assert!(Address::path("a\0b").is_err());
        assert!(Address::abstract_name([b'x'; PATH_MAX_BYTES + 1]).is_err());
        let long = Address::path("x".repeat(PATH_MAX_BYTES + 1)).unwrap();
        assert!(long.to_raw().is_none() && long.as_path().is_some());
    }

    #[test]
    fn a_prefix_is_another_name() {
        assert_ne!(Address::abstract_name(b"a").unwrap(), Address::abstract_name(b"a\0").unwrap());
        assert_ne!(Address::abstract_name(b"a").unwrap(), Address::path("a").unwrap());
    }
}
