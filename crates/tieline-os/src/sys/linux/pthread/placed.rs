//! The header in front of every object, and the two ways past it.
//!
//! | offset | bytes | meaning |
//! |---|---|---|
//! | 0 | 4 | state: 0 nothing here, 1 being made, [`READY`] made |
//! | 4 | 1 | version of this header, 1 |
//! | 5 | 1 | sort of object: 1 mutex, 2 reader-writer lock, 3 condition variable, 4 barrier |
//! | 6 | 2 | size of the C library's object |
//! | 8 | 1 | C library: 1 glibc, 2 musl |
//! | 9 | 1 | bytes of a pointer |
//! | 10 | 2 | version of the C library: major, minor (zero if it does not tell) |
//! | 12 | 4 | options the object was made with |
//! | 16 | 8 | pid namespace of the maker (inode), zero if unknown or of no matter |
//! | 24 | | the C library's object |
//!
//! All numbers are in the machine's byte order: only processes of one machine can share the memory.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::flavour;
use crate::sys::region::RawRegion;

/// What every object is placed behind.
pub(crate) const HEADER_LEN: usize = 24;

const EMPTY: u32 = 0;
const MAKING: u32 = 1;
/// "tlpt" read as a little-endian number.
const READY: u32 = 0x7470_6c74;
const VERSION: u8 = 1;

/// A sort of object.
///
/// # Safety
/// The type must be the C library's own, valid in any bytes, and at most 8-aligned.
pub(crate) unsafe trait Sort {
    const NUMBER: u8;
    /// Whether the object keeps thread ids, which mean something in one pid namespace only.
    const KEEPS_THREAD_IDS: bool;
}

/// Why an object was not made or not found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is one already.
    Exists,
    /// There is none.
    Empty,
    /// Somebody is making it, or died while doing so.
    BeingMade,
    /// The bytes are not ours to use.
    Mismatch(Mismatch),
    /// The C library refused.
    Failed(Errno),
}

/// In what the object there differs from what this process would make.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    NotAnObject,
    Header { version: u8 },
    Sort { number: u8 },
    PointerWidth { bytes: u8 },
    Library { theirs: String, ours: String },
    Size { bytes: u16, ours: u16 },
    PidNamespace { theirs: u64, ours: u64 },
    Options { bits: u32 },
}

/// An initialised object of the C library, in memory that stays mapped for `'r`.
///
/// It is only an address, and process-shared objects are made for any thread of any process: so it is `Send` and
/// `Sync`. What must stay on its thread is a held lock, which is another type.
pub(crate) struct Placed<'r, T> {
    region: &'r RawRegion,
    offset: usize,
    options: u32,
    sort: PhantomData<fn() -> T>,
}

impl<'r, T: Sort> Placed<'r, T> {
    pub(crate) const LEN: usize = HEADER_LEN + size_of::<T>();

    /// Makes the object at `offset`, which must be empty; `init` gets its address, zeroed, and no one else's hands on
    /// it meanwhile.
    pub(super) fn create(
        region: &'r RawRegion,
        offset: usize,
        options: u32,
        init: impl FnOnce(*mut T) -> Result<(), Errno>,
    ) -> Result<Self, Refusal> {
        let object = Self { region, offset, options, sort: PhantomData };
        let state = region.atomic_u32(offset);
        match state.compare_exchange(EMPTY, MAKING, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => {}
            Err(READY) => return Err(Refusal::Exists),
            Err(MAKING) => return Err(Refusal::BeingMade),
            Err(_) => return Err(Refusal::Mismatch(Mismatch::NotAnObject)),
        }
        region.fill(offset + HEADER_LEN, size_of::<T>(), 0);
        if let Err(errno) = init(object.as_ptr()) {
            state.store(EMPTY, Ordering::Release);
            return Err(Refusal::Failed(errno));
        }
        object.write_header();
        // Pairs with the acquire of `attach`: who sees the object ready sees it whole.
        state.store(READY, Ordering::Release);
        Ok(object)
    }

    /// Finds the object that `create` made at `offset`.
    pub(super) fn attach(region: &'r RawRegion, offset: usize) -> Result<Self, Refusal> {
        // Pairs with the release of `create`.
        match region.atomic_u32(offset).load(Ordering::Acquire) {
            READY => {}
            EMPTY => return Err(Refusal::Empty),
            MAKING => return Err(Refusal::BeingMade),
            _ => return Err(Refusal::Mismatch(Mismatch::NotAnObject)),
        }
        let mut object = Self { region, offset, options: 0, sort: PhantomData };
        object.check_header().map_err(Refusal::Mismatch)?;
        object.options = region.atomic_u32(offset + 12).load(Ordering::Relaxed);
        Ok(object)
    }

