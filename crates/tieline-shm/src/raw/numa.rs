//! Which node of a machine with several memories holds a range: `mbind(2)`.

use tieline_os::mapping::Mapping;

/// How many nodes the kernel's mask may name here; more than any machine has.
const NODES_MAX: u32 = 1024;
const BITS: u32 = u64::BITS;

/// Asks the kernel to take the pages of a mapping from `node` only, from now on. Pages that exist stay where they are.
///
/// # Errors
/// The kernel's errno: `EINVAL` for a node that does not exist, `ENOSYS` without support, `EPERM` in a sandbox.
pub(crate) fn bind(memory: &Mapping, node: u32) -> Result<(), std::io::Error> {
    if node >= NODES_MAX {
        return Err(std::io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut mask = [0_u64; (NODES_MAX / BITS) as usize];
    mask[(node / BITS) as usize] = 1 << (node % BITS);
    // SAFETY: the range is a mapping that `memory` keeps alive during the call; a memory policy changes no byte of it.
    // `mask` has NODES_MAX bits and outlives the call, which only reads it.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            memory.as_ptr(),
            memory.len(),
            libc::MPOL_BIND,
            mask.as_ptr(),
            // The kernel reads one bit less than it is told.
            u64::from(NODES_MAX) + 1,
            0,
        )
    };
    if answer == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_there_binds_and_one_that_is_not_is_refused() {
        let memory = Mapping::anonymous(8192).unwrap();
        match bind(&memory, 0) {
            Ok(()) => {}
            Err(error) => assert!(matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)), "{error}"),
        }
        assert!(bind(&memory, NODES_MAX - 1).is_err());
        assert_eq!(bind(&memory, u32::MAX).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
