//! Names of users and groups, from whatever databases the system has (`/etc/passwd`, LDAP, …).
//!
//! A look-up reads files and may ask a server: it blocks for as long as that takes, and the C library answers each
//! question anew. Who shows many objects remembers the names.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::error::{Error, Result};
use crate::sys::account as sys;

/// The name of the user with this id; `None` if no database knows one.
///
/// ```
/// assert_eq!(tieline_os::account::user_name(u32::MAX - 1)?, None);
/// # Ok::<(), tieline_os::Error>(())
/// ```
///
/// # Errors
/// `LimitReached` (no free descriptor), `OutOfMemory`, or the kernel's number where a database cannot be read.
///
/// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/getpwuid.html>; getpwuid(3).
#[doc(alias = "getpwuid")]
#[doc(alias = "getpwuid_r")]
pub fn user_name(uid: u32) -> Result<Option<OsString>> {
    sys::user_name(uid)
        .map(|name| name.map(OsString::from_vec))
        .map_err(|errno| Error::new("look up the name of user", errno).on(uid))
}

/// The name of the group with this id; `None` if no database knows one.
///
/// # Errors
/// As [`user_name`].
///
/// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/getgrgid.html>; getgrgid(3).
#[doc(alias = "getgrgid")]
#[doc(alias = "getgrgid_r")]
pub fn group_name(gid: u32) -> Result<Option<OsString>> {
    sys::group_name(gid)
        .map(|name| name.map(OsString::from_vec))
        .map_err(|errno| Error::new("look up the name of group", errno).on(gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_files() {
        let third_field = |line: &str| line.split(':').nth(2).and_then(|field| field.parse::<u32>().ok());
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
        for (file, look_up) in [(passwd, user_name as fn(u32) -> Result<Option<OsString>>), (group, group_name)] {
            let mut seen = Vec::new();
            for line in file.lines() {
                let Some(id) = third_field(line) else { continue };
                // The first of several names counts.
                if !seen.contains(&id) {
                    seen.push(id);
                    let name = line.split(':').next().map(OsString::from);
                    assert_eq!(look_up(id).unwrap(), name, "{id}");
                }
            }
            assert_eq!(look_up(4_000_000_123).unwrap(), None);
        }
    }
}
