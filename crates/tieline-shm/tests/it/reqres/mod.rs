//! Calls, between real processes.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tieline_shm::reqres::{Client, Server, WINDOW};
use tieline_shm::untyped::Carried;
use tieline_shm::{Description, ErrorKind, Kind};
use tieline_testkit::{PATIENCE, Role, data, role, soon, test_name};

use crate::alone::{alone, peer};

type BytesServer = Server<[u8], [u8]>;
type BytesClient = Client<[u8], [u8]>;

#[test]
fn calls_are_answered_in_any_order_and_by_value() {
    alone(test_name!(), |_| {
        let server = Server::<u64, [u32; 40]>::bind("calls").unwrap();
        let client = Client::<u64, [u32; 40]>::connect("calls").unwrap();
        let pending: Vec<_> = (0..3).map(|number| client.start(&number).unwrap()).collect();
        let mut requests: Vec<_> = (0..3).map(|_| server.recv().unwrap()).collect();
        assert!(server.try_recv().unwrap_err().is_would_block());
        assert!(server.recv_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
        while let Some(request) = requests.pop() {
            let answer = [*request as u32; 40];
            request.respond(&answer).unwrap();
        }
        for (number, pending) in pending.into_iter().enumerate() {
            assert_eq!(*pending.wait().unwrap(), [number as u32; 40]);
        }
        let failing = client.start(&1).unwrap();
        let Err(failing) = failing.try_wait().map(|answer| answer.unwrap_err()).and_then(|pending| {
            server.recv()?.fail("not\u{7} today")?;
            pending.wait()
        }) else {
            panic!("it fails")
        };
        assert_eq!(failing.kind(), ErrorKind::Failed);
        assert_eq!(failing.to_string(), "cannot call: not\u{fffd} today");
        let dropped = client.start(&1).unwrap();
        drop(server.recv().unwrap());
        assert_eq!(dropped.wait().unwrap_err().kind(), ErrorKind::Failed);
        assert_eq!(Server::<u64, [u32; 40]>::bind("calls").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(Client::<u64, u64>::connect("calls").unwrap_err().kind(), ErrorKind::Mismatch);
        assert_eq!(Client::<u64, u64>::connect("none").unwrap_err().kind(), ErrorKind::NotFound);
        drop(server);
        assert_eq!(client.call(&1).unwrap_err().kind(), ErrorKind::PeerGone);
        // The name is free again.
        Server::<u64, u64>::bind("calls").unwrap();
    });
}

#[test]
fn large_payloads_are_written_and_read_in_place() {
    alone(test_name!(), |_| {
        let server = BytesServer::options().areas(2).payload_max_bytes(1 << 20).bind("calls").unwrap();
        let client = BytesClient::connect("calls").unwrap();
        assert_eq!(client.start(&vec![0; (1 << 20) + 1]).unwrap_err().kind(), ErrorKind::TooLarge);
        for round in 0..10_u8 {
            let mut loan = client.loan(1 << 20).unwrap();
            loan.fill(round);
            let pending = client.start_loan(loan).unwrap();
            let request = server.recv().unwrap();
            assert!(request.len() == 1 << 20 && request.iter().all(|byte| *byte == round));
            let mut loan = request.loan(1000).unwrap();
            loan.fill(round + 1);
            loan.truncate(999);
            request.respond_loan(loan).unwrap();
            assert_eq!(*pending.wait().unwrap(), [round + 1; 999]);
        }
        drop(client.loan(1).unwrap());
        let request = data(1000);
        let pending = client.start(&request).unwrap();
        assert_eq!(*server.recv().unwrap(), *request);
        drop(pending);
    });
}

#[test]
fn slices_of_any_type_are_asked_and_answered() {
    alone(test_name!(), |_| {
        let server = Server::<[f32], [u64]>::bind("sums").unwrap();
        let client = Client::<[f32], [u64]>::connect("sums").unwrap();
        for len in [0, 3, 24, 1000] {
            let pending = client.start(&vec![1.5; len]).unwrap();
            let request = server.recv().unwrap();
            assert!(request.len() == len && request.iter().all(|value| *value == 1.5));
            let mut loan = request.loan(len + 1).unwrap();
            loan.fill(len as u64);
            loan.truncate(len);
            request.respond_loan(loan).unwrap();
            assert_eq!(*pending.wait().unwrap(), *vec![len as u64; len]);
        }
        let mut loan = client.loan(2).unwrap();
        loan.copy_from_slice(&[0.25, 0.5]);
        let pending = client.start_loan(loan).unwrap();
        assert_eq!(*server.recv().unwrap(), [0.25, 0.5]);
        drop(pending);
        assert_eq!(client.loan(16 * 1024 + 1).unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(Client::<[f32], u64>::connect("sums").unwrap_err().kind(), ErrorKind::Mismatch);
        // Whoever looks is told the same as whoever joins.
        let (asked, answered) = (Carried::of::<[f32]>(), Carried::of::<[u64]>());
        let told = connection("sums");
        assert_eq!((told.kind, told.layout_name.as_str()), (Some(Kind::Calls), "f32"));
        assert_eq!(told.layout_hash, asked.hash().rotate_left(1) ^ answered.hash());
        assert_eq!(told.layout_text, format!("request:\n{}\nresponse:\n{}", asked.layout(), answered.layout()));
    });
}

/// What the memory of a connection of ours says of itself, as a looker reads it.
fn connection(name: &str) -> Description {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    let description = |line: &str| {
        let start = u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
        let mut page = [0; Description::LEN_BYTES];
        memory.read_exact_at(&mut page, start).unwrap();
        Description::parse(&page).unwrap()
    };
    let name = format!("/memfd:tieline:calls:{name} ");
    let mut all = maps.lines().filter(|line| line.contains(&name) && line.contains(" 00000000 ")).map(description);
    // The other is where its server waits.
    all.find(|told| told.facts.iter().any(|fact| fact.name == "calls in work")).expect("its memory is in maps")
}

#[test]
fn streamed_responses_run_no_further_ahead_than_the_window() {
    alone(test_name!(), |_| {
        let server = Server::<u32, u32>::bind("calls").unwrap();
        let client = Client::<u32, u32>::connect("calls").unwrap();
        let serving = std::thread::spawn(move || {
            loop {
                let mut request = server.recv_timeout(PATIENCE).expect("the next call");
                let mut sent = 0;
                while sent < *request {
                    if let Err(error) = request.item(&sent) {
                        assert_eq!(error.kind(), ErrorKind::PeerGone);
                        assert!(request.is_cancelled());
                        break;
                    }
                    sent += 1;
                }
                let is_last = *request == u32::MAX;
                request.end().unwrap();
                if is_last {
                    return sent;
                }
            }
        });
        for count in [0, 1, 200] {
            let items: Vec<u32> = client.call_stream(&count).unwrap().map(|item| *item.unwrap()).collect();
            assert_eq!(items, (0..count).collect::<Vec<_>>());
        }
        assert_eq!(client.call(&3).unwrap_err().kind(), ErrorKind::Mismatch);
        let mut items = client.call_stream(&u32::MAX).unwrap();
        assert_eq!(*items.recv().unwrap().unwrap(), 0);
        assert!(matches!(items.recv_timeout(PATIENCE), Ok(Some(_))));
        drop(items);
        // Two were read, so no further credit was given; one call was dropped with at most its window under way.
        let sent = serving.join().unwrap();
        assert!(sent <= WINDOW, "{sent}");
    });
}

#[test]
fn a_call_that_times_out_is_cancelled_and_the_next_one_works() {
    alone(test_name!(), |_| {
        let server = Server::<u32, u32>::bind("calls").unwrap();
        let client = Client::<u32, u32>::connect("calls").unwrap();
        for number in 0..200 {
            assert!(client.call_timeout(&number, Duration::from_micros(10)).unwrap_err().is_timeout());
            let request = server.recv().unwrap();
            assert!(request.is_cancelled());
            request.respond(&7).unwrap();
        }
        let pending = client.start(&1).unwrap();
        let request = server.recv().unwrap();
        assert!(!request.is_cancelled());
        request.respond(&8).unwrap();
        assert_eq!(*pending.wait().unwrap(), 8, "not the answer of another call");
    });
}

#[test]
fn many_threads_share_a_client_and_a_server() {
    const EACH: u64 = 2000;
    alone(test_name!(), |_| {
        let answered = AtomicU64::new(0);
        let server = Server::<u64, u64>::options().capacity(4).bind("calls").unwrap();
        let clients: Vec<_> = (0..2).map(|_| Client::<u64, u64>::connect("calls").unwrap()).collect();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = Instant::now();
                    while answered.load(Ordering::Relaxed) < 4 * EACH {
                        // The other one may have had the last call.
                        let Ok(request) = server.recv_timeout(Duration::from_millis(20)) else {
                            assert!(last.elapsed() < PATIENCE, "nobody calls");
                            continue;
                        };
                        let answer = *request + 1;
                        request.respond(&answer).unwrap();
                        answered.fetch_add(1, Ordering::Relaxed);
                        last = Instant::now();
                    }
                });
            }
            for (index, client) in clients.iter().enumerate() {
                for thread in 0..2 {
                    scope.spawn(move || {
                        for number in 0..EACH {
                            let question = (index as u64) << 40 | thread << 32 | number;
                            assert_eq!(*client.call(&question).unwrap(), question + 1);
                        }
                    });
                }
            }
        });
    });
}

