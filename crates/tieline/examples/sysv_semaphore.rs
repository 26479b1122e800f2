//! Runs a command while holding one of a limited number of places, like a queue at a counter.
//!
//! ```text
//! cargo run -p tieline --example sysv_semaphore -- 0x7002 2 sleep 5     # at most two of these at once on this machine
//! ```
//!
//! The kernel gives the place back if this program is killed. The semaphore stays for the next; `ipcrm -S 0x7002`
//! removes it.

use std::error::Error;
use std::process::{Command, ExitCode};
use std::time::Duration;

use tieline::os::Mode;
use tieline::os::sysv::Key;
use tieline::os::sysv::sem::{Operation, SemaphoreSet};

/// How long another process may take between creating the semaphore and giving it its value.
const CREATOR_PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sysv_semaphore: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [key, places, program, rest @ ..] = &arguments[..] else {
        return Err("say: KEY PLACES COMMAND [ARGUMENT ...]".into());
    };
    let key: Key = key.parse()?;
    let places: u16 = places.parse()?;
    let counter = SemaphoreSet::open_or_create_initialised(key, &[places], Mode::OWNER, CREATOR_PATIENCE)?;

    let take = Operation::new(0, -1).undo();
    if let Err(error) = counter.try_operate(&[take]) {
        if !error.is_would_block() {
            return Err(error.into());
        }
        eprintln!("all places are taken, {} waiting before us", counter.waiters_for_increase(0)?);
        counter.operate(&[take])?;
    }
    let status = Command::new(program).args(rest).status();
    counter.operate(&[Operation::new(0, 1).undo()])?;
    Ok(if status?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
