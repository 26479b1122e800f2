//! Takes one full snapshot and prints every object with those who hold it, as tab-separated lines; with the word
//! `count`, only how many there are of each kind.
//!
//! ```text
//! cargo run --release --package tieline-observe --example scan -- count
//! ```

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use tieline_observe::model::How;
use tieline_observe::{Scan, Snapshot};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let snapshot = Scan::new().take()?;
    let mut out = BufWriter::new(io::stdout().lock());
    if std::env::args().any(|argument| argument == "count") {
        count(&snapshot, &mut out)?;
    } else {
        list(&snapshot, &mut out)?;
    }
    out.flush()?;
    Ok(())
}

fn list(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    for object in snapshot.objects() {
        write!(out, "{}\t{:?}\t", object.kind, object.identity)?;
        if let Some(name) = &object.name {
            write!(out, "{name}")?;
        }
        if let Some(fill) = object.fill {
            write!(out, "\t{}/{}", fill.used, fill.capacity.unwrap_or_default())?;
        }
        for hold in snapshot.holders(object.reference) {
            let process = snapshot.process(hold.process);
            match &hold.how {
                How::Descriptor { fd, access } => {
                    write!(out, "\t{}:{fd}{} {}", process.pid, access.letters(), process.name)?;
                }
                How::Mapping { access, bytes } => {
                    write!(out, "\t{}:map{} {bytes} {}", process.pid, access.letters(), process.name)?;
                }
                other => write!(out, "\t{}:{other:?}", process.pid)?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

fn count(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let mut kinds = BTreeMap::new();
    for object in snapshot.objects() {
        *kinds.entry(object.kind).or_insert(0_u32) += 1;
    }
    for (kind, count) in kinds {
        writeln!(out, "{kind:16} {count}")?;
    }
    writeln!(out, "processes {}, ties {}", snapshot.processes().len(), snapshot.holds().len())?;
    writeln!(out, "took {:?}, processor {:?}", snapshot.taken().wall, snapshot.taken().cpu)?;
    for unseen in snapshot.unseen() {
        writeln!(out, "unseen: {unseen:?}")?;
    }
    Ok(())
}
