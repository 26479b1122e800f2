//! Values of shared memory as JSON and back, by their schema.
//!
//! The invariant: what is made from JSON is a valid value of the schema, and what is shown never fails, whatever the
//! bytes: a number that no variant has is shown as the number.

use std::fmt;

use serde_json::{Map, Number, Value};

use super::schema::{Primitive, Schema, SchemaField, SchemaShape};

/// What is made of JSON has at most so many bytes.
const MAX_BYTES: usize = 1 << 30;

impl Schema {
    /// A value as JSON (feature `json`).
    ///
    /// | in memory | in JSON |
    /// |---|---|
    /// | integer, float | number |
    /// | integer beyond 64 bits | string of its digits |
    /// | NaN and the infinities | `"NaN"`, `"inf"`, `"-inf"` |
    /// | `bool`, `char` | `true` or `false`, string |
    /// | enum | the variant's name |
    /// | array, tuple struct | array |
    /// | struct | object |
    ///
    /// Bytes that are no value (an enum's unknown number, a `bool` of 7) are shown as the number that is there. Bytes
    /// beyond the schema's size are left out, and missing ones read as zero.
    ///
    /// ```
    /// use tieline_shm::{Schema, ShmSafe};
    ///
    /// let schema = Schema::from(<[u16; 2]>::LAYOUT);
    /// assert_eq!(schema.to_json(&[1, 0, 2, 0]).to_string(), "[1,2]");
    /// assert_eq!(schema.from_json(&serde_json::json!([1, 2]))?, [1, 0, 2, 0]);
    /// # Ok::<(), tieline_shm::JsonError>(())
    /// ```
    #[must_use]
    pub fn to_json(&self, bytes: &[u8]) -> Value {
        match &self.shape {
            SchemaShape::Primitive(primitive) => primitive.to_json(bytes),
            SchemaShape::Array { element, count } => {
                // Of nothing, a stranger may claim any number.
                let shown = if element.size == 0 { 1.min(*count) } else { *count };
                (0..shown).map(|index| element.to_json(part(bytes, index * element.size, element.size))).collect()
            }
            SchemaShape::Struct(fields) if is_tuple(fields) => {
                fields.iter().map(|field| field.to_json(bytes)).collect()
            }
            SchemaShape::Struct(fields) => {
                Value::Object(fields.iter().map(|field| (field.name.clone(), field.to_json(bytes))).collect())
            }
            SchemaShape::Enum { number, variants } => {
                let found = number.integer(bytes).and_then(|there| {
                    variants.iter().find(|(_, value)| number.integer(&value.to_ne_bytes()) == Some(there))
                });
                found.map_or_else(|| number.to_json(bytes), |(name, _)| Value::String(name.clone()))
            }
        }
    }

    /// The bytes of the value that `json` describes, in the form of [`to_json`](Self::to_json) (feature `json`).
    /// Fields whose names begin with `_pad` or `_reserved` may be left out, and are zero then.
    ///
    /// # Errors
    /// [`JsonError`] says where in the value something else should be, or that it would take more than 1 GiB.
    pub fn from_json(&self, json: &Value) -> Result<Vec<u8>, JsonError> {
        let mut bytes = self.zeros(1)?;
        self.fill(json, &mut bytes)?;
        Ok(bytes)
    }

    /// The bytes of any number of values, from an array.
    pub(crate) fn many_from_json(&self, json: &Value) -> Result<Vec<u8>, JsonError> {
        let values = json.as_array().ok_or_else(|| JsonError::expected("an array"))?;
        let mut bytes = self.zeros(values.len())?;
        values.iter().enumerate().try_for_each(|(index, value)| {
            let part = &mut bytes[index * self.size..][..self.size];
            self.fill(value, part).map_err(|error| error.within(&format!("[{index}]")))
        })?;
        Ok(bytes)
    }

    /// Room for so many values. The schema may be a stranger's, and its size anything.
    fn zeros(&self, count: usize) -> Result<Vec<u8>, JsonError> {
        match self.size.checked_mul(count).filter(|len| *len <= MAX_BYTES) {
            Some(len) => Ok(vec![0; len]),
            None => Err(JsonError::expected(format!(
                "smaller: {count} of {} bytes are more than the {MAX_BYTES} that are made of JSON",
                self.size
            ))),
        }
    }

