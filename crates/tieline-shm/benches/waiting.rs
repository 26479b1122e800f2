//! What waiting costs, beside its floors: a bare spin and a bare futex, in the same run, in turn.
//!
//!     cargo bench -p tieline-shm --features steps,tokio --bench waiting [-- ROUNDS]
//!
//! Two processes raise a number for each other. Each cell is the median round trip of a window; the table shows the best
//! of all windows and their median, because a virtual machine's processors are not always there. Ratios are of the
//! best.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};
use tieline_os::fork::fork;
use tieline_os::futex::Futex;
use tieline_os::mapping::Mapping;
use tieline_shm::Waiting;
use tieline_shm::testing::Signal;

/// How long one window lasts.
const WINDOW: Duration = Duration::from_millis(150);
/// The number that ends a window.
const END: u64 = 1 << 40;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Spin,
    Futex,
    Ours(Waiting),
    Socket,
    Task,
    TaskSocket,
}

/// A name, a way, and the one it is compared with and how much of that it may cost.
type Row = (&'static str, Way, Option<(Way, f64)>);

const ROWS: &[Row] = &[
    ("bare spin", Way::Spin, None),
    ("bare futex", Way::Futex, None),
    ("poll", Way::Ours(Waiting::Poll), Some((Way::Spin, 1.3))),
    ("block", Way::Ours(Waiting::Block), Some((Way::Futex, 1.15))),
    ("adaptive", Way::Ours(Waiting::Adaptive), None),
    ("Unix socket", Way::Socket, None),
    ("tokio", Way::Task, Some((Way::TaskSocket, 0.5))),
    ("tokio Unix socket", Way::TaskSocket, None),
];

fn main() {
    let rounds = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(5);
    notifying();
    for cpus in [[0, 1], [0, 0]] {
        let mut windows = vec![Vec::new(); ROWS.len()];
        for _ in 0..rounds {
            for (row, (_, way, _)) in ROWS.iter().enumerate() {
                windows[row].push(window(*way, cpus));
            }
        }
        print(cpus, &mut windows);
    }
}

/// What a change costs that nobody waits for, beside the store it consists of.
fn notifying() {
    const TIMES: u64 = 20_000_000;
    let signal = Signal::create().expect("memory");
    let memory = Mapping::anonymous(4096).expect("a page");
    let word = memory.atomic_u64(0).expect("a word");
    let per_change = |change: &dyn Fn(u64)| {
        let best = (0..5).map(|_| {
            let started = Instant::now();
            (1..=TIMES / 5).for_each(change);
            started.elapsed()
        });
        best.min().unwrap_or_default().as_secs_f64() * 1e9 / (TIMES / 5) as f64
    };
    let store = per_change(&|value| word.store(value, Ordering::Release));
    let notify = per_change(&|value| signal.raise(value));
    println!("a change that nobody waits for: store {store:.2} ns, store and notify {notify:.2} ns");
}

fn print(cpus: [usize; 2], windows: &mut [Vec<f64>]) {
    println!("\nround trip on processors {} and {}        best     median    ratio (at most)", cpus[0], cpus[1]);
    let mut best = Vec::new();
    for window in windows.iter_mut() {
        window.sort_by(f64::total_cmp);
        best.push(window[0]);
    }
    let of = |wanted: Way| ROWS.iter().position(|(_, way, _)| *way == wanted).map(|row| best[row]).unwrap_or(f64::NAN);
    for (row, (name, way, goal)) in ROWS.iter().enumerate() {
        let goal = match way {
            Way::Ours(Waiting::Adaptive) if cpus[0] == cpus[1] => Some((Way::Ours(Waiting::Block), 1.3)),
            Way::Ours(Waiting::Adaptive) => Some((Way::Ours(Waiting::Poll), 1.3)),
            _ => *goal,
        };
        let ratio = goal.map(|(other, most)| format!("{:8.2} ({most})", best[row] / of(other))).unwrap_or_default();
        let median = windows[row][windows[row].len() / 2];
        println!("{name:32} {:8.3} µs {median:8.3} µs {ratio}", best[row]);
    }
}

/// The median round trip in microseconds.
fn window(way: Way, cpus: [usize; 2]) -> f64 {
    match way {
        Way::Spin | Way::Futex => bare(way == Way::Futex, cpus),
        Way::Ours(how) => ours(how, cpus),
        Way::Socket => socket(cpus),
        Way::Task => task(cpus),
        Way::TaskSocket => task_socket(cpus),
    }
}

fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).expect("run on that processor");
}

