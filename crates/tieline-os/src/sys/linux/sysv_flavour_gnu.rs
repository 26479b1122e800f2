//! System V's types as the libc crate names them for the GNU C library.

pub(crate) use libc::{semid_ds, seminfo};

/// The key an object was created with.
pub(crate) fn key_of(permissions: &libc::ipc_perm) -> i32 {
    permissions.__key
}
