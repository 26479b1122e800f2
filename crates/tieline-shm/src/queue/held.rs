//! A payload in shared memory that this process holds for now: read and written in place where the peers are trusted,
//! through a private copy where they are not.
//!
//! The invariant: a reference to shared memory exists only while the structure says that the bytes are this process's,
//! and only if everyone who could break that rule runs as the same user, who could as well write our private memory.

use std::any::TypeId;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::queue::cells::Cells;

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
    cells: Cells,
    offset: usize,
    len: usize,
    /// In words as aligned as a payload can be; `None` if the bytes are used in place.
    copy: Option<Vec<u128>>,
    /// The type of which the bytes are known to be a value.
    checked: Option<TypeId>,
}

/// Payloads are aligned so.
const ALIGN: usize = align_of::<u128>();

impl Held {
    /// Bytes to be read. They lie within `cells`, as the structure says.
    pub(crate) fn to_read(cells: &Cells, offset: usize, len: usize, trust: Trust) -> Self {
        let mut held = Self::to_write(cells, offset, len, trust);
        if held.copy.is_some() {
            let mut copy = held.copy.take().unwrap_or_default();
            cells.copy_out(offset, &mut bytes_mut(&mut copy)[..len]);
            held.copy = Some(copy);
        }
        held
    }

    /// Bytes to be written: what they are at first has no meaning. To be [stored](Self::store) in the end.
    pub(crate) fn to_write(cells: &Cells, offset: usize, len: usize, trust: Trust) -> Self {
        let copy = match trust {
            Trust::SameUser => None,
            Trust::Nobody => Some(vec![0; len.div_ceil(ALIGN)]),
        };
        Self { cells: cells.clone(), offset, len, copy, checked: None }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.copy {
            Some(copy) => &bytes(copy)[..self.len],
            // SAFETY: in the mapping that `cells` keeps alive (asserted by `start`). Nobody writes there while we hold
            // it: see the head of this module.
            #[cfg(not(model))]
            None => unsafe { std::slice::from_raw_parts(self.cells.start(self.offset, self.len).as_ptr(), self.len) },
            #[cfg(model)]
            None => unreachable!("models copy"),
        }
    }

    pub(crate) fn as_bytes_mut(&mut self) -> &mut [u8] {
        self.checked = None;
        match &mut self.copy {
            Some(copy) => &mut bytes_mut(copy)[..self.len],
            // SAFETY: as in `as_bytes`; nobody reads there either, and &mut self makes this reference the only one.
            #[cfg(not(model))]
            None => unsafe {
                std::slice::from_raw_parts_mut(self.cells.start(self.offset, self.len).as_ptr(), self.len)
            },
            #[cfg(model)]
            None => unreachable!("models copy"),
        }
    }

    /// Makes shared what was written privately.
    pub(crate) fn store(&self) {
        if let Some(copy) = &self.copy {
            self.cells.copy_in(self.offset, &bytes(copy)[..self.len]);
        }
    }

    /// Only the first `len` bytes count from now on.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.checked = None;
    }

    /// Checks that the bytes are a `T`, which [`value`](Self::value) then relies on.
    ///
    /// # Errors
    /// `Corrupted` says which field is not.
    pub(crate) fn check<T: ShmSafe>(&mut self, operation: &'static str) -> Result<()> {
        let corrupted = |why: String| Error::new(operation, ErrorKind::Corrupted).because(why);
        if self.len != size_of::<T>() {
            return Err(corrupted(format!("a payload of {} bytes is no {}", self.len, T::LAYOUT.name)));
        }
        if !self.as_bytes().as_ptr().cast::<T>().is_aligned() {
            return Err(Error::new(operation, ErrorKind::Unsupported).because("its type is aligned beyond 16 bytes"));
        }
        T::check(self.as_bytes()).map_err(|invalid| corrupted(invalid.to_string()))?;
        self.checked = Some(TypeId::of::<T>());
        Ok(())
    }

    /// The `T` that the bytes are.
    ///
    /// # Panics
    /// If that was not [checked](Self::check) before.
    pub(crate) fn value<T: ShmSafe>(&self) -> &T {
        assert!(self.checked == Some(TypeId::of::<T>()), "checked when it was received");
        let bytes = self.as_bytes();
        // SAFETY: `check` saw that length and alignment fit and that the bytes
        // are a valid value; they do not change while held, `as_bytes_mut` forgets that they were checked.
        unsafe { &*bytes.as_ptr().cast::<T>() }
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
