//! `tieline leaks`: what was left behind, with what speaks for it.

use tieline_observe::Scan;
use tieline_observe::view::{View, words};

use crate::exit::Outcome;
use crate::flags::Leaks;
use crate::grid::Page;
use crate::{look, output};

pub(crate) fn run(flags: &Leaks) -> Outcome {
    let snapshot = look::take(&Scan::new().waits(true).socket_files(true))?;
    let view = View::new(&snapshot, look::users(&snapshot));
    let leaks = view.leaks(&look::kinds(&flags.kinds), flags.all);
    if flags.json {
        return output::json(&view.leaks_json(&leaks));
    }
    let mut page = Page::new();
    page.table(view.leak_grid(&leaks), !flags.noheadings);
    if flags.noheadings {
        page.print()?;
        look::warn(&view);
        return Ok(());
    }
    page.gap();
    page.remark(&match leaks.len() as u64 {
        0 if flags.all => "Nothing was left behind, and nothing else is worth a look.".to_owned(),
        0 => "Nothing was left behind.".to_owned(),
        count => format!(
            "{}. `tieline clean --dry-run` says what may be removed.",
            words::count(count, "finding", "findings")
        ),
    });
    look::caveats(&mut page, &view);
    page.print()
}
