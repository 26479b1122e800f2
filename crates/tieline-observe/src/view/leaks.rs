//! Findings in words: what was left behind, and what else is worth a look.

use crate::clean::Step;
use crate::model::{Evidence, Finding, FindingKind, Kind, Object};

use super::grid::{Column, Grid, Tone};
use super::sentence::amount;
use super::{View, process_name, words};

/// A finding in words.
#[derive(Debug)]
pub struct Leak<'a> {
    /// What was found.
    pub finding: &'a Finding,
    /// What it means, in one sentence.
    pub sentence: String,
    /// What speaks for it, in a few words each.
    pub evidence: Vec<String>,
}

impl View<'_> {
    /// What was left behind of those kinds (of every kind if empty): nobody uses it, or nobody can reach it any more.
    /// With `all`, also what else was found: what is full, one-ended, open to everybody, near a limit.
    #[must_use]
    pub fn leaks(&self, kinds: &[Kind], all: bool) -> Vec<Leak<'_>> {
        let findings = self.snapshot.findings().iter().filter(|finding| {
            let kind = finding.object.map(|object| self.snapshot.object(object).kind);
            (all || is_leak(finding.kind)) && (kinds.is_empty() || kind.is_some_and(|kind| kinds.contains(&kind)))
        });
        findings
            .map(|finding| Leak {
                finding,
                sentence: self.finding_sentence(finding),
                evidence: finding.evidence.iter().map(|evidence| self.evidence(evidence)).collect(),
            })
            .collect()
    }

    /// Findings as a table, the surest first.
    #[must_use]
    pub fn leak_grid(&self, leaks: &[Leak<'_>]) -> Grid {
        let mut grid = Grid::new([
            Column::words("FINDING"),
            Column::words("KIND"),
            Column::text("WHAT"),
            Column::words("FILL"),
            Column::words("OWNER"),
            Column::prose("EVIDENCE"),
        ]);
        let mut sorted: Vec<&Leak<'_>> = leaks.iter().collect();
        sorted.sort_by_key(|leak| leak.finding.kind as u8);
        for leak in sorted {
            let object = leak.finding.object.map(|object| self.snapshot.object(object));
            let of = |cell: &dyn Fn(&Object) -> String| object.map(cell).unwrap_or_default();
            let process = leak.finding.process.map(|process| process_name(self.snapshot.process(process)));
            let limit = leak.finding.limit.map(|limit| self.snapshot.limit(limit).name.to_owned());
            let what =
                if object.is_some() { of(&|object| self.what(object)) } else { process.or(limit).unwrap_or_default() };
            let cells = [
                finding_word(leak.finding.kind).to_owned(),
                of(&|object| object.kind.name().to_owned()),
                what,
                of(&|object| self.fullness(object)),
                of(&|object| self.owner(object)),
                leak.evidence.join(", "),
            ];
            grid.push(tone(leak.finding.kind), cells);
        }
        ["FILL", "OWNER", "KIND"].iter().for_each(|name| grid.drop_if_empty(name));
        grid
    }

    /// What may be removed as a table, with the call that does it.
    #[must_use]
    pub fn clean_grid(&self, steps: &[Step]) -> Grid {
        let mut grid = Grid::new([
            Column::words("FINDING"),
            Column::words("KIND"),
            Column::words("CALL"),
            Column::prose("EVIDENCE"),
        ]);
        for step in steps {
            let evidence: Vec<String> = step.evidence().iter().map(|evidence| self.evidence(evidence)).collect();
            let cells = [
                finding_word(step.finding()).to_owned(),
                step.kind().name().to_owned(),
                step.call(),
                evidence.join(", "),
            ];
            grid.push(tone(step.finding()), cells);
        }
        grid
    }

    fn finding_sentence(&self, finding: &Finding) -> String {
        let what = match (finding.object, finding.process, finding.limit) {
            (Some(object), _, _) => {
                let object = self.snapshot.object(object);
                format!("{} {}", object.kind, self.what(object))
            }
            (None, Some(process), _) => process_name(self.snapshot.process(process)),
            (None, None, Some(limit)) => self.snapshot.limit(limit).name.to_owned(),
            (None, None, None) => "something".to_owned(),
        };
        let says = match finding.kind {
            FindingKind::Orphan => "is left behind: nobody uses it and who made it has gone",
            FindingKind::Unused => "is used by nobody now",
            FindingKind::DeadSocketFile => "is the file of a socket that is gone",
            FindingKind::DeadName => "is a name that nobody uses; who uses it next takes it over",
            FindingKind::HeldByStopped => "is kept only by processes that do not run",
            FindingKind::RemovedButHeld => "is removed, but kept in memory by those who still have it",
            FindingKind::OneEnded => "has one end only",
            FindingKind::Full => "is full: the next write waits or fails",
            FindingKind::BacklogFull => "has a full backlog: the next client waits or is refused",
            FindingKind::WorldWritable => "may be changed by everybody on the machine",
            FindingKind::NearLimit => "is nearly used up",
            FindingKind::PathTaken => "is bound to a path that leads to another socket",
        };
        format!("{what} {says}")
    }

    /// One piece of evidence in a few words.
    #[must_use]
    pub fn evidence(&self, evidence: &Evidence) -> String {
        match evidence {
            Evidence::CreatorGone { pid } => format!("its maker {pid} has ended"),
            Evidence::CreatorAlive { pid } => format!("its maker {} lives", self.pid(*pid)),
            Evidence::CreatorPidReused { pid } => format!("its maker {pid} has ended (the pid is another's now)"),
            Evidence::CreatorUnknown => "maker unknown".to_owned(),
            Evidence::LastUserGone { pid } => format!("its last user {pid} has ended"),
            Evidence::LastUserAlive { pid } => format!("its last user {} lives", self.pid(*pid)),
            Evidence::OwnerGone { uid } => format!("no process of user {} is left", self.users.name(*uid)),
            Evidence::OwnerAlive { uid, processes } => format!(
                "{} of user {} could come back to it",
                words::count(u64::from(*processes), "process", "processes"),
                self.users.name(*uid)
            ),
            Evidence::OwnerUnknown => "owner unknown".to_owned(),
            Evidence::WaitersUnknown => "nobody looked who waits".to_owned(),
            Evidence::Attached(count) => words::count(*count, "attachment", "attachments"),
            Evidence::ProcessesOutside => "processes outside of this pid namespace may use it".to_owned(),
            Evidence::DescriptorsInFlight(count) => {
                format!("{} on the way between processes", words::count(*count, "descriptor is", "descriptors are"))
            }
            Evidence::NoMapping => "not mapped".to_owned(),
            Evidence::NoDescriptor => "not open".to_owned(),
            Evidence::Stopped { pid } => format!("{} does not run", self.pid(*pid)),
            Evidence::NoLock => "its lock file is not locked".to_owned(),
            Evidence::NoWaiter => "no waiter".to_owned(),
            Evidence::Age(age) => format!("unchanged for {}", words::duration(*age)),
            Evidence::ProcessesUnseen(count) => {
                format!("{} could not be looked into", words::count(u64::from(*count), "process", "processes"))
            }
            Evidence::Holds { amount: held, unit } => format!("holds {}", amount(*held, *unit)),
            Evidence::Mode(mode) => format!("mode {mode:04o}"),
        }
    }
}

