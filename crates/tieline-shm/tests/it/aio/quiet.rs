//! What waiting costs while nothing happens: nothing.

use std::time::Duration;

use tieline_shm::event::Event;
use tieline_shm::latest::Latest;
use tieline_shm::queue::Queue;
use tieline_shm::reqres::{Client, Server};
use tieline_shm::stream::{Listener, Stream};
use tieline_shm::topic::Topic;
use tieline_shm::{Waiting, aio};
use tieline_testkit::{Peer, role, test_name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;
use tokio::time::sleep;

use super::Place;

/// How often all threads of this process fell asleep or were interrupted; how many there are; and how often one that
/// certainly has nothing to do.
fn switches() -> (u64, u64, u64) {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let (mut all, mut threads, mut idle) = (0, 0, 0);
    for status in tasks.filter_map(|task| std::fs::read_to_string(task.join("status")).ok()) {
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let count: u64 = count.unwrap().trim().parse().unwrap();
        if status.contains("idler") {
            idle = count;
        } else {
            (all, threads) = (all + count, threads + 1);
        }
    }
    (all, threads, idle)
}

/// Tasks that wait at ten channels of every sort: two seconds without a wake-up, and no thread for each.
#[test]
fn idle_channels_wake_nobody() {
    // Alone in its process, whose threads are counted.
    if role().is_none() {
        return Peer::of(test_name!()).role("alone").spawn().succeeds();
    }
    if !tieline_testkit::room_for_descriptors(600) {
        tieline_testkit::skip!("needs more descriptors than this machine lets a process have");
    }
    let place = Place::new();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for number in 0..10 {
            let name = |kind: &str| place.name(&format!("{kind}{number}"));
            let topic = Topic::<u64>::create(&name("topic")).unwrap();
            let publisher = topic.publisher().unwrap();
            let mut subscriber = aio::topic::Subscriber::from(topic.subscriber().unwrap());
            let queue = aio::queue::Queue::from(Queue::<u64>::create(name("queue")).unwrap());
            let listener = Listener::bind(name("stream")).unwrap();
            let stream = aio::stream::Stream::from(Stream::connect(name("stream")).unwrap());
            let accepted = listener.accept().unwrap();
            let server = aio::reqres::Server::from(Server::<u64, u64>::bind(name("calls")).unwrap());
            let client = aio::reqres::Client::from(Client::<u64, u64>::connect(name("calls")).unwrap());
            let event = Event::create(name("event")).unwrap();
            let mut events = aio::event::Listener::from(event.listener());
            let writer = Latest::<u64>::at(name("latest")).unwrap().writer().unwrap();
            let mut latest = Latest::<u64>::at(name("latest")).unwrap().reader().unwrap().into();
            // And those who wait for room that nobody makes.
            let full = Topic::<u64>::create(&name("full-topic")).unwrap();
            let mut publishing =
                aio::topic::Publisher::from(full.publisher_options().depth(2).waiting(Waiting::Block).open().unwrap());
            let lazy = full.subscriber().unwrap();
            while publishing.try_publish(&1).is_ok() {}
            let sending =
                aio::queue::Queue::from(Queue::<u64>::options().capacity(1).create(name("full-queue")).unwrap());
            sending.send(&1).await.unwrap();
            let (mut stream, mut writing) = stream.split();
            while writing.try_write(&[0; 4096]).is_ok() {}
            tokio::spawn(async move {
                let (mut byte, mut fired) = ([0], Vec::new());
                let changed = aio::latest::LatestReader::changed(&mut latest);
                tokio::select! {
                    _ = subscriber.recv() => {}
                    _ = queue.recv() => {}
                    _ = stream.read(&mut byte) => {}
                    _ = client.call(&1) => {}
                    // The call above is taken, and not answered.
                    _ = async { let _request = server.recv().await; std::future::pending::<()>().await } => {}
                    _ = events.wait(&mut fired) => {}
                    _ = changed => {}
                    _ = publishing.publish(&2) => {}
                    _ = sending.send(&2) => {}
                    _ = writing.write(&[0]) => {}
                }
                drop((publisher, accepted, listener, writer, lazy));
                panic!("something happened");
            });
        }
        sleep(Duration::from_millis(500)).await;
        // Everything has gone to sleep by then, or on a slow machine some seconds later.
        // If the whole process is stopped for a while, each thread is woken.
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
        let mut wake_ups = Vec::new();
        let threads = loop {
            let (before, threads, idle_before) = switches();
            sleep(Duration::from_secs(2)).await;
            let (after, _, idle) = switches();
            wake_ups.push(after - before);
            // This thread's own sleep.
            if after - before <= 2 + threads * (idle - idle_before) {
                break threads;
            }
            assert!(wake_ups.len() < 15, "{wake_ups:?} wake-ups in two seconds each");
        };
        assert!(threads <= 4, "{threads} threads for 90 channels");
    });
}
