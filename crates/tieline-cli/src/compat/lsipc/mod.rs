//! `lsipc`: lists System V objects (and since 2.43 POSIX ones), and the limits of the system, as a table.
//!
//! A command line becomes a [`Request`]; the objects become rows of its columns; [`crate::table`] prints them. What
//! looks odd here is how the original behaves, and is compared with it by a test: a column that stays empty, a sum of
//! the wrong semaphores. Two things are different on purpose: text that a terminal would obey is escaped also where
//! the original passes it on ([`details`]), and JSON is always UTF-8.

mod columns;
mod details;
mod help;
mod limits;
mod look;
mod options;
mod posix;
mod request;
mod sysv;

use tieline_os::locale::Locale;

use super::program::{Compat, Exit, Program};
use crate::table::{Format, Reduction, Table, terminal_width};
use columns::Field;
use look::Look;
use request::{Kind, Output, Request};

pub(crate) fn run(program: &mut Program) -> Result<Exit, Exit> {
    let request = Request::read(program)?;
    let locale = Locale::from_environment();
    let mut look = Look::new(&request, program.compat(), &locale);
    let mut table = new_table(&request, program.compat());
    table.columns = request.columns.iter().map(|field| field.column(request.truncate)).collect();
    if request.global {
        table.name = "ipclimits";
    }

    let mut list = List { request: &request, table, elements: None };
    for kind in request.kinds() {
        if request.global {
            limits::add(program, &mut list, &look, kind);
        } else {
            add(program, &mut list, &mut look, kind)?;
        }
    }

    let text = match request.output {
        Output::Details => details::format(&list, &locale),
        _ => list.table.format(terminal_width(), &locale),
    };
    program.out.put(text);
    Ok(Exit::SUCCESS)
}

/// What is gathered to be printed.
struct List<'a> {
    request: &'a Request,
    table: Table,
    /// The semaphores of the one set asked for, if it is in the first row.
    elements: Option<Table>,
}

impl List<'_> {
    /// Adds a row of what each of the columns shows.
    fn add(&mut self, mut show: impl FnMut(Field) -> Option<Vec<u8>>) {
        self.table.rows.push(self.request.columns.iter().map(|field| show(*field)).collect());
    }
}

fn add(program: &mut Program, list: &mut List<'_>, look: &mut Look<'_>, kind: Kind) -> Result<(), Exit> {
    match kind {
        Kind::Queues => sysv::add_queues(program, list, look),
        Kind::Segments => sysv::add_segments(program, list, look),
        Kind::Sets => return sysv::add_sets(program, list, look),
        Kind::PosixQueues => posix::add_queues(program, list, look),
        Kind::PosixSegments => posix::add_segments(program, list, look),
        Kind::PosixSemaphores => posix::add_semaphores(program, list, look),
    }
    Ok(())
}

/// A table that is printed as the command line wishes, without columns.
fn new_table(request: &Request, compat: Compat) -> Table {
    let mut table = Table::new("");
    table.headings = request.headings;
    table.shell_names = request.shell_names;
    table.reduction = match compat {
        Compat::V2_38 => Reduction::Average,
        Compat::V2_43 => Reduction::Deviation,
    };
    match request.output {
        Output::List | Output::Details => {}
        Output::Pairs => table.format = Format::Pairs,
        Output::Lines => {
            table.format = Format::Pairs;
            table.separator = "\n";
        }
        Output::Raw => table.format = Format::Raw,
        Output::Json => table.format = Format::Json,
    }
    table
}
