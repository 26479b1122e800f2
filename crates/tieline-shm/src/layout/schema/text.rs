//! The text of a layout, read line by line.

use super::{Primitive, Schema, SchemaError, SchemaField, SchemaShape};

impl std::str::FromStr for Schema {
    type Err = SchemaError;

    /// Reads what [`Layout`](crate::Layout)'s `Display` prints; names of structs and enums are forgotten.
    ///
    /// The text may come from a stranger: nesting is limited to 32, and no size or count is believed before it agrees
    /// with the others.
    fn from_str(text: &str) -> Result<Self, SchemaError> {
        let mut lines = Lines { rest: text.lines(), number: 0 };
        let head = lines.next_item()?.ok_or_else(|| lines.wrong("a type"))?;
        let (name, schema) = lines.item(head, 0, NESTING_MAX)?;
        if !name.is_empty() || head.offset != 0 || lines.rest.next().is_some() {
            return Err(lines.wrong("one type at offset 0 and nothing after it"));
        }
        Ok(schema)
    }
}

/// How deep structs may lie in each other; nobody writes deeper ones, and each level costs a frame of the stack.
const NESTING_MAX: usize = 32;

struct Lines<'a> {
    rest: std::str::Lines<'a>,
    number: usize,
}

/// A line `OFFSET: NAME: TITLE { REST`, the name and the brace with its rest not always there.
#[derive(Clone, Copy)]
struct Head<'a> {
    offset: usize,
    body: &'a str,
}

impl<'a> Lines<'a> {
    fn wrong(&self, expected: &'static str) -> SchemaError {
        SchemaError { line: self.number, expected }
    }

    fn next_line(&mut self) -> Result<&'a str, SchemaError> {
        self.number += 1;
        self.rest.next().map(str::trim_start).ok_or_else(|| self.wrong("the rest of a type"))
    }

    /// The head of the next type, or nothing at the closing brace.
    fn next_item(&mut self) -> Result<Option<Head<'a>>, SchemaError> {
        let line = self.next_line()?;
        if line == "}" {
            return Ok(None);
        }
        let (offset, body) = line.split_once(": ").ok_or_else(|| self.wrong("an offset"))?;
        let offset = offset.parse().map_err(|_| self.wrong("a number as offset"))?;
        Ok(Some(Head { offset, body }))
    }

    /// The type that `head` begins, which lies `head.offset - base` bytes into the one around it, and its name there.
    fn item(&mut self, head: Head<'a>, base: usize, nesting: usize) -> Result<(&'a str, Schema), SchemaError> {
        let nesting = nesting.checked_sub(1).ok_or_else(|| self.wrong("fewer levels of nesting"))?;
        if head.offset < base {
            return Err(self.wrong("an offset within the type around it"));
        }
        let (typed, braced) = match head.body.split_once(" {") {
            Some((typed, rest)) => (typed, Some(rest.trim_start())),
            None => (head.body, None),
        };
        let (name, title) = typed.split_once(": ").unwrap_or(("", typed));
        let schema = match braced {
            None => {
                let (primitive, counts) = self.arrays(title)?;
                let primitive = Primitive::parse(primitive).ok_or_else(|| self.wrong("a primitive type"))?;
                self.repeated(Schema { size: primitive.size(), shape: SchemaShape::Primitive(primitive) }, &counts)?
            }
            Some(rest) => {
                let (_, counts) = self.arrays(title)?;
                let inner = match rest.strip_prefix("size ") {
                    Some(sizes) => self.structure(sizes, head.offset, &counts, nesting)?,
                    None => self.enumeration(rest)?,
                };
                self.repeated(inner, &counts)?
            }
        };
        Ok((name, schema))
    }

    /// `[[T; 3]; 2]` as `T` and its counts, the outermost first.
    fn arrays(&self, title: &'a str) -> Result<(&'a str, Vec<usize>), SchemaError> {
        let (mut inner, mut counts) = (title, Vec::new());
        while let Some(array) = inner.strip_prefix('[') {
            let (element, count) = array
                .strip_suffix(']')
                .and_then(|array| array.rsplit_once("; "))
                .ok_or_else(|| self.wrong("an array as [T; N]"))?;
            counts.push(count.parse().map_err(|_| self.wrong("a number of elements"))?);
            if counts.len() > NESTING_MAX {
                return Err(self.wrong("fewer levels of nesting"));
            }
            inner = element;
        }
        Ok((inner, counts))
    }

    fn repeated(&self, inner: Schema, counts: &[usize]) -> Result<Schema, SchemaError> {
        counts.iter().rev().try_fold(inner, |element, &count| {
            let size = element.size.checked_mul(count).ok_or_else(|| self.wrong("a size that exists"))?;
            Ok(Schema { size, shape: SchemaShape::Array { element: Box::new(element), count } })
        })
    }

    /// A struct whose line said `sizes`, which are those of the whole array of it.
    fn structure(&mut self, sizes: &str, base: usize, counts: &[usize], nesting: usize) -> Result<Schema, SchemaError> {
        let whole: usize = sizes
            .split_once(',')
            .and_then(|(size, _)| size.parse().ok())
            .ok_or_else(|| self.wrong("a size and an alignment"))?;
        let mut fields: Vec<SchemaField> = Vec::new();
        let mut end: usize = 0;
        while let Some(head) = self.next_item()? {
            let (name, schema) = self.item(head, base, nesting)?;
            let offset = head.offset - base;
            if offset < end {
                return Err(self.wrong("a field behind the one before"));
            }
            end = offset.checked_add(schema.size).ok_or_else(|| self.wrong("a size that exists"))?;
            fields.push(SchemaField { name: name.to_owned(), offset, schema });
        }
        // Without padding, a struct is as large as its fields reach; an array of none tells no size of its element.
        let of_all = counts.iter().try_fold(end, |size, count| size.checked_mul(*count));
        if of_all != Some(whole) {
            return Err(self.wrong("fields that fill the struct"));
        }
        Ok(Schema { size: end, shape: SchemaShape::Struct(fields) })
    }

    fn enumeration(&mut self, number: &str) -> Result<Schema, SchemaError> {
        let number = Primitive::parse(number).ok_or_else(|| self.wrong("a primitive type"))?;
        let mut variants = Vec::new();
        loop {
            let line = self.next_line()?;
            if line == "}" {
                break;
            }
            let (name, value) = line.split_once(" = ").ok_or_else(|| self.wrong("a variant as NAME = NUMBER"))?;
            let value = value.parse().map_err(|_| self.wrong("a number as the variant's value"))?;
            variants.push((name.to_owned(), value));
        }
        Ok(Schema { size: number.size(), shape: SchemaShape::Enum { number, variants } })
    }
}
