//! System V's types where the libc crate leaves them out or names them otherwise: musl, on 64-bit processors.

use libc::{c_int, c_long, c_ulong, ipc_perm};

/// `linux/sem.h` calls it `semid64_ds`; musl hands it to the kernel as it is.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct semid_ds {
    pub(crate) sem_perm: ipc_perm,
    pub(crate) sem_otime: c_long,
    #[cfg(target_arch = "x86_64")]
    unused1: c_long,
    pub(crate) sem_ctime: c_long,
    #[cfg(target_arch = "x86_64")]
    unused2: c_long,
    pub(crate) sem_nsems: c_ulong,
    unused3: c_ulong,
    unused4: c_ulong,
}

/// What `IPC_INFO` and `SEM_INFO` answer.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct seminfo {
    semmap: c_int,
    pub(crate) semmni: c_int,
    pub(crate) semmns: c_int,
    semmnu: c_int,
    pub(crate) semmsl: c_int,
    pub(crate) semopm: c_int,
    semume: c_int,
    pub(crate) semusz: c_int,
    pub(crate) semvmx: c_int,
    pub(crate) semaem: c_int,
}

/// The key an object was created with.
#[allow(deprecated, reason = "the name under which the libc crate has it until it follows musl 1.2")]
pub(crate) fn key_of(permissions: &ipc_perm) -> i32 {
    permissions.__ipc_perm_key
}
