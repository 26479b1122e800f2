//! Memory handed to a child that can trust it: sealed against shrinking, read-only for the reader.
//!
//! ```text
//! cargo run -p tieline --example memfd_share
//! ```

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use tieline::os::Access;
use tieline::os::mapping::MapOptions;
use tieline::os::memfd::{Memfd, Seals};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args().nth(1) {
        Some(_) => read(),
        None => share(),
    }
}

/// Writes a message and starts a reader that has the memory as its standard input.
fn share() -> Result<(), Box<dyn std::error::Error>> {
    let memfd = Memfd::fixed("tieline example", 4096)?;
    let memory = memfd.map(&MapOptions::new())?;
    // From now on only this mapping can write, whoever gets hold of the descriptor.
    memfd.add_seals(Seals::FUTURE_WRITE | Seals::SEAL)?;
    let text = b"written once, read in place";
    memory.write(8, text)?;
    memory.write(0, &(text.len() as u64).to_le_bytes())?;
    let reader: OwnedFd = memfd.read_only()?.into();
    let status = Command::new(std::env::current_exe()?).arg("reader").stdin(Stdio::from(reader)).status()?;
    if status.success() { Ok(()) } else { Err(format!("the reader failed: {status}").into()) }
}

fn read() -> Result<(), Box<dyn std::error::Error>> {
    let received = std::io::stdin().as_fd().try_clone_to_owned()?;
    // Without these seals the sender could take the memory away under us.
    let memfd = Memfd::from_fd(received, Seals::SHRINK | Seals::FUTURE_WRITE)?;
    let memory = memfd.map(&MapOptions::new().access(Access::ReadOnly))?;
    let mut len = [0; 8];
    memory.read(0, &mut len)?;
    // The length comes from elsewhere: it is checked before anything is made of it.
    let len = usize::try_from(u64::from_le_bytes(len))?;
    if len > memory.len() - 8 {
        return Err(format!("the sender claims {len} bytes in {} of memory", memory.len()).into());
    }
    let mut text = vec![0; len];
    memory.read(8, &mut text)?;
    println!("the reader sees {:?}", String::from_utf8_lossy(&text));
    Ok(())
}
