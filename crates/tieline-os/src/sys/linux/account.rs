//! The databases of users and groups: `getpwuid_r`, `getgrgid_r`.

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::ptr;

use rustix::io::Errno;

/// Most entries fit at once; a group with many members asks for more.
const FIRST_BUFFER_BYTES: usize = 1024;

/// An entry that wants more is not looked at further.
const LARGEST_BUFFER_BYTES: usize = 1 << 20;

/// The name of a user; `None` if there is no such user.
pub(crate) fn user_name(uid: u32) -> Result<Option<Vec<u8>>, Errno> {
    with_buffer(|start, len| {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: `entry` has room for a passwd, `start` for `len` bytes, `found` for a pointer; all outlive the call.
        let answer = unsafe { libc::getpwuid_r(uid, entry.as_mut_ptr(), start, len, &raw mut found) };
        if answer != 0 || found.is_null() {
            return (answer, None);
        }
        // SAFETY: the call succeeded and found something, so `found` points to the entry, which is filled.
        let name = unsafe { (*found).pw_name };
        // SAFETY: the name of a filled entry is a string in the buffer, which lives until this closure returns; it is
        // copied before.
        (0, Some(unsafe { CStr::from_ptr(name) }.to_bytes().to_vec()))
    })
}

/// The name of a group; `None` if there is no such group.
pub(crate) fn group_name(gid: u32) -> Result<Option<Vec<u8>>, Errno> {
    with_buffer(|start, len| {
        let mut entry = MaybeUninit::<libc::group>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: `entry` has room for a group, `start` for `len` bytes, `found` for a pointer; all outlive the call.
        let answer = unsafe { libc::getgrgid_r(gid, entry.as_mut_ptr(), start, len, &raw mut found) };
        if answer != 0 || found.is_null() {
            return (answer, None);
        }
        // SAFETY: the call succeeded and found something, so `found` points to the entry, which is filled.
        let name = unsafe { (*found).gr_name };
        // SAFETY: the name of a filled entry is a string in the buffer, which lives until this closure returns; it is
        // copied before.
        (0, Some(unsafe { CStr::from_ptr(name) }.to_bytes().to_vec()))
    })
}

/// Calls `look` with memory for an entry's strings, and again with more as long as it answers `ERANGE`.
fn with_buffer(mut look: impl FnMut(*mut c_char, usize) -> (i32, Option<Vec<u8>>)) -> Result<Option<Vec<u8>>, Errno> {
    let mut bytes = FIRST_BUFFER_BYTES;
    loop {
        let mut buffer: Vec<c_char> = vec![0; bytes];
        match look(buffer.as_mut_ptr(), bytes) {
            (0, name) => return Ok(name),
            // "Not found" has several numbers, by where the database comes from: see getpwuid(3).
            (libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM, _) => return Ok(None),
            (libc::EINTR, _) => {}
            (libc::ERANGE, _) if bytes < LARGEST_BUFFER_BYTES => bytes *= 4,
            (number, _) => return Err(Errno::from_raw_os_error(number)),
        }
    }
}
