//! The inside of a player: carries out orders until the conductor closes the control socket.

use std::io::stdin;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::thread::{CpuSet, sched_setaffinity};
use tieline_os::unix::SeqPacket;

use crate::control::{Answer, Order, Outcome, receive, send};
use crate::link::{Joining, LAST, Link, Offer, SEQUENCE_BYTES, number, sequence};
use crate::mechanism;
use crate::report::RoundTrips;
use crate::shm::{self, Contestant, Stage};

/// A round trip longer than this is recorded as this.
const LONGEST_NS: u64 = 60_000_000_000;
/// How often the end of a lossy flood is repeated, so that it arrives.
const LAST_REPEATS: usize = 64;

/// Carries out the orders that come over standard input; returns when the conductor is gone.
///
/// # Errors
/// If standard input is not the control socket of a conductor.
pub fn play() -> Result<(), String> {
    play_with(&shm::contestants())
}

/// As [`play`], for a conductor that has other contestants for shared memory.
///
/// # Errors
/// As [`play`].
pub fn play_with(contestants: &[&'static dyn Contestant]) -> Result<(), String> {
    let control = stdin().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    let control = SeqPacket::from_fd(control)
        .map_err(|error| format!("this command is started by the measurement itself: {error}"))?;
    let mut links: Vec<(Box<dyn Link>, bool)> = Vec::new();
    while let Some((order, descriptors)) = receive(&control, None)? {
        let answer = match order {
            Order::Play { contestant, subject, part, folder, window, cpus } => {
                take_precedence();
                let stage = Stage { part, folder, window, cpus, control: &control };
                let named = contestants.iter().find(|known| known.name() == contestant);
                named
                    .ok_or_else(|| "an unknown contestant".to_owned())
                    .and_then(|who| who.play(subject, &stage))
                    .map(Answer::Figure)
            }
            order => carry_out(order, descriptors, &mut links),
        };
        let answer = answer.unwrap_or_else(Answer::Failed);
        send(&control, &answer, &[])?;
    }
    Ok(())
}

fn carry_out(
    order: Order,
    descriptors: Vec<std::os::fd::OwnedFd>,
    links: &mut Vec<(Box<dyn Link>, bool)>,
) -> Outcome<Answer> {
    match order {
        Order::Pin { cpu } => pin(cpu)?,
        Order::Join { mechanism, end, words, largest, peer } => {
            let mechanism = mechanism::named(&mechanism).ok_or("an unknown mechanism")?;
            let offer = Offer { descriptors, words };
            let link = mechanism.join(Joining { end, largest, peer }, offer)?;
            links.push((link, mechanism.description().lossy));
        }
        Order::Echo { link, bytes } => echo(&mut *links[link].0, bytes)?,
        Order::RoundTrips { link, bytes, window } => {
            let link = &mut *links[link].0;
            return round_trips(bytes, window, |message, reply| {
                link.send(message)?;
                link.receive(reply)
            });
        }
        Order::Circulate { to, from, bytes, window } => {
            return round_trips(bytes, window, |message, reply| {
                links[to].0.send(message)?;
                links[from].0.receive(reply)
            });
        }
        Order::Pass { from, to, bytes } => {
            let mut message = vec![0; bytes];
            while sequence(&message) != LAST {
                links[from].0.receive(&mut message)?;
                links[to].0.send(&message)?;
            }
        }
        Order::Flood { link, bytes, window } => {
            let (link, lossy) = &mut links[link];
            flood(&mut **link, bytes, window, *lossy)?;
        }
        Order::Drain { link, bytes } => return drain(&mut *links[link].0, bytes),
        Order::Play { .. } | Order::GoOn => return Err("an order out of turn".to_owned()),
    }
    Ok(Answer::Done)
}

pub(crate) fn pin(cpu: usize) -> Outcome<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|errno| format!("cannot run on processor {cpu}: {errno}"))
}