fn play(me: &Role) {
    match me.name() {
        "server" => {
            let server = Server::<u64, u64>::bind("calls").unwrap();
            me.say("ready");
            loop {
                let request = server.recv().unwrap();
                if *request == u64::MAX {
                    me.say("holding");
                    me.wait_for("never");
                }
                let answer = *request + 1;
                request.respond(&answer).unwrap();
            }
        }
        "guest" => {
            let _client = Client::<u64, u64>::connect("calls").unwrap();
            me.say("ready");
            me.wait_for("never");
        }
        "successor" => {
            let _server = Server::<u64, u64>::bind("calls").unwrap();
            me.say("bound");
        }
        _ => {
            let client = Client::<u64, u64>::connect("calls").unwrap();
            me.say("ready");
            let _held = client.start(&u64::MAX).unwrap();
            for number in 0.. {
                drop(client.call(&number).unwrap());
            }
        }
    }
}

#[test]
fn a_killed_server_answers_every_pending_call_with_its_death() {
    if let Some(me) = role()
        && me.name() != "alone"
    {
        return play(&me);
    }
    alone(test_name!(), |directory| {
        soon("the death of a server", Duration::from_millis(10), || {
            // Also a test that a later server may take the name while clients of the dead one are still there.
            let mut server = peer(test_name!(), "server", directory).spawn();
            server.wait_for("ready");
            let client = Client::<u64, u64>::connect("calls").unwrap();
            assert_eq!(*client.call(&1).unwrap(), 2);
            let pending: Vec<_> = [u64::MAX, 1, 2].iter().map(|number| client.start(number).unwrap()).collect();
            server.wait_for("holding");
            let waiting = std::thread::spawn(move || {
                let kinds: Vec<_> = pending.into_iter().map(|pending| pending.wait().unwrap_err().kind()).collect();
                (kinds, Instant::now())
            });
            tieline_testkit::pause(Duration::from_millis(20));
            let killed = Instant::now();
            server.kill();
            let (kinds, at) = waiting.join().unwrap();
            assert_eq!(kinds, [ErrorKind::PeerGone; 3]);
            assert_eq!(client.call(&1).unwrap_err().kind(), ErrorKind::PeerGone);
            at.saturating_duration_since(killed)
        });
    });
}

