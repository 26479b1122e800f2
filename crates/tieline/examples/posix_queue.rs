//! A queue of jobs with priorities, between this process and copies of itself.
//!
//! ```text
//! cargo run -p tieline --example posix_queue
//! ```

use std::process::Command;
use std::time::Duration;

use tieline::os::posix::mq::{Attributes, MessageQueue};
use tieline::os::{Access, Mode};

/// How long an idle worker waits for another job before it goes home.
const IDLE: Duration = Duration::from_millis(300);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args().nth(1) {
        Some(name) => Ok(work(&name)?),
        None => give_out(),
    }
}

/// Fills the queue and lets two workers empty it.
fn give_out() -> Result<(), Box<dyn std::error::Error>> {
    let name = format!("/tieline-jobs-{}", std::process::id());
    let size = Attributes { capacity: 8, message_size: 64 };
    let jobs = MessageQueue::create(&name, size, Access::WriteOnly, Mode::OWNER)?;
    let result = (|| -> Result<(), Box<dyn std::error::Error>> {
        for number in 1..=6 {
            let (what, priority) = if number % 3 == 0 { ("urgent", 10) } else { ("ordinary", 1) };
            jobs.send(format!("{what} job {number}").as_bytes(), priority)?;
        }
        let program = std::env::current_exe()?;
        let workers = [Command::new(&program).arg(&name).spawn()?, Command::new(&program).arg(&name).spawn()?];
        for mut worker in workers {
            worker.wait()?;
        }
        Ok(())
    })();
    // The queue would outlive us, so it goes whatever has happened.
    MessageQueue::unlink(&name)?;
    result
}

fn work(name: &str) -> tieline::os::Result<()> {
    let jobs = MessageQueue::open(name, Access::ReadOnly)?;
    let mut buffer = vec![0; jobs.message_size()];
    loop {
        match jobs.receive_timeout(&mut buffer, IDLE) {
            Ok(job) => {
                let text = String::from_utf8_lossy(&buffer[..job.len]);
                println!("worker {} does {text} (priority {})", std::process::id(), job.priority);
            }
            Err(error) if error.is_timeout() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
