//! What a type looks like in memory, so that two programs can tell whether they mean the same.
//!
//! [`ShmSafe`] is the promise that a type may lie in shared memory, [`Layout`] its structure in words, and
//! [`Layout::hash`] the number that two programs compare before they share a value. The invariant: equal hashes mean
//! equal bytes. The hash covers the names, types and offsets of all fields, down to the primitives; neither the path of
//! the type nor the program it was compiled into matters.

mod describe;
#[cfg(feature = "json")]
mod json;
mod mismatch;
mod padding;
#[allow(unsafe_code, reason = "an implementation of ShmSafe is a promise about a layout")]
mod primitive;
mod schema;

pub use describe::{Field, Layout, Shape, Variant};
#[cfg(feature = "json")]
pub use json::JsonError;
pub use mismatch::Mismatch;
pub use padding::Padding;
pub(crate) use primitive::is_spared;
pub use schema::{Misfit, Primitive, Schema, SchemaError, SchemaField, SchemaShape};

/// A type whose values may lie in memory that other processes map. Derive it; do not implement it by hand.
///
/// Such a type has the same layout in every program: `repr(C)`, primitives of one size on every machine, no pointers,
/// no padding, nothing to drop. Without padding no byte of a value is undefined, so a value may be copied word by word,
/// and no forgotten byte of one user's memory reaches another.
///
/// ```
/// use tieline_shm::ShmSafe;
///
/// #[derive(Clone, Copy, ShmSafe)]
/// #[repr(C)]
/// struct Reading {
///     sensor: u32,
///     unit: Unit,
///     _pad: [u8; 3],
///     celsius: [f64; 2],
/// }
///
/// #[derive(Clone, Copy, ShmSafe)]
/// #[repr(u8)]
/// enum Unit {
///     Raw,
///     Calibrated,
/// }
///
/// assert_eq!(Reading::LAYOUT.size, 24);
/// // What a peer wrote is looked at before it is believed: there is no Unit 7.
/// let mut bytes = [0; 24];
/// bytes[4] = 7;
/// assert_eq!(Reading::check(&bytes).unwrap_err().field, "unit");
/// ```
///
/// Implemented for integers and floats of fixed size, `bool`, `char`, [`NonZero`](std::num::NonZero), arrays of such,
/// and by the derive for structs, tuple structs and fieldless enums with an explicit number type. Type parameters are
/// bound by `ShmSafe`; a generic type's padding is looked for where it is used. A crate that reaches this one through
/// another adds `#[shm(crate = tieline::shm)]`.
///
/// # What is refused, when compiling
/// A struct that Rust may arrange as it likes:
/// ```compile_fail
/// # use tieline_shm::ShmSafe;
/// #[derive(Clone, Copy, ShmSafe)]
/// struct Anyhow { a: u32 } // add #[repr(C)]
/// ```
/// Numbers that are not of one size everywhere:
/// ```compile_fail
/// # use tieline_shm::ShmSafe;
/// #[derive(Clone, Copy, ShmSafe)]
/// #[repr(C)]
/// struct Sized { count: usize } // write u64
/// ```
/// Anything that points, because an address means nothing in another process:
/// ```compile_fail
/// # use tieline_shm::ShmSafe;
/// #[derive(Clone, Copy, ShmSafe)]
/// #[repr(C)]
/// struct Pointing { text: &'static str }
/// ```
/// Padding; the message says where, and which field to add:
/// ```compile_fail,E0080
/// # use tieline_shm::ShmSafe;
/// #[derive(Clone, Copy, ShmSafe)]
/// #[repr(C)]
/// struct Holes { small: u8, large: u32 } // 3 bytes of padding after `small`: add `_pad: [u8; 3]`
/// ```
/// Anything to drop, because no process could know when:
/// ```compile_fail,E0277
/// # use tieline_shm::ShmSafe;
/// #[derive(ShmSafe)]
/// #[repr(C)]
/// struct Dropping { a: u32 } // not Copy
/// impl Drop for Dropping { fn drop(&mut self) {} }
/// ```
///
/// # Safety
/// `LAYOUT` describes the type truly; the type has no padding, no pointer or reference, no interior mutability and
/// needs no drop; [`check`](Self::check) answers `Ok` only for bytes that are a valid value.
#[allow(unsafe_code, reason = "an implementation is a promise about a layout")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` may not lie in shared memory",
    label = "is not ShmSafe",
    note = "numbers of fixed size, bool, char, NonZero, arrays of such, and types with derive(ShmSafe) may",
    note = "write u64 for usize and i64 for isize; an array for String and Vec; an index for a reference"
)]
pub unsafe trait ShmSafe: Copy + Send + Sync + 'static {
    /// The type's structure.
    const LAYOUT: &'static Layout;

    /// Whether `bytes`, as long as the type, are a valid value: what a peer wrote is believed only after this. Costs
    /// nothing for types of which every bit pattern is a value.
    ///
    /// # Errors
    /// [`Invalid`] names the field.
    fn check(bytes: &[u8]) -> Result<(), Invalid>;
}

/// Bytes from a peer are no value of the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invalid {
    /// The innermost field whose bytes are wrong, or the type's name.
    pub field: &'static str,
    /// What would be right.
    pub expected: &'static str,
}

impl Invalid {
    /// `field` does not hold what is `expected` there.
    #[must_use]
    pub const fn new(field: &'static str, expected: &'static str) -> Self {
        Self { field, expected }
    }

    /// Checks the bytes of one field, and names the field if its type does not name an inner one: what the derive calls.
    ///
    /// # Errors
    /// `Invalid` as [`ShmSafe::check`] says, also if `bytes` is shorter than the field reaches.
    #[doc(hidden)]
    #[inline]
    pub fn of_field<T: ShmSafe>(bytes: &[u8], offset: usize, name: &'static str) -> Result<(), Self> {
        let Some(bytes) = bytes.get(offset..offset + size_of::<T>()) else {
            return Err(Self::new(name, "as many bytes as the type has"));
        };
        T::check(bytes).map_err(|invalid| {
            let unnamed = std::ptr::eq(invalid.field, T::LAYOUT.name) || invalid.field == T::LAYOUT.name;
            if unnamed { Self::new(name, invalid.expected) } else { invalid }
        })
    }
}

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` should hold {}", self.field, self.expected)
    }
}

impl std::error::Error for Invalid {}
