//! `tieline who`: who is on the other end of one thing.

use std::os::unix::ffi::OsStrExt;

use tieline_observe::Scan;
use tieline_observe::model::Text;
use tieline_observe::view::View;

use crate::exit::{Code, Failure, Outcome};
use crate::flags::Who;
use crate::grid::Page;
use crate::{look, output};

pub(crate) fn run(flags: &Who) -> Outcome {
    let query = look::query(&flags.what)?;
    let snapshot = look::take(&Scan::new().waits(true))?;
    let view = View::new(&snapshot, look::users(&snapshot));
    let answers = view.who(&query);
    if answers.is_empty() {
        let code = if view.is_hidden(&query) { Code::PermissionDenied } else { Code::NotFound };
        return Err(Failure::new(code, view.not_found(&query)));
    }
    if flags.json {
        return output::json(&view.who_json(&Text::from(flags.what.as_bytes()), &answers));
    }
    let mut page = Page::new();
    for answer in answers {
        page.gap();
        page.prose(&answer.sentences);
        if !answer.grid.rows.is_empty() {
            page.gap();
            page.table(answer.grid, true);
        }
    }
    if !view.unseen().is_empty() {
        page.gap();
        look::caveats(&mut page, &view);
    }
    page.print()
}
