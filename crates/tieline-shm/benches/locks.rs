//! What a lock costs: ours, the C library's robust mutex in shared memory, and the standard library's in one process.
//!
//! `cargo bench -p tieline-shm --bench locks`. Rounds are interleaved and each figure is the best of its rounds; the
//! ratios are of figures of the same run. Contended: as many threads, or processes, as told, each locking, adding to a
//! counter, unlocking, and doing a little work of its own.

use std::hint::black_box;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tieline_os::mapping::Mapping;
use tieline_os::memfd::Memfd;
use tieline_os::pthread::{self, Locked, Place};
use tieline_shm::sync::{Mutex, MutexOptions};

const ROUNDS: usize = 9;
const PAIRS: u32 = 200_000;
const CONTENDED: Duration = Duration::from_millis(150);

fn main() {
    if let Ok(which) = std::env::var("LOCKS_PEER") {
        return peer(&which);
    }
    // cargo passes --bench; `cargo test` builds and runs benches too, and wants no figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    uncontended();
    for threads in [2, 4] {
        contended_threads(threads);
    }
    for processes in [2, 4] {
        contended_processes(processes);
    }
}

fn ours(inherit: bool) -> Mutex<u64> {
    Mutex::anonymous(0, &MutexOptions::new().inherit_priority(inherit)).expect("a lock")
}

fn theirs(memory: &Mapping) -> pthread::Mutex<'_> {
    // SAFETY: the memory is for this lock alone.
    let place = unsafe { Place::trusting(memory, 0) };
    let options = pthread::MutexOptions::new().kind(pthread::MutexKind::Normal).robust(true);
    pthread::Mutex::create(place, options).expect("a lock")
}

fn lock_theirs<'m>(mutex: &'m pthread::Mutex<'_>) -> pthread::MutexGuard<'m> {
    match mutex.lock().expect("locked") {
        Locked::Clean(guard) => guard,
        Locked::OwnerDied(_) => unreachable!("nobody dies here"),
    }
}

/// The C library's calls themselves, without the checks of `tieline_os::pthread`.
struct Bare<'m>(&'m Mapping);

impl Bare<'_> {
    fn mutex(&self) -> *mut libc::pthread_mutex_t {
        std::ptr::from_ref(self.0.atomic_u64(1024).expect("inside")).cast_mut().cast()
    }

    fn make(self) -> Self {
        // SAFETY: zeros are a value of the type before it is initialised.
        let mut attributes: libc::pthread_mutexattr_t = unsafe { std::mem::zeroed() };
        let attributes = &raw mut attributes;
        // SAFETY: the calls POSIX wants, in its order, on objects of our own.
        #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one argument for one sequence")]
        unsafe {
            libc::pthread_mutexattr_init(attributes);
            libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST);
            assert_eq!(libc::pthread_mutex_init(self.mutex(), attributes), 0);
        }
        self
    }

    fn pair(&self) {
        self.with(|| ());
    }

    fn with(&self, inside: impl FnOnce()) {
        // SAFETY: a mutex that was made.
        assert_eq!(unsafe { libc::pthread_mutex_lock(self.mutex()) }, 0);
        inside();
        // SAFETY: this thread holds it.
        unsafe { libc::pthread_mutex_unlock(self.mutex()) };
    }
}

fn uncontended() {
    let memory = Mapping::anonymous(4096).expect("memory");
    let (ours, inheriting, theirs, standard) = (ours(false), ours(true), theirs(&memory), std::sync::Mutex::new(0_u64));
    let bare = Bare(&memory).make();
    let mut best = [f64::MAX; 5];
    for _ in 0..ROUNDS {
        let figures = [
            per_pair(|| *ours.lock().expect("locked") += 1),
            per_pair(|| drop(black_box(lock_theirs(&theirs)))),
            per_pair(|| *standard.lock().expect("locked") += 1),
            per_pair(|| *inheriting.lock().expect("locked") += 1),
            per_pair(|| bare.pair()),
        ];
        best.iter_mut().zip(figures).for_each(|(best, figure)| *best = best.min(figure));
    }
    let [ours, theirs, standard, inheriting, bare] = best;
    println!("uncontended lock and unlock, ns: ours {ours:.1}, pthread robust bare {bare:.1}, std {standard:.1}");
    println!("  ours with inheritance {inheriting:.1}, tieline_os::pthread {theirs:.1}");
    println!("  ours / pthread {:.2}, ours / std {:.2}", ours / bare, ours / standard);
}

