//! What is often said of inter-process communication, weighed with the figures of this run.
//!
//! A claim appears only if the run measured what it is about.

use crate::plan::Placement;
use crate::report::{Claim, Fact, Row, ScalingPoint};

/// The payload at which bandwidths are compared.
const BULK_BYTES: usize = 65536;
/// The payload at which latencies are compared.
const SMALL_BYTES: usize = 64;

struct Figures<'a> {
    facts: &'a [Fact],
    rows: &'a [Row],
    ring: &'a [ScalingPoint],
}

/// Every claim that the figures can speak to.
pub(crate) fn weigh(facts: &[Fact], rows: &[Row], ring: &[ScalingPoint]) -> Vec<Claim> {
    let figures = Figures { facts, rows, ring };
    let weigh = |claim, here: fn(&Figures<'_>) -> Option<String>| Some(Claim { claim, here: here(&figures)? });
    [
        weigh("The system call is what IPC costs", system_call),
        weigh("A context switch costs a few microseconds", context_switch),
        weigh("Waking a process on another processor is dearer than switching on one", wake_up),
        weigh("Shared memory is the fastest IPC", shared_memory_latency),
        weigh("But only if one waits without sleeping", waiting),
        weigh("Spinning is a bad idea when both processes share a processor", spinning),
        weigh("Shared memory moves more bytes than pipes and sockets", bandwidth),
        weigh("A Unix socket is slower than a pipe", socket_against_pipe),
        weigh("A Unix socket is faster than TCP over loopback", unix_against_tcp),
        weigh("vmsplice saves the copy into the pipe", vmsplice),
        weigh("A larger pipe is a faster pipe", large_pipe),
        weigh("System V IPC is slow because it is old", system_v),
        weigh("io_uring makes every exchange faster", io_uring),
        weigh("Passing a descriptor for each message beats copying it", memfd),
        weigh("A switch costs more the more processes take turns", ring_growth),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn system_call(figures: &Figures<'_>) -> Option<String> {
    let call = figures.fact("system call (getppid)")?;
    let trip = figures.trip("pipe", Placement::OneCpu, SMALL_BYTES)?;
    Some(format!(
        "a system call takes {}, the four of a pipe round trip on one cpu {:.0} % of its {}; the rest is waking and switching",
        time(call),
        400.0 * call / trip,
        time(trip)
    ))
}

fn context_switch(figures: &Figures<'_>) -> Option<String> {
    let trip = figures.trip("pipe", Placement::OneCpu, SMALL_BYTES)?;
    let alone = figures.fact("pipe write and read of 64 bytes in one thread")?;
    let switch = (trip / 2.0 - alone).max(0.0);
    Some(format!("{}: half a pipe round trip on one cpu, less the same write and read without a switch", time(switch)))
}

fn wake_up(figures: &Figures<'_>) -> Option<String> {
    let [two, one] = [Placement::TwoCpus, Placement::OneCpu].map(|place| figures.trip("pipe", place, SMALL_BYTES));
    Some(format!(
        "a pipe round trip takes {} across two cpus and {} on one: {}",
        time(two?),
        time(one?),
        ratio(two?, one?)
    ))
}

fn shared_memory_latency(figures: &Figures<'_>) -> Option<String> {
    let [spin, pipe] = ["shm-spin", "pipe"].map(|name| figures.trip(name, Placement::TwoCpus, SMALL_BYTES));
    Some(format!(
        "64 bytes there and back: {} polling shared memory, {} by pipe: {}",
        time(spin?),
        time(pipe?),
        ratio(pipe?, spin?)
    ))
}

fn waiting(figures: &Figures<'_>) -> Option<String> {
    let [futex, pipe] = ["shm-futex", "pipe"].map(|name| figures.trip(name, Placement::TwoCpus, SMALL_BYTES));
    Some(format!("with a futex to sleep on, shared memory takes {}, a pipe {}", time(futex?), time(pipe?)))
}

fn spinning(figures: &Figures<'_>) -> Option<String> {
    let [two, one] = [Placement::TwoCpus, Placement::OneCpu].map(|place| figures.trip("shm-spin", place, SMALL_BYTES));
    Some(format!("a polling round trip takes {} on two cpus and {} on one", time(two?), time(one?)))
}

fn bandwidth(figures: &Figures<'_>) -> Option<String> {
    let [shm, unix, pipe] =
        ["shm-spin-yield", "unix-stream", "pipe"].map(|name| figures.rate(name, Placement::TwoCpus, BULK_BYTES));
    Some(format!(
        "64 KiB messages, copied in and out: shared memory {}, Unix stream {}, pipe {}",
        rate(shm?),
        rate(unix?),
        rate(pipe?)
    ))
}

fn socket_against_pipe(figures: &Figures<'_>) -> Option<String> {
    let trips = ["unix-stream", "pipe"].map(|name| figures.trip(name, Placement::OneCpu, SMALL_BYTES));
    let rates = ["unix-stream", "pipe"].map(|name| figures.rate(name, Placement::TwoCpus, BULK_BYTES));
    Some(format!(
        "in latency {} against {} on one cpu; in bandwidth {} against {}",
        time(trips[0]?),
        time(trips[1]?),
        rate(rates[0]?),
        rate(rates[1]?)
    ))
}

fn unix_against_tcp(figures: &Figures<'_>) -> Option<String> {
    let trips = ["unix-stream", "tcp"].map(|name| figures.trip(name, Placement::TwoCpus, SMALL_BYTES));
    let rates = ["unix-stream", "tcp"].map(|name| figures.rate(name, Placement::TwoCpus, BULK_BYTES));
    Some(format!(
        "in latency {} against {}, in bandwidth {} against {}",
        time(trips[0]?),
        time(trips[1]?),
        rate(rates[0]?),
        rate(rates[1]?)
    ))
}

fn vmsplice(figures: &Figures<'_>) -> Option<String> {
    let [spliced, plain] = ["vmsplice", "pipe-1M"].map(|name| figures.rate(name, Placement::TwoCpus, BULK_BYTES));
    Some(format!(
        "64 KiB messages: {} with vmsplice, {} with write: {}",
        rate(spliced?),
        rate(plain?),
        ratio(spliced?, plain?)
    ))
}

fn large_pipe(figures: &Figures<'_>) -> Option<String> {
    let [large, plain] = ["pipe-1M", "pipe"].map(|name| figures.rate(name, Placement::TwoCpus, BULK_BYTES));
    Some(format!("64 KiB messages: {} through 1 MiB of pipe, {} through the usual 64 KiB", rate(large?), rate(plain?)))
}

fn system_v(figures: &Figures<'_>) -> Option<String> {
    let [queue, semaphore, pipe] =
        ["sysv-mq", "sysv-sem+shm", "pipe"].map(|name| figures.trip(name, Placement::OneCpu, SMALL_BYTES));
    Some(format!("on one cpu: queue {}, semaphores {}, pipe {}", time(queue?), time(semaphore?), time(pipe?)))
}

fn io_uring(figures: &Figures<'_>) -> Option<String> {
    let [ring, plain] = ["io_uring-pipe", "pipe"].map(|name| figures.trip(name, Placement::TwoCpus, SMALL_BYTES));
    Some(format!(
        "one to one over a pipe: {} by io_uring, {} by read and write; its gain is in many connections",
        time(ring?),
        time(plain?)
    ))
}

fn memfd(figures: &Figures<'_>) -> Option<String> {
    let [passed, copied] =
        ["memfd-passing", "unix-stream"].map(|name| figures.rate(name, Placement::TwoCpus, BULK_BYTES));
    Some(format!(
        "64 KiB messages: {} with a fresh memfd each, {} copied through the same socket",
        rate(passed?),
        rate(copied?)
    ))
}

fn ring_growth(figures: &Figures<'_>) -> Option<String> {
    let points: Vec<_> = figures.ring.iter().filter(|point| point.mechanism == "pipe").collect();
    let (least, most) = (points.first()?, points.last()?);
    Some(format!(
        "one hop over a pipe on one cpu: {} among {} processes, {} among {}: {}",
        time(least.hop_ns),
        least.processes,
        time(most.hop_ns),
        most.processes,
        ratio(most.hop_ns, least.hop_ns)
    ))
}

impl Figures<'_> {
    fn fact(&self, name: &str) -> Option<f64> {
        self.facts.iter().find(|fact| fact.name == name).map(|fact| fact.value)
    }

    fn row(&self, mechanism: &str, placement: Placement) -> Option<&Row> {
        self.rows.iter().find(|row| row.mechanism == mechanism && row.placement == placement)
    }

    fn trip(&self, mechanism: &str, placement: Placement, bytes: usize) -> Option<f64> {
        let row = self.row(mechanism, placement)?;
        row.round_trips.iter().find(|trips| trips.payload_bytes == bytes).map(|trips| trips.p50_ns as f64)
    }

    fn rate(&self, mechanism: &str, placement: Placement, bytes: usize) -> Option<f64> {
        let row = self.row(mechanism, placement)?;
        row.throughput.iter().find(|flood| flood.payload_bytes == bytes).map(|flood| flood.bytes_per_second)
    }
}

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        short if short < 1e3 => format!("{short:.0} ns"),
        middle if middle < 1e6 => format!("{:.1} µs", middle / 1e3),
        long => format!("{:.1} ms", long / 1e6),
    }
}

fn rate(bytes_per_second: f64) -> String {
    format!("{:.1} GB/s", bytes_per_second / 1e9)
}

fn ratio(larger: f64, smaller: f64) -> String {
    format!("{:.1} times", larger / smaller)
}
