//! The structure of a type as data, and its hash.

/// The structure of a type: what it is made of, down to the primitives.
///
/// `Display` prints it as people write it down: one line for each field with its offset, nested types indented.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layout {
    /// The type's own name. Part of the hash for primitives only, so that types may be renamed.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: usize,
    /// Its alignment in bytes.
    pub align: usize,
    /// What it consists of.
    pub shape: Shape,
}

/// What a type consists of.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// One number, `bool` or `char`.
    Primitive,
    /// Several of one type, one after the other.
    Array {
        /// What each is.
        element: &'static Layout,
        /// How many.
        count: usize,
    },
    /// Fields in the order they are written, which is that of their offsets.
    Struct(&'static [Field]),
    /// One of several named numbers of a primitive type.
    Enum {
        /// The primitive.
        number: &'static Layout,
        /// The names.
        variants: &'static [Variant],
    },
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

/// One named number of an enum.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Variant {
    /// Its name.
    pub name: &'static str,
    /// Its number; one above `i64::MAX` is wrapped.
    pub number: i64,
}

impl Layout {
    /// A primitive of this name.
    pub(crate) const fn primitive<T>(name: &'static str) -> Self {
        Self { name, size: size_of::<T>(), align: align_of::<T>(), shape: Shape::Primitive }
    }

    /// `count` of `element`, which together are a `T`.
    pub(crate) const fn array<T>(element: &'static Self, count: usize) -> Self {
        Self { name: "array", size: size_of::<T>(), align: align_of::<T>(), shape: Shape::Array { element, count } }
    }

    /// A struct `T` of these fields: what the derive calls, after which padding is a compile error.
    #[doc(hidden)]
    #[must_use]
    pub const fn structure<T>(name: &'static str, fields: &'static [Field]) -> Self {
        let layout = Self { name, size: size_of::<T>(), align: align_of::<T>(), shape: Shape::Struct(fields) };
        super::padding::refuse(&layout);
        layout
    }

    /// An enum `T` of these names: what the derive calls.
    #[doc(hidden)]
    #[must_use]
    pub const fn enumeration<T>(name: &'static str, number: &'static Self, variants: &'static [Variant]) -> Self {
        Self { name, size: size_of::<T>(), align: align_of::<T>(), shape: Shape::Enum { number, variants } }
    }

    /// The number that two programs compare before they believe each other's memory. Never 0, which stands for plain
    /// bytes.
    ///
    /// It is FNV-1a with 64 bits (offset basis `cbf29ce484222325`, prime `100000001b3`) over these bytes, in which
    /// every number is 8 bytes, little endian, and every text is followed by a zero byte:
    ///
    /// | a | gives |
    /// |---|---|
    /// | primitive | `p`, size, alignment, name |
    /// | array | `a`, count, then the element |
    /// | struct | `s`, size, alignment, count of fields, then for each its name, its offset, and itself |
    /// | enum | `e`, the number's primitive, count of variants, then for each its name and its number |
    ///
    /// An FNV-1a of 0 is given as 1. The name of a struct or enum is left out, and so is whatever may differ between
    /// two compilations of the same type. This is a promise: it does not change between versions.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        let hash = Fnv::new().layout(self).0;
        if hash == 0 { 1 } else { hash }
    }

    /// Whether two types have the same bytes: what the hash stands for.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.hash() == other.hash()
    }
}

impl Field {
    /// A field: what the derive calls.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(name: &'static str, offset: usize, layout: &'static Layout) -> Self {
        Self { name, offset, layout }
    }
}

impl Variant {
    /// A named number: what the derive calls.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(name: &'static str, number: i64) -> Self {
        Self { name, number }
    }
}

/// FNV-1a while it runs. Written out because `Hasher` cannot run at compile time.
struct Fnv(u64);

impl Fnv {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    const fn byte(self, byte: u8) -> Self {
        Self((self.0 ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3))
    }

    const fn number(mut self, number: u64) -> Self {
        let bytes = number.to_le_bytes();
        let mut index = 0;
        while index < bytes.len() {
            self = self.byte(bytes[index]);
            index += 1;
        }
        self
    }

    const fn text(mut self, text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut index = 0;
        while index < bytes.len() {
            self = self.byte(bytes[index]);
            index += 1;
        }
        self.byte(0)
    }

    const fn layout(mut self, layout: &Layout) -> Self {
        match layout.shape {
            Shape::Primitive => {
                self.byte(b'p').number(layout.size as u64).number(layout.align as u64).text(layout.name)
            }
            Shape::Array { element, count } => self.byte(b'a').number(count as u64).layout(element),
            Shape::Struct(fields) => {
                self = self.byte(b's').number(layout.size as u64).number(layout.align as u64);
                self = self.number(fields.len() as u64);
                let mut index = 0;
                while index < fields.len() {
                    let field = &fields[index];
                    self = self.text(field.name).number(field.offset as u64).layout(field.layout);
                    index += 1;
                }
                self
            }
            Shape::Enum { number, variants } => {
                self = self.byte(b'e').layout(number).number(variants.len() as u64);
                let mut index = 0;
                while index < variants.len() {
                    let variant = &variants[index];
                    self = self.text(variant.name).number(variant.number.cast_unsigned());
                    index += 1;
                }
                self
            }
        }
    }
}
