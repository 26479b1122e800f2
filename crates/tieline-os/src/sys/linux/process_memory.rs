//! `process_vm_readv`: one call, one copy, from another process's memory into ours.

use rustix::io::Errno;
use rustix::process::Pid;

/// Reads each range of `parts` (an address over there, a buffer over here) in order; returns how many bytes came.
///
/// Fewer than asked for came if a page over there cannot be read; `EFAULT` if not one could.
pub(crate) fn read(pid: Pid, parts: &mut [(usize, &mut [u8])]) -> Result<usize, Errno> {
    match parts {
        // The usual case needs no list on the heap.
        [(address, buffer)] => read_vectors(pid, &[ours(buffer)], &[theirs(*address, buffer.len())]),
        parts => {
            let local: Vec<_> = parts.iter_mut().map(|(_, buffer)| ours(buffer)).collect();
            let remote: Vec<_> = parts.iter().map(|(address, buffer)| theirs(*address, buffer.len())).collect();
            // The buffers stay borrowed by `parts` for the whole call.
            read_vectors(pid, &local, &remote)
        }
    }
}

fn ours(buffer: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() }
}

/// An address of the other process: a number here, never to be followed.
fn theirs(address: usize, len: usize) -> libc::iovec {
    libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: len }
}

fn read_vectors(pid: Pid, local: &[libc::iovec], remote: &[libc::iovec]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes only through `local`, whose entries were made from mutable slices that `read` still
    // borrows exclusively, and at most their lengths; `remote` is only read, and its addresses are looked up in the
    // other process. Should `pid` be a thread of this process after all, the kernel reads our own memory, which is
    // as harmless as a read by any other process.
    let count = unsafe {
        libc::process_vm_readv(
            pid.as_raw_nonzero().get(),
            local.as_ptr(),
            local.len() as libc::c_ulong,
            remote.as_ptr(),
            remote.len() as libc::c_ulong,
            0,
        )
    };
    super::check(count).map(isize::cast_unsigned)
}
