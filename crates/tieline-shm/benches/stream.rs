//! What streams, calls and work queues cost between two processes, beside a bare ring, a Unix socket and a pipe.
//!
//! `cargo bench -p tieline-shm --bench stream`. Each figure is the best of some rounds, in which all cells take turns;
//! each cell runs in a fresh pair of processes, one on each of the first two processors.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};
use tieline_os::fork::fork;
use tieline_os::mapping::Mapping;
use tieline_shm::Waiting;
use tieline_shm::queue::Queue;
use tieline_shm::reqres::{Client, Server};
use tieline_shm::stream::{Listener, Stream};

/// What a cell measures: its name, its unit, whether more is better, and how.
type Cell = (&'static str, &'static str, bool, fn() -> f64);

const CELLS: [Cell; 14] = [
    ("bytes, 64 KiB writes: bare ring", "GB/s", true, || bare_ring(CHUNK)),
    ("bytes, 64 KiB writes: stream, polling", "GB/s", true, || stream(CHUNK, Waiting::Poll)),
    ("bytes, 64 KiB writes: stream", "GB/s", true, || stream(CHUNK, Waiting::Adaptive)),
    ("bytes, 64 KiB writes: Unix socket", "GB/s", true, || socket(CHUNK)),
    ("bytes, 64 KiB writes: pipe", "GB/s", true, || pipe(CHUNK)),
    ("bytes, 64 B writes: bare ring", "GB/s", true, || bare_ring(64)),
    ("bytes, 64 B writes: stream", "GB/s", true, || stream(64, Waiting::Adaptive)),
    ("bytes, 64 B writes: Unix socket", "GB/s", true, || socket(64)),
    ("64 B there and back: bare flag and payload", "ns", false, bare_ping_pong),
    ("64 B there and back: call, polling", "ns", false, || call(Waiting::Poll)),
    ("64 B there and back: call", "ns", false, || call(Waiting::Adaptive)),
    ("64 B there and back: stream", "ns", false, stream_ping_pong),
    ("64 B there and back: Unix socket", "ns", false, socket_ping_pong),
    ("work queue, one producer, one consumer", "M items/s", true, work_queue),
];

const CHUNK: usize = 64 * 1024;
const TOTAL: usize = 256 << 20;
const CALLS: u32 = 200_000;
const ITEMS: u32 = 1_000_000;

fn main() {
    if let Ok(index) = std::env::var("CELL") {
        let index: usize = index.parse().expect("a number");
        println!("{}", CELLS[index].3());
        return;
    }
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3);
    let mut best = [None::<f64>; CELLS.len()];
    for _ in 0..rounds {
        for (index, (name, _, more_is_better, _)) in CELLS.iter().enumerate() {
            let directory = tempfile::tempdir().expect("a directory");
            let mut cell = Command::new(std::env::current_exe().expect("the running program"));
            let output = cell.env("CELL", index.to_string()).env("TIELINE_RUNTIME_DIR", directory.path()).output();
            let output = output.expect("a process");
            let figure = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or_else(|_| {
                panic!("{name}: {}", String::from_utf8_lossy(&output.stderr));
            });
            let so_far = best[index].unwrap_or(figure);
            best[index] = Some(if *more_is_better { so_far.max(figure) } else { so_far.min(figure) });
        }
    }
    for ((name, unit, ..), best) in CELLS.iter().zip(best) {
        println!("{name:45} {:10.2} {unit}", best.unwrap_or(0.0));
    }
}

/// Runs `there` in a child on the second processor, and `here` on the first.
fn two(there: impl FnOnce() + Send, here: impl FnOnce() -> f64) -> f64 {
    let child = fork(|| {
        pin(1);
        there();
        0
    })
    .expect("a child");
    pin(0);
    let figure = here();
    assert!(child.wait().expect("its end").success(), "the other side failed");
    figure
}

fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    // A machine with one processor has both there.
    let _ = sched_setaffinity(None, &set);
}

/// How many bytes a cell with writes of so many moves.
fn total(write: usize) -> usize {
    if write < 1024 { TOTAL / 8 } else { TOTAL }
}

fn rate(bytes: usize, start: Instant) -> f64 {
    bytes as f64 / start.elapsed().as_secs_f64() / 1e9
}

fn send_all(mut to: impl Write, write: usize) {
    let bytes = vec![7; write];
    for _ in 0..total(write) / write {
        to.write_all(&bytes).expect("the other side reads");
    }
}

fn receive_all(mut from: impl Read, write: usize) -> f64 {
    let mut buffer = vec![0; CHUNK];
    from.read_exact(&mut buffer[..1]).expect("the first byte");
    let start = Instant::now();
    let mut received = 1;
    while received < total(write) {
        received += from.read(&mut buffer).expect("more");
    }
    rate(received, start)
}

const RING: usize = 256 * 1024;
const HEAD: usize = 128;
const BYTES: usize = 256;

fn position(memory: &Mapping, offset: usize) -> &AtomicU64 {
    memory.atomic_u64(offset).expect("aligned")
}

