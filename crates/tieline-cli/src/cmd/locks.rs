//! `tieline locks`: who has locked which file, and who waits behind whom.

use tieline_observe::Scan;
use tieline_observe::view::{ProcessChoice, Query, View, words};

use crate::exit::{Code, Failure, Outcome};
use crate::flags::Locks;
use crate::grid::Page;
use crate::{look, output};

pub(crate) fn run(flags: &Locks) -> Outcome {
    let query = flags.what.as_deref().map(look::query).transpose()?;
    let snapshot = look::take(&Scan::new().fill(false).waits(true))?;
    let view = View::new(&snapshot, look::users(&snapshot));
    if let Some(Query::Number(pid)) = &query
        && snapshot.process_with_pid(*pid).is_none()
    {
        return Err(Failure::new(Code::NotFound, format_args!("there is no process {pid}")));
    }
    let locks = view.locks(query.as_ref());
    let missing = match &query {
        Some(Query::Process(name)) if view.processes(&ProcessChoice::Name(name.clone())).is_empty() => {
            Some(format!("no process is called {name}; a file is asked for by its path, as in ./{name}"))
        }
        Some(Query::Name { name, is_missing: true, .. }) if locks.is_empty() => {
            Some(format!("there is no file {name}"))
        }
        _ => None,
    };
    if let Some(sentence) = missing {
        return Err(Failure::new(Code::NotFound, sentence));
    }
    if flags.json {
        return output::json(&view.locks_json(&locks));
    }
    let (held, waiting) = view.lock_counts(&locks);
    let mut page = Page::new();
    page.table(view.lock_grid(&locks), !flags.noheadings);
    if flags.noheadings {
        page.print()?;
        look::warn(&view);
        return Ok(());
    }
    page.gap();
    let waits = if waiting == 0 { String::new() } else { format!("; {}", words::count(waiting, "waits", "wait")) };
    page.remark(&format!("{} held{waits}.", words::count(held, "lock is", "locks are")));
    look::caveats(&mut page, &view);
    page.print()
}
