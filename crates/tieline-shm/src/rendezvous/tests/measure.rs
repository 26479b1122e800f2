//! What it costs to join, to be told, and to do nothing.

use std::time::{Duration, Instant};

use tieline_testkit::{Peer, pause, test_name};

use super::actor::{Actor, TIMEOUT, directory, is_connected, is_disconnected, name_in, offer, peer, play};
use crate::rendezvous::{Role, open};

/// Run with `cargo test --release -p tieline-shm --lib joining_takes -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn joining_takes() {
    if play() {
        return;
    }
    for (role, other) in [(Role::Producer, Role::Consumer), (Role::Sharer, Role::Sharer)] {
        let directory = directory();
        let name = name_in(directory.path(), "join");
        let mut host = peer(test_name!(), &name, role, "create").spawn();
        host.wait_for("created");
        // Keeps the keeper of this process running, as in a program that has another object open.
        let running = Actor::create(&name_in(directory.path(), "else"), Role::Producer);
        let mut times: Vec<_> = (0..1000)
            .map(|_| {
                let begin = Instant::now();
                let joined = open(&name, offer(other), TIMEOUT).unwrap();
                let time = begin.elapsed();
                drop(joined);
                time
            })
            .collect();
        times.sort();
        println!("join as {other:?}: median {:?}, 99 % {:?}", times[500], times[990]);
        drop(running);
        let mut times: Vec<_> = (0..200)
            .map(|_| {
                let begin = Instant::now();
                let joined = open(&name, offer(other), TIMEOUT).unwrap();
                let time = begin.elapsed();
                drop(joined);
                time
            })
            .collect();
        times.sort();
        println!("join as {other:?}, the first object of its process: median {:?}, 99 % {:?}", times[100], times[198]);
    }
    let directory = directory();
    let name = name_in(directory.path(), "death");
    let host = Actor::create(&name, Role::Producer);
    let mut times: Vec<_> = (1..=100)
        .map(|count| {
            let mut victim = peer(test_name!(), &name, Role::Consumer, "open").spawn();
            victim.wait_for("joined");
            host.diary.wait("connected", count, is_connected);
            let killed = Instant::now();
            victim.signal(rustix::process::Signal::KILL);
            let told = host.diary.wait("disconnected", count, is_disconnected).duration_since(killed);
            victim.kill();
            told
        })
        .collect();
    times.sort();
    println!("kill -9 to disconnected: median {:?}, 99 % {:?}, longest {:?}", times[50], times[98], times[99]);
}

#[test]
fn nothing_wakes_a_process_that_has_nothing_to_do() {
    if let Some(me) = tieline_testkit::role() {
        let name = me.env("NAME").parse().unwrap();
        let host = Actor::create(&name, Role::Producer);
        let guest = Actor::open(&name, Role::Consumer);
        host.diary.wait("connected", 1, is_connected);
        // A thread that certainly has nothing to do, and is woken all the same if the whole process is stopped for a while.
        let idler = std::thread::Builder::new().name("idler".to_owned());
        let (tell, told) = std::sync::mpsc::channel();
        let idle = move || {
            tell.send(()).unwrap();
            loop {
                std::thread::park();
            }
        };
        let _idler = idler.spawn(idle).unwrap();
        // By then it has its name.
        told.recv().unwrap();
        let switches_of = |name: &str| -> u64 {
            let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
            let of = |thread: std::fs::DirEntry| {
                let status = std::fs::read_to_string(thread.path().join("status")).unwrap();
                assert!(!status.is_empty());
                status.contains(name).then(|| {
                    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
                    line.split_whitespace().next_back().unwrap().parse::<u64>().unwrap()
                })
            };
            let counts: Vec<_> = threads.filter_map(of).collect();
            assert_eq!(counts.len(), 1, "one {name}");
            counts[0]
        };
        let switches = || (switches_of("tieline-keeper"), switches_of("idler"));
        // As soon as it has done what there was to do, which on a slow machine may take a while.
        let mut wake_ups = Vec::new();
        while wake_ups.last() != Some(&0) {
            assert!(wake_ups.len() < 15, "{wake_ups:?} in two seconds each: the keeper does not sleep");
            pause(Duration::from_millis(200));
            let (before, idle_before) = switches();
            pause(Duration::from_secs(2));
            let (after, idle_after) = switches();
            wake_ups.push((after - before).saturating_sub(idle_after - idle_before));
        }
        drop((host, guest));
        me.say("slept");
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "idle").to_string();
    let mut peer = Peer::of(test_name!()).role("idle").env("NAME", name).spawn();
    peer.wait_for("slept");
    peer.succeeds();
}
