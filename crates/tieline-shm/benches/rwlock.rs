//! What the reader-writer lock and the semaphores cost, beside the C library's, in the same run, in turn.
//!
//! As `cargo bench` switches on the steps at which tests end a process, each of which costs a nanosecond, the figures that
//! are quoted come from a program outside of the workspace that includes this file.
//!
//!     cargo bench -p tieline-shm --bench rwlock [-- ROUNDS]
//!
//! Uncontended: one thread locks and unlocks; the peer is the process-shared `pthread_rwlock_t` or `sem_t`, neither of
//! which survives the death of a holder. Contended: 2 and 4 processes read, or read 99 times and write once. The table
//! shows the best round of each row and its median, because a virtual machine's processors are not always there; ratios
//! are of the best.

use std::hint::black_box;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tieline_os::mapping::{MapOptions, Mapping};
use tieline_os::memfd::Memfd;
use tieline_os::posix::sem::UnnamedSemaphore;
use tieline_os::pthread::{Place, RwLock as PthreadRwLock};
use tieline_shm::sync::{Mutex, MutexOptions, RwLock, RwLockKind, RwLockOptions, Semaphore, Tokens};

const TURNS: u32 = 20_000;
/// How long the readers of a contended row run.
const WINDOW: Duration = Duration::from_millis(200);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|word| word == "contend") {
        contend(&arguments[2], &arguments[3], arguments[4].parse().unwrap());
        return;
    }
    let rounds = arguments.iter().filter_map(|argument| argument.parse().ok()).next().unwrap_or(50);
    uncontended(rounds);
    contended(rounds);
}

/// Nanoseconds a turn.
fn time(mut turn: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..TURNS {
        turn();
    }
    start.elapsed().as_nanos() as f64 / f64::from(TURNS)
}

fn uncontended(rounds: usize) {
    let memory = Mapping::anonymous(4096).unwrap();
    // SAFETY: the memory is for these two objects alone.
    let place = unsafe { Place::trusting(&memory, 0) };
    let pthread = PthreadRwLock::create(place).unwrap();
    let sem = UnnamedSemaphore::init(&memory, 1024, 1).unwrap();
    let options = RwLockOptions::new();
    let lock = RwLock::anonymous(0_u64, &options).unwrap();
    let fair = RwLock::anonymous(0_u64, &options.clone().kind(RwLockKind::Fair)).unwrap();
    let mutex = Mutex::anonymous(0_u64, &MutexOptions::new()).unwrap();
    let pool = Semaphore::anonymous("pool", 1).unwrap();
    let tokens = Tokens::anonymous("tokens", 1).unwrap();

    type Row<'a> = (&'a str, Option<usize>, Box<dyn FnMut() + 'a>);
    let mut rows: Vec<Row<'_>> = vec![
        ("pthread read", None, Box::new(|| drop(black_box(pthread.read().unwrap())))),
        ("read", Some(0), Box::new(|| drop(black_box(lock.read().unwrap())))),
        ("read, fair", Some(0), Box::new(|| drop(black_box(fair.read().unwrap())))),
        ("pthread write", None, Box::new(|| drop(black_box(pthread.write().unwrap())))),
        ("write", Some(3), Box::new(|| drop(black_box(lock.write().unwrap())))),
        ("write, fair", Some(3), Box::new(|| drop(black_box(fair.write().unwrap())))),
        ("sem_wait, sem_post", None, Box::new(|| sem.wait().and_then(|()| sem.post()).unwrap())),
        ("acquire, release", Some(6), Box::new(|| drop(black_box(pool.acquire().unwrap())))),
        ("take, post", Some(6), Box::new(|| tokens.take().and_then(|()| tokens.post(1)).unwrap())),
        ("our mutex", None, Box::new(|| drop(black_box(mutex.lock().unwrap())))),
    ];
    let mut times = vec![Vec::new(); rows.len()];
    for _ in 0..rounds {
        for ((_, _, turn), times) in rows.iter_mut().zip(&mut times) {
            times.push(time(turn));
        }
    }
    println!("uncontended, ns                  best   median    ratio");
    let best: Vec<f64> = times.iter_mut().map(|times| sorted(times)[0]).collect();
    for (at, (name, peer, _)) in rows.iter().enumerate() {
        let ratio = peer.map_or(String::new(), |peer| format!("{:8.2}", best[at] / best[peer]));
        println!("{name:28} {:8.1} {:8.1} {ratio}", best[at], times[at][times[at].len() / 2]);
    }
}

