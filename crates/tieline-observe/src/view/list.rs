//! The list of objects: one row for each, two ends of a connection in one row.

use std::cmp::Reverse;
use std::time::{Duration, SystemTime};

use crate::model::{Object, ObjectRef};

use super::grid::{Column, Grid, Tone};
use super::label::is_full;
use super::{Selection, View, words};

/// A column of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// What it is.
    Kind,
    /// What people call it.
    What,
    /// How full it is, or how large, or its value.
    Fill,
    /// Owner.
    Owner,
    /// Permission bits.
    Mode,
    /// Who holds which end.
    Who,
    /// What `tieline who` finds it by.
    Id,
    /// How many processes use it.
    Holders,
    /// The number of its namespace, if that is not the viewer's.
    Namespace,
    /// How long ago it was made or changed.
    Age,
    /// What only its kind has.
    Detail,
}

impl Field {
    /// Every one.
    pub const ALL: &[Self] = &[
        Self::Age,
        Self::Detail,
        Self::Fill,
        Self::Holders,
        Self::Id,
        Self::Kind,
        Self::Mode,
        Self::Namespace,
        Self::Owner,
        Self::What,
        Self::Who,
    ];

    /// What is shown where there is room.
    pub const WIDE: &[Self] = &[Self::Kind, Self::What, Self::Fill, Self::Owner, Self::Mode, Self::Who];

    /// What is shown on a narrow terminal.
    pub const NARROW: &[Self] = &[Self::Kind, Self::What, Self::Fill, Self::Who];

    /// The word by which it is asked for.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::What => "what",
            Self::Fill => "fill",
            Self::Owner => "owner",
            Self::Mode => "mode",
            Self::Who => "who",
            Self::Id => "id",
            Self::Holders => "holders",
            Self::Namespace => "namespace",
            Self::Age => "age",
            Self::Detail => "detail",
        }
    }

    /// What it tells, for a help text.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Kind => "what it is",
            Self::What => "name, address, key or number",
            Self::Fill => "how full it is: used/capacity; or its size, or =value",
            Self::Owner => "who owns it",
            Self::Mode => "permission bits, in octal",
            Self::Who => "who holds which end: writers > readers, or two ends <> of a connection",
            Self::Id => "what `tieline who` finds it by",
            Self::Holders => "how many processes use it",
            Self::Namespace => "number of its namespace, if that is not ours",
            Self::Age => "how long ago it was made or changed",
            Self::Detail => "what only this kind has: state, backlog, attachments, seals",
        }
    }

    fn column(self) -> Column {
        match self {
            Self::Kind => Column::words("KIND"),
            Self::What => Column::text("WHAT"),
            Self::Fill => Column::words("FILL"),
            Self::Owner => Column::words("OWNER"),
            Self::Mode => Column::words("MODE"),
            Self::Who => Column::text("WHO"),
            Self::Id => Column::words("ID"),
            Self::Holders => Column::figures("HOLDERS"),
            Self::Namespace => Column::words("NAMESPACE"),
            Self::Age => Column::figures("AGE"),
            Self::Detail => Column::text("DETAIL"),
        }
    }
}

/// In which order the rows stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// By which column.
    pub field: Field,
    /// The other way round.
    pub is_reversed: bool,
}

impl Default for Order {
    fn default() -> Self {
        Self { field: Field::Kind, is_reversed: false }
    }
}

/// A list and what it counts.
#[derive(Debug)]
pub struct List {
    /// The rows.
    pub grid: Grid,
    /// How many objects stand in them.
    pub objects: usize,
    /// How many were left out for being quiet.
    pub folded: usize,
}

/// One row: an object, and the other end if both were selected.
#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    object: &'a Object,
    peer: Option<&'a Object>,
}