    /// Undoes `create`: nobody can attach any more; then `destroy` gets the address; then the place is empty.
    pub(super) fn remove(self, destroy: impl FnOnce(*mut T) -> Result<(), Errno>) -> Result<(), Refusal> {
        let state = self.region.atomic_u32(self.offset);
        state.compare_exchange(READY, MAKING, Ordering::Acquire, Ordering::Relaxed).map_err(|_| Refusal::Empty)?;
        let destroyed = destroy(self.as_ptr());
        state.store(if destroyed.is_ok() { EMPTY } else { READY }, Ordering::Release);
        destroyed.map_err(Refusal::Failed)
    }

    fn write_header(&self) {
        let (major, minor) = flavour::version();
        let [size_low, size_high] = Self::size().to_ne_bytes();
        let bytes = [VERSION, T::NUMBER, size_low, size_high, flavour::LIBC, POINTER_WIDTH, major, minor];
        self.region.copy_in(self.offset + 4, &bytes);
        self.region.copy_in(self.offset + 12, &self.options.to_ne_bytes());
        let namespace = if T::KEEPS_THREAD_IDS { pid_namespace() } else { 0 };
        self.region.copy_in(self.offset + 16, &namespace.to_ne_bytes());
    }

    fn check_header(&self) -> Result<(), Mismatch> {
        let mut header = [0; 20];
        self.region.copy_out(self.offset + 4, &mut header);
        let [version, sort, size_low, size_high, library, width, major, minor, ..] = header;
        if version != VERSION {
            return Err(Mismatch::Header { version });
        }
        if sort != T::NUMBER {
            return Err(Mismatch::Sort { number: sort });
        }
        if width != POINTER_WIDTH {
            return Err(Mismatch::PointerWidth { bytes: width });
        }
        if (library, (major, minor)) != (flavour::LIBC, flavour::version()) {
            let (our_major, our_minor) = flavour::version();
            let (theirs, ours) = (name(library, major, minor), name(flavour::LIBC, our_major, our_minor));
            return Err(Mismatch::Library { theirs, ours });
        }
        let bytes = u16::from_ne_bytes([size_low, size_high]);
        if bytes != Self::size() {
            return Err(Mismatch::Size { bytes, ours: Self::size() });
        }
        let theirs = u64::from_ne_bytes(header[12..].try_into().expect("eight bytes are left"));
        let ours = if theirs == 0 { 0 } else { pid_namespace() };
        if ours != 0 && theirs != ours {
            return Err(Mismatch::PidNamespace { theirs, ours });
        }
        Ok(())
    }

    const fn size() -> u16 {
        assert!(size_of::<T>() <= u16::MAX as usize);
        size_of::<T>() as u16
    }

    /// The address of the object in this process.
    pub(super) fn as_ptr(&self) -> *mut T {
        let start = self.offset + HEADER_LEN;
        assert!(start <= self.region.len() && size_of::<T>() <= self.region.len() - start, "checked by the caller");
        let object = NonNull::new(self.region.as_ptr().wrapping_add(start)).expect("inside a mapping").cast::<T>();
        assert!(object.is_aligned(), "alignment checked by the caller");
        object.as_ptr()
    }
}

impl<'r, T> Placed<'r, T> {
    /// The options `create` was given. From shared memory: check before use.
    pub(crate) fn options(&self) -> u32 {
        self.options
    }

    pub(super) fn region(&self) -> &'r RawRegion {
        self.region
    }
}

const POINTER_WIDTH: u8 = size_of::<*const ()>() as u8;

fn name(library: u8, major: u8, minor: u8) -> String {
    let known = flavour::NAMES.iter().find(|(number, _)| *number == library);
    let name = known.map_or("an unknown C library", |(_, name)| name);
    if (major, minor) == (0, 0) { name.to_owned() } else { format!("{name} {major}.{minor}") }
}

/// Identifies the pid namespace of this process; zero if `/proc` is not there to tell.
fn pid_namespace() -> u64 {
    rustix::fs::stat("/proc/self/ns/pid").map_or(0, |stat| stat.st_ino)
}
