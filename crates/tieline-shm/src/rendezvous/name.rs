//! What objects are called, and in which directory a name is looked up.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// The name of an object that processes share.
///
/// * `NAME` lies in the user's own runtime directory: `$TIELINE_RUNTIME_DIR`, else `$XDG_RUNTIME_DIR/tieline`, else
///   `/run/tieline` for root, else `/tmp/tieline-UID`.
/// * `/some/where/NAME` lies in the directory `/some/where`, which must exist: this is how users and containers share.
/// * Either may begin with `shm:`, and end with `?owner=UID`: the object is then accepted also from that user. Without
///   it, an object is accepted from this user, from root, and from the owner of the directory, if nobody else may write
///   to the directory.
///
/// `NAME` has 1 to 64 ASCII letters, digits, `.`, `_` and `-`, and begins with a letter, a digit or `_`.
///
/// ```
/// use tieline_shm::Name;
///
/// let name: Name = "shm:/srv/app/camera?owner=1000".parse()?;
/// assert_eq!(name.as_str(), "camera");
/// assert_eq!(name.to_string(), "shm:/srv/app/camera?owner=1000");
/// assert!("shm:no/way".parse::<Name>().is_err(), "a path is absolute");
/// # Ok::<(), tieline_shm::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    directory: Option<PathBuf>,
    name: String,
    owner: Option<u32>,
}

impl Name {
    /// The most bytes a name may have, without its directory. With the longest ending it fits a socket's address.
    pub const MAX_BYTES: usize = 64;

    /// Reads a name; see [`Name`] for the grammar.
    ///
    /// # Errors
    /// `InvalidInput`: the text says what is wrong with it.
    pub fn new(text: &str) -> Result<Self> {
        let invalid = |why: String| Err(Error::new("use the name", ErrorKind::InvalidInput).on(text).because(why));
        let rest = text.strip_prefix("shm:").unwrap_or(text);
        let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (directory, name) = match path.rsplit_once('/') {
            None => (None, path),
            Some((directory, name)) if path.starts_with('/') => {
                (Some(PathBuf::from(if directory.is_empty() { "/" } else { directory })), name)
            }
            Some(_) => return invalid("a name with a directory begins with /".to_owned()),
        };
        if name.is_empty() || name.len() > Self::MAX_BYTES {
            return invalid(format!("a name has 1 to {} bytes, and this one has {}", Self::MAX_BYTES, name.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some(other) = name.chars().find(|c| !allowed(*c)) {
            return invalid(format!("a name has ASCII letters, digits, '.', '_' and '-', not {other:?}"));
        }
        if name.starts_with(['.', '-']) {
            return invalid("a name begins with a letter, a digit or '_'".to_owned());
        }
        if path.contains('\0') {
            return invalid("a path has no NUL".to_owned());
        }
        let mut owner = None;
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("owner", uid)) => match uid.parse() {
                    Ok(uid) => owner = Some(uid),
                    Err(_) => return invalid(format!("owner is the number of a user, not {uid:?}")),
                },
                _ => return invalid(format!("the only option is owner=UID, not {option:?}")),
            }
        }
        Ok(Self { directory, name: name.to_owned(), owner })
    }

    /// The name without its directory.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The directory, if the name says one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// The user from whom the object is accepted as well.
    #[must_use]
    pub fn owner(&self) -> Option<u32> {
        self.owner
    }
}

/// What can be used as a [`Name`]: a name, or the text of one.
///
/// ```
/// use tieline_shm::Name;
/// use tieline_shm::event::Event;
///
/// # let folder = tempfile::tempdir().unwrap();
/// # // SAFETY: one thread.
/// # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
/// let doors = Event::open_or_create("doors")?;
/// let name: Name = "doors".parse()?;
/// let same = Event::open(&name)?;
/// # Ok::<(), tieline_shm::Error>(())
/// ```
pub trait IntoName {
    /// The name.
    ///
    /// # Errors
    /// `InvalidInput`: the text says what is wrong with it.
    fn into_name(self) -> Result<Name>;
}

impl IntoName for Name {
    fn into_name(self) -> Result<Name> {
        Ok(self)
    }
}

impl IntoName for &Name {
    fn into_name(self) -> Result<Name> {
        Ok(self.clone())
    }
}

impl IntoName for &str {
    fn into_name(self) -> Result<Name> {
        Name::new(self)
    }
}

impl IntoName for &String {
    fn into_name(self) -> Result<Name> {
        Name::new(self)
    }
}

impl IntoName for String {
    fn into_name(self) -> Result<Name> {
        Name::new(&self)
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("shm:")?;
        if let Some(directory) = &self.directory {
            write!(f, "{}", directory.display())?;
            if directory != Path::new("/") {
                f.write_str("/")?;
            }
        }
        f.write_str(&self.name)?;
        match self.owner {
            Some(uid) => write!(f, "?owner={uid}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_can_be_used_print_as_they_were_read() {
        for text in ["shm:camera", "shm:/run/tieline/camera_1.raw-x", "shm:/camera", "shm:/a/b?owner=0"] {
            assert_eq!(Name::new(text).unwrap().to_string(), text);
        }
        assert_eq!(Name::new("camera").unwrap(), Name::new("shm:camera").unwrap());
    }

    #[test]
    fn names_that_cannot_be_used_say_why() {
        let long = "x".repeat(Name::MAX_BYTES + 1);
        let cases = [
            ("", "1 to 64 bytes"),
            ("/", "1 to 64 bytes"),
            ("a/b", "begins with /"),
            (".hidden", "begins with a letter"),
            ("a b", "not ' '"),
            ("ä", "not 'ä'"),
            ("/a\0/b", "NUL"),
            ("a?mode=1", "only option"),
            ("a?owner=me", "number of a user"),
            (&long, "this one has 65"),
        ];
        for (text, why) in cases {
            let error = Name::new(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(why), "{error} has no {why:?}");
        }
        assert!(Name::new(&"x".repeat(Name::MAX_BYTES)).is_ok());
    }
}