/// Whether it is something left behind.
fn is_leak(kind: FindingKind) -> bool {
    matches!(
        kind,
        FindingKind::Orphan
            | FindingKind::Unused
            | FindingKind::DeadSocketFile
            | FindingKind::RemovedButHeld
            | FindingKind::DeadName
            | FindingKind::HeldByStopped
    )
}

fn finding_word(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Orphan => "left behind",
        FindingKind::Unused => "unused",
        FindingKind::DeadSocketFile => "dead socket",
        FindingKind::DeadName => "dead name",
        FindingKind::HeldByStopped => "held by stopped",
        FindingKind::RemovedButHeld => "removed, held",
        FindingKind::OneEnded => "one end",
        FindingKind::Full => "full",
        FindingKind::BacklogFull => "backlog full",
        FindingKind::WorldWritable => "world-writable",
        FindingKind::NearLimit => "near limit",
        FindingKind::PathTaken => "path taken",
    }
}

fn tone(kind: FindingKind) -> Tone {
    match kind {
        FindingKind::Full | FindingKind::BacklogFull => Tone::Bad,
        FindingKind::Unused | FindingKind::OneEnded => Tone::Quiet,
        FindingKind::Orphan | FindingKind::DeadSocketFile | FindingKind::RemovedButHeld => Tone::Plain,
        _ => Tone::Warning,
    }
}
