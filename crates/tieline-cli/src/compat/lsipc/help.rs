//! `--help`.

use std::fmt::Write as _;

use super::columns::{Family, Field};
use crate::compat::program::{Compat, Exit, Program};

/// Options and what they do.
type Rows = &'static [(&'static str, &'static str)];

const RESOURCES_2_38: Rows = &[
    ("-m, --shmems", "shared memory segments"),
    ("-q, --queues", "message queues"),
    ("-s, --semaphores", "semaphores"),
    ("-g, --global", "info about system-wide usage (may be used with -m, -q and -s)"),
    ("-i, --id <id>", "print details on resource identified by <id>"),
];

const RESOURCES_2_43: Rows = &[
    ("-m, --shmems", "shared memory segments"),
    ("-M, --posix-shmems", "POSIX shared memory segments"),
    ("-q, --queues", "message queues"),
    ("-Q, --posix-mqueues", "POSIX message queues"),
    ("-s, --semaphores", "semaphores"),
    ("-S, --posix-semaphores", "POSIX semaphores"),
    ("-g, --global", "info about system-wide usage\n                            (may be used with -m, -q and -s)"),
    ("-i, --id <id>", "System V resource identified by <id>"),
    ("-N, --name <name>", "POSIX resource identified by <name>"),
];

/// What is said differently of options in the two versions: of `--bytes`, and of `--shell`.
const WORDS_2_38: [&str; 2] = [
    "print SIZE in bytes rather than in human readable format",
    "use column names to be usable as shell variable identifiers",
];
const WORDS_2_43: [&str; 2] =
    ["print SIZE in bytes rather than in human-readable form", "use column names to be usable as shell variables"];

/// Headings of columns, each with the columns below it.
fn columns(compat: Compat) -> Vec<(&'static str, Vec<Field>)> {
    let of = |family| Field::of(family).collect::<Vec<_>>();
    match compat {
        Compat::V2_38 => vec![
            ("Generic columns", of(Family::Generic)),
            ("Shared-memory columns (--shmems)", of(Family::Segments)),
            ("Message-queue columns (--queues)", of(Family::Queues)),
            ("Semaphore columns (--semaphores)", of(Family::Sets)),
            ("Summary columns (--global)", of(Family::Summary)),
        ],
        Compat::V2_43 => {
            let shared = of(Family::Generic).into_iter().filter(|field| (Field::Owner..=Field::Cgroup).contains(field));
            let posix = [Field::Name].into_iter().chain(shared).chain([Field::Mtime]).collect();
            vec![
                ("Generic System V columns", of(Family::Generic)),
                ("Generic POSIX columns", posix),
                ("System V Shared-memory columns (--shmems)", of(Family::Segments)),
                ("System V Message-queue columns (--queues)", of(Family::Queues)),
                ("System V Semaphore columns (--semaphores)", of(Family::Sets)),
                ("POSIX Semaphore columns (--posix-semaphores)", of(Family::PosixSemaphores)),
                ("Summary columns (--global)", of(Family::Summary)),
            ]
        }
    }
}

/// Prints the help text. Answers the end of the program.
pub(super) fn print(program: &mut Program) -> Exit {
    let name = String::from_utf8_lossy(program.name()).into_owned();
    let text = text(&name, program.compat());
    program.out.put(text);
    Exit::SUCCESS
}

fn text(name: &str, compat: Compat) -> String {
    let (resources, resource_width, [bytes, shell]) = match compat {
        Compat::V2_38 => (RESOURCES_2_38, 18, WORDS_2_38),
        Compat::V2_43 => (RESOURCES_2_43, 25, WORDS_2_43),
    };
    let mut text = format!("\nUsage:\n {name} [options]\n\nShow information on IPC facilities.\n\nResource options:\n");
    write_options(&mut text, resource_width, resources);
    text.push_str("\nOptions:\n");
    let options = [
        ("    --noheadings", "don't print headings"),
        ("    --notruncate", "don't truncate output"),
        ("    --time-format=<type>", "display dates in short, full or iso format"),
        ("-b, --bytes", bytes),
        ("-c, --creator", "show creator and owner"),
        ("-e, --export", "display in an export-able output format"),
        ("-J, --json", "use the JSON output format"),
        ("-n, --newline", "display each piece of information on a new line"),
        ("-l, --list", "force list output format (for example with --id)"),
        ("-o, --output[=<list>]", "define the columns to output"),
        ("-P, --numeric-perms", "print numeric permissions (PERMS column)"),
        ("-r, --raw", "display in raw mode"),
        ("-t, --time", "show attach, detach and change times"),
        ("-y, --shell", shell),
    ];
    write_options(&mut text, 25, &options);
    text.push('\n');
    write_options(&mut text, 25, &[("-h, --help", "display this help"), ("-V, --version", "display version")]);
    for (heading, fields) in columns(compat) {
        let _ = writeln!(text, "\n{heading}:");
        for (name, help) in fields.into_iter().map(Field::help) {
            let _ = writeln!(text, " {name:>14}  {help}");
        }
    }
    text.push_str("\nFor more details see lsipc(1).\n");
    text
}

fn write_options(text: &mut String, width: usize, rows: &[(&str, &str)]) {
    for (option, does) in rows {
        let _ = writeln!(text, " {option:<width$}{does}");
    }
}