impl View<'_> {
    /// The selected objects as a table.
    ///
    /// By default the rows stand in the order of the kinds; figures (fill, holders) are sorted with the largest first,
    /// ages with the youngest first, words by letters.
    #[must_use]
    pub fn list(&self, selection: &Selection, fields: &[Field], order: Order) -> List {
        let selected = self.select(selection);
        let mut entries = self.entries(&selected.objects);
        self.sort(&mut entries, order);
        let mut grid = Grid::new(fields.iter().map(|field| field.column()).collect::<Vec<_>>());
        grid.rows.reserve(entries.len());
        for entry in &entries {
            let cells: Vec<String> = fields.iter().map(|field| self.cell(entry, *field)).collect();
            grid.push(tone(entry), cells);
        }
        if fields == Field::WIDE || fields == Field::NARROW {
            ["FILL", "OWNER", "MODE"].iter().for_each(|name| grid.drop_if_empty(name));
        }
        List { grid, objects: selected.objects.len(), folded: selected.folded }
    }

    /// Joins the two ends of each connection to one entry, under the end that has a name.
    fn entries(&self, objects: &[ObjectRef]) -> Vec<Entry<'_>> {
        let mut is_selected = vec![false; self.snapshot.objects().len()];
        objects.iter().for_each(|object| is_selected[object.index()] = true);
        let end = |reference: ObjectRef| {
            let object = self.snapshot.object(reference);
            let peer = self.snapshot.peer(reference);
            let Some(peer) = peer.filter(|peer| *peer != reference) else { return Some(Entry { object, peer: None }) };
            let peer = self.snapshot.object(peer);
            if !is_selected[peer.reference.index()] {
                return Some(Entry { object, peer: Some(peer) });
            }
            let is_first = match (object.name.is_some(), peer.name.is_some()) {
                (true, false) => true,
                (false, true) => false,
                _ => object.reference < peer.reference,
            };
            is_first.then_some(Entry { object, peer: Some(peer) })
        };
        objects.iter().copied().filter_map(end).collect()
    }

    fn sort(&self, entries: &mut [Entry<'_>], order: Order) {
        let Order { field, is_reversed } = order;
        match field {
            Field::Kind => {}
            Field::Fill => entries.sort_by_cached_key(|entry| Reverse(fullness_key(entry))),
            Field::Holders => entries.sort_by_cached_key(|entry| Reverse(self.holder_count(entry))),
            Field::Age => {
                entries.sort_by_cached_key(|entry| (entry.object.changed.is_none(), Reverse(entry.object.changed)));
            }
            field => entries.sort_by_cached_key(|entry| {
                let cell = self.cell(entry, field);
                (cell.is_empty(), cell)
            }),
        }
        if is_reversed {
            entries.reverse();
        }
    }

    fn cell(&self, entry: &Entry<'_>, field: Field) -> String {
        let Entry { object, peer } = *entry;
        match field {
            Field::Kind => object.kind.name().to_owned(),
            Field::What => self.what(object),
            Field::Fill => self.fullness(fuller(entry)),
            Field::Owner => self.owner(object),
            Field::Mode => object.mode.map(|mode| format!("{mode:04o}")).unwrap_or_default(),
            Field::Who => self.holders(object, peer),
            Field::Id => self.id(object),
            Field::Holders => self.holder_count(entry).to_string(),
            Field::Namespace => self.foreign_namespace(object).map(|number| number.to_string()).unwrap_or_default(),
            Field::Age => self.age(object).map(words::duration).unwrap_or_default(),
            Field::Detail => self.detail(object),
        }
    }

    fn holder_count(&self, entry: &Entry<'_>) -> usize {
        let at = |object: &Object| self.user_count(object.reference);
        at(entry.object) + entry.peer.map_or(0, at)
    }

    /// How long ago the object was made or changed, as seen when the snapshot was taken.
    pub(super) fn age(&self, object: &Object) -> Option<Duration> {
        let changed: SystemTime = object.changed?;
        Some(self.snapshot.taken().at.duration_since(changed).unwrap_or_default())
    }
}

/// The end of a connection in which more waits.
fn fuller<'a>(entry: &Entry<'a>) -> &'a Object {
    let used = |object: &Object| object.fill.map_or(0, |fill| fill.used);
    entry.peer.filter(|peer| used(peer) > used(entry.object)).unwrap_or(entry.object)
}

/// Parts per thousand in use, then what is in use.
fn fullness_key(entry: &Entry<'_>) -> (u64, u64) {
    let Some(fill) = fuller(entry).fill else { return (0, 0) };
    let part = fill
        .capacity
        .filter(|&capacity| capacity > 0)
        .map_or(0, |capacity| u64::try_from(u128::from(fill.used) * 1000 / u128::from(capacity)).unwrap_or(u64::MAX));
    (part, fill.used)
}

fn tone(entry: &Entry<'_>) -> Tone {
    let object = fuller(entry);
    let nearly = object.fill.as_ref().and_then(words::percent).is_some_and(|percent| percent >= 80);
    match (is_full(object), nearly) {
        (true, _) => Tone::Bad,
        (false, true) => Tone::Warning,
        (false, false) => Tone::Plain,
    }
}
