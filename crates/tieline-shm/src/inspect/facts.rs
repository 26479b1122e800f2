//! The numbers that a structure declares in its segment's first page, read.

use super::Source;
use crate::segment::Description;

/// The most numbers that are read of one fact.
const VALUES_MAX: u32 = 16 * 1024;
/// Numbers that lie further apart than this are read one by one; the most that are.
const SPARSE_BYTES: u32 = 512;
const SPARSE_MAX: u32 = 1024;
/// How much is read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// How much is read of all facts together.
const ALL_BYTES: u64 = 4 << 20;

/// A declared number, or a row of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Values {
    /// What it is called.
    pub name: String,
    /// Where the first one lies, in bytes from the start of the segment.
    pub offset: u64,
    /// Bytes from one to the next.
    pub stride: u64,
    /// The numbers; fewer than declared where they are too many.
    pub values: Vec<u64>,
}

impl Values {
    /// Where number `index` lies, in bytes from the start of the segment.
    pub(super) fn place(&self, index: usize) -> u64 {
        self.offset.saturating_add((index as u64).saturating_mul(self.stride))
    }
}

pub(super) struct Facts {
    pub(super) values: Vec<Values>,
    pub(super) is_cut: bool,
}

impl Facts {
    pub(super) fn read<S: Source + ?Sized>(source: &S, description: &Description) -> Self {
        let mut facts = Self { values: Vec::with_capacity(description.facts.len()), is_cut: false };
        // Beyond, there may be no memory: reading there might make some.
        let end = (Description::LEN_BYTES as u64).saturating_add(description.committed_bytes);
        let mut left = ALL_BYTES;
        for place in &description.facts {
            let stride = u64::from(place.stride);
            let is_sparse = place.stride > SPARSE_BYTES;
            let most = if is_sparse { SPARSE_MAX } else { VALUES_MAX };
            let width = u64::from(place.width);
            let count = place.count.min(most);
            let span = if is_sparse { u64::from(count) * width } else { u64::from(count - 1) * stride + width };
            let last = place.offset.saturating_add(u64::from(count - 1) * stride).saturating_add(width);
            // Numbers that overlap are no structure's.
            let overlap = place.count > 1 && place.stride < place.width;
            if overlap || last > end || span > left {
                facts.is_cut = true;
                continue;
            }
            left -= span;
            let mut values = Vec::with_capacity(count as usize);
            let is_whole = if is_sparse {
                (0..u64::from(count)).all(|index| {
                    let mut bytes = [0; 8];
                    let bytes = &mut bytes[..place.width as usize];
                    source.read(place.offset + index * stride, bytes).is_ok() && {
                        values.push(number(bytes));
                        true
                    }
                })
            } else {
                read_row(source, place.offset, count as usize, place.stride as usize, place.width as usize, &mut values)
            };
            facts.is_cut |= !is_whole || count < place.count;
            facts.values.push(Values { name: place.name.clone(), offset: place.offset, stride, values });
        }
        facts
    }

    /// The row of that name; empty if there is none.
    pub(super) fn row(&self, name: &str) -> &[u64] {
        self.find(name).map_or(&[], |values| &values.values)
    }

    /// The number of that name; 0 if there is none.
    pub(super) fn one(&self, name: &str) -> u64 {
        self.at(name, 0)
    }

    /// A number of a row; 0 if there is none.
    pub(super) fn at(&self, name: &str, index: usize) -> u64 {
        self.row(name).get(index).copied().unwrap_or(0)
    }

    pub(super) fn find(&self, name: &str) -> Option<&Values> {
        self.values.iter().find(|values| values.name == name)
    }
}

/// Reads numbers that lie close together, in large pieces. Says whether all could be read.
fn read_row<S: Source + ?Sized>(
    source: &S,
    offset: u64,
    count: usize,
    stride: usize,
    width: usize,
    values: &mut Vec<u64>,
) -> bool {
    let per_chunk = CHUNK_BYTES.checked_div(stride).unwrap_or(count).max(1);
    let mut buffer = vec![0; (per_chunk.min(count) - 1) * stride + width];
    let mut done = 0;
    while done < count {
        let now = per_chunk.min(count - done);
        let bytes = &mut buffer[..(now - 1) * stride + width];
        if source.read(offset + (done * stride) as u64, bytes).is_err() {
            return false;
        }
        values.extend((0..now).map(|index| number(&bytes[index * stride..index * stride + width])));
        done += now;
    }
    true
}

/// A number of 4 or 8 bytes, as this machine has them.
fn number(bytes: &[u8]) -> u64 {
    match (<[u8; 8]>::try_from(bytes), <[u8; 4]>::try_from(bytes)) {
        (Ok(bytes), _) => u64::from_ne_bytes(bytes),
        (_, Ok(bytes)) => u32::from_ne_bytes(bytes).into(),
        _ => 0,
    }
}