    fn fill(&self, json: &Value, bytes: &mut [u8]) -> Result<(), JsonError> {
        match &self.shape {
            SchemaShape::Primitive(primitive) => primitive.fill(json, bytes),
            SchemaShape::Array { element, count } => {
                let values = json.as_array().filter(|values| values.len() == *count);
                let values = values.ok_or_else(|| JsonError::expected(format!("an array of {count} values")))?;
                values.iter().enumerate().try_for_each(|(index, value)| {
                    let part = &mut bytes[index * element.size..][..element.size];
                    element.fill(value, part).map_err(|error| error.within(&format!("[{index}]")))
                })
            }
            SchemaShape::Struct(fields) if is_tuple(fields) => {
                let values = json.as_array().filter(|values| values.len() == fields.len());
                let values =
                    values.ok_or_else(|| JsonError::expected(format!("an array of {} values", fields.len())))?;
                fields.iter().zip(values).try_for_each(|(field, value)| field.fill(value, bytes))
            }
            SchemaShape::Struct(fields) => {
                let members = json.as_object().ok_or_else(|| JsonError::expected("an object"))?;
                refuse_unknown(fields, members)?;
                fields.iter().try_for_each(|field| match members.get(&field.name) {
                    Some(value) => field.fill(value, bytes),
                    None if field.is_filler() => Ok(()),
                    None => Err(JsonError::expected("a value, which is missing").within(&format!(".{}", field.name))),
                })
            }
            SchemaShape::Enum { number, variants } => {
                let named = json.as_str().and_then(|name| variants.iter().find(|(known, _)| known == name));
                let (_, value) = named.ok_or_else(|| {
                    let names: Vec<&str> = variants.iter().map(|(name, _)| name.as_str()).collect();
                    JsonError::expected(format!("one of {}", names.join(", ")))
                })?;
                // The number of a variant has the size of the primitive; the rest is its sign, or nothing.
                bytes.copy_from_slice(&sized(*value, number.size()));
                Ok(())
            }
        }
    }
}

impl SchemaField {
    fn to_json(&self, bytes: &[u8]) -> Value {
        self.schema.to_json(part(bytes, self.offset, self.schema.size))
    }

    fn fill(&self, json: &Value, bytes: &mut [u8]) -> Result<(), JsonError> {
        let part = &mut bytes[self.offset..][..self.schema.size];
        self.schema.fill(json, part).map_err(|error| error.within(&format!(".{}", self.name)))
    }

    fn is_filler(&self) -> bool {
        self.name.starts_with("_pad") || self.name.starts_with("_reserved")
    }
}

impl Primitive {
    fn to_json(self, bytes: &[u8]) -> Value {
        match self {
            Self::Bool if matches!(bytes, [0 | 1]) => Value::Bool(bytes == [1]),
            Self::Char => match self.integer(bytes).and_then(|code| u32::try_from(code).ok()) {
                Some(code) => char::from_u32(code).map_or_else(|| code.into(), |char| char.to_string().into()),
                None => Value::Null,
            },
            Self::F32 => float_to_json(f64::from(f32::from_ne_bytes(array(bytes)))),
            Self::F64 => float_to_json(f64::from_ne_bytes(array(bytes))),
            Self::U128 | Self::NonZeroU128 => {
                let value = u128::from_ne_bytes(array(bytes));
                u64::try_from(value).map_or_else(|_| value.to_string().into(), Value::from)
            }
            _ => match self.integer(bytes) {
                Some(value) => i64::try_from(value)
                    .map(Value::from)
                    .or_else(|_| u64::try_from(value).map(Value::from))
                    .unwrap_or_else(|_| value.to_string().into()),
                None => Value::Null,
            },
        }
    }

    /// An integer, or what lies in memory as one; nothing for floats and for the half of `u128` beyond `i128`.
    fn integer(self, bytes: &[u8]) -> Option<i128> {
        Some(match self {
            Self::Bool | Self::U8 | Self::NonZeroU8 => u8::from_ne_bytes(array(bytes)).into(),
            Self::I8 | Self::NonZeroI8 => i8::from_ne_bytes(array(bytes)).into(),
            Self::U16 | Self::NonZeroU16 => u16::from_ne_bytes(array(bytes)).into(),
            Self::I16 | Self::NonZeroI16 => i16::from_ne_bytes(array(bytes)).into(),
            Self::Char | Self::U32 | Self::NonZeroU32 => u32::from_ne_bytes(array(bytes)).into(),
            Self::I32 | Self::NonZeroI32 => i32::from_ne_bytes(array(bytes)).into(),
            Self::U64 | Self::NonZeroU64 => u64::from_ne_bytes(array(bytes)).into(),
            Self::I64 | Self::NonZeroI64 => i64::from_ne_bytes(array(bytes)).into(),
            Self::I128 | Self::NonZeroI128 => i128::from_ne_bytes(array(bytes)),
            Self::U128 | Self::NonZeroU128 => u128::from_ne_bytes(array(bytes)).try_into().ok()?,
            Self::F32 | Self::F64 => return None,
        })
    }

