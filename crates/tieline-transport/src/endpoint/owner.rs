//! Who shall own what is created, and with which mode: names and numbers turned into ids, and applied.
//!
//! The invariant: what is made begins with no more than the mode that was asked for less the umask, and gets the mode
//! itself at once, so that an address means the same whoever opens it.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, fchown, lchown};
use std::path::Path;

use tieline_os::{ErrorKind as OsErrorKind, Mode};

use crate::addr::{Address, Owner};
use crate::error::{Error, ErrorKind, Result};

/// The user and the group of an [`Owner`], as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) user: Option<u32>,
    pub(super) group: Option<u32>,
}

/// The ids of the address's `owner`, if it has one.
pub(super) fn ids(address: &Address) -> Result<Option<Ids>> {
    address.options().owner.as_ref().map(look_up).transpose()
}

/// Gives a file that was just made exactly its mode, and to its owner; a link is not followed.
pub(super) fn give_path(address: &Address, path: &Path) -> Result<()> {
    if let Some(mode) = address.options().mode {
        fs::set_permissions(path, permissions(mode)).map_err(|error| mode_refused(address, &error))?;
    }
    let Some(Ids { user, group }) = ids(address)? else { return Ok(()) };
    lchown(path, user, group).map_err(|error| refused(address, &error))
}

/// Gives what was just made, and a descriptor refers to, exactly its mode, and to its owner.
pub(super) fn give_fd(address: &Address, fd: impl AsFd) -> Result<()> {
    if let Some(mode) = address.options().mode {
        let copy = fd.as_fd().try_clone_to_owned().map_err(|error| mode_refused(address, &error))?;
        let set = fs::File::from(copy).set_permissions(permissions(mode));
        set.map_err(|error| mode_refused(address, &error))?;
    }
    let Some(Ids { user, group }) = ids(address)? else { return Ok(()) };
    fchown(fd, user, group).map_err(|error| refused(address, &error))
}

/// Makes a thing or, if it is there, opens it; says whether it was made. Both may have to be tried again while others
/// make it and remove it.
pub(super) fn made_or_opened<T, E: Into<Error>>(
    make: impl Fn() -> std::result::Result<T, E>,
    open: impl Fn() -> std::result::Result<T, E>,
) -> Result<(T, bool)> {
    let is = |error: &Error, kind| error.kind() == ErrorKind::System(kind);
    let mut tries_left = 16;
    loop {
        match open().map_err(Into::into) {
            Err(error) if is(&error, OsErrorKind::NotFound) => {}
            answer => return answer.map(|thing| (thing, false)),
        }
        tries_left -= 1;
        match make().map_err(Into::into) {
            Err(error) if is(&error, OsErrorKind::AlreadyExists) && tries_left > 0 => {}
            answer => return answer.map(|thing| (thing, true)),
        }
    }
}

fn permissions(mode: Mode) -> fs::Permissions {
    fs::Permissions::from_mode(mode.bits().into())
}

fn mode_refused(address: &Address, error: &io::Error) -> Error {
    Error::system(format_args!("set the mode of {address}"), error)
}

fn refused(address: &Address, error: &io::Error) -> Error {
    Error::system(format_args!("change the owner of {address}"), error)
        .hint("only the administrator may give things away, and only to a group of one's own")
}

fn look_up(owner: &Owner) -> Result<Ids> {
    let user = owner.user().map(|name| number(name, "user", "/etc/passwd")).transpose()?;
    let group = owner.group().map(|name| number(name, "group", "/etc/group")).transpose()?;
    Ok(Ids { user, group })
}

/// The third field of the line that begins with the name, in either file.
fn number(name: &str, what: &str, file: &str) -> Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let table = fs::read_to_string(file).map_err(|error| Error::system(format_args!("read {file}"), &error))?;
    let found = table.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)).flatten()?.parse().ok()
    });
    found.ok_or_else(|| {
        let text = format!("there is no {what} {name:?} in {file}");
        Error::new(ErrorKind::InvalidInput, text).hint("write its number if it is known elsewhere")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_found() {
        assert_eq!(number("root", "user", "/etc/passwd").unwrap(), 0);
        assert_eq!(number("4711", "user", "/no/such/file").unwrap(), 4711);
        let error = number("no such user", "user", "/etc/passwd").unwrap_err();
        assert!(error.to_string().contains("number"), "{error}");
    }
}
