//! Limits, the nearest first, and what to do about each.

use crate::model::{Limit, NamespaceKind, Scope, Unit};

use super::grid::{Column, Grid, Tone};
use super::{View, process_name, words};

/// What the kernel begins with where it means no limit (`shmall`, `shmmax`): `ULONG_MAX` less 2^24.
const NO_LIMIT: u64 = u64::MAX - (1 << 24);

/// A limit and how near it is.
#[derive(Debug, Clone, Copy)]
pub struct LimitRow<'a> {
    /// The limit.
    pub limit: &'a Limit,
    /// The part in use, 0 to 1 and beyond; `None` if it is unknown.
    pub ratio: Option<f64>,
}

impl View<'_> {
    /// The limits that are used to at least that part (all without), the nearest first.
    #[must_use]
    pub fn limits(&self, at_least: Option<f64>) -> Vec<LimitRow<'_>> {
        let rows = self.snapshot.limits().iter().map(|limit| LimitRow { limit, ratio: limit.ratio() });
        let mut rows: Vec<LimitRow<'_>> =
            rows.filter(|row| at_least.is_none_or(|least| row.ratio.is_some_and(|ratio| ratio >= least))).collect();
        rows.sort_by(|one, other| {
            let key = |row: &LimitRow<'_>| row.ratio.unwrap_or(-1.0);
            key(other).total_cmp(&key(one)).then_with(|| one.limit.name.cmp(other.limit.name))
        });
        rows
    }

    /// Limits as a table.
    #[must_use]
    pub fn limit_grid(&self, rows: &[LimitRow<'_>]) -> Grid {
        let mut grid = Grid::new([
            Column::words("LIMIT"),
            Column::figures("USED"),
            Column::figures("MAXIMUM"),
            Column::figures("USE"),
            Column::words("OF"),
            Column::text("MEANING"),
        ]);
        for row in rows {
            let limit = row.limit;
            let figure = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), |value| figure(value, limit.unit));
            let cells = [
                limit.name.to_owned(),
                figure(limit.used),
                limit
                    .maximum
                    .filter(|&maximum| maximum < NO_LIMIT)
                    .map_or_else(|| "unlimited".to_owned(), |maximum| figure(Some(maximum))),
                row.ratio.map(per_cent).unwrap_or_default(),
                self.scope(limit.scope).trim_start_matches("the ").trim_start_matches("this ").to_owned(),
                limit.meaning.to_owned(),
            ];
            let tone = match row.ratio {
                Some(ratio) if ratio >= 1.0 => Tone::Bad,
                Some(ratio) if ratio >= 0.8 => Tone::Warning,
                _ => Tone::Plain,
            };
            grid.push(tone, cells);
        }
        grid
    }

    /// What a program sees at that limit, and how to raise it: one sentence for each.
    #[must_use]
    pub fn limit_advice(&self, row: &LimitRow<'_>) -> String {
        let LimitRow { limit, ratio } = *row;
        let mut text = format!("{} of {}", limit.name, self.scope(limit.scope));
        if let Some(ratio) = ratio {
            text += &format!(", {} used", per_cent(ratio));
        }
        if !limit.symptom.is_empty() {
            text += &format!(". At the limit: {}", limit.symptom);
        }
        if !limit.raise.is_empty() {
            // A name of sysctl alone is told with the command that sets it.
            let is_sysctl = limit.raise.contains('.') && !limit.raise.contains([' ', '/']);
            text += &format!(". Raised by: {}{}", if is_sysctl { "sysctl " } else { "" }, limit.raise);
        }
        text + "."
    }

    /// For whom a limit holds, in words.
    #[must_use]
    pub fn scope(&self, scope: Scope) -> String {
        match scope {
            Scope::Machine => "the machine".to_owned(),
            Scope::User(uid) => format!("user {}", self.users.name(uid)),
            Scope::Process(process) => process_name(self.snapshot.process(process)),
            Scope::Object(object) => self.what(self.snapshot.object(object)),
            Scope::Namespace(inode) => {
                let known = self.snapshot.namespaces().iter().find(|namespace| namespace.inode == inode);
                let kind = match known.map(|namespace| namespace.kind) {
                    Some(NamespaceKind::Ipc) => "IPC namespace",
                    Some(NamespaceKind::Net) => "network namespace",
                    _ => "namespace",
                };
                let own = &self.snapshot.viewer().namespaces;
                if [own.ipc, own.net, own.pid, own.user, own.mnt].contains(&Some(inode)) {
                    format!("this {kind}")
                } else {
                    format!("{kind} {inode}")
                }
            }
        }
    }
}

fn figure(value: u64, unit: Unit) -> String {
    if unit == Unit::Bytes { words::bytes(value) } else { words::number(value) }
}

/// Rounded down, so that only what is used up says 100%.
fn per_cent(ratio: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count: neither negative nor large"
    )]
    let whole = (ratio * 100.0).floor() as u64;
    format!("{whole}%")
}
