//! A layout read back from its text: what a program knows of a type that it was not compiled with.
//!
//! The invariant: a schema is consistent in itself. Every field lies within its struct, in order and without overlap,
//! and sizes are those of what they are made of; so whoever walks a value of the schema's size by it never leaves it.

mod text;

use std::fmt;

use super::Layout;

/// The structure of a type, as [`Layout`]'s `Display` tells it, for programs that look into values of others.
///
/// ```
/// use tieline_shm::{Schema, SchemaShape, ShmSafe};
///
/// let schema: Schema = <[u32; 3]>::LAYOUT.to_string().parse()?;
/// assert_eq!(schema.size, 12);
/// assert!(matches!(schema.shape, SchemaShape::Array { count: 3, .. }));
/// # Ok::<(), tieline_shm::SchemaError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Schema {
    /// The size of a value in bytes.
    pub size: usize,
    /// What it consists of.
    pub shape: SchemaShape,
}

/// What a value consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaShape {
    /// A number, `bool` or `char`.
    Primitive(Primitive),
    /// So many of the same, one after the other.
    Array {
        /// What each is.
        element: Box<Schema>,
        /// How many.
        count: usize,
    },
    /// Fields in the order of their offsets.
    Struct(Vec<SchemaField>),
    /// One of several named numbers.
    Enum {
        /// How the number lies in memory.
        number: Primitive,
        /// The names.
        variants: Vec<(String, i64)>,
    },
}

/// One field of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemaField {
    /// Its name; `0`, `1`, ... for a tuple.
    pub name: String,
    /// Where it begins, in bytes from the start of the struct.
    pub offset: usize,
    /// What it is.
    pub schema: Schema,
}

macro_rules! primitives {
    ($($variant:ident $name:literal $size:literal)*) => {
        /// What everything else consists of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "each is Rust's primitive of that name")]
        pub enum Primitive { $($variant),* }

        impl Primitive {
            /// As Rust writes it; `nonzero u8` and so on for `NonZero`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// In bytes.
            #[must_use]
            pub fn size(self) -> usize {
                match self { $(Self::$variant => $size),* }
            }

            fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

primitives! {
    Bool "bool" 1
    Char "char" 4
    F32 "f32" 4
    F64 "f64" 8
    I128 "i128" 16
    I16 "i16" 2
    I32 "i32" 4
    I64 "i64" 8
    I8 "i8" 1
    NonZeroI128 "nonzero i128" 16
    NonZeroI16 "nonzero i16" 2
    NonZeroI32 "nonzero i32" 4
    NonZeroI64 "nonzero i64" 8
    NonZeroI8 "nonzero i8" 1
    NonZeroU128 "nonzero u128" 16
    NonZeroU16 "nonzero u16" 2
    NonZeroU32 "nonzero u32" 4
    NonZeroU64 "nonzero u64" 8
    NonZeroU8 "nonzero u8" 1
    U128 "u128" 16
    U16 "u16" 2
    U32 "u32" 4
    U64 "u64" 8
    U8 "u8" 1
}

/// A text is not one that [`Layout`] prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaError {
    line: usize,
    expected: &'static str,
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the layout should have {}", self.line, self.expected)
    }
}

impl std::error::Error for SchemaError {}

impl SchemaError {
    /// The type is larger than any channel carries.
    pub(crate) fn too_large() -> Self {
        Self { line: 1, expected: "a type of at most 1 GiB" }
    }
}

/// Bytes are no value of a [`Schema`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    place: String,
    expected: &'static str,
    found: u64,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.place.trim_start_matches('.') {
            "" => "the value".to_owned(),
            place => format!("`{place}`"),
        };
        write!(f, "{place} should be {}, and is {}", self.expected, self.found)
    }
}

impl std::error::Error for Misfit {}

impl Schema {
    /// Whether `bytes` are a value: no `bool` of 7, no variant that the enum does not have. Bytes that are missing read
    /// as zero, and those beyond the schema's size are not looked at.
    ///
    /// # Errors
    /// [`Misfit`] says where what is wrong.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Misfit> {
        match &self.shape {
            SchemaShape::Primitive(primitive) => primitive.check(bytes),
            SchemaShape::Array { element, .. } if element.is_any() => Ok(()),
            SchemaShape::Array { element, count } => (0..*count).try_for_each(|index| {
                let part = bytes.get(index * element.size..).unwrap_or_default();
                element.check(part).map_err(|misfit| misfit.within(&format!("[{index}]")))
            }),
            SchemaShape::Struct(fields) => fields.iter().try_for_each(|field| {
                let part = bytes.get(field.offset..).unwrap_or_default();
                field.schema.check(part).map_err(|misfit| misfit.within(&format!(".{}", field.name)))
            }),
            SchemaShape::Enum { number, variants } => {
                let found = number.word(bytes);
                // The variant's number as it lies in memory: its low bytes.
                let mask = u64::MAX >> (64 - 8 * number.size().min(8));
                let is_known = variants.iter().any(|(_, value)| value.cast_unsigned() & mask == found);
                if is_known { Ok(()) } else { Err(Misfit::new("one of the enum's numbers", found)) }
            }
        }
    }

    /// Whether all bytes are a value.
    fn is_any(&self) -> bool {
        match &self.shape {
            SchemaShape::Primitive(primitive) => {
                !matches!(primitive, Primitive::Bool | Primitive::Char) && !primitive.is_nonzero()
            }
            SchemaShape::Array { element, count } => *count == 0 || element.is_any(),
            SchemaShape::Struct(fields) => fields.iter().all(|field| field.schema.is_any()),
            SchemaShape::Enum { .. } => false,
        }
    }
}