#[test]
fn peers_killed_at_any_step_are_told_of() {
    if let Some(me) = role()
        && me.name() != "alone"
    {
        return play(&me);
    }
    alone(test_name!(), |directory| {
        for step in ["written", "stamped", "copied-out", "received"] {
            let step = format!("kill:calls:{step}:3");
            let mut server = peer(test_name!(), "server", directory).env("TIELINE_STEP", &step).spawn();
            server.wait_for("ready");
            let client = Client::<u64, u64>::connect("calls").unwrap();
            let end = (0..100).find_map(|number| client.call_timeout(&number, PATIENCE).err()).unwrap();
            assert_eq!(end.kind(), ErrorKind::PeerGone, "{step}");
            server.exit_status();
            drop(client);

            let server = Server::<u64, u64>::bind("calls").unwrap();
            let mut client = peer(test_name!(), "client", directory).env("TIELINE_STEP", &step).spawn();
            client.wait_for("ready");
            let held = server.recv_timeout(PATIENCE).unwrap();
            while client.is_running() {
                // It goes on, or it is dead: nobody wakes a server because a client died.
                if let Ok(request) = server.recv_timeout(Duration::from_millis(20)) {
                    let answer = *request + 1;
                    let _ = request.respond(&answer);
                }
            }
            tieline_testkit::eventually("the death is noticed", || held.is_cancelled() && server.clients() == 0);
            assert_eq!(held.respond(&1).unwrap_err().kind(), ErrorKind::PeerGone, "{step}");
            drop(server);
        }
    });
}

/// A machine that stands still for a while does so for all: for the one who waits for the name of a dead server, and for
/// the dead one's client, which holds it until it has noticed the death.
#[test]
fn who_waits_for_the_name_of_a_dead_server_waits_on_after_a_standstill() {
    if let Some(me) = role()
        && me.name() != "alone"
    {
        return play(&me);
    }
    alone(test_name!(), |directory| {
        let mut server = peer(test_name!(), "server", directory).spawn();
        server.wait_for("ready");
        let mut guest = peer(test_name!(), "guest", directory).spawn();
        guest.wait_for("ready");
        guest.stop();
        server.kill();
        let mut successor =
            peer(test_name!(), "successor", directory).env("TIELINE_STEP", "stop:succession:held").spawn();
        successor.until_stopped();
        tieline_testkit::pause(Duration::from_millis(300));
        successor.signal(rustix::process::Signal::CONT);
        tieline_testkit::pause(Duration::from_millis(20));
        guest.signal(rustix::process::Signal::CONT);
        successor.wait_for("bound");
        successor.succeeds();
    });
}
