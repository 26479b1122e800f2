//! `tieline completions`: what a shell needs to complete our command lines.
//!
//! `clap_complete` writes the scripts. What it cannot say is added here: that an address goes on behind its scheme, with
//! a path perhaps, and for fish, whose generator knows options only, the words without a dash.

use clap::builder::PossibleValuesParser;
use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;
use tieline_os::signal::Signal;
use tieline_transport::addr::Scheme;

use crate::exit::Outcome;
use crate::flags::{Command, Completions};
use crate::name::Named;
use crate::output;
use crate::transfer;

pub(crate) fn run(flags: &Completions) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut suggesting(Command::command(), flags.shell), "tieline", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    match flags.shell {
        Shell::Bash => script.push_str(AFTER_SCHEME),
        Shell::Zsh => script = behind_schemes(script),
        Shell::Fish => script.push_str(&without_dashes()),
        _ => {}
    }
    output::text(&script)
}

/// bash: an address goes on behind its scheme, so no space follows that.
const AFTER_SCHEME: &str = "
_tieline_then() {
    _tieline \"$@\"
    if [[ \"${COMPREPLY[*]}\" == *: ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _tieline_then -o bashdefault -o default tieline
";

/// zsh: the scheme with its colon and no space, then perhaps a path.
const ZSH_SCHEMES: &str = "
_tieline_schemes() {
    if compset -P '*:'; then
        _files
    else
        compadd -S ':' -- \"$@\"
    fi
}
";

/// Puts the function above in the place of the list of words that the generator made of each list of schemes.
fn behind_schemes(script: String) -> String {
    let script = LISTS.iter().fold(script, |script, list| {
        let schemes = schemes_of(list);
        let words: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}\\:")).collect();
        script.replace(&format!(":({})'", words.join(" ")), &format!(":_tieline_schemes {}'", schemes.join(" ")))
    });
    match script.split_once("\n\n") {
        Some((head, rest)) => format!("{head}\n{ZSH_SCHEMES}\n{rest}"),
        None => script,
    }
}

/// fish: the words that no dash stands before. A word with a colon is an address that goes on, with a path perhaps,
/// which fish completes by itself.
fn without_dashes() -> String {
    let line = |verbs: &str, words: &str| {
        format!(
            "complete -c tieline -f -a \"{words}\" -n \"__fish_tieline_using_subcommand {verbs}; \
             and not string match -q -- '*:*' (commandline -ct)\"\n"
        )
    };
    let colons = |list| schemes_of(list).iter().map(|scheme| format!("{scheme}:")).collect::<Vec<_>>().join(" ");
    let shells = Shell::value_variants().iter().map(Shell::to_string).collect::<Vec<_>>().join(" ");
    [
        line("send recv connect", &colons("address")),
        line("pub sub record", &colons("topic")),
        line("rm", &colons("objects")),
        line("sem; and __fish_seen_subcommand_from wait post get", &colons("semaphore")),
        line("signal", &format!("{} (__fish_complete_pids)", signals().join(" "))),
        line("completions", &shells),
    ]
    .concat()
}

/// The arguments that begin with a scheme.
const LISTS: [&str; 4] = ["address", "objects", "semaphore", "topic"];

/// The schemes that this argument can begin with.
fn schemes_of(argument: &str) -> Vec<&'static str> {
    match argument {
        "objects" => Named::SCHEMES.to_vec(),
        "semaphore" => Named::SEMAPHORES.to_vec(),
        "topic" => vec![Scheme::Shm.name()],
        _ => transfer::openable().map(Scheme::name).collect(),
    }
}

fn signals() -> Vec<String> {
    Signal::all().map(|signal| signal.to_string().replacen("SIG", "", 1)).collect()
}

/// The framings by their words; lengths and bytes go on.
const FRAMINGS: [&str; 13] =
    ["byte:", "line", "nul", "raw", "text", "u16", "u16le", "u32", "u32le", "u64", "u64le", "u8", "whole"];

/// The command line with words to suggest where the parser takes more than a list of words.
fn suggesting(command: clap::Command, shell: Shell) -> clap::Command {
    let suggest = |argument: clap::Arg| match argument.get_id().as_str() {
        "signal" | "wait" => argument.value_parser(words(signals())),
        "frame" => argument.value_parser(words(FRAMINGS)),
        "only" => argument.value_parser(words(tieline_measure::mechanisms().map(|mechanism| mechanism.name))),
        // The others give a colon a meaning of their own.
        "address" | "first" | "second" | "objects" | "semaphore" | "topic"
            if matches!(shell, Shell::Bash | Shell::Zsh) =>
        {
            let schemes = schemes_of(argument.get_id().as_str());
            argument.value_parser(words(schemes.into_iter().map(|scheme| format!("{scheme}:"))))
        }
        _ => argument,
    };
    command.mut_args(suggest).mut_subcommands(|verb| suggesting(verb, shell))
}

/// Suggestions out of texts made here; they live as long as the process, which ends after printing them.
fn words(texts: impl IntoIterator<Item = impl Into<String>>) -> PossibleValuesParser {
    PossibleValuesParser::new(texts.into_iter().map(|text| &*text.into().leak()))
}

#[cfg(test)]
mod tests {
    use tieline_transport::addr::Address;
    use tieline_transport::frame::Framing;

    use super::*;

    #[test]
    fn what_is_suggested_is_understood() {
        for framing in FRAMINGS {
            let framing = if framing.ends_with(':') { format!("{framing}0x1e") } else { framing.to_owned() };
            assert!(framing.parse::<Framing>().is_ok(), "{framing}");
        }
        for scheme in Named::SCHEMES.into_iter().filter(|scheme| !Named::SEMAPHORES.contains(scheme)) {
            let known: Vec<&str> = transfer::openable().map(Scheme::name).collect();
            assert!(known.contains(&scheme), "{scheme}");
        }
        assert!("sem:/a".parse::<Address>().is_err(), "semaphores are nothing to send to");
    }
}
