//! Work queues by name, between real processes.

use std::collections::HashSet;
use std::num::NonZero;
use std::time::{Duration, Instant};

use tieline_shm::queue::Queue;
use tieline_shm::{ErrorKind, ShmSafe};
use tieline_testkit::{PATIENCE, Peer, Role, role, soon, test_name};

use crate::alone::{alone, peer};

#[derive(Clone, Copy, Debug, PartialEq, ShmSafe)]
#[repr(C)]
struct Job {
    number: u32,
    is_urgent: bool,
    _pad: [u8; 3],
}

fn job(number: u32) -> Job {
    Job { number, is_urgent: number % 2 == 1, _pad: [0; 3] }
}

#[test]
fn values_and_bytes_go_through_and_come_back() {
    alone(test_name!(), |_| {
        let jobs = Queue::<Job>::options().capacity(4).create("jobs").unwrap();
        let again = Queue::<Job>::open("jobs").unwrap();
        assert_eq!(jobs.try_send_many(&[job(1), job(2), job(3), job(4), job(5)]).unwrap(), 4);
        assert_eq!(jobs.try_send(&job(5)).unwrap_err().kind(), ErrorKind::Full);
        let mut got = again.recv_many(3).unwrap();
        assert_eq!(got.iter().map(|job| job.number).collect::<Vec<_>>(), [1, 2, 3]);
        got.remove(0).requeue().unwrap();
        got.remove(0).reject().unwrap();
        drop(got);
        let first = jobs.recv().unwrap();
        assert_eq!((*first, first.attempts()), (job(1), 1));
        first.ack().unwrap();
        assert_eq!(*jobs.recv().unwrap(), job(4));
        assert!(jobs.recv_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
        let stats = jobs.counters();
        assert_eq!((stats.waiting, stats.requeued, stats.rejected), (0, 1, 1));

        let bytes = Queue::<[u8]>::options().capacity(2).payload_max_bytes(5000).create("bytes").unwrap();
        let mut reservation = bytes.reserve(5000).unwrap();
        reservation.fill(7);
        reservation.truncate(4000);
        reservation.commit().unwrap();
        drop(bytes.reserve(1).unwrap());
        assert_eq!(*bytes.recv().unwrap(), [7; 4000]);
        assert_eq!(bytes.send(&[0; 5001]).unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(Queue::<Job>::open("bytes").unwrap_err().kind(), ErrorKind::Mismatch);
        assert_eq!(Queue::<Job>::open("none").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(Queue::<Job>::create("jobs").unwrap_err().kind(), ErrorKind::AlreadyExists);
    });
}

/// They lay in the queue while its consumer slept.
#[test]
fn items_sent_before_the_user_of_the_queue_panics_wake_its_consumer() {
    if let Some(me) = role().filter(|me| me.name() == "consumer") {
        let jobs = Queue::<Job>::open("jobs").unwrap();
        me.say("there");
        assert_eq!([jobs.recv().unwrap().number, jobs.recv().unwrap().number], [1, 2]);
        return;
    }
    alone(test_name!(), |directory| {
        let jobs = Queue::<Job>::create("jobs").unwrap();
        let mut consumer = peer(test_name!(), "consumer", directory).spawn();
        consumer.wait_for("there");
        consumer.sleeps();
        let two = [job(1), job(2)];
        let panics = two.iter().chain(std::iter::from_fn(|| panic!("on purpose")));
        std::panic::catch_unwind(|| jobs.try_send_many(panics)).unwrap_err();
        consumer.succeeds();
    });
}

#[test]
fn slices_of_any_type_go_through_by_copy_and_in_place() {
    alone(test_name!(), |_| {
        let waves = Queue::<[f32]>::options().capacity(2).payload_max_bytes(40).create("waves").unwrap();
        assert_eq!(waves.try_send_many([&[0.5; 3][..], &[], &[1.5; 10]]).unwrap(), 2);
        assert_eq!((&*waves.recv().unwrap(), &*waves.recv().unwrap()), (&[0.5; 3][..], &[][..]));
        let mut reservation = waves.reserve(10).unwrap();
        reservation.copy_from_slice(&[2.5; 10]);
        reservation.truncate(9);
        assert_eq!(reservation.len(), 9);
        reservation.commit().unwrap();
        assert_eq!(*waves.recv().unwrap(), [2.5; 9]);
        assert_eq!(waves.send(&[0.0; 11]).unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(waves.reserve(11).unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(waves.reserve(usize::MAX).unwrap_err().kind(), ErrorKind::TooLarge);
        // Neither one value, nor slices of another type, nor bytes.
        assert_eq!(Queue::<f32>::open("waves").unwrap_err().kind(), ErrorKind::Mismatch);
        assert_eq!(Queue::<[u32]>::open("waves").unwrap_err().kind(), ErrorKind::Mismatch);
        assert_eq!(Queue::<[u8]>::open("waves").unwrap_err().kind(), ErrorKind::Mismatch);
    });
}

#[test]
fn a_place_is_reserved_only_for_what_may_lie_in_it() {
    alone(test_name!(), |_| {
        let flags = Queue::<[bool]>::options().capacity(2).create("flags").unwrap();
        flags.send(&[true; 8]).unwrap();
        assert_eq!(*flags.recv().unwrap(), [true; 8]);
        for _ in 0..4 {
            let mut reservation = flags.reserve(3).unwrap();
            reservation[1] = !reservation[1];
            drop(reservation);
        }
        // Zero is no such number, so nothing can be lent; the slots are free again after the refusals.
        let numbers = Queue::<[NonZero<u16>]>::options().capacity(2).create("numbers").unwrap();
        for _ in 0..4 {
            assert_eq!(numbers.try_reserve(3).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        let number = NonZero::new(7).unwrap();
        numbers.try_send(&[number; 3]).unwrap();
        assert_eq!(*numbers.recv().unwrap(), [number; 3]);
    });
}

#[test]
fn a_panic_in_the_work_hands_the_item_back() {
    alone(test_name!(), |_| {
        let jobs = Queue::<Job>::create("jobs").unwrap();
        jobs.send(&job(1)).unwrap();
        let work = std::panic::catch_unwind(|| {
            let _job = jobs.recv().unwrap();
            panic!("on purpose");
        });
        assert!(work.is_err());
        assert_eq!(jobs.recv().unwrap().attempts(), 1);
    });
}

fn play(me: &Role) {
    let jobs = Queue::<Job>::open("jobs").unwrap();
    match me.name() {
        "worker" => {
            let job = jobs.recv().unwrap();
            me.say(&job.number.to_string());
            me.wait_for("never");
            drop(job);
        }
        "clerk" => {
            let done = Queue::<Job>::open("done").unwrap();
            me.say("ready");
            loop {
                let job = jobs.recv().unwrap();
                done.send(&job).unwrap();
                job.ack().unwrap();
            }
        }
        "writer" => {
            me.say("ready");
            for number in 0.. {
                jobs.send(&job(number)).unwrap();
            }
        }
        _ => {
            me.say("ready");
            loop {
                jobs.recv().unwrap().ack().unwrap();
            }
        }
    }
}

#[test]
fn the_job_of_a_killed_worker_comes_to_another_within_ten_milliseconds() {
    if let Some(me) = role()
        && me.name() != "alone"
    {
        return play(&me);
    }
    alone(test_name!(), |directory| {
        let jobs = Queue::<Job>::create("jobs").unwrap();
        let mut number = 0;
        soon("the job of a killed worker", Duration::from_millis(10), || {
            number += 1;
            let mut worker = peer(test_name!(), "worker", directory).spawn();
            jobs.send(&job(number)).unwrap();
            worker.wait_for(&number.to_string());
            let waiting = {
                let jobs = jobs.clone();
                std::thread::spawn(move || {
                    (jobs.recv_timeout(PATIENCE).map(|job| (*job, job.attempts())), Instant::now())
                })
            };
            tieline_testkit::pause(Duration::from_millis(20));
            let killed = Instant::now();
            worker.kill();
            let (got, at) = waiting.join().unwrap();
            assert_eq!(got.unwrap(), (job(number), 1));
            at.saturating_duration_since(killed)
        });
        assert_eq!(jobs.counters().orphaned, u64::from(number));
    });
}

#[test]
fn peers_killed_at_any_step_leave_a_queue_that_works() {
    if let Some(me) = role()
        && me.name() != "alone"
    {
        return play(&me);
    }
    alone(test_name!(), |directory| {
        let steps = ["claimed", "tail-raised", "written", "committed"].map(|step| ("writer", step));
        let other = ["taken", "head-raised", "finishing", "finished"].map(|step| ("reader", step));
        for (role, step) in steps.into_iter().chain(other) {
            let jobs = Queue::<Job>::options().capacity(4).create("jobs").unwrap();
            let builder = peer(test_name!(), role, directory).env("TIELINE_STEP", format!("kill:work:{step}:3"));
            let mut victim = builder.spawn();
            victim.wait_for("ready");
            if role == "reader" {
                (1000..1003).for_each(|number| jobs.send(&job(number)).unwrap());
            }
            // What the victim sent before, or held; it may still be on its way to its end.
            let expected = match (role, step) {
                ("writer", "committed") => vec![0, 1, 2],
                ("writer", _) => vec![0, 1],
                (_, "finished") => vec![],
                _ => vec![1002],
            };
            if role == "reader" {
                victim.exit_status();
            }
            let got: Vec<u32> = expected.iter().map(|_| jobs.recv_timeout(PATIENCE).unwrap().number).collect();
            assert_eq!(got, expected, "{role} {step}");
            if role == "writer" {
                victim.exit_status();
            }
            // Twice the capacity: no slot is lost, and nothing comes twice.
            for number in 2000..2008 {
                jobs.send_timeout(&job(number), PATIENCE).unwrap();
                assert_eq!(jobs.recv_timeout(PATIENCE).unwrap().number, number, "{role} {step}");
            }
            assert_eq!(jobs.try_recv().unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    });
}

#[test]
fn workers_killed_at_random_lose_no_job() {
    const ROUNDS: u64 = 60;
    if let Some(me) = role()
        && me.name() != "alone"
    {
        return play(&me);
    }
    alone(test_name!(), |directory| {
        let jobs = Queue::<Job>::options().capacity(16).create("jobs").unwrap();
        let done = Queue::<Job>::options().capacity(16).create("done").unwrap();
        let (mut sent, mut finished) = (0, HashSet::new());
        for round in 0..100 * ROUNDS {
            // And on, where the workers hardly get a turn before they are killed.
            if round >= ROUNDS && sent > 1000 {
                break;
            }
            let mut workers: Vec<_> = (0..2).map(|_| peer(test_name!(), "clerk", directory).spawn()).collect();
            workers.iter_mut().for_each(|worker| worker.wait_for("ready"));
            let end = Instant::now() + Duration::from_micros(round * 7919 % 5000);
            while Instant::now() < end {
                while jobs.try_send(&job(sent)).is_ok() {
                    sent += 1;
                }
                while let Ok(job) = done.try_recv() {
                    finished.insert(job.number);
                }
            }
            workers.iter_mut().for_each(Peer::kill);
        }
        // What the dead held comes back when their deaths are noticed.
        tieline_testkit::eventually("all jobs are done", || {
            let late = std::iter::from_fn(|| done.try_recv().ok().or_else(|| jobs.try_recv().ok()));
            finished.extend(late.map(|job| job.number));
            finished.len() == sent as usize
        });
        assert!(sent > 1000 && finished.iter().all(|number| *number < sent));
    });
}
