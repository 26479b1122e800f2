//! What is often said of inter-process communication, weighed with the figures of this run.
//!
//! A claim appears only if the run measured what it is about.

use crate::plan::Placement;
use crate::report::{Claim, Fact, Row, ScalingPoint, Verdict};

/// The payload at which bandwidths are compared.
const BULK_BYTES: usize = 65536;
/// The payload at which latencies are compared.
const SMALL_BYTES: usize = 64;

/// By which factor two figures must differ before one is called better; less than that is noise.
const CLEAR: f64 = 1.1;

/// The figures in a sentence, and what follows from them.
struct Judged(String, Verdict);

struct Figures<'a> {
    facts: &'a [Fact],
    rows: &'a [Row],
    ring: &'a [ScalingPoint],
}

/// Every claim that the figures can speak to.
pub(crate) fn weigh(facts: &[Fact], rows: &[Row], ring: &[ScalingPoint]) -> Vec<Claim> {
    let figures = Figures { facts, rows, ring };
    let weigh = |claim, judge: fn(&Figures<'_>) -> Option<Judged>| {
        let Judged(here, verdict) = judge(&figures)?;
        Some(Claim { claim, here, verdict })
    };
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

fn system_call(figures: &Figures<'_>) -> Option<Judged> {
    let call = figures.fact("system call (getppid)")?;
    let trip = figures.trip("pipe", Placement::OneCpu, SMALL_BYTES)?;
    let share = 4.0 * call / trip;
    let here = format!(
        "a system call takes {}, the four of a pipe round trip on one cpu {:.0} % of its {}; the rest is waking and switching",
        time(call),
        100.0 * share,
        time(trip)
    );
    // Half of it would be the larger part.
    Some(Judged(here, Verdict::of(share / 0.5)))
}

fn context_switch(figures: &Figures<'_>) -> Option<Judged> {
    let trip = figures.trip("pipe", Placement::OneCpu, SMALL_BYTES)?;
    let alone = figures.fact("pipe write and read of 64 bytes in one thread")?;
    let switch = (trip / 2.0 - alone).max(0.0);
    let here =
        format!("{}: half a pipe round trip on one cpu, less the same write and read without a switch", time(switch));
    let verdict = if (1e3..1e4).contains(&switch) { Verdict::TrueHere } else { Verdict::FalseHere };
    Some(Judged(here, verdict))
}

fn wake_up(figures: &Figures<'_>) -> Option<Judged> {
    let [two, one] = [Placement::TwoCpus, Placement::OneCpu].map(|place| figures.trip("pipe", place, SMALL_BYTES));
    let (two, one) = (two?, one?);
    let here =
        format!("a pipe round trip takes {} across two cpus and {} on one: {}", time(two), time(one), ratio(two, one));
    Some(Judged(here, Verdict::of(two / one)))
}

fn shared_memory_latency(figures: &Figures<'_>) -> Option<Judged> {
    let [spin, pipe] = ["shm-spin", "pipe"].map(|name| figures.trip(name, Placement::TwoCpus, SMALL_BYTES));
    let (spin, pipe) = (spin?, pipe?);
    let here = format!(
        "64 bytes there and back: {} polling shared memory, {} by pipe: {}",
        time(spin),
        time(pipe),
        ratio(pipe, spin)
    );
    Some(Judged(here, Verdict::of(pipe / spin)))
}

fn waiting(figures: &Figures<'_>) -> Option<Judged> {
    let [futex, pipe] = ["shm-futex", "pipe"].map(|name| figures.trip(name, Placement::TwoCpus, SMALL_BYTES));
    let (futex, pipe) = (futex?, pipe?);
    let here = format!("with a futex to sleep on, shared memory takes {}, a pipe {}", time(futex), time(pipe));
    // A small lead is not what people mean by the fastest.
    let verdict = match pipe / futex {
        lead if lead < CLEAR => Verdict::TrueHere,
        lead if lead < 2.0 => Verdict::Depends,
        _ => Verdict::FalseHere,
    };
    Some(Judged(here, verdict))
}

fn spinning(figures: &Figures<'_>) -> Option<Judged> {
    let [two, one] = [Placement::TwoCpus, Placement::OneCpu].map(|place| figures.trip("shm-spin", place, SMALL_BYTES));
    let (two, one) = (two?, one?);
    let here = format!("a polling round trip takes {} on two cpus and {} on one", time(two), time(one));
    Some(Judged(here, Verdict::of(one / two)))
}

fn bandwidth(figures: &Figures<'_>) -> Option<Judged> {
    let [shm, unix, pipe] =
        ["shm-spin-yield", "unix-stream", "pipe"].map(|name| figures.rate(name, Placement::TwoCpus, BULK_BYTES));
    let (shm, unix, pipe) = (shm?, unix?, pipe?);
    let here = format!(
        "64 KiB messages, copied in and out: shared memory {}, Unix stream {}, pipe {}",
        rate(shm),
        rate(unix),
        rate(pipe)
    );
    Some(Judged(here, Verdict::all([shm / unix, shm / pipe])))
}

fn socket_against_pipe(figures: &Figures<'_>) -> Option<Judged> {
    let [socket, pipe] = ["unix-stream", "pipe"].map(|name| figures.trip(name, Placement::OneCpu, SMALL_BYTES));
    let [socket_rate, pipe_rate] =
        ["unix-stream", "pipe"].map(|name| figures.rate(name, Placement::TwoCpus, BULK_BYTES));
    let (socket, pipe, socket_rate, pipe_rate) = (socket?, pipe?, socket_rate?, pipe_rate?);
    let here = format!(
        "in latency {} against {} on one cpu; in bandwidth {} against {}",
        time(socket),
        time(pipe),
        rate(socket_rate),
        rate(pipe_rate)
    );
    Some(Judged(here, Verdict::all([socket / pipe, pipe_rate / socket_rate])))
}

fn unix_against_tcp(figures: &Figures<'_>) -> Option<Judged> {
    let [unix, tcp] = ["unix-stream", "tcp"].map(|name| figures.trip(name, Placement::TwoCpus, SMALL_BYTES));
    let [unix_rate, tcp_rate] = ["unix-stream", "tcp"].map(|name| figures.rate(name, Placement::TwoCpus, BULK_BYTES));
    let (unix, tcp, unix_rate, tcp_rate) = (unix?, tcp?, unix_rate?, tcp_rate?);
    let here = format!(
        "in latency {} against {}, in bandwidth {} against {}",
        time(unix),
        time(tcp),
        rate(unix_rate),
        rate(tcp_rate)
    );
    Some(Judged(here, Verdict::all([tcp / unix, unix_rate / tcp_rate])))
}

fn vmsplice(figures: &Figures<'_>) -> Option<Judged> {
    let [spliced, plain] = ["vmsplice", "pipe-1M"].map(|name| figures.rate(name, Placement::TwoCpus, BULK_BYTES));
    let (spliced, plain) = (spliced?, plain?);
    let here = format!(
        "64 KiB messages: {} with vmsplice, {} with write: {}",
        rate(spliced),
        rate(plain),
        ratio(spliced, plain)
    );
    Some(Judged(here, Verdict::of(spliced / plain)))
}

fn large_pipe(figures: &Figures<'_>) -> Option<Judged> {
    let [large, plain] = ["pipe-1M", "pipe"].map(|name| figures.rate(name, Placement::TwoCpus, BULK_BYTES));
    let (large, plain) = (large?, plain?);
    let here =
        format!("64 KiB messages: {} through 1 MiB of pipe, {} through the usual 64 KiB", rate(large), rate(plain));
    Some(Judged(here, Verdict::of(large / plain)))
}

fn system_v(figures: &Figures<'_>) -> Option<Judged> {
    let [queue, semaphore, pipe] =
        ["sysv-mq", "sysv-sem+shm", "pipe"].map(|name| figures.trip(name, Placement::OneCpu, SMALL_BYTES));
    let (queue, semaphore, pipe) = (queue?, semaphore?, pipe?);
    let here = format!("on one cpu: queue {}, semaphores {}, pipe {}", time(queue), time(semaphore), time(pipe));
    // What takes less than twice as long as a pipe is not slow.
    let slow = [queue / pipe / 2.0, semaphore / pipe / 2.0].map(|times| if times < CLEAR { 0.0 } else { times });
    Some(Judged(here, Verdict::all(slow)))
}

fn io_uring(figures: &Figures<'_>) -> Option<Judged> {
    let [ring, plain] = ["io_uring-pipe", "pipe"].map(|name| figures.trip(name, Placement::TwoCpus, SMALL_BYTES));
    let (ring, plain) = (ring?, plain?);
    let here = format!(
        "one to one over a pipe: {} by io_uring, {} by read and write; its gain is in many connections",
        time(ring),
        time(plain)
    );
    Some(Judged(here, Verdict::of(plain / ring)))
}

fn memfd(figures: &Figures<'_>) -> Option<Judged> {
    let [passed, copied] =
        ["memfd-passing", "unix-stream"].map(|name| figures.rate(name, Placement::TwoCpus, BULK_BYTES));
    let (passed, copied) = (passed?, copied?);
    let here = format!(
        "64 KiB messages: {} with a fresh memfd each, {} copied through the same socket",
        rate(passed),
        rate(copied)
    );
    Some(Judged(here, Verdict::of(passed / copied)))
}

fn ring_growth(figures: &Figures<'_>) -> Option<Judged> {
    let points: Vec<_> = figures.ring.iter().filter(|point| point.mechanism == "pipe").collect();
    let (least, most) = (points.first()?, points.last()?);
    let here = format!(
        "one hop over a pipe on one cpu: {} among {} processes, {} among {}: {}",
        time(least.hop_ns),
        least.processes,
        time(most.hop_ns),
        most.processes,
        ratio(most.hop_ns, least.hop_ns)
    );
    Some(Judged(here, Verdict::of(most.hop_ns / least.hop_ns)))
}

impl Verdict {
    /// A claim that holds if `times` is more than one.
    fn of(times: f64) -> Self {
        match times {
            more if more >= CLEAR => Self::TrueHere,
            less if less <= 1.0 / CLEAR => Self::FalseHere,
            _ => Self::Depends,
        }
    }

    /// A claim that holds in each of several respects.
    fn all<const N: usize>(times: [f64; N]) -> Self {
        let verdicts = times.map(Self::of);
        let agreed = verdicts.iter().all(|verdict| *verdict == verdicts[0]);
        if agreed { verdicts[0] } else { Self::Depends }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_needs_a_clear_difference() {
        let given = [(2.0, Verdict::TrueHere), (1.05, Verdict::Depends), (0.95, Verdict::Depends)];
        for (times, verdict) in given.into_iter().chain([(0.5, Verdict::FalseHere)]) {
            assert_eq!(Verdict::of(times), verdict, "{times}");
        }
        assert_eq!(Verdict::all([2.0, 3.0]), Verdict::TrueHere);
        assert_eq!(Verdict::all([2.0, 0.5]), Verdict::Depends);
        assert_eq!(Verdict::all([0.2, 0.5]), Verdict::FalseHere);
    }

    #[test]
    fn a_claim_is_judged_by_its_figures() {
        let point = |processes, hop_ns| ScalingPoint { mechanism: "pipe", processes, hop_ns };
        for (last, verdict) in [(9e3, Verdict::TrueHere), (3e3, Verdict::Depends), (1e3, Verdict::FalseHere)] {
            let claims = weigh(&[], &[], &[point(2, 3e3), point(64, last)]);
            let found: Vec<_> = claims.iter().map(|claim| (claim.verdict, claim.here.contains("among 64"))).collect();
            assert_eq!(found, [(verdict, true)]);
        }
    }
}
