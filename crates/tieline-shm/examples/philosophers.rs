//! Five philosophers, each a process, five forks between them, and a waiter who seats four at a time, so that one of
//! those who sit can always eat. One philosopher is killed while it eats: its forks and its seat come back.
//!
//! Run with `cargo run -p tieline-shm --example philosophers`.

mod classics;

use classics::{Outcome, finish, role, segment, start};
use tieline_shm::sync::Semaphore;

const PHILOSOPHERS: usize = 5;
const MEALS: usize = 300;

fn dine(number: usize, dies: bool) -> Outcome {
    let seats = Semaphore::from_fd(segment(0)?)?;
    let left = Semaphore::from_fd(segment(1 + number)?)?;
    let right = Semaphore::from_fd(segment(1 + (number + 1) % PHILOSOPHERS)?)?;
    for meal in 0..MEALS {
        let _seat = seats.acquire()?;
        let _left = left.acquire()?;
        let _right = right.acquire()?;
        if dies && meal == MEALS / 2 {
            std::process::abort();
        }
    }
    Ok(())
}

fn main() -> Outcome {
    if let Some((role, number)) = role() {
        return dine(number, role == "unlucky");
    }
    let seats = Semaphore::anonymous("seats", PHILOSOPHERS as u32 - 1)?;
    let forks = (0..PHILOSOPHERS).map(|_| Semaphore::anonymous("fork", 1)).collect::<Result<Vec<_>, _>>()?;
    let segments: Vec<_> = std::iter::once(&seats).chain(&forks).map(Semaphore::as_fd).collect();
    let mut table =
        (1..PHILOSOPHERS).map(|number| start("philosopher", number, &segments)).collect::<Outcome<Vec<_>>>()?;
    let status = start("unlucky", 0, &segments)?.wait()?;
    assert!(!status.success(), "it was to die");
    table.push(start("philosopher", 0, &segments)?);
    finish(table)?;
    assert_eq!(seats.available(), PHILOSOPHERS - 1, "a seat is lost");
    assert!(forks.iter().all(|fork| fork.available() == 1), "a fork is lost");
    println!("{PHILOSOPHERS} philosophers had {MEALS} meals each; one died at its meal, and its forks came back");
    Ok(())
}
