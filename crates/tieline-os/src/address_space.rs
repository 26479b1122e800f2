//! What another process has mapped.
//!
//! `/proc/PID/maps` lists all mappings of a process as text, mostly those of its program and libraries, which are nobody
//! else's business. From Linux 6.11 on the same file answers questions, among them for shared mappings alone, which
//! spares both sides most of the work. [`AddressSpace`] asks these; who meets an older kernel reads the text.
//!
//! The invariant: asking changes nothing in the process. It takes a lock of the address space for the time of one answer,
//! as reading the text does.
//!
//! See [proc_pid_maps(5)](https://man7.org/linux/man-pages/man5/proc_pid_maps.5.html) and `PROCMAP_QUERY` in Linux's
//! `linux/fs.h`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FsWord, fstatfs};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::sys;

const ASK: &str = "ask for the mappings of a process";
/// `PROC_SUPER_MAGIC`.
const PROC_FILE_SYSTEM: FsWord = 0x9fa0;
/// The kernel cuts a name at this length (`PATH_MAX`).
const NAME_MAX_BYTES: usize = 4096;

/// The mappings of one process, by an open `/proc/PID/maps`. It stays with that process, whatever happens to the number.
///
/// ```
/// use tieline_os::address_space::AddressSpace;
/// use tieline_os::mapping::MapOptions;
///
/// let memfd = tieline_os::memfd::Memfd::fixed("example", 4096)?;
/// let _mapping = memfd.map(&MapOptions::new())?;
/// let maps = std::fs::File::open("/proc/self/maps").expect("our own");
/// let space = AddressSpace::from_fd(maps.into())?;
/// let (mut address, mut name, mut names) = (0, Vec::new(), Vec::new());
/// loop {
///     match space.next_shared(address, &mut name) {
///         Ok(Some(area)) => address = area.end,
///         Ok(None) => break,
///         Err(error) if error.is_unsupported() => return Ok(()),
///         Err(error) => return Err(error),
///     }
///     names.push(name.clone());
/// }
/// assert!(names.iter().any(|name| name.starts_with(b"/memfd:example")));
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Debug)]
pub struct AddressSpace {
    maps: OwnedFd,
}

/// One mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// Address of its first byte.
    pub start: u64,
    /// Address after its last byte.
    pub end: u64,
    /// Whether its pages may be read.
    pub is_readable: bool,
    /// Whether they may be written.
    pub is_writable: bool,
    /// Whether they may be executed.
    pub is_executable: bool,
    /// Whether what is written is seen by others who map the same.
    pub is_shared: bool,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// Major and minor device number of the file's file system, which `stat` tells otherwise for some (btrfs, overlayfs).
    pub device: (u32, u32),
    /// The file's inode number; 0 without a file.
    pub inode: u64,
}

impl AddressSpace {
    /// Takes over an open `/proc/PID/maps`, after checking that it lies in a procfs.
    ///
    /// # Errors
    /// `InvalidInput` if it is something else.
    pub fn from_fd(maps: OwnedFd) -> Result<Self> {
        // The question is an ioctl, and its number means other things to other files. Every file of a procfs either
        // knows the question or refuses it.
        let place = fstatfs(&maps).map_err(|errno| Error::new(ASK, errno))?;
        if place.f_type != PROC_FILE_SYSTEM {
            return Err(Error::invalid(ASK, "the descriptor is no file of a procfs"));
        }
        Ok(Self { maps })
    }

    /// The first shared mapping that lies at `address` or above it, and its name: a path, perhaps with ` (deleted)` after
    /// it, or a word in brackets; empty without one.
    ///
    /// What changes meanwhile is seen or not; with the `end` of each answer as the next `address` one comes to the end.
    ///
    /// # Errors
    /// `Unsupported` before Linux 6.11; `NotFound` if the process has ended.
    #[doc(alias = "PROCMAP_QUERY")]
    pub fn next_shared(&self, address: u64, name: &mut Vec<u8>) -> Result<Option<Area>> {
        name.resize(NAME_MAX_BYTES, 0);
        let found = sys::address_space::next(self.maps.as_fd(), address, sys::address_space::SHARED, name);
        let query = match found {
            Ok(query) => query,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno @ (Errno::NOTTY | Errno::INVAL)) => {
                return Err(Error::new(ASK, errno).sorted_as(ErrorKind::Unsupported).hint("this needs Linux 6.11"));
            }
            Err(errno) => return Err(Error::new(ASK, errno)),
        };
        // The size counts the NUL at the end.
        name.truncate((query.name_size as usize).saturating_sub(1));
        let has = |flag| query.flags & flag != 0;
        Ok(Some(Area {
            start: query.start,
            end: query.end,
            is_readable: has(sys::address_space::READABLE),
            is_writable: has(sys::address_space::WRITABLE),
            is_executable: has(sys::address_space::EXECUTABLE),
            is_shared: has(sys::address_space::SHARED),
            offset: query.offset,
            device: (query.device_major, query.device_minor),
            inode: query.inode,
        }))
    }
}

impl AsFd for AddressSpace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.maps.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Mapping;

    #[test]
    fn what_lies_in_no_procfs_is_refused() {
        let memfd = crate::memfd::Memfd::fixed("maps", 4096).expect("a memfd");
        let error = AddressSpace::from_fd(memfd.into()).expect_err("it is no file of a procfs");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn another_file_of_a_procfs_does_not_know_the_question() {
        let stat = std::fs::File::open("/proc/self/stat").expect("our own");
        let space = AddressSpace::from_fd(stat.into()).expect("a file of a procfs");
        assert!(space.next_shared(0, &mut Vec::new()).is_err_and(|error| error.is_unsupported()));
    }

    #[test]
    fn shared_mappings_come_in_order_and_private_ones_do_not() {
        let shared = Mapping::anonymous(8192).expect("mapped");
        let maps = std::fs::File::open("/proc/self/maps").expect("our own");
        let space = AddressSpace::from_fd(maps.into()).expect("a file of a procfs");
        let (mut address, mut name, mut areas) = (0, Vec::new(), Vec::new());
        loop {
            match space.next_shared(address, &mut name) {
                Err(error) if error.is_unsupported() => tieline_testkit::skip!("{error}"),
                answer => match answer.expect("we live") {
                    Some(area) => areas.push((area, name.clone())),
                    None => break,
                },
            }
            address = areas.last().map_or(0, |(area, _)| area.end);
        }
        assert!(areas.is_sorted_by_key(|(area, _)| area.start) && areas.iter().all(|(area, _)| area.is_shared));
        let is_ours = |(area, name): &(Area, Vec<u8>)| area.is_writable && name.starts_with(b"/dev/zero");
        assert!(areas.iter().any(is_ours), "{areas:?}");
        drop(shared);
        assert_eq!(space.next_shared(u64::MAX - 1, &mut name).expect("we live"), None);
    }
}
