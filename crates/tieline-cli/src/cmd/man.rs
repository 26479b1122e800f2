//! `tieline man`: the manual pages, made from the flags.
//!
//! `clap_mangen` writes what is the same for every command; what we lay out ourselves in the help (tables, examples)
//! keeps its lines here.

use std::fs;
use std::io;
use std::path::Path;

use clap::{ArgAction, CommandFactory};
use clap_mangen::Man as Page;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::exit::{self, Failure, Outcome};
use crate::flags::{Command, Man};
use crate::output;

pub(crate) fn run(flags: &Man) -> Outcome {
    let mut command = Command::command().disable_help_subcommand(true);
    command.build();
    let Some(folder) = &flags.folder else {
        return output::text(&page(&command)?);
    };
    fs::create_dir_all(folder).and_then(|()| write_all(&command, folder)).map_err(|error| {
        let shown = folder.display();
        let (code, reason) = exit::reason(&error);
        Failure::new(code, format_args!("cannot write the manual pages to {shown}: {reason}"))
    })
}

fn write_all(command: &clap::Command, folder: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    fs::write(folder.join(format!("{name}.1")), page(command)?)?;
    command.get_subcommands().filter(|verb| !verb.is_hide_set()).try_for_each(|verb| write_all(verb, folder))
}

fn page(command: &clap::Command) -> io::Result<String> {
    let version = format!("tieline {}", env!("CARGO_PKG_VERSION"));
    let page = Page::new(command.clone()).source(version).manual("Tieline");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    synopsis(command).to_writer(&mut text)?;
    page.render_description_section(&mut text)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        page.render_options_section(&mut text)?;
    }
    if command.get_subcommands().any(|verb| !verb.is_hide_set()) {
        page.render_subcommands_section(&mut text)?;
    }
    if let Some(after) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        sections(&after.to_string()).to_writer(&mut text)?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Each option with its value, and what must be there without brackets.
fn synopsis(command: &clap::Command) -> Roff {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let mut line = vec![bold(name)];
    let shown = || command.get_arguments().filter(|argument| !argument.is_hide_set());
    for option in shown().filter(|argument| !argument.is_positional()) {
        if matches!(
            option.get_action(),
            ArgAction::Help | ArgAction::HelpLong | ArgAction::HelpShort | ArgAction::Version
        ) {
            continue;
        }
        let flag = match (option.get_long(), option.get_short()) {
            (Some(long), _) => format!("--{long}"),
            (None, Some(short)) => format!("-{short}"),
            (None, None) => continue,
        };
        let mut parts = vec![bold(flag)];
        if option.get_action().takes_values() {
            parts.extend([roman(" "), italic(value_of(option))]);
        }
        put(&mut line, parts, option.is_required_set());
    }
    for positional in shown().filter(|argument| argument.is_positional()) {
        let many = matches!(positional.get_action(), ArgAction::Append);
        let parts = [Some(italic(value_of(positional))), many.then(|| roman(" ..."))];
        put(&mut line, parts.into_iter().flatten().collect(), positional.is_required_set());
    }
    if command.get_subcommands().any(|verb| !verb.is_hide_set()) {
        put(&mut line, vec![italic("COMMAND")], true);
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]).text(line);
    roff
}

fn put(line: &mut Vec<Inline>, parts: Vec<Inline>, is_required: bool) {
    line.push(roman(if is_required { " " } else { " [" }));
    line.extend(parts);
    if !is_required {
        line.push(roman("]"));
    }
}

fn value_of(argument: &clap::Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let names: Vec<&str> = names.iter().map(clap::builder::Str::as_str).collect();
    if names.is_empty() { argument.get_id().as_str().to_uppercase() } else { names.join(" ") }
}

/// What stands below the options in the help: a line with a colon is a heading, other lines without indentation are
/// prose. Indented ones are examples, which stay as they are, or else rows of two columns, which become a tagged list.
fn sections(text: &str) -> Roff {
    let mut roff = Roff::new();
    let (mut has_examples, mut is_verbatim) = (false, false);
    for line in text.lines() {
        let row = line.strip_prefix("  ");
        let wants_verbatim = row.is_some() && has_examples;
        if is_verbatim != wants_verbatim {
            roff.control(if wants_verbatim { "nf" } else { "fi" }, []);
            is_verbatim = wants_verbatim;
        }
        match (row, line.strip_suffix(':')) {
            (Some(row), _) if has_examples => roff.text([roman(row)]),
            (Some(row), _) => {
                let (tag, meaning) = row.rsplit_once("  ").unwrap_or((row, ""));
                roff.control("TP", []).text([bold(tag.trim_end())]).text([roman(meaning)])
            }
            (None, Some(heading)) => {
                has_examples = heading.starts_with("Example");
                roff.control("SH", [heading.to_uppercase().as_str()])
            }
            (None, None) if line.is_empty() => roff.control("PP", []),
            (None, None) => roff.text([roman(line)]),
        };
    }
    if is_verbatim {
        roff.control("fi", []);
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_keep_their_lines_and_prose_flows() {
        let page = sections("Examples:\n  one   # 1\n  two\n\nIt prints\nthe rest.").render();
        let body = page.split(".SH ").nth(1).unwrap();
        assert_eq!(body, "EXAMPLES\n.nf\none   # 1\ntwo\n.fi\n.PP\nIt prints\nthe rest.\n");
    }

    #[test]
    fn rows_become_a_tagged_list() {
        let page = sections("Codes:\n  a  b    both\n  0       done").render();
        let body = page.split(".SH ").nth(1).unwrap();
        assert_eq!(body, "CODES\n.TP\n\\fBa  b\\fR\nboth\n.TP\n\\fB0\\fR\ndone\n");
    }
}