    fn fill(self, json: &Value, bytes: &mut [u8]) -> Result<(), JsonError> {
        let wrong = || JsonError::expected(format!("a value of type {}", self.name()));
        match self {
            Self::Bool => bytes.copy_from_slice(&[u8::from(json.as_bool().ok_or_else(wrong)?)]),
            Self::Char => {
                let mut chars = json.as_str().ok_or_else(wrong)?.chars();
                let (Some(char), None) = (chars.next(), chars.next()) else { return Err(wrong()) };
                bytes.copy_from_slice(&u32::from(char).to_ne_bytes());
            }
            Self::F32 => bytes.copy_from_slice(&(float_of(json).ok_or_else(wrong)? as f32).to_ne_bytes()),
            Self::F64 => bytes.copy_from_slice(&float_of(json).ok_or_else(wrong)?.to_ne_bytes()),
            Self::U128 | Self::NonZeroU128 => {
                let value = match json {
                    Value::String(digits) => digits.parse().map_err(|_| wrong())?,
                    _ => u128::from(json.as_u64().ok_or_else(wrong)?),
                };
                self.refuse_zero(value == 0)?;
                bytes.copy_from_slice(&value.to_ne_bytes());
            }
            _ => {
                let value = match json {
                    Value::String(digits) if self.size() == 16 => digits.parse().map_err(|_| wrong())?,
                    Value::Number(number) => integer_of(number).ok_or_else(wrong)?,
                    _ => return Err(wrong()),
                };
                self.refuse_zero(value == 0)?;
                let written = value.to_ne_bytes();
                let own =
                    if cfg!(target_endian = "little") { &written[..self.size()] } else { &written[16 - self.size()..] };
                // A value that does not fit reads back as another one.
                if self.integer(own) != Some(value) {
                    return Err(wrong());
                }
                bytes.copy_from_slice(own);
            }
        }
        Ok(())
    }

    fn refuse_zero(self, zero: bool) -> Result<(), JsonError> {
        if zero && self.name().starts_with("nonzero") {
            return Err(JsonError::expected("a number other than zero"));
        }
        Ok(())
    }
}

/// A JSON value is not one of the schema's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    place: String,
    expected: String,
}

impl JsonError {
    fn expected(expected: impl Into<String>) -> Self {
        Self { place: String::new(), expected: expected.into() }
    }

    fn within(mut self, outer: &str) -> Self {
        self.place.insert_str(0, outer);
        self
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.trim_start_matches('.');
        match place {
            "" => write!(f, "the value should be {}", self.expected),
            _ => write!(f, "`{place}` should be {}", self.expected),
        }
    }
}

impl std::error::Error for JsonError {}

fn refuse_unknown(fields: &[SchemaField], members: &Map<String, Value>) -> Result<(), JsonError> {
    match members.keys().find(|name| fields.iter().all(|field| field.name != **name)) {
        Some(name) => Err(JsonError::expected("left out: the type has no such field").within(&format!(".{name}"))),
        None => Ok(()),
    }
}

fn is_tuple(fields: &[SchemaField]) -> bool {
    !fields.is_empty() && fields.iter().enumerate().all(|(index, field)| field.name == index.to_string())
}

/// `len` bytes from `offset`; fewer where a peer gave fewer.
fn part(bytes: &[u8], offset: usize, len: usize) -> &[u8] {
    let bytes = bytes.get(offset..).unwrap_or_default();
    &bytes[..len.min(bytes.len())]
}

/// The first `N` bytes, filled up with zeros.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    let len = N.min(bytes.len());
    array[..len].copy_from_slice(&bytes[..len]);
    array
}

/// The bytes of `value` in a number of `size` bytes, at most 16.
fn sized(value: i64, size: usize) -> Vec<u8> {
    let bytes = i128::from(value).to_ne_bytes();
    if cfg!(target_endian = "little") { bytes[..size].to_vec() } else { bytes[16 - size..].to_vec() }
}

