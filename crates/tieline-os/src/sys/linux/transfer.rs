//! Lending memory to a pipe (`vmsplice`).

use std::ffi::c_void;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

use super::check;
use super::region::RawRegion;

/// Puts the pages of constant memory into a pipe.
pub(crate) fn vmsplice_constant(
    pipe: BorrowedFd<'_>,
    bytes: &'static [u8],
    flags: SpliceFlags,
) -> Result<usize, Errno> {
    // SAFETY: the range is valid, and stays valid and unchanged for as long as the pipe refers to it, because memory
    // that is borrowed for 'static is never freed and never written.
    unsafe { vmsplice(pipe, bytes.as_ptr().cast_mut(), bytes.len(), flags) }
}

/// Puts the pages of a part of shared memory into a pipe.
///
/// # Panics
/// If the part does not lie within the region; the caller has checked it.
pub(crate) fn vmsplice_region(
    pipe: BorrowedFd<'_>,
    region: &RawRegion,
    offset: usize,
    len: usize,
    flags: SpliceFlags,
) -> Result<usize, Errno> {
    assert!(offset <= region.len() && len <= region.len() - offset, "range checked by the caller");
    let start = region.as_ptr().wrapping_add(offset);
    // SAFETY: the range lies within a region, which is mapped for the duration of the borrow and is no Rust variable,
    // so that the kernel may read it while anybody changes it; what is unmapped later lives on in the pipe.
    unsafe { vmsplice(pipe, start, len, flags) }
}

/// # Safety
/// The range must be mapped during the call, and must hold nothing that Rust may reuse for something else or that must
/// not change while the pipe refers to its pages. `pipe` must be a writing end: a reading one would be read into it.
unsafe fn vmsplice(pipe: BorrowedFd<'_>, start: *mut u8, len: usize, flags: SpliceFlags) -> Result<usize, Errno> {
    let part = libc::iovec { iov_base: start.cast::<c_void>(), iov_len: len };
    // SAFETY: one valid iovec is passed; on a writing end the kernel only takes references to the range's pages, which
    // the caller answers for, as it does for the end being a writing one.
    let count = check(unsafe { libc::vmsplice(pipe.as_raw_fd(), &raw const part, 1, flags.bits()) })?;
    usize::try_from(count).map_err(|_| Errno::OVERFLOW)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::io::read;
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    /// The flag's name promises more than the kernel keeps: the reader sees the change all the same.
    #[test]
    fn the_gift_flag_does_not_freeze_the_page() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let memory = crate::mapping::Mapping::anonymous(4096).unwrap();
        let region = memory.raw();
        region.fill(0, 4096, b'a');
        let given = vmsplice_region(writer.as_fd(), region, 0, 4096, SpliceFlags::GIFT);
        assert_eq!(given, Ok(4096));
        region.fill(0, 4096, b'b');
        let mut seen = [0; 4096];
        assert_eq!(read(&reader, &mut seen), Ok(4096));
        assert_eq!(seen, [b'b'; 4096]);
    }
}