/// A ring of bytes and nothing else: two positions, copies, busy waiting.
fn bare_ring(write: usize) -> f64 {
    let memory = Mapping::anonymous(BYTES + RING).expect("memory");
    let there = || {
        let bytes = vec![7; write.min(CHUNK / 4)];
        let (mut tail, mut head) = (0, 0);
        while tail < total(write) as u64 {
            while tail + bytes.len() as u64 - head > RING as u64 {
                head = position(&memory, HEAD).load(Ordering::Acquire);
                std::hint::spin_loop();
            }
            memory.write(BYTES + tail as usize % RING, &bytes).expect("inside");
            tail += bytes.len() as u64;
            position(&memory, 0).store(tail, Ordering::Release);
        }
    };
    two(there, || {
        let mut buffer = vec![0; CHUNK / 4];
        let (mut head, mut tail) = (0, 0);
        let mut start = Instant::now();
        while head < total(write) as u64 {
            while tail == head {
                tail = position(&memory, 0).load(Ordering::Acquire);
                std::hint::spin_loop();
            }
            if head == 0 {
                start = Instant::now();
            }
            let len = ((tail - head) as usize).min(buffer.len()).min(RING - head as usize % RING);
            memory.read(BYTES + head as usize % RING, &mut buffer[..len]).expect("inside");
            head += len as u64;
            position(&memory, HEAD).store(head, Ordering::Release);
        }
        rate(total(write), start)
    })
}

/// Until the other side has taken the name.
fn retry<T>(mut attempt: impl FnMut() -> tieline_shm::Result<T>) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) if start.elapsed() > Duration::from_secs(5) => panic!("{error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn stream(write: usize, waiting: Waiting) -> f64 {
    let there = || send_all(retry(|| Stream::connect("bench")).waiting(waiting), write);
    two(there, || {
        let listener = Listener::bind("bench").expect("a name");
        receive_all(listener.accept().expect("the other side").waiting(waiting), write)
    })
}

fn socket(write: usize) -> f64 {
    let (one, other) = UnixStream::pair().expect("a pair");
    two(|| send_all(&other, write), || receive_all(&one, write))
}

fn pipe(write: usize) -> f64 {
    let (from, to) = std::io::pipe().expect("a pipe");
    two(|| send_all(&to, write), || receive_all(&from, write))
}

/// Median of the round trips that `once` makes.
fn round_trips(mut once: impl FnMut()) -> f64 {
    for _ in 0..CALLS / 10 {
        once();
    }
    let mut batches: Vec<f64> = (0..100)
        .map(|_| {
            let start = Instant::now();
            (0..CALLS / 100).for_each(|_| once());
            start.elapsed().as_nanos() as f64 / f64::from(CALLS / 100)
        })
        .collect();
    batches.sort_by(f64::total_cmp);
    batches[50]
}

const TRIPS: u32 = CALLS / 10 + CALLS;

fn bare_ping_pong() -> f64 {
    let memory = Mapping::anonymous(4096).expect("memory");
    let wait_for = |offset, value| {
        while position(&memory, offset).load(Ordering::Acquire) != value {
            std::hint::spin_loop();
        }
    };
    let put = |offset: usize, value| {
        memory.write(offset + 8, &[7; 64]).expect("inside");
        position(&memory, offset).store(value, Ordering::Release);
    };
    let get = |offset: usize| memory.read(offset + 8, &mut [0; 64]).expect("inside");
    let there = || {
        for trip in 1..=u64::from(TRIPS) {
            wait_for(0, trip);
            get(0);
            put(1024, trip);
        }
    };
    let mut trip = 0;
    two(there, || {
        round_trips(|| {
            trip += 1;
            put(0, trip);
            wait_for(1024, trip);
            get(1024);
        })
    })
}

fn call(waiting: Waiting) -> f64 {
    let there = move || {
        let server = Server::<[u64; 8], [u64; 8]>::options().waiting(waiting).bind("bench").expect("a name");
        for _ in 0..TRIPS {
            let request = server.recv().expect("a request");
            let answer = *request;
            request.respond(&answer).expect("a client");
        }
        // Until the last answer is read.
        std::thread::sleep(Duration::from_millis(50));
    };
    two(there, || {
        let client = retry(|| Client::<[u64; 8], [u64; 8]>::connect("bench")).waiting(waiting);
        round_trips(|| drop(client.call(&[7; 8]).expect("an answer")))
    })
}

fn echo(mut stream: impl Read + Write) {
    let mut buffer = [0; 64];
    for _ in 0..TRIPS {
        stream.read_exact(&mut buffer).expect("more");
        stream.write_all(&buffer).expect("a reader");
    }
}

fn ask(mut stream: impl Read + Write) -> f64 {
    let mut buffer = [0; 64];
    round_trips(|| {
        stream.write_all(&buffer).expect("a reader");
        stream.read_exact(&mut buffer).expect("more");
    })
}

fn stream_ping_pong() -> f64 {
    let there = || echo(retry(|| Stream::connect("bench")));
    two(there, || ask(Listener::bind("bench").expect("a name").accept().expect("the other side")))
}

fn socket_ping_pong() -> f64 {
    let (one, other) = UnixStream::pair().expect("a pair");
    two(|| echo(&other), || ask(&one))
}

fn work_queue() -> f64 {
    let there = || {
        let queue = retry(|| Queue::<[u64; 6]>::open("bench"));
        (0..ITEMS).for_each(|_| queue.send(&[7; 6]).expect("room"));
    };
    two(there, || {
        let queue = Queue::<[u64; 6]>::options().capacity(1024).create("bench").expect("a name");
        drop(queue.recv().expect("an item"));
        let start = Instant::now();
        (1..ITEMS).for_each(|_| drop(queue.recv().expect("an item")));
        f64::from(ITEMS) / start.elapsed().as_secs_f64() / 1e6
    })
}
