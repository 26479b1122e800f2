//! Finding the bytes of a struct that belong to no field, and saying at compile time which field to add.

use std::fmt;

use super::{Layout, Shape};

/// Bytes of a struct that belong to no field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Padding {
    /// The field before them; empty if they come first.
    pub after: &'static str,
    /// Where they begin, in bytes from the start of the struct.
    pub offset: usize,
    /// How many they are.
    pub len: usize,
}

impl Layout {
    /// The first padding of a struct; always `None` for a type that is [`ShmSafe`](super::ShmSafe).
    #[must_use]
    pub const fn padding(&self) -> Option<Padding> {
        let Shape::Struct(fields) = self.shape else { return None };
        let (mut end, mut after) = (0, "");
        let mut index = 0;
        while index < fields.len() {
            let field = &fields[index];
            if field.offset > end {
                return Some(Padding { after, offset: end, len: field.offset - end });
            }
            end = field.offset + field.layout.size;
            after = field.name;
            index += 1;
        }
        if self.size > end { Some(Padding { after, offset: end, len: self.size - end }) } else { None }
    }
}

/// Ends a compilation if the struct has padding.
pub(super) const fn refuse(layout: &Layout) {
    if let Some(padding) = layout.padding() {
        let text = Text::of(layout.name, padding);
        panic!("{}", text.as_str());
    }
}

impl fmt::Display for Padding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Text::of("the struct", *self).as_str())
    }
}

/// A short text that can be put together at compile time; what does not fit is left out.
struct Text {
    bytes: [u8; 384],
    len: usize,
}

impl Text {
    const fn of(name: &str, padding: Padding) -> Self {
        let text = Self { bytes: [0; 384], len: 0 };
        let text = text.add(name).add(" has ").number(padding.len).add(" bytes of padding ");
        let text = if padding.after.is_empty() {
            text.add("at its start")
        } else {
            text.add("after the field `").add(padding.after).add("`")
        };
        let text =
            text.add(" (from byte ").number(padding.offset).add("), which would be undefined in shared memory: ");
        text.add("put a field `_pad: [u8; ").number(padding.len).add("]` there, or order the fields by size")
    }

    const fn add(mut self, text: &str) -> Self {
        let bytes = text.as_bytes();
        if self.bytes.len() - self.len < bytes.len() {
            return self;
        }
        let mut index = 0;
        while index < bytes.len() {
            self.bytes[self.len] = bytes[index];
            self.len += 1;
            index += 1;
        }
        self
    }

    const fn number(self, number: usize) -> Self {
        let text = if number >= 10 { self.number(number / 10) } else { self };
        text.add(DIGITS[number % 10])
    }

    const fn as_str(&self) -> &str {
        match str::from_utf8(self.bytes.split_at(self.len).0) {
            Ok(text) => text,
            Err(_) => "the struct has padding",
        }
    }
}

const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Field, ShmSafe};

    const fn layout(size: usize, fields: &'static [Field]) -> Layout {
        Layout { name: "Sample", size, align: 8, shape: Shape::Struct(fields) }
    }

    #[test]
    fn padding_is_told_with_its_place_and_its_cure() {
        const INSIDE: Layout = layout(8, &[Field::new("a", 0, u8::LAYOUT), Field::new("b", 4, u32::LAYOUT)]);
        let padding = INSIDE.padding().unwrap();
        assert_eq!((padding.after, padding.offset, padding.len), ("a", 1, 3));
        assert_eq!(
            Text::of(INSIDE.name, padding).as_str(),
            "Sample has 3 bytes of padding after the field `a` (from byte 1), which would be undefined in shared \
             memory: put a field `_pad: [u8; 3]` there, or order the fields by size"
        );
        const BEHIND: Layout = layout(128, &[Field::new("a", 0, u64::LAYOUT)]);
        assert_eq!(BEHIND.padding().unwrap(), Padding { after: "a", offset: 8, len: 120 });
        const FULL: Layout = layout(8, &[Field::new("a", 0, u64::LAYOUT)]);
        assert_eq!(FULL.padding(), None);
    }

    #[test]
    #[should_panic(expected = "Sample has 3 bytes of padding after the field `a`")]
    fn padding_is_refused() {
        refuse(&layout(8, const { &[Field::new("a", 0, u8::LAYOUT), Field::new("b", 4, u32::LAYOUT)] }));
    }
}
