//! `tieline completions`: what a shell needs to complete our command lines.

use clap::CommandFactory;
use clap::builder::PossibleValuesParser;
use clap_complete::Shell;
use tieline_os::signal::Signal;
use tieline_transport::addr::Scheme;

use crate::exit::Outcome;
use crate::flags::{Command, Completions};
use crate::output;

pub(crate) fn run(flags: &Completions) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut suggesting(Command::command(), flags.shell), "tieline", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if flags.shell == Shell::Bash {
        script.push_str(AFTER_SCHEME);
    }
    output::text(&script)
}

/// An address goes on behind its scheme, so no space follows that.
const AFTER_SCHEME: &str = "
_tieline_then() {
    _tieline \"$@\"
    if [[ \"${COMPREPLY[*]}\" == *: ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _tieline_then -o bashdefault -o default tieline
";

/// The command line with words to suggest where the parser takes more than a list of words.
fn suggesting(command: clap::Command, shell: Shell) -> clap::Command {
    let suggest = |argument: clap::Arg| match argument.get_id().as_str() {
        "signal" | "wait" => {
            argument.value_parser(words(Signal::all().map(|signal| signal.to_string().replacen("SIG", "", 1))))
        }
        // Other shells give a colon a meaning of their own.
        "address" | "first" | "second" if shell == Shell::Bash => {
            let schemes = Scheme::all().filter(|scheme| scheme.is_available() && *scheme != Scheme::Pipe);
            argument.value_parser(words(schemes.map(|scheme| format!("{scheme}:"))))
        }
        _ => argument,
    };
    command.mut_args(suggest).mut_subcommands(|verb| suggesting(verb, shell))
}

/// Suggestions out of texts made here; they live as long as the process, which ends after printing them.
fn words(texts: impl Iterator<Item = String>) -> PossibleValuesParser {
    PossibleValuesParser::new(texts.map(|text| &*text.leak()))
}
