//! Three connections for eight processes: a counting semaphore lets three in at a time. One process is killed while it
//! has a connection, and the connection is free again.
//!
//! Run with `cargo run -p tieline-shm --example bounded_pool`.

mod classics;

use std::time::Duration;

use classics::{Outcome, finish, role, segment, start};
use tieline_shm::sync::{Mutex, MutexOptions, Semaphore};

const CONNECTIONS: u32 = 3;
const USES: u64 = 50;

/// How many are inside, how many were at most, how many uses there have been.
type Watch = [u64; 3];

fn use_connections(pool: &Semaphore, watch: &Mutex<Watch>) -> tieline_shm::Result<()> {
    for _ in 0..USES {
        let connection = pool.acquire_timeout(Duration::from_secs(10))?;
        {
            let mut watch = watch.lock()?;
            watch[0] += 1;
            watch[1] = watch[1].max(watch[0]);
            watch[2] += 1;
        }
        std::thread::yield_now();
        watch.lock()?[0] -= 1;
        drop(connection);
    }
    Ok(())
}

fn main() -> Outcome {
    if let Some((role, _)) = role() {
        let pool = Semaphore::from_fd(segment(0)?)?;
        let watch = Mutex::from_fd(segment(1)?)?;
        if role == "unlucky" {
            let _connection = pool.acquire()?;
            std::process::abort();
        }
        return Ok(use_connections(&pool, &watch)?);
    }
    let pool = Semaphore::anonymous("connections", CONNECTIONS)?;
    let watch = Mutex::anonymous([0; 3], &MutexOptions::new().name("watch"))?;
    let segments = [pool.as_fd(), watch.as_fd()];
    let users = (0..8).map(|number| start("user", number, &segments)).collect::<Outcome<Vec<_>>>()?;
    let status = start("unlucky", 0, &segments)?.wait()?;
    assert!(!status.success(), "it was to die");
    finish(users)?;
    let [inside, most, uses] = *watch.lock().map_err(tieline_shm::Error::from)?;
    assert_eq!((inside, uses), (0, 8 * USES));
    assert!(most <= u64::from(CONNECTIONS), "{most} had one of {CONNECTIONS} connections");
    assert_eq!(pool.available(), CONNECTIONS as usize, "the dead one's connection is free");
    println!("{uses} uses of {CONNECTIONS} connections by 8 processes, at most {most} at a time; one user died");
    Ok(())
}