/// Whoever polls is worth nothing while somebody else has the processor, which on a busy machine is most of what is
/// measured otherwise. Not everybody may do this; who may not is measured without.
fn take_precedence() {
    // Who polls for a peer that is gone must not go on for ever, and from its own session no Ctrl-C reaches it.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    // The kernel weighs sessions first, then the processes within each.
    let _ = rustix::process::setsid();
    let _ = std::fs::write("/proc/self/autogroup", "-20");
    let _ = rustix::process::setpriority_process(None, -20);
}

/// A message of so many bytes; one that carries no payload still has its number on our side.
fn buffer(bytes: usize, filling: u8) -> Vec<u8> {
    vec![filling; bytes.max(SEQUENCE_BYTES)]
}

fn echo(link: &mut dyn Link, bytes: usize) -> Outcome<()> {
    let mut message = buffer(bytes, 0);
    loop {
        link.receive(&mut message)?;
        link.send(&message)?;
        if sequence(&message) == LAST {
            return Ok(());
        }
    }
}

/// Times `exchange` again and again: one clock reading a round trip, which is part of the figure.
fn round_trips(
    bytes: usize,
    window: Duration,
    mut exchange: impl FnMut(&[u8], &mut [u8]) -> Outcome<()>,
) -> Outcome<Answer> {
    let mut message = buffer(bytes, 0x5A);
    let mut reply = buffer(bytes, 0);
    let mut times = Histogram::<u64>::new_with_max(LONGEST_NS, 3).map_err(|error| error.to_string())?;
    let mut switches_before = 0;
    let warm = Instant::now();
    let mut start = None;
    let mut last = warm;
    for number_sent in 0.. {
        number(&mut message, number_sent);
        exchange(&message, &mut reply)?;
        if sequence(&reply) != number_sent {
            return Err(format!("message {number_sent} came back as number {}", sequence(&reply)));
        }
        let now = Instant::now();
        match start {
            // A tenth of the window warms caches, page tables and the scheduler's idea of us.
            None if now - warm >= window / 10 => {
                start = Some(now);
                switches_before = context_switches();
            }
            None => {}
            Some(start) => {
                let nanoseconds = u64::try_from((now - last).as_nanos()).unwrap_or(LONGEST_NS);
                times.saturating_record(nanoseconds.max(1));
                if now - start >= window {
                    break;
                }
            }
        }
        last = now;
    }
    let switches = context_switches() - switches_before;
    number(&mut message, LAST);
    exchange(&message, &mut reply)?;
    Ok(Answer::RoundTrips(RoundTrips {
        payload_bytes: bytes,
        count: times.len(),
        p50_ns: times.value_at_quantile(0.5),
        p99_ns: times.value_at_quantile(0.99),
        min_ns: times.min(),
        switches: switches as f64 / times.len() as f64,
    }))
}

fn flood(link: &mut dyn Link, bytes: usize, window: Duration, lossy: bool) -> Outcome<()> {
    let mut message = vec![0x5A; bytes];
    let start = Instant::now();
    // The clock costs as much as a small message in a ring, so it is read once in a while only.
    let stride: u64 = if bytes <= 4096 { 64 } else { 4 };
    let mut sequence: u64 = 0;
    while !sequence.is_multiple_of(stride) || start.elapsed() < window {
        number(&mut message, sequence);
        link.send(&message)?;
        sequence += 1;
    }
    number(&mut message, LAST);
    for _ in 0..if lossy { LAST_REPEATS } else { 1 } {
        link.send(&message)?;
        if lossy {
            // The receiver must get a chance to empty its full buffer.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

fn drain(link: &mut dyn Link, bytes: usize) -> Outcome<Answer> {
    let mut message = vec![0; bytes];
    let (mut messages, mut lost, mut expected) = (0, 0, 0);
    link.receive(&mut message)?;
    let start = Instant::now();
    loop {
        match sequence(&message) {
            LAST => break,
            number if number < expected => return Err(format!("message {number} came after {expected}")),
            number => {
                lost += number - expected;
                expected = number + 1;
                messages += 1;
            }
        }
        link.receive(&mut message)?;
    }
    Ok(Answer::Drained { messages, lost, elapsed: start.elapsed() })
}

/// How often this thread was switched off its processor, of its own will or not.
fn context_switches() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let counts = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
    counts.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum()
}