impl Primitive {
    fn is_nonzero(self) -> bool {
        self.name().starts_with("nonzero")
    }

    fn check(self, bytes: &[u8]) -> Result<(), Misfit> {
        let found = self.word(bytes);
        match self {
            Self::Bool if found > 1 => Err(Misfit::new("true or false", found)),
            Self::Char if u32::try_from(found).ok().and_then(char::from_u32).is_none() => {
                Err(Misfit::new("a character", found))
            }
            _ if self.is_nonzero() && bytes.iter().take(self.size()).all(|byte| *byte == 0) => {
                Err(Misfit::new("a number other than zero", 0))
            }
            _ => Ok(()),
        }
    }

    /// The bytes as a number without a sign; of long ones the first eight.
    fn word(self, bytes: &[u8]) -> u64 {
        let len = self.size().min(8);
        let mut word = [0; 8];
        let place = if cfg!(target_endian = "little") { 0 } else { 8 - len };
        for (to, from) in word[place..place + len].iter_mut().zip(bytes) {
            *to = *from;
        }
        u64::from_ne_bytes(word)
    }
}

impl Misfit {
    fn new(expected: &'static str, found: u64) -> Self {
        Self { place: String::new(), expected, found }
    }

    fn within(mut self, outer: &str) -> Self {
        self.place.insert_str(0, outer);
        self
    }
}

impl From<&Layout> for Schema {
    fn from(layout: &Layout) -> Self {
        // What we print ourselves is read back by construction; the tests compare the two for every shape.
        layout.to_string().parse().expect("a layout's own text is a layout")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ShmSafe;
    use crate::layout::{Field, Shape, Variant};

    /// The same structure, from the layout itself.
    fn expected(layout: &Layout) -> Schema {
        let shape = match layout.shape {
            Shape::Primitive => SchemaShape::Primitive(Primitive::parse(layout.name).unwrap()),
            Shape::Array { element, count } => SchemaShape::Array { element: Box::new(expected(element)), count },
            Shape::Struct(fields) => SchemaShape::Struct(
                fields
                    .iter()
                    .map(|field| SchemaField {
                        name: field.name.to_owned(),
                        offset: field.offset,
                        schema: expected(field.layout),
                    })
                    .collect(),
            ),
            Shape::Enum { number, variants } => SchemaShape::Enum {
                number: Primitive::parse(number.name).unwrap(),
                variants: variants.iter().map(|variant| (variant.name.to_owned(), variant.number)).collect(),
            },
        };
        Schema { size: layout.size, shape }
    }

    static ENUM: Layout =
        Layout::enumeration::<u16>("State", u16::LAYOUT, &[Variant::new("Idle", 0), Variant::new("Lost", 65535)]);
    static INNER: Layout = Layout::structure::<[u32; 2]>(
        "Inner",
        &[Field::new("0", 0, u32::LAYOUT), Field::new("1", 4, <[u8; 4]>::LAYOUT)],
    );
    static INNERS: Layout = Layout::array::<[[u32; 2]; 3]>(&INNER, 3);
    static STATES: Layout = Layout::array::<[u16; 4]>(&ENUM, 4);
    static OUTER: Layout = Layout::structure::<[u64; 6]>(
        "Outer",
        &[
            Field::new("head", 0, u64::LAYOUT),
            Field::new("inners", 8, &INNERS),
            Field::new("states", 32, &STATES),
            Field::new("grid", 40, <[[u16; 2]; 2]>::LAYOUT),
        ],
    );

    #[test]
    fn every_shape_is_read_back() {
        for layout in [&OUTER, &ENUM, &INNER, bool::LAYOUT, <[[std::num::NonZero<u64>; 2]; 5]>::LAYOUT] {
            assert_eq!(Schema::from(layout), expected(layout), "{layout}");
        }
    }

    #[test]
    fn bytes_that_are_no_value_are_told() {
        let schema: Schema = "0: S { size 16, align 4
            0: states: [State { i8
                Idle = 0
                Lost = -1
            }
            2: ok: [bool; 2]
            4: letter: char
            8: id: nonzero u32
            12: any: u32
        }"
        .replace("[State { i8", "[State; 2] { i8")
        .parse()
        .unwrap();
        let good = [0, 0xff, 0, 1, b'a', 0, 0, 0, 1, 0, 0, 0, 9, 9, 9, 9];
        assert_eq!(schema.check(&good), Ok(()));
        for (place, byte, told) in [
            (1, 7, "`states[1]` should be one of the enum's numbers, and is 7"),
            (3, 2, "`ok[1]` should be true or false, and is 2"),
            (6, 0xff, "`letter` should be a character, and is 16711777"),
            (8, 0, "`id` should be a number other than zero, and is 0"),
        ] {
            let mut bytes = good;
            bytes[place] = byte;
            assert_eq!(schema.check(&bytes).unwrap_err().to_string(), told);
        }
    }

    #[test]
    fn a_text_that_contradicts_itself_is_refused() {
        for text in [
            "",
            "}",
            "0: u33",
            "4: u32",
            "0: S { size 8, align 4\n    0: a: u32\n}",
            "0: S { size 8, align 4\n    0: a: u64\n    4: b: u32\n}",
            "0: S { size 4, align 4\n    0: a: u32",
            "0: [u64; 18446744073709551615]",
            "0: [u64; 3",
            "0: u32\n0: u32",
        ] {
            assert!(text.parse::<Schema>().is_err(), "{text:?}");
        }
        let deep = "0: S { size 0, align 1\n".repeat(100_000);
        assert!(deep.parse::<Schema>().is_err());
    }
}
