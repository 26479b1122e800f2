//! `tieline man`: the manual pages, made from the flags.

use std::fs;

use clap::CommandFactory;

use crate::exit::{Code, Failure, Outcome};
use crate::flags::{Command, Man};
use crate::output;

pub(crate) fn run(flags: &Man) -> Outcome {
    let command = Command::command().disable_help_subcommand(true);
    let Some(folder) = &flags.folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        return output::text(&String::from_utf8_lossy(&page));
    };
    fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder)).map_err(|error| {
        let shown = folder.display();
        let code = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Code::PermissionDenied,
            _ => Code::Failed,
        };
        Failure::new(code, format_args!("cannot write the manual pages to {shown}: {error}"))
    })
}
