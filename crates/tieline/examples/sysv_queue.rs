//! Sends and receives messages on a System V queue, from the command line.
//!
//! ```text
//! cargo run -p tieline --example sysv_queue -- send 0x7001 2 "tidy up"
//! cargo run -p tieline --example sysv_queue -- send 0x7001 1 "fire in the kitchen"
//! cargo run -p tieline --example sysv_queue -- receive 0x7001        # most urgent first: type 1 before type 2
//! cargo run -p tieline --example sysv_queue -- list 0x7001
//! cargo run -p tieline --example sysv_queue -- remove 0x7001
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use tieline::os::Mode;
use tieline::os::sysv::Key;
use tieline::os::sysv::msg::{self, MessageQueue, MessageType, Oversized, Selector};

/// How long a receiver waits for a message.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sysv_queue: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["send", key, urgency, text] => send(key.parse()?, urgency.parse()?, text),
        ["receive", key] => receive(key.parse()?),
        ["list", key] => list(key.parse()?),
        ["remove", key] => Ok(MessageQueue::open(key.parse()?)?.remove()?),
        _ => Err("say: send KEY TYPE TEXT | receive KEY | list KEY | remove KEY".into()),
    }
}

fn send(key: Key, urgency: MessageType, text: &str) -> Result<(), Box<dyn Error>> {
    // A full queue is an answer, not a reason to hang.
    MessageQueue::open_or_create(key, Mode::OWNER)?.try_send(urgency, text.as_bytes())?;
    Ok(())
}

fn receive(key: Key) -> Result<(), Box<dyn Error>> {
    let mut buffer = vec![0; msg::limits()?.message_max_bytes];
    let most_urgent = Selector::UpToType(MessageType::MAX);
    let queue = MessageQueue::open_or_create(key, Mode::OWNER)?;
    let message = queue.receive_timeout(most_urgent, Oversized::Refuse, &mut buffer, PATIENCE)?;
    println!("{}: {}", message.message_type, String::from_utf8_lossy(&buffer[..message.len]));
    Ok(())
}

/// Shows what is in the queue and leaves it there.
fn list(key: Key) -> Result<(), Box<dyn Error>> {
    let mut buffer = vec![0; msg::limits()?.message_max_bytes];
    let queue = MessageQueue::open(key)?;
    let mut index = 0;
    while let Some(message) = queue.peek(index, &mut buffer)? {
        println!("{}: {}", message.message_type, String::from_utf8_lossy(&buffer[..message.len]));
        index += 1;
    }
    let state = queue.stat()?;
    println!("{} of {} bytes, last sender {:?}", state.bytes, state.capacity_bytes, state.last_sender);
    Ok(())
}
