//! Tasks of two processes, and of two users, that work together.

use std::time::{Duration, Instant};

use tieline_shm::reqres::{Client, Server};
use tieline_shm::topic::Topic;
use tieline_shm::{Access, Allowed, aio};
use tieline_testkit::{PATIENCE, Peer, can_run_as, role, skip, test_name};
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::{Place, runtime};

const NOBODY: u32 = 65_534;

/// To and fro between two processes, some rounds with a pause that lets both sides sleep.
#[test]
fn two_processes_play_at_ball() {
    const ROUNDS: u64 = 2000;
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let ends = |there: &str, back: &str| {
        let out = Topic::<u64>::open_or_create(there).unwrap().publisher().unwrap();
        let back = Topic::<u64>::open_or_create(back).unwrap().subscriber().unwrap();
        (aio::topic::Publisher::from(out), aio::topic::Subscriber::from(back))
    };
    if let Some(me) = role() {
        let (mut out, mut back) = ends(&me.env("BACK"), &me.env("THERE"));
        me.say("ready");
        runtime.block_on(async {
            for round in 0..ROUNDS {
                assert_eq!(*timeout(PATIENCE, back.recv()).await.unwrap().unwrap(), round);
                out.publish(&round).await.unwrap();
            }
        });
        me.wait_for("end");
        return;
    }
    let place = Place::new();
    let (there, back) = (place.name("there"), place.name("back"));
    let (mut out, mut into) = ends(&there, &back);
    let mut peer = Peer::of(test_name!()).role("echo").env("THERE", &there).env("BACK", &back).spawn();
    peer.wait_for("ready");
    runtime.block_on(async {
        for round in 0..ROUNDS {
            out.publish(&round).await.unwrap();
            assert_eq!(*timeout(PATIENCE, into.recv()).await.unwrap().unwrap(), round);
            if round % 64 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    peer.say("end");
    peer.succeeds();
}

/// The roster of a user whose last subscriber has left is gone; the publisher's task was never woken by the next one.
#[test]
fn a_publisher_that_waits_is_woken_by_who_subscribes_after_all_had_left() {
    let place = Place::new();
    runtime().block_on(async {
        let topic = Topic::<u64>::open_or_create(&place.name("topic")).unwrap();
        let mut publisher = aio::topic::Publisher::from(topic.publisher_options().depth(4).open().unwrap());
        for round in 0..3 {
            let mut subscriber = topic.subscriber().unwrap();
            while publisher.try_publish(&round).is_ok() {}
            let receiver = std::thread::spawn(move || {
                // When the publisher sleeps.
                tieline_testkit::pause(Duration::from_millis(20));
                assert_eq!(*subscriber.try_recv().unwrap(), round);
                subscriber
            });
            let began = Instant::now();
            timeout(PATIENCE, publisher.publish(&round)).await.unwrap().unwrap();
            // What is over looks once more.
            assert!(began.elapsed() < PATIENCE, "round {round}: it slept on");
            drop(receiver.join().unwrap());
            while publisher.get_ref().subscribers() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
}

/// Another user's bell is never taken: the relay of its own process rings it. Also when the user comes again, for whom the
/// server has another place to sleep then.
#[test]
fn another_user_is_served_without_its_bell() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    if let Some(me) = role() {
        let client =
            aio::reqres::Client::from(Client::<u64, u64>::connect(format!("{}?owner=0", me.env("NAME"))).unwrap());
        runtime.block_on(async {
            for number in 0..200 {
                assert_eq!(*timeout(PATIENCE, client.call(&number)).await.unwrap().unwrap(), number + 1);
                if number % 50 == 0 {
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            }
        });
        me.say("done");
        me.wait_for("end");
        return;
    }
    if !can_run_as(NOBODY) {
        skip!("needs another user");
    }
    let place = Place::new();
    let name = place.name("calls");
    std::fs::set_permissions(place.0.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let access = Access::owner().subscribe(Allowed::Users(vec![NOBODY]));
    let server = Server::<u64, u64>::options().access(access).bind(&name).unwrap();
    let server = aio::reqres::Server::from(server);
    for _ in 0..2 {
        let mut peer = Peer::of(test_name!()).role("client").env("NAME", &name).user(NOBODY).spawn();
        runtime.block_on(async {
            for _ in 0..200 {
                let request = timeout(PATIENCE, server.recv()).await.unwrap().unwrap();
                let answer = *request + 1;
                request.respond(&answer).await.unwrap();
            }
        });
        peer.wait_for("done");
        peer.say("end");
        peer.succeeds();
    }
}