fn float_to_json(value: f64) -> Value {
    Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number)
}

fn float_of(json: &Value) -> Option<f64> {
    match json.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("inf") => Some(f64::INFINITY),
        Some("-inf") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => json.as_f64(),
    }
}

fn integer_of(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        "0: Reading { size 40, align 8
            0: sensor: u32
            4: unit: Unit { u8
                Raw = 0
                Lost = 255
            }
            5: ok: bool
            6: _pad: [u8; 2]
            8: celsius: [f64; 2]
            24: pair: Pair { size 16, align 8
                24: 0: nonzero i64
                32: 1: char
                36: 2: f32
            }
        }"
        .parse()
        .unwrap()
    }

    #[test]
    fn a_value_comes_back_as_it_was() {
        let value = json!({
            "sensor": 7, "unit": "Lost", "ok": true, "_pad": [0, 0], "celsius": [-0.5, "NaN"], "pair": [-3, "ß", "-inf"],
        });
        let bytes = schema().from_json(&value).unwrap();
        assert_eq!(bytes.len(), 40);
        assert_eq!(schema().to_json(&bytes), value);
    }

    #[test]
    fn a_size_beyond_all_memory_is_refused_before_there_is_room_for_it() {
        let schema: Schema = "0: Large { size 1152921504606846976, align 8
            0: number: u64
            8: _pad: [u8; 1152921504606846968]
        }"
        .parse()
        .unwrap();
        let value = json!({ "number": 1 });
        let error = schema.from_json(&value).unwrap_err().to_string();
        assert!(error.contains("smaller") && error.contains("1152921504606846976"), "{error}");
        // Together beyond all numbers.
        assert!(schema.many_from_json(&vec![value; 16].into()).is_err());
    }

    #[test]
    fn a_filler_may_be_left_out_and_nothing_else() {
        let mut value = schema().to_json(&[0; 40]);
        value["pair"] = json!([1, "a", 0]);
        value.as_object_mut().unwrap().remove("_pad");
        assert!(schema().from_json(&value).is_ok());
        value.as_object_mut().unwrap().remove("ok");
        assert_eq!(schema().from_json(&value).unwrap_err().to_string(), "`ok` should be a value, which is missing");
    }

    #[test]
    fn an_error_says_where() {
        let mut value = json!({
            "sensor": 7, "unit": "Raw", "ok": true, "celsius": [0, 0], "pair": [1, "a", 0],
        });
        let error = |value: &Value| schema().from_json(value).unwrap_err().to_string();
        value["pair"][0] = json!(0);
        assert_eq!(error(&value), "`pair.0` should be a number other than zero");
        value["pair"][0] = json!(1);
        value["sensor"] = json!(4_294_967_296_u64);
        assert_eq!(error(&value), "`sensor` should be a value of type u32");
        value["sensor"] = json!(1);
        value["unit"] = json!("Other");
        assert_eq!(error(&value), "`unit` should be one of Raw, Lost");
        value["unit"] = json!("Raw");
        value["celsius"] = json!([1, "x"]);
        assert_eq!(error(&value), "`celsius[1]` should be a value of type f64");
        value["celsius"] = json!([1, 2]);
        value["spare"] = json!(1);
        assert_eq!(error(&value), "`spare` should be left out: the type has no such field");
    }

    #[test]
    fn whatever_the_bytes_they_are_shown() {
        let shown = schema().to_json(&[0xa5; 40]);
        assert_eq!(shown["unit"], json!(0xa5), "a number without a name");
        assert_eq!(shown["ok"], json!(0xa5), "neither true nor false");
        assert!(schema().to_json(&[1, 2]).is_object(), "too few bytes");
    }

    #[test]
    fn integers_keep_their_last_digit() {
        for (name, text) in [("u64", "18446744073709551615"), ("i64", "-9223372036854775808")] {
            let schema: Schema = format!("0: {name}").parse().unwrap();
            let value: Value = text.parse().unwrap();
            assert_eq!(schema.to_json(&schema.from_json(&value).unwrap()).to_string(), text);
        }
        for (name, text) in [("u128", u128::MAX.to_string()), ("i128", i128::MIN.to_string())] {
            let schema: Schema = format!("0: {name}").parse().unwrap();
            assert_eq!(schema.to_json(&schema.from_json(&json!(text)).unwrap()), json!(text));
        }
    }
}
