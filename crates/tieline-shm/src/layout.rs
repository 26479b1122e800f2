//! What a type looks like in memory, so that two programs can tell whether they mean the same.
//!
//! The invariant: equal hashes mean equal bytes. The hash covers the names, types and offsets of all fields, down to
//! the primitives; the path of the type does not matter, nor does the program it was compiled into.

/// A type whose values may lie in memory that other processes map. Derive it; do not implement it by hand.
///
/// It has a stable layout (`repr(C)`, primitives of one size on every machine), no pointers, no padding, no drop.
/// Without padding no byte of a value is undefined, so a value may be copied word by word, and no forgotten byte of
/// one user's memory reaches another.
///
/// # Safety
/// `LAYOUT` describes the type truly; the type has no padding, no pointer or reference, no interior mutability and
/// needs no drop; [`check`](Self::check) answers `Ok` only for bytes that are a valid value.
#[allow(unsafe_code, reason = "an implementation is a promise about a layout")]
pub unsafe trait ShmSafe: Copy + Send + Sync + 'static {
    /// The type's structure.
    const LAYOUT: &'static Layout;

    /// Whether `bytes`, as long as the type, are a valid value: what a peer wrote is believed only after this.
    ///
    /// # Errors
    /// [`Invalid`] names the field.
    fn check(bytes: &[u8]) -> Result<(), Invalid>;
}

/// The structure of a type: its fields, each with name, offset and structure.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layout {
    /// The type's own name, for people; not part of the hash.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: usize,
    /// Its alignment in bytes.
    pub align: usize,
    /// Its fields in order of offset; none for a primitive, whose name is then part of the hash.
    pub fields: &'static [Field],
    /// How many of the first field follow each other, for an array; 0 for anything else.
    pub count: usize,
}

/// One field of a [`Layout`].
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Field {
    /// Its name; `0`, `1`, ... for a tuple.
    pub name: &'static str,
    /// Where it begins, in bytes from the start of the type.
    pub offset: usize,
    /// What it is.
    pub layout: &'static Layout,
}

/// Bytes from a peer are no value of the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invalid {
    /// The field whose bytes are wrong, or the type's name.
    pub field: &'static str,
    /// What would be right.
    pub expected: &'static str,
}
