//! `tieline limits`: every limit of inter-process communication, how near it is, and what to do.

use tieline_observe::Scan;
use tieline_observe::view::{View, words};

use crate::exit::Outcome;
use crate::flags::Limits;
use crate::grid::Page;
use crate::{look, output};

pub(crate) fn run(flags: &Limits) -> Outcome {
    let snapshot = look::take(&Scan::new().limits_of_processes(flags.processes))?;
    let view = View::new(&snapshot, look::users(&snapshot));
    let rows = view.limits(flags.near.map(|percent| f64::from(percent) / 100.0));
    if flags.json {
        return output::json(&view.limits_json(&rows));
    }
    let mut page = Page::new();
    page.table(view.limit_grid(&rows), !flags.noheadings);
    if flags.noheadings {
        page.print()?;
        look::warn(&view);
        return Ok(());
    }
    page.gap();
    match flags.near {
        Some(percent) if rows.is_empty() => {
            page.remark(&format!("No limit of which the use is known is used to {percent}% or more."));
        }
        Some(_) => rows.iter().for_each(|row| page.prose(&[view.limit_advice(row)])),
        None => page.remark(&format!(
            "{}; `tieline limits --near` says of those nearly reached what happens and what to do.",
            words::count(rows.len() as u64, "limit", "limits")
        )),
    }
    look::caveats(&mut page, &view);
    page.print()
}
