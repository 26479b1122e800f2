//! What the three System V families have in common: keys from files, and the commands libc does not name.

use std::ffi::CStr;

use libc::c_int;
use rustix::io::Errno;

/// The bit that some C libraries set in a "stat" command to ask for 64-bit times; zero elsewhere.
const TIME64: c_int = libc::IPC_STAT & 0x100;

/// The `*_STAT_ANY` commands (Linux 4.17) read a slot's state without asking for read permission.
pub(crate) const SHM_STAT_ANY: c_int = 15 | TIME64;
pub(crate) const MSG_STAT_ANY: c_int = 13 | TIME64;
/// The older commands, which ask for it.
pub(crate) const SHM_STAT: c_int = 13 | TIME64;
pub(crate) const MSG_STAT: c_int = 11 | TIME64;
pub(crate) const SHM_INFO: c_int = 14;

/// The C library's own recipe, so that a C program on the same file gets the same key.
pub(crate) fn ftok(path: &CStr, project: u8) -> Result<i32, Errno> {
    // SAFETY: path is a NUL-terminated string that lives through the call, which only reads it.
    super::check(unsafe { libc::ftok(path.as_ptr(), c_int::from(project)) })
}

/// The bits of an id that are its slot in the kernel's table: usually, and with `ipcmni_extend` on the command line.
const SLOT_MASKS: [c_int; 2] = [0x7fff, 0x00ff_ffff];

/// The state of the object with this id, as `stat` says; where the caller may not read the object, as its slot says,
/// which everybody may see (as in `/proc/sysvipc`).
pub(crate) fn stat_or_slot<T>(
    id: c_int,
    stat: impl FnOnce(c_int) -> Result<T, Errno>,
    slot: impl Fn(c_int) -> Result<(c_int, T), Errno>,
) -> Result<T, Errno> {
    let refusal = match stat(id) {
        Err(Errno::ACCESS) => Errno::ACCESS,
        answer => return answer,
    };
    for mask in SLOT_MASKS {
        if let Ok((found, state)) = slot(id & mask)
            && found == id
        {
            return Ok(state);
        }
    }
    Err(refusal)
}
