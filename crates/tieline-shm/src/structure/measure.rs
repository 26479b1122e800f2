//! The log against a bare spin and a bare ring, in one run: what the format of the slots costs.
//!
//! `cargo test --release -p tieline-shm --lib measure -- --ignored --nocapture --test-threads=1`

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::inlet::{Found, Inlet};
use super::items::{Holder, Inline};
use super::log::tests::{Log, aligned};
use super::log::{Geometry, Overflow};
use super::outlet::Outlet;
use super::pool::Buckets;
use crate::wait::{Until, Waiting};

fn pin(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).unwrap();
}

fn both(far: impl FnOnce() + Send, near: impl FnOnce() -> f64) -> f64 {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            far();
        });
        pin(0);
        near()
    })
}

#[repr(align(256))]
struct Far(AtomicU64);

fn spin_rtt(n: u64) -> f64 {
    let (a, b) = (Far(AtomicU64::new(0)), Far(AtomicU64::new(0)));
    both(
        || {
            for i in 1..=n {
                while a.0.load(Ordering::Acquire) != i {
                    spin_loop();
                }
                b.0.store(i, Ordering::Release);
            }
        },
        || {
            let start = Instant::now();
            for i in 1..=n {
                a.0.store(i, Ordering::Release);
                while b.0.load(Ordering::Acquire) != i {
                    spin_loop();
                }
            }
            start.elapsed().as_nanos() as f64 / n as f64
        },
    )
}

fn channel(geometry: Geometry, subscribers: usize) -> (Outlet, Vec<Inlet>) {
    let (log, writer) = Log::with(geometry);
    let buckets = Buckets::new(aligned(geometry.pool_bytes() / 8), &geometry);
    let inlets = (0..subscribers)
        .map(|index| {
            let overflow = if index == 0 { Overflow::Gated } else { Overflow::SkipOldest };
            let reader = log.join(index, overflow, 0);
            let holder = Holder {
                buckets: buckets.clone(),
                roster: log.roster.clone(),
                entry: log.entry(index),
                is_trusted: true,
                line: std::sync::OnceLock::new(),
                generation: crate::raw::process::generation(),
            };
            Inlet::new(reader, Some(std::sync::Arc::new(holder)))
        })
        .collect();
    (Outlet::new(writer, Some((buckets, Box::new(|_| Ok(())))), 4), inlets)
}

fn receive<const W: usize>(inlet: &mut Inlet, tell: bool) -> u64 {
    let mut inline = Inline::<[u64; W]>::new();
    loop {
        if let Found::Inline = inlet.try_receive(&mut inline, Some(1), tell).unwrap() {
            let value = &inline.items()[0];
            return value[0].wrapping_add(value[W - 1]);
        }
        spin_loop();
    }
}

fn publish<const W: usize>(outlet: &mut Outlet, value: &[u64; W]) {
    outlet.publish(crate::raw::words::bytes_of(value), Waiting::Poll, Until::Forever).unwrap();
}

fn log_rtt<const W: usize>(n: u64) -> f64 {
    let (mut a, mut from_a) = channel(Geometry::new(64, W * 8), 1);
    let (mut b, mut from_b) = channel(Geometry::new(64, W * 8), 1);
    both(
        move || {
            for i in 1..=n {
                receive::<W>(&mut from_a[0], true);
                publish(&mut b, &[i; W]);
            }
        },
        move || {
            let start = Instant::now();
            for i in 1..=n {
                publish(&mut a, &[i; W]);
                assert_eq!(receive::<W>(&mut from_b[0], true), i.wrapping_add(i) * u64::from(W > 0));
            }
            start.elapsed().as_nanos() as f64 / n as f64
        },
    )
}

