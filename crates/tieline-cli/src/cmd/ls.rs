//! `tieline ls`: every object of the machine, who holds it and how full it is.

use tieline_observe::Scan;
use tieline_observe::view::{Branches, Field, NamespaceChoice, Order, ProcessChoice, Selection, View};

use crate::exit::{Code, Failure, Outcome};
use crate::flags::Ls;
use crate::grid::Page;
use crate::{look, output};

/// From this width on a terminal has room for owner and mode.
const WIDE: usize = 110;

pub(crate) fn run(flags: &Ls) -> Outcome {
    let selection = selection(flags)?;
    let fields: Vec<Field> = flags.columns.iter().filter_map(|name| field(name)).collect();
    let order =
        flags.sort.as_deref().and_then(field).map_or_else(Order::default, |field| Order { field, is_reversed: false });
    let order = Order { is_reversed: flags.reverse, ..order };

    let snapshot = look::take(&Scan::new())?;
    let view = View::new(&snapshot, look::users(&snapshot));
    if let Some(gone) = selection.processes.iter().find(|choice| view.processes(choice).is_empty()) {
        let what = match gone {
            ProcessChoice::Pid(pid) => format!("there is no process {pid}"),
            ProcessChoice::Name(name) => format!("no process is called {name}"),
        };
        return Err(Failure::new(Code::NotFound, what));
    }
    if flags.json {
        return output::json(&view.list_json(&selection));
    }
    let mut page = Page::new();
    let list = if flags.tree {
        view.tree(&selection, if page.has_lines() { Branches::Lines } else { Branches::Ascii })
    } else {
        let usual = if page.width().is_some_and(|width| width < WIDE) { Field::NARROW } else { Field::WIDE };
        view.list(&selection, if fields.is_empty() { usual } else { &fields }, order)
    };
    let totals = view.totals(&list);
    page.table(list.grid, !flags.noheadings);
    if flags.noheadings {
        page.print()?;
        look::warn(&view);
        return Ok(());
    }
    page.gap();
    page.remark(&totals);
    look::caveats(&mut page, &view);
    page.print()
}

fn selection(flags: &Ls) -> Outcome<Selection> {
    let namespace = match flags.namespace.as_deref() {
        None => None,
        Some("own") => Some(NamespaceChoice::Own),
        Some("other") => Some(NamespaceChoice::Other),
        Some(number) => Some(NamespaceChoice::Number(number.parse().map_err(|_| {
            let sentence = "--namespace takes own, other, or a number as `readlink /proc/PID/ns/ipc` shows it";
            Failure::usage(sentence)
        })?)),
    };
    Ok(Selection {
        kinds: look::kinds(&flags.kinds),
        processes: flags.process.iter().map(|text| ProcessChoice::from(text.as_str())).collect(),
        namespace,
        quiet: flags.all,
    })
}

fn field(name: &str) -> Option<Field> {
    Field::ALL.iter().copied().find(|field| field.name() == name)
}
