//! `PROCMAP_QUERY`: one mapping of a process by a question, instead of all of them as text.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// `PROCMAP_QUERY_VMA_READABLE` and so on, as they stand in [`Query::flags`].
pub(crate) const READABLE: u64 = 0x01;
pub(crate) const WRITABLE: u64 = 0x02;
pub(crate) const EXECUTABLE: u64 = 0x04;
pub(crate) const SHARED: u64 = 0x08;
/// `PROCMAP_QUERY_COVERING_OR_NEXT_VMA`: the mapping at the address or else the next above.
const COVERING_OR_NEXT: u64 = 0x10;

/// `_IOWR('f', 17, struct procmap_query)`.
const PROCMAP_QUERY: libc::Ioctl = 0xc068_6611_u32 as libc::Ioctl;

/// `struct procmap_query` of `linux/fs.h`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Query {
    size: u64,
    query_flags: u64,
    query_address: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) flags: u64,
    page_size: u64,
    pub(crate) offset: u64,
    pub(crate) inode: u64,
    pub(crate) device_major: u32,
    pub(crate) device_minor: u32,
    pub(crate) name_size: u32,
    build_id_size: u32,
    name_address: u64,
    build_id_address: u64,
}

const _: () = assert!(size_of::<Query>() == 104, "the size is part of the request's number");

/// The first mapping at or above `address` that has all of `flags`; its name, with a NUL at its end, goes into `name`.
/// `ENOENT` if there is none, `ENOTTY` or `EINVAL` from a kernel that does not know the question.
pub(crate) fn next(maps: BorrowedFd<'_>, address: u64, flags: u64, name: &mut [u8]) -> Result<Query, Errno> {
    let mut query = Query {
        size: size_of::<Query>() as u64,
        query_flags: flags | COVERING_OR_NEXT,
        query_address: address,
        name_size: u32::try_from(name.len()).unwrap_or(u32::MAX),
        name_address: name.as_mut_ptr().expose_provenance() as u64,
        ..Query::default()
    };
    // SAFETY: if the descriptor is a `maps` file, the kernel reads and writes the `size` bytes of `query`, and writes at
    // most `name_size` bytes, which is no more than `name` has, at its exclusively borrowed start. The caller, the one
    // face of this function, made sure that it is such a file, so the request's number means nothing else.
    let answer = unsafe { libc::ioctl(maps.as_raw_fd(), PROCMAP_QUERY, &raw mut query) };
    super::check(answer).map(|_| query)
}