fn per_pair(mut pair: impl FnMut()) -> f64 {
    let began = Instant::now();
    (0..PAIRS).for_each(|_| pair());
    began.elapsed().as_secs_f64() * 1e9 / f64::from(PAIRS)
}

fn contended_threads(threads: usize) {
    let memory = Mapping::anonymous(4096).expect("memory");
    let (ours, bare, standard) = (ours(false), Bare(&memory).make(), std::sync::Mutex::new(0_u64));
    let mut best = [0_f64; 3];
    for _ in 0..ROUNDS {
        let figures = [
            together(threads, || *ours.lock().expect("locked") += 1),
            together(threads, || bare.pair()),
            together(threads, || *standard.lock().expect("locked") += 1),
        ];
        best.iter_mut().zip(figures).for_each(|(best, figure)| *best = best.max(figure));
    }
    report(&format!("{threads} threads"), &[("ours", best[0]), ("pthread robust", best[1]), ("std", best[2])]);
}

fn together(threads: usize, pair: impl Fn() + Sync) -> f64 {
    let done = AtomicU64::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| done.fetch_add(repeat(&pair), Ordering::Relaxed));
        }
    });
    done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64() / 1e6
}

/// Locks for a while, and says how often.
fn repeat(pair: impl Fn()) -> u64 {
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < CONTENDED {
        for _ in 0..50 {
            pair();
            for work in 0..20 {
                black_box(work);
            }
            count += 1;
        }
    }
    count
}

fn contended_processes(processes: usize) {
    let memory = Memfd::fixed("locks", 4096).expect("memory");
    let mapping = memory.map(&tieline_os::mapping::MapOptions::new()).expect("memory");
    let _bare = Bare(&mapping).make();
    let ours = ours(false);
    let path = |fd: i32| format!("/proc/{}/fd/{fd}", std::process::id());
    use std::os::fd::{AsFd, AsRawFd};
    let paths = [path(ours.as_fd().as_raw_fd()), path(memory.as_fd().as_raw_fd())];
    let mut best = [0_f64; 2];
    for _ in 0..ROUNDS {
        for (which, best) in best.iter_mut().enumerate() {
            let before = *ours.lock().expect("locked") + mapping.load_u64(2048, Ordering::Relaxed).expect("a count");
            let start = || -> Child {
                let program = std::env::current_exe().expect("this program");
                let peer = ["ours", "theirs"][which];
                Command::new(program)
                    .env("LOCKS_PEER", peer)
                    .env("LOCKS_MEMORY", &paths[which])
                    .spawn()
                    .expect("a peer")
            };
            let peers: Vec<_> = (0..processes).map(|_| start()).collect();
            peers.into_iter().for_each(|mut peer| assert!(peer.wait().expect("waited").success()));
            let after = *ours.lock().expect("locked") + mapping.load_u64(2048, Ordering::Relaxed).expect("a count");
            *best = best.max((after - before) as f64 / CONTENDED.as_secs_f64() / 1e6);
        }
    }
    report(&format!("{processes} processes"), &[("ours", best[0]), ("pthread robust", best[1])]);
}

fn peer(which: &str) {
    let path = std::env::var("LOCKS_MEMORY").expect("the parent names the memory");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("the memory");
    if which == "ours" {
        let lock = Mutex::<u64>::from_fd(file.into()).expect("the lock");
        repeat(|| *lock.lock().expect("locked") += 1);
    } else {
        let memory = Mapping::of(file, &tieline_os::mapping::MapOptions::new()).expect("the memory");
        let bare = Bare(&memory);
        let count = memory.atomic_u64(2048).expect("the count");
        repeat(|| bare.with(|| count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed)));
    }
}

fn report(what: &str, figures: &[(&str, f64)]) {
    print!("contended, {what}, million pairs a second:");
    figures.iter().for_each(|(name, figure)| print!(" {name} {figure:.2}"));
    println!("; ours / pthread {:.2}", figures[0].1 / figures[1].1);
}