/// Times `exchange(n)` for n from 1 on, ends the peer by `exchange(END)`, and gives the median.
fn timed(cpu: usize, mut exchange: impl FnMut(u64)) -> f64 {
    pin(cpu);
    let mut times = Vec::with_capacity(1 << 16);
    for n in 1..50 {
        exchange(n);
    }
    let end = Instant::now() + WINDOW;
    let mut n = 50;
    loop {
        let started = Instant::now();
        if started >= end {
            break;
        }
        exchange(n);
        n += 1;
        times.push(started.elapsed());
    }
    exchange(END);
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn bare(sleeps: bool, cpus: [usize; 2]) -> f64 {
    let memory = Mapping::anonymous(4096).expect("a page");
    let (ping, pong) = (memory.atomic_u32(0).expect("a word"), memory.atomic_u32(128).expect("a word"));
    let child = fork(|| {
        pin(cpus[1]);
        for n in 1.. {
            let seen = reach(ping, n, sleeps);
            raise(pong, seen, sleeps);
            if seen == u32::MAX {
                break;
            }
        }
        0
    });
    let child = child.expect("a child");
    let median = timed(cpus[0], |n| {
        let n = if n == END { u32::MAX } else { n as u32 };
        raise(ping, n, sleeps);
        reach(pong, n, sleeps);
    });
    child.wait().expect("the child");
    median
}

fn raise(word: &AtomicU32, value: u32, sleeps: bool) {
    word.store(value, Ordering::Release);
    if sleeps {
        Futex::shared(word).wake(1).expect("wake");
    }
}

fn reach(word: &AtomicU32, value: u32, sleeps: bool) -> u32 {
    let mut looks = 0_u32;
    loop {
        let seen = word.load(Ordering::Acquire);
        if seen >= value {
            return seen;
        }
        if sleeps {
            let _ = Futex::shared(word).wait(seen).expect("sleep");
        } else {
            std::hint::spin_loop();
            looks += 1;
            // On one processor a bare spin would wait for the scheduler's tick.
            if looks.is_multiple_of(1024) {
                std::thread::yield_now();
            }
        }
    }
}

fn ours(how: Waiting, cpus: [usize; 2]) -> f64 {
    let (ping, pong) = (Signal::create().expect("memory"), Signal::create().expect("memory"));
    let child = fork(|| {
        pin(cpus[1]);
        let mut seen = 0;
        while seen < END {
            seen = ping.beyond(seen, how).expect("a ping");
            pong.raise(seen);
        }
        0
    });
    let child = child.expect("a child");
    let mut seen = 0;
    let median = timed(cpus[0], |n| {
        ping.raise(n);
        seen = pong.beyond(seen, how).expect("a pong");
    });
    child.wait().expect("the child");
    median
}

fn socket(cpus: [usize; 2]) -> f64 {
    use std::io::{Read, Write};
    let (mut here, mut there) = std::os::unix::net::UnixStream::pair().expect("sockets");
    let child = fork(|| {
        pin(cpus[1]);
        let mut message = [0; 64];
        loop {
            there.read_exact(&mut message).expect("a ping");
            there.write_all(&message).expect("a reader");
            if message[0] == 1 {
                return 0;
            }
        }
    });
    let child = child.expect("a child");
    let mut message = [0; 64];
    let median = timed(cpus[0], |n| {
        message[0] = u8::from(n == END);
        here.write_all(&message).expect("a reader");
        here.read_exact(&mut message).expect("a pong");
    });
    child.wait().expect("the child");
    median
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime")
}

fn task(cpus: [usize; 2]) -> f64 {
    let (ping, pong) = (Signal::create().expect("memory"), Signal::create().expect("memory"));
    // Both bells are made before the fork, so that each side can hang the other's.
    let (ping, pong) = (ping.again(true).expect("memory"), pong.again(true).expect("memory"));
    let (at_ping, at_pong) = (ping.bell().expect("a bell"), pong.bell().expect("a bell"));
    let child = fork(|| {
        pin(cpus[1]);
        let _hung = pong.hang(at_pong).expect("an event counter");
        runtime().block_on(async {
            let mut seen = 0;
            while seen < END {
                seen = ping.beyond_in_task(seen).await.expect("a ping");
                pong.raise(seen);
            }
        });
        0
    });
    let child = child.expect("a child");
    let _hung = ping.hang(at_ping).expect("an event counter");
    let runtime = runtime();
    let mut seen = 0;
    let median = timed(cpus[0], |n| {
        runtime.block_on(async {
            ping.raise(n);
            seen = pong.beyond_in_task(seen).await.expect("a pong");
        });
    });
    child.wait().expect("the child");
    median
}

fn task_socket(cpus: [usize; 2]) -> f64 {
    use tokio::io::Interest;
    use tokio::net::UnixStream;

    async fn read(socket: &UnixStream, message: &mut [u8]) {
        loop {
            socket.ready(Interest::READABLE).await.expect("readable");
            match socket.try_read(message) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                answer => return assert_eq!(answer.expect("a message"), message.len()),
            }
        }
    }

    async fn write(socket: &UnixStream, message: &[u8]) {
        socket.writable().await.expect("writable");
        assert_eq!(socket.try_write(message).expect("room"), message.len());
    }

    let (here, there) = std::os::unix::net::UnixStream::pair().expect("sockets");
    here.set_nonblocking(true).expect("a socket");
    there.set_nonblocking(true).expect("a socket");
    let child = fork(|| {
        pin(cpus[1]);
        runtime().block_on(async {
            let there = UnixStream::from_std(there).expect("a socket");
            let mut message = [0; 64];
            while message[0] == 0 {
                read(&there, &mut message).await;
                write(&there, &message).await;
            }
        });
        0
    });
    let child = child.expect("a child");
    let runtime = runtime();
    let here = runtime.block_on(async { UnixStream::from_std(here).expect("a socket") });
    let mut message = [0; 64];
    let median = timed(cpus[0], |n| {
        runtime.block_on(async {
            message[0] = u8::from(n == END);
            write(&here, &message).await;
            read(&here, &mut message).await;
        });
    });
    child.wait().expect("the child");
    median
}
