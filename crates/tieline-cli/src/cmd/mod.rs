//! One file for each verb. Here they are only told apart.

mod bench;
mod clean;
mod completions;
mod connect;
mod leaks;
mod limits;
mod locks;
mod ls;
mod man;
mod mk;
mod r#pub;
mod record;
mod recv;
mod replay;
mod rm;
mod sem;
mod send;
mod signal;
mod sub;
mod who;

use crate::exit::Outcome;
use crate::flags::{Command, Verb};

/// Runs the verb.
pub(crate) fn run(command: Command) -> Outcome {
    match command.verb {
        Verb::Bench(flags) => bench::run(flags),
        Verb::Clean(flags) => clean::run(&flags),
        Verb::Completions(flags) => completions::run(&flags),
        Verb::Connect(flags) => connect::run(flags),
        Verb::Ipcmk(_) | Verb::Ipcrm(_) | Verb::Ipcs(_) | Verb::Lsipc(_) => {
            unreachable!("main has given these to compat before the flags were read")
        }
        Verb::Leaks(flags) => leaks::run(&flags),
        Verb::Limits(flags) => limits::run(&flags),
        Verb::Locks(flags) => locks::run(&flags),
        Verb::Ls(flags) => ls::run(&flags),
        Verb::Man(flags) => man::run(&flags),
        Verb::Mk(flags) => mk::run(flags),
        Verb::Pub(flags) => r#pub::run(&flags),
        Verb::Record(flags) => record::run(&flags),
        Verb::Recv(flags) => recv::run(flags),
        Verb::Replay(flags) => replay::run(&flags),
        Verb::Rm(flags) => rm::run(flags),
        Verb::Sem(flags) => sem::run(flags),
        Verb::Send(flags) => send::run(flags),
        Verb::Signal(flags) => signal::run(flags),
        Verb::Sub(flags) => sub::run(&flags),
        Verb::Who(flags) => who::run(&flags),
    }
}