/// Smallest first.
fn sorted(times: &mut [f64]) -> &[f64] {
    times.sort_by(f64::total_cmp);
    times
}

fn contended(rounds: usize) {
    let lock = RwLock::anonymous(0_u64, &RwLockOptions::new()).unwrap();
    let memfd = Memfd::fixed("pthread", 4096).unwrap();
    let memory = memfd.map(&MapOptions::new()).unwrap();
    // SAFETY: the memory is for this lock alone.
    let place = unsafe { Place::trusting(&memory, 0) };
    let _pthread = PthreadRwLock::create(place).unwrap();
    let path = |fd: i32| format!("/proc/{}/fd/{fd}", std::process::id());
    let ours = path(std::os::fd::AsRawFd::as_raw_fd(&lock.as_fd()));
    let theirs = path(std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&memfd)));

    println!("\ncontended, million turns/s       best   median    ratio");
    for (what, every) in [("read", 0), ("read 99, write 1", 100)] {
        for processes in [1, 2, 4] {
            let mut rates = [Vec::new(), Vec::new()];
            for _ in 0..rounds.min(7) {
                rates[0].push(rate("pthread", &theirs, every, processes));
                rates[1].push(rate("ours", &ours, every, processes));
            }
            let [theirs, ours] = rates.each_mut().map(|rates| {
                let rates = sorted(rates);
                (rates[rates.len() - 1], rates[rates.len() / 2])
            });
            println!("pthread {what}, {processes} processes {:>10.2} {:8.2}", theirs.0, theirs.1);
            println!("ours    {what}, {processes} processes {:>10.2} {:8.2} {:8.2}", ours.0, ours.1, ours.0 / theirs.0);
        }
    }
}

/// How many million turns a second so many processes do together.
fn rate(which: &str, path: &str, every: u32, processes: usize) -> f64 {
    let start = |_| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["contend", which, path, &every.to_string()]).stdout(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<Child> = (0..processes).map(start).collect();
    let rate = |child: Child| {
        let output = child.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<f64>().unwrap()
    };
    children.into_iter().map(rate).sum()
}

/// One of the processes: `every` is how many turns bring one write, 0 for none.
fn contend(which: &str, path: &str, every: u32) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let count = if which == "ours" {
        let lock = RwLock::<u64>::from_fd(file.into()).unwrap();
        turns(every, || drop(black_box(lock.read().unwrap())), || *lock.write().unwrap() += 1)
    } else {
        let memory = Mapping::of(&file, &MapOptions::new()).unwrap();
        // SAFETY: the parent made the lock there, and nothing else is there.
        let place = unsafe { Place::trusting(&memory, 0) };
        let lock = PthreadRwLock::attach(place).unwrap();
        turns(every, || drop(black_box(lock.read().unwrap())), || drop(black_box(lock.write().unwrap())))
    };
    println!("{}", f64::from(count) / WINDOW.as_micros() as f64);
}

fn turns(every: u32, mut read: impl FnMut(), mut write: impl FnMut()) -> u32 {
    let end = Instant::now() + WINDOW;
    let mut count = 0;
    while Instant::now() < end {
        for _ in 0..64 {
            count += 1;
            if every > 0 && count % every == 0 { write() } else { read() }
        }
    }
    count
}
