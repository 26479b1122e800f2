//! A payload in shared memory that is this process's until it gives it away: read and written in place where the peers
//! are trusted, through a private copy where they are not.
//!
//! The invariant: a reference to shared memory exists only while the structure says that the bytes are this process's,
//! and only if everyone who could break that rule runs as the same user, who could as well write our private memory.

use std::any::TypeId;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::structure::cells::Cells;
use crate::structure::items::{check_all, count_of};

/// Whether everyone who may write the memory is believed to keep to the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// All of one user, as the kernel says.
    SameUser,
    Nobody,
}

/// Bytes that are this process's until it gives them away through the structure they belong to.
#[derive(Debug)]
pub(crate) struct Held {
    place: Place,
    len: usize,
    /// The type of which the bytes are known to be values.
    checked: Option<TypeId>,
}

#[derive(Debug)]
enum Place {
    /// Used in place.
    Shared(Cells, usize),
    /// A small copy of what will not be stored.
    Small([u128; SMALL_WORDS]),
    /// A copy, in words as aligned as a payload can be, and where it is stored in the end.
    Copy(Vec<u128>, Cells, usize),
}

/// Payloads are aligned so.
const ALIGN: usize = align_of::<u128>();
const SMALL_WORDS: usize = 6;

impl Held {
    /// Bytes to be read. They lie within `cells`, as the structure says.
    pub(crate) fn to_read(cells: &Cells, offset: usize, len: usize, trust: Trust) -> Self {
        let mut held = Self::to_write(cells, offset, len, trust);
        if let Place::Copy(copy, cells, offset) = &mut held.place {
            cells.copy_out(*offset, &mut bytes_mut(copy)[..len]);
        }
        held
    }

    /// Bytes to be written: what they are at first has no meaning. To be [stored](Self::store) in the end.
    pub(crate) fn to_write(cells: &Cells, offset: usize, len: usize, trust: Trust) -> Self {
        let place = match trust {
            Trust::SameUser => Place::Shared(cells.clone(), offset),
            Trust::Nobody => Place::Copy(vec![0; len.div_ceil(ALIGN)], cells.clone(), offset),
        };
        Self { place, len, checked: None }
    }

    /// A copy of up to 96 bytes, to be read.
    ///
    /// # Panics
    /// If they are more.
    pub(crate) fn small(from: &[u8]) -> Self {
        let mut words = [0; SMALL_WORDS];
        bytes_mut(&mut words)[..from.len()].copy_from_slice(from);
        Self { place: Place::Small(words), len: from.len(), checked: None }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.place {
            Place::Copy(copy, ..) => &bytes(copy)[..self.len],
            Place::Small(words) => &bytes(words)[..self.len],
            // SAFETY: in the mapping that `cells` keeps alive (asserted by `start`). Nobody writes there while we hold
            // it: see the head of this module.
            #[cfg(not(model))]
            Place::Shared(cells, offset) => unsafe {
                std::slice::from_raw_parts(cells.start(*offset, self.len).as_ptr(), self.len)
            },
            #[cfg(model)]
            Place::Shared(..) => unreachable!("models copy"),
        }
    }

    pub(crate) fn as_bytes_mut(&mut self) -> &mut [u8] {
        self.checked = None;
        match &mut self.place {
            Place::Copy(copy, ..) => &mut bytes_mut(copy)[..self.len],
            Place::Small(words) => &mut bytes_mut(words)[..self.len],
            // SAFETY: as in `as_bytes`; nobody reads there either, and &mut self makes this reference the only one.
            #[cfg(not(model))]
            Place::Shared(cells, offset) => unsafe {
                std::slice::from_raw_parts_mut(cells.start(*offset, self.len).as_ptr(), self.len)
            },
            #[cfg(model)]
            Place::Shared(..) => unreachable!("models copy"),
        }
    }

    /// Makes shared what was written privately.
    pub(crate) fn store(&self) {
        if let Place::Copy(copy, cells, offset) = &self.place {
            cells.copy_in(*offset, &bytes(copy)[..self.len]);
        }
    }

    /// Only the first `len` bytes count from now on. The first of several values are values.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Checks that the bytes are values, as many as `count` says if it says so, which [`items`](Self::items) then relies
    /// on.
    ///
    /// # Errors
    /// `Corrupted` says which field is not; `Unsupported` if the type's alignment is more than 16 bytes.
    pub(crate) fn check<T: ShmSafe>(&mut self, operation: &'static str, count: Option<usize>) -> Result<()> {
        let bytes = self.as_bytes();
        if !bytes.as_ptr().cast::<T>().is_aligned() {
            return Err(Error::new(operation, ErrorKind::Unsupported).because("its type is aligned beyond 16 bytes"));
        }
        if count.is_some_and(|count| count_of::<T>(bytes.len()) != Some(count)) {
            return Err(Error::new(operation, ErrorKind::Corrupted).because(format!(
                "a payload of {} bytes is no {}",
                bytes.len(),
                T::LAYOUT.name
            )));
        }
        check_all::<T>(operation, bytes)?;
        self.checked = Some(TypeId::of::<T>());
        Ok(())
    }

    /// Makes sure that what is there are values, although they will be written over: what was there before, or zeros.
    ///
    /// # Errors
    /// `InvalidInput` if neither is; `Unsupported` as [`check`](Self::check).
    pub(crate) fn prepare<T: ShmSafe>(&mut self, operation: &'static str) -> Result<()> {
        match self.check::<T>(operation, None) {
            Err(error) if error.kind() == ErrorKind::Corrupted => {
                self.as_bytes_mut().fill(0);
                self.check::<T>(operation, None).map_err(|_| {
                    Error::new(operation, ErrorKind::InvalidInput)
                        .because("zeros are no value of its type, so it can only be sent by copy")
                })
            }
            prepared => prepared,
        }
    }

    /// The values that the bytes are.
    ///
    /// # Panics
    /// If that was not [checked](Self::check) before.
    #[inline]
    pub(crate) fn items<T: ShmSafe>(&self) -> &[T] {
        let count = self.count::<T>();
        // SAFETY: `check` saw that the alignment fits and that the bytes are values, of which `count` are within them;
        // they do not change while held, `as_bytes_mut` forgets that they were checked.
        unsafe { std::slice::from_raw_parts(self.as_bytes().as_ptr().cast(), count) }
    }

    /// The same, to be written over with other values.
    ///
    /// # Panics
    /// As [`items`](Self::items).
    pub(crate) fn items_mut<T: ShmSafe>(&mut self) -> &mut [T] {
        let (count, checked) = (self.count::<T>(), self.checked);
        let start = self.as_bytes_mut().as_mut_ptr().cast();
        // Values are written over with values.
        self.checked = checked;
        // SAFETY: as in `items`, and `as_bytes_mut` gave the only reference to the bytes, which this one replaces.
        unsafe { std::slice::from_raw_parts_mut(start, count) }
    }

    /// How many values the checked bytes are.
    #[inline]
    fn count<T: ShmSafe>(&self) -> usize {
        assert!(self.checked == Some(TypeId::of::<T>()), "checked when it was received");
        match size_of::<T>() {
            0 => 1,
            size => self.len / size,
        }
    }
}

fn bytes(words: &[u128]) -> &[u8] {
    // SAFETY: any initialised memory is bytes.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

fn bytes_mut(words: &mut [u128]) -> &mut [u8] {
    // SAFETY: as in `bytes`, and any bytes are words again.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}