fn loan_rtt(n: u64, bytes: usize) -> f64 {
    let geometry = Geometry::new(4, 16).with_pool(8, bytes);
    let (mut a, mut from_a) = channel(geometry, 1);
    let (mut b, mut from_b) = channel(geometry, 1);
    let send = move |outlet: &mut Outlet, i: u64| {
        let loaned = outlet.loan(bytes, Waiting::Poll, Until::Forever).unwrap();
        let mut items = loaned.into_items::<u64>().unwrap();
        items.items_mut()[0] = i;
        items.items_mut()[bytes / 8 - 1] = i;
        outlet.send(items.into_loaned(), Waiting::Poll, Until::Forever).map_err(|(e, _)| e).unwrap();
    };
    let receive = move |inlet: &mut Inlet| loop {
        if let Found::Held(message) = inlet.try_receive::<u64>(&mut Inline::new(), None, true).unwrap() {
            break message.items()[0] + message.items()[bytes / 8 - 1];
        }
        spin_loop();
    };
    both(
        move || {
            for i in 1..=n {
                receive(&mut from_a[0]);
                send(&mut b, i);
            }
        },
        move || {
            let start = Instant::now();
            for i in 1..=n {
                send(&mut a, i);
                assert_eq!(receive(&mut from_b[0]), i * 2);
            }
            start.elapsed().as_nanos() as f64 / n as f64
        },
    )
}

fn ring_flood(n: u64, batch: u64, slots: u64) -> f64 {
    let (head, tail) = (Far(AtomicU64::new(0)), Far(AtomicU64::new(0)));
    let mut ring = vec![[0_u64; 8]; slots as usize];
    let start = ring.as_mut_ptr() as usize;
    both(
        || {
            let (mut at, mut seen, mut sum) = (0, 0, 0_u64);
            while at < n {
                while at == seen {
                    seen = tail.0.load(Ordering::Acquire);
                    spin_loop();
                }
                let place = (start as *const [u64; 8]).wrapping_add((at & (slots - 1)) as usize);
                // SAFETY: within the ring, masked; written before the tail was moved past it, and not again before the
                // head is.
                let value = unsafe { *place };
                sum = sum.wrapping_add(value[0]).wrapping_add(value[7]);
                at += 1;
                if at % batch == 0 || at == n {
                    head.0.store(at, Ordering::Release);
                }
            }
            std::hint::black_box(sum);
        },
        || {
            let begun = Instant::now();
            let (mut at, mut seen) = (0, 0);
            while at < n {
                while at - seen == slots {
                    seen = head.0.load(Ordering::Acquire);
                    spin_loop();
                }
                let place = (start as *mut [u64; 8]).wrapping_add((at & (slots - 1)) as usize);
                // SAFETY: within the ring, masked; read before the head was moved past it, and not again before the
                // tail is.
                unsafe { *place = [at; 8] };
                at += 1;
                if at % batch == 0 || at == n {
                    tail.0.store(at, Ordering::Release);
                }
            }
            while head.0.load(Ordering::Acquire) != n {}
            n as f64 / begun.elapsed().as_secs_f64() / 1e6
        },
    )
}

fn log_flood(n: u64, batch: usize, slots: usize, drain: bool) -> f64 {
    let (mut outlet, mut inlets) = channel(Geometry::new(slots, 64), 1);
    let done = Far(AtomicU64::new(0));
    both(
        || {
            let mut sum = 0_u64;
            let inlet = &mut inlets[0];
            let mut taken = 0;
            let mut inline = Inline::<[u64; 8]>::new();
            if drain {
                while taken < n {
                    let mut some = 0;
                    while let Found::Inline = inlet.try_receive(&mut inline, Some(1), false).unwrap() {
                        sum = sum.wrapping_add(inline.items()[0][0]).wrapping_add(inline.items()[0][7]);
                        some += 1;
                        if some == slots as u64 / 8 {
                            break;
                        }
                    }
                    if some > 0 {
                        inlet.tell();
                        taken += some;
                    }
                }
            } else {
                for _ in 0..n {
                    sum = sum.wrapping_add(receive::<8>(inlet, true));
                }
            }
            std::hint::black_box(sum);
            done.0.store(1, Ordering::Release);
        },
        || {
            let begun = Instant::now();
            if batch == 1 {
                for i in 0..n {
                    publish(&mut outlet, &[i; 8]);
                }
            } else {
                let mut i = 0;
                while i < n {
                    let values: [[u64; 8]; 16] = std::array::from_fn(|k| [i + k as u64; 8]);
                    let mut rest = &values[..];
                    while !rest.is_empty() {
                        let some = rest.iter().map(crate::raw::words::bytes_of);
                        let count = outlet.publish_some(some, Waiting::Poll, Until::Forever).unwrap();
                        rest = &rest[count..];
                    }
                    i += 16;
                }
            }
            while done.0.load(Ordering::Acquire) == 0 {
                spin_loop();
            }
            n as f64 / begun.elapsed().as_secs_f64() / 1e6
        },
    )
}

