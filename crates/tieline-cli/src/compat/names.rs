//! Names of users and groups as columns show them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use tieline_os::account;

/// Names that were looked up already.
#[derive(Default)]
pub(crate) struct Names {
    users: HashMap<u32, Option<Vec<u8>>>,
    groups: HashMap<u32, Option<Vec<u8>>>,
}

impl Names {
    /// A user's name, or its number where there is none.
    pub(crate) fn user(&mut self, uid: u32) -> Vec<u8> {
        remember(&mut self.users, uid, account::user_name).unwrap_or_else(|| uid.to_string().into_bytes())
    }

    /// A group's name, or its number where there is none.
    pub(crate) fn group(&mut self, gid: u32) -> Vec<u8> {
        remember(&mut self.groups, gid, account::group_name).unwrap_or_else(|| gid.to_string().into_bytes())
    }

    /// The owner as a column of ten characters: a longer name is cut, a number is not.
    pub(crate) fn owner(&mut self, uid: u32) -> Vec<u8> {
        match remember(&mut self.users, uid, account::user_name) {
            Some(mut name) => {
                name.truncate(10);
                padded(name, 10)
            }
            None => padded(uid.to_string().into_bytes(), 10),
        }
    }
}

/// The text with spaces behind it up to this many bytes, as `printf` counts.
pub(crate) fn padded(mut text: Vec<u8>, width: usize) -> Vec<u8> {
    text.resize(text.len().max(width), b' ');
    text
}

fn remember(
    known: &mut HashMap<u32, Option<Vec<u8>>>,
    id: u32,
    look_up: fn(u32) -> tieline_os::Result<Option<OsString>>,
) -> Option<Vec<u8>> {
    let look_up = || look_up(id).ok().flatten().map(OsString::into_vec);
    known.entry(id).or_insert_with(look_up).clone()
}
