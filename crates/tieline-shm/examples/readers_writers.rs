//! Readers and writers of one table. A writer is killed half-way: the readers are told, the next writer repairs.
//!
//! Run with `cargo run -p tieline-shm --example readers_writers`.

mod classics;

use classics::{Outcome, finish, role, segment, start};
use tieline_shm::ErrorKind;
use tieline_shm::sync::{LockError, RwLock, RwLockKind, RwLockOptions};

/// All entries are equal whenever nobody writes.
type Table = [u64; 1000];

const ROUNDS: u64 = 200;

/// Writes the table `rounds` times; `dies` tells in which round this process is killed half-way.
fn write(table: &RwLock<Table>, rounds: u64, dies: Option<u64>) -> tieline_shm::Result<()> {
    for round in 0..rounds {
        let mut entries = match table.write() {
            Ok(entries) => entries,
            Err(LockError::OwnerDied(mut entries)) => {
                // The first entry is written first, so it is the newest.
                let newest = entries[0];
                entries.fill(newest);
                entries.mark_consistent();
                println!("a writer died half-way; the table is whole again");
                entries
            }
            Err(LockError::Failed(error)) => return Err(error),
        };
        let value = entries[0] + 1;
        let (first, second) = entries.split_at_mut(500);
        first.fill(value);
        if dies == Some(round) {
            std::process::abort();
        }
        second.fill(value);
    }
    Ok(())
}

/// Reads until the table says that it was written `until` times.
fn read(table: &RwLock<Table>, until: u64) -> tieline_shm::Result<()> {
    loop {
        match table.read() {
            Ok(entries) => {
                assert!(entries.iter().all(|entry| *entry == entries[0]), "a reader sees half a change");
                if entries[0] >= until {
                    return Ok(());
                }
            }
            // A writer will repair it.
            Err(error) if error.kind() == ErrorKind::OwnerDied => {}
            Err(error) => return Err(error),
        }
        std::thread::yield_now();
    }
}

fn main() -> Outcome {
    if let Some((role, _)) = role() {
        let table = RwLock::<Table>::from_fd(segment(0)?)?;
        match role.as_str() {
            "reader" => read(&table, 2 * ROUNDS)?,
            "unlucky writer" => write(&table, ROUNDS, Some(ROUNDS / 2))?,
            _ => write(&table, 2 * ROUNDS, None)?,
        }
        return Ok(());
    }
    let table = RwLock::<Table>::anonymous([0; 1000], &RwLockOptions::new().kind(RwLockKind::Fair).name("table"))?;
    let readers = (0..3).map(|number| start("reader", number, &[table.as_fd()])).collect::<Outcome<Vec<_>>>()?;
    let status = start("unlucky writer", 0, &[table.as_fd()])?.wait()?;
    assert!(!status.success(), "it was to die");
    finish(vec![start("writer", 0, &[table.as_fd()])?])?;
    finish(readers)?;
    println!("3 readers saw nothing but whole tables, the last of them version {}", table.read()?[0]);
    Ok(())
}
