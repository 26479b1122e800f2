//! What may be asked of a mapping: how it is made, and advice on its use.

use crate::Access;
use crate::sys::mapping::Request;

/// How to map: which part, for what, and backed how. Without any setting: the whole file, to read and write, shared.
///
/// ```
/// use tieline_os::mapping::{MapOptions, Mapping};
/// use tieline_os::Access;
///
/// let file = tempfile::tempfile()?;
/// file.set_len(8192)?;
/// let second_page = Mapping::of(&file, &MapOptions::new().offset(4096).access(Access::ReadOnly))?;
/// assert_eq!(second_page.len(), 4096);
/// assert!(Mapping::of(&file, &MapOptions::new().len(8193)).is_err(), "beyond the end of the file");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MapOptions {
    pub(super) len: Option<usize>,
    pub(super) offset: u64,
    pub(super) read_only: bool,
    pub(super) write_only: bool,
    pub(super) populate: bool,
    pub(super) private: bool,
    pub(super) no_reserve: bool,
    pub(super) huge_pages: Option<HugePages>,
}

/// Pages larger than the usual ones, reserved by the administrator (`/proc/sys/vm/nr_hugepages`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HugePages {
    /// 2 MiB each.
    Mib2,
    /// 1 GiB each.
    Gib1,
}

impl HugePages {
    /// The size of one page in bytes.
    #[must_use]
    pub const fn size(self) -> usize {
        1 << self.bits()
    }

    pub(crate) const fn bits(self) -> u8 {
        match self {
            Self::Mib2 => 21,
            Self::Gib1 => 30,
        }
    }
}

/// What [`Mapping::advise`](super::Mapping::advise) may tell the kernel; none of it changes what the memory means,
/// except [`Discard`](Self::Discard).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Advice {
    /// Nothing special: takes back `Sequential` and `Random`.
    Normal,
    /// It will be read from front to back: read ahead far, drop behind.
    Sequential,
    /// It will be read here and there: do not read ahead.
    Random,
    /// It will be needed soon: read it in now.
    WillNeed,
    /// It will not be needed soon: give its pages up first when memory is short.
    Cold,
    /// It will not be needed for long: write it out and free its pages now.
    PageOut,
    /// Back it with transparent huge pages where the machine has them switched on.
    HugePages,
    /// Never back it with transparent huge pages.
    NoHugePages,
    /// Leave it out of core dumps.
    DontDump,
    /// Take back `DontDump`.
    DoDump,
    /// Free the memory behind it, for everyone who maps it: it reads as zeros afterwards, and the next write needs
    /// new memory (of which there may be none: `SIGBUS`). Whole pages of shared, writable mappings only.
    Discard,
}

impl Advice {
    pub(super) fn for_kernel(self) -> rustix::mm::Advice {
        use rustix::mm::Advice as Linux;
        match self {
            Self::Normal => Linux::Normal,
            Self::Sequential => Linux::Sequential,
            Self::Random => Linux::Random,
            Self::WillNeed => Linux::WillNeed,
            Self::Cold => Linux::LinuxCold,
            Self::PageOut => Linux::LinuxPageOut,
            Self::HugePages => Linux::LinuxHugepage,
            Self::NoHugePages => Linux::LinuxNoHugepage,
            Self::DontDump => Linux::LinuxDontDump,
            Self::DoDump => Linux::LinuxDoDump,
            Self::Discard => Linux::LinuxRemove,
        }
    }
}

impl MapOptions {
    /// The whole file, to read and write, shared with everyone who maps it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes; without it, up to the end of the file.
    #[must_use]
    pub fn len(mut self, len_bytes: usize) -> Self {
        self.len = Some(len_bytes);
        self
    }

    /// Where in the file to begin, in bytes: a multiple of the page size (of the huge page size on hugetlbfs).
    #[must_use]
    pub fn offset(mut self, offset_bytes: u64) -> Self {
        self.offset = offset_bytes;
        self
    }

    /// What the memory is for. `WriteOnly` is refused: memory that can be written can be read.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.read_only = access == Access::ReadOnly;
        self.write_only = access == Access::WriteOnly;
        self
    }

    /// Get every page now, and fail now if there is not enough memory or space, instead of raising `SIGBUS` later.
    /// Also makes the first touch cheap. Costs a page fault's work per page; needs Linux 5.14.
    ///
    /// More than the machine could give is refused, because the kernel would begin to kill processes to find it. A
    /// control group's limit is not known beforehand: past it the kernel may kill within the group.
    #[must_use]
    pub fn populate(mut self) -> Self {
        self.populate = true;
        self
    }

    /// Copy on write: what we write, nobody else sees. Whether we see what others write later is up to the kernel.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// Promise the kernel no memory beforehand: for large, thinly used ranges. The opposite of `populate`.
    #[must_use]
    pub fn no_reserve(mut self) -> Self {
        self.no_reserve = true;
        self
    }

    /// Use reserved huge pages, for anonymous memory. A file has them if it lies on hugetlbfs or is a memfd made so.
    #[must_use]
    pub fn huge_pages(mut self, pages: HugePages) -> Self {
        self.huge_pages = Some(pages);
        self
    }

    pub(super) fn request(&self, len: usize) -> Request {
        Request {
            len,
            writable: !self.read_only,
            private: self.private,
            no_reserve: self.no_reserve,
            huge_page_bits: self.huge_pages.map(HugePages::bits),
        }
    }
}