fn publish_with(subscribers: usize, n: u64) -> f64 {
    let (log, writer) = Log::with_entries(Geometry::new(1024, 64), subscribers);
    let mut readers: Vec<_> = (0..subscribers).map(|i| log.join(i, Overflow::Gated, 0)).collect();
    let mut outlet = Outlet::new(writer, None, 0);
    let mut spent = 0.0;
    let mut bytes = [0; 64];
    for _ in 0..n / 512 {
        let begun = Instant::now();
        for i in 0..512 {
            publish(&mut outlet, &[i; 8]);
        }
        spent += begun.elapsed().as_nanos() as f64;
        for reader in &mut readers {
            while reader.peek(&mut bytes, super::log::Length::Room).unwrap().is_some() {
                reader.advance(true);
            }
        }
    }
    spent / n as f64
}

fn alone(n: u64) -> (f64, f64, f64) {
    let (mut outlet, mut inlets) = channel(Geometry::new(1024, 64), 1);
    let (mut put, mut take, mut empty) = (0, 0, 0);
    for _ in 0..n / 512 {
        let begun = Instant::now();
        for i in 0..512 {
            publish(&mut outlet, &[i; 8]);
        }
        put += begun.elapsed().as_nanos();
        let begun = Instant::now();
        for _ in 0..512 {
            std::hint::black_box(receive::<8>(&mut inlets[0], true));
        }
        take += begun.elapsed().as_nanos();
        let begun = Instant::now();
        for _ in 0..512 {
            let found = inlets[0].try_receive::<[u64; 8]>(&mut Inline::new(), Some(1), true).unwrap();
            assert!(matches!(found, Found::Nothing));
        }
        empty += begun.elapsed().as_nanos();
    }
    (put as f64 / n as f64, take as f64 / n as f64, empty as f64 / n as f64)
}

#[test]
#[ignore = "a measurement"]
fn alone_in_one_thread() {
    crate::wait::prepare();
    for _ in 0..3 {
        println!("publish, receive, empty: {:?} ns", alone(1 << 20));
    }
}

fn report(what: &str, least: bool, measure: impl Fn() -> f64) -> f64 {
    let mut figures: Vec<f64> = (0..5).map(|_| measure()).collect();
    figures.sort_by(f64::total_cmp);
    if !least {
        figures.reverse();
    }
    println!("{what:32} {:8.1} {:8.1} {:8.1}", figures[0], figures[2], figures[4]);
    figures[0]
}

#[test]
#[ignore = "a measurement"]
fn measure() {
    crate::wait::prepare();
    let n = 200_000;
    let flood = 2_000_000;
    for _ in 0..2 {
        let spin = report("spin rtt ns", true, || spin_rtt(n));
        for (what, figure) in [
            ("8 B rtt", report("8 B rtt", true, || log_rtt::<1>(n))),
            ("64 B rtt", report("64 B rtt", true, || log_rtt::<8>(n))),
            ("112 B rtt", report("112 B rtt", true, || log_rtt::<14>(n))),
            ("64 KiB loan rtt", report("64 KiB loan rtt", true, || loan_rtt(n, 65536))),
            ("8 MiB loan rtt", report("8 MiB loan rtt", true, || loan_rtt(n, 8 << 20))),
        ] {
            println!("   {what}: {:.2} of spin", figure / spin);
        }
        for slots in [1024, 4096] {
            let ring = report("ring M/s", false, || ring_flood(flood, 1, slots));
            let ring16 = report("ring by 16", false, || ring_flood(flood, 16, slots));
            let one = report("log", false, || log_flood(flood, 1, slots as usize, false));
            let drain = report("log, drained", false, || log_flood(flood, 1, slots as usize, true));
            let batch = report("log by 16, drained", false, || log_flood(flood, 16, slots as usize, true));
            println!("   {slots}: one {:.2} drained {:.2} batch {:.2}", one / ring, drain / ring, batch / ring16);
        }
        let one = report("publish, 1 subscriber ns", true, || publish_with(1, 1 << 16));
        let hundred = report("publish, 100 subscribers ns", true, || publish_with(100, 1 << 16));
        println!("   {:.2}", hundred / one);
    }
}
