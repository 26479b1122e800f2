//! Four processes count together in one System V segment, which vanishes with the last of them.
//!
//! ```text
//! cargo run -p tieline --example sysv_shared_memory
//! ```

use std::error::Error;
use std::process::{Child, Command, ExitCode};
use std::sync::atomic::Ordering;

use tieline::os::Mode;
use tieline::os::sysv::shm::Segment;
use tieline::os::sysv::{Id, Key, RemoveOnDrop};

const WORKERS: usize = 4;
const ROUNDS: u64 = 100_000;

/// The total is at the start of the segment; each worker's own count follows on a cache line of its own.
const LINE_BYTES: usize = 64;
const LEN_BYTES: usize = (1 + WORKERS) * LINE_BYTES;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sysv_shared_memory: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => lead(),
        [id, worker] => work(Id::new(id.parse()?), worker.parse()?),
        _ => Err("say nothing; the workers are started by the program itself".into()),
    }
}

fn lead() -> Result<(), Box<dyn Error>> {
    // No key: the workers are told the id. The guard removes the segment whatever happens on the way.
    let segment = RemoveOnDrop::new(Segment::create(Key::PRIVATE, LEN_BYTES, Mode::OWNER)?);
    let memory = segment.attach()?;
    let me = std::env::current_exe()?;
    let workers: Result<Vec<Child>, _> = (1..=WORKERS)
        .map(|worker| Command::new(&me).args([segment.id().to_string(), worker.to_string()]).spawn())
        .collect();
    for mut worker in workers? {
        if !worker.wait()?.success() {
            return Err("a worker failed".into());
        }
    }
    for worker in 1..=WORKERS {
        println!("worker {worker} counted {}", memory.load_u64(worker * LINE_BYTES, Ordering::Acquire)?);
    }
    let total = memory.load_u64(0, Ordering::Acquire)?;
    println!("together they counted {total}");
    assert_eq!(total, ROUNDS * WORKERS as u64, "no count is lost");
    Ok(())
}

fn work(id: Id, worker: usize) -> Result<(), Box<dyn Error>> {
    let memory = Segment::from_id(id).attach()?;
    let (total, own) = (memory.atomic_u64(0)?, memory.atomic_u64(worker * LINE_BYTES)?);
    for _ in 0..ROUNDS {
        // Relaxed: the counts order nothing else, and the leader reads them after the worker's end.
        total.fetch_add(1, Ordering::Relaxed);
        own.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
