//! Three processes work on a queue of jobs, and one of them is killed in the middle of one.
//!
//! ```text
//! cargo run --release -p tieline --example shm_workers
//! ```
//!
//! Every job is done: what the dead worker had taken goes to another, which is told that it is not the first.

mod crew;

use std::collections::BTreeMap;
use std::time::Duration;

use crew::{Outcome, Worker, name_of, role, say};
use tieline::shm::ShmSafe;
use tieline::shm::queue::Queue;

const JOBS: u64 = 300;
/// A job that tells a worker to go home.
const STOP: u64 = u64::MAX;
const PATIENCE: Duration = Duration::from_secs(20);

/// What a worker reports.
#[derive(Clone, Copy, ShmSafe)]
#[repr(C)]
struct Report {
    job: u64,
    answer: u64,
    worker: u32,
    /// How often the job had been given to others.
    attempts: u32,
}

fn main() -> Outcome {
    match role() {
        Some((_, name)) => work(&name),
        None => lead(),
    }
}

fn lead() -> Outcome {
    let name = name_of("jobs");
    let jobs = Queue::<u64>::options().capacity(64).create(name.as_str())?;
    let reports = Queue::<Report>::create(format!("{name}-reports"))?;
    let mut workers = (0..3).map(|_| Worker::start("worker", &name)).collect::<Outcome<Vec<_>>>()?;
    for worker in &mut workers {
        worker.hear()?;
    }
    println!("{JOBS} jobs for {} workers", workers.len());

    let mut waiting = 0..JOBS;
    let mut done = BTreeMap::<u64, Vec<Report>>::new();
    let mut victim = None;
    while done.len() < JOBS as usize {
        // As many as there is room for; the rest when some are done.
        while let Some(job) = waiting.next() {
            if jobs.try_send(&job).is_err() {
                waiting = job..JOBS;
                break;
            }
        }
        let report = *reports.recv_timeout(PATIENCE)?;
        if report.answer != right_answer(report.job) {
            return Err(format!("job {} has a wrong answer", report.job).into());
        }
        done.entry(report.job).or_default().push(report);
        if done.len() == JOBS as usize / 3 && victim.is_none() {
            let mut worker = workers.remove(0);
            worker.kill()?;
            println!("killed worker {} after {} jobs", worker.id(), done.len());
            victim = Some(worker.id());
        }
    }
    for _ in &workers {
        jobs.send(&STOP)?;
    }
    workers.into_iter().try_for_each(Worker::finish)?;

    let mut by_worker = BTreeMap::<u32, u32>::new();
    done.values().flatten().for_each(|report| *by_worker.entry(report.worker).or_default() += 1);
    for (worker, count) in by_worker {
        let fate = if Some(worker) == victim { ", then was killed" } else { "" };
        println!("  worker {worker} did {count}{fate}");
    }
    for reports in done.values() {
        for again in reports.iter().filter(|report| report.attempts > 0) {
            let times = if reports.len() > 1 { "done a second time" } else { "done" };
            println!(
                "job {} was the dead worker's; it was delivered again, and {times} by {}",
                again.job, again.worker
            );
        }
    }
    println!("all {} jobs are done; {} delivered again", done.len(), jobs.counters().orphaned);
    Ok(())
}

fn work(name: &str) -> Outcome {
    let jobs = Queue::<u64>::open(name)?;
    let reports = Queue::<Report>::open(format!("{name}-reports"))?;
    say("ready");
    loop {
        let job = jobs.recv()?;
        if *job == STOP {
            job.ack()?;
            return Ok(());
        }
        let report = Report { job: *job, answer: answer(*job), worker: std::process::id(), attempts: job.attempts() };
        // Reported first, then acknowledged: who dies in between has done it, and another does it again.
        reports.send(&report)?;
        job.ack()?;
    }
}

/// Some milliseconds of work.
fn answer(job: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(3));
    right_answer(job)
}

fn right_answer(job: u64) -> u64 {
    (0..1000).fold(job, |sum, step| (sum ^ step).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7))
}
