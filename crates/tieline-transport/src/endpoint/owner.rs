//! Who shall own what is created: names and numbers turned into ids, and applied.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{fchown, lchown};
use std::path::Path;

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

/// Gives a file that was just made to its owner; a link is not followed.
pub(super) fn give_path(address: &Address, path: &Path) -> Result<()> {
    let Some(Ids { user, group }) = ids(address)? else { return Ok(()) };
    lchown(path, user, group).map_err(|error| refused(address, &error))
}

/// Gives what a descriptor refers to to its owner.
pub(super) fn give_fd(address: &Address, fd: impl AsFd) -> Result<()> {
    let Some(Ids { user, group }) = ids(address)? else { return Ok(()) };
    fchown(fd, user, group).map_err(|error| refused(address, &error))
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
