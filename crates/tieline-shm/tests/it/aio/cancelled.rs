//! Futures that are dropped at any moment: no message is lost, none comes twice, nothing stays behind.

use std::time::Duration;

use tieline_shm::event::Event;
use tieline_shm::latest::Latest;
use tieline_shm::queue::Queue;
use tieline_shm::reqres::{Client, Server};
use tieline_shm::stream::{Listener, Stream};
use tieline_shm::topic::{Policy, Topic};
use tieline_shm::{ErrorKind, Waiting, aio};
use tieline_testkit::{PATIENCE, Peer, role, test_name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::{Place, runtime};

const MESSAGES: u64 = 2000;

/// How long a call is let wait in the given round: from not at all to longer than the other side pauses.
fn patience(round: u64) -> Duration {
    Duration::from_micros(round % 7 * 40)
}

/// Makes a pause now and then, so that the other side falls asleep.
fn dawdle(number: u64) {
    if number.is_multiple_of(16) {
        tieline_testkit::pause(Duration::from_micros(100));
    }
}

#[test]
fn a_cancelled_recv_loses_no_message_of_a_topic() {
    let place = Place::new();
    let name = place.name("topic");
    if let Some(me) = role() {
        let publisher = Topic::<u64>::open(&me.env("NAME")).unwrap().publisher().unwrap();
        for number in 0..MESSAGES {
            publisher.publish(&number).unwrap();
            dawdle(number);
        }
        me.wait_for("end");
        return;
    }
    let topic = Topic::<u64>::create(&name).unwrap();
    let mut subscriber = aio::topic::Subscriber::from(topic.subscriber().unwrap());
    let mut peer = Peer::of(test_name!()).role("publisher").env("NAME", &name).spawn();
    runtime().block_on(async {
        let (mut next, mut round) = (0, 0);
        while next < MESSAGES {
            tokio::select! {
                sample = subscriber.recv() => {
                    assert_eq!(*sample.unwrap(), next);
                    next += 1;
                }
                () = sleep(patience(round)) => {}
            }
            round += 1;
        }
    });
    peer.say("end");
    peer.succeeds();
}

/// What was published is what the calls said that were not cancelled.
#[test]
fn a_cancelled_publish_has_published_nothing() {
    let place = Place::new();
    let topic = Topic::<u64>::create(&place.name("topic")).unwrap();
    let publisher = topic.publisher_options().depth(4).waiting(Waiting::Block).open().unwrap();
    let mut subscriber = topic.subscriber_options().policy(Policy::Block).open().unwrap();
    let reading = std::thread::spawn(move || {
        let mut got = Vec::new();
        loop {
            match subscriber.recv_timeout(PATIENCE) {
                Ok(sample) => got.push(*sample),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::PeerGone);
                    return got;
                }
            }
            dawdle(got.len() as u64);
        }
    });
    let sent = runtime().block_on(async move {
        let mut publisher = aio::topic::Publisher::from(publisher);
        let mut sent = Vec::new();
        for round in 0..MESSAGES {
            if let Ok(published) = timeout(patience(round), publisher.publish(&round)).await {
                published.unwrap();
                sent.push(round);
            }
        }
        sent
    });
    assert_eq!(reading.join().unwrap(), sent);
}

/// Tasks that are cancelled, a wait set whose owner never takes, and a thread that sleeps in `recv`, on one queue: the
/// thread gets what the others leave, at once.
#[test]
fn no_item_lies_unseen_while_another_consumer_sleeps() {
    let place = Place::new();
    let name = place.name("queue");
    if let Some(me) = role() {
        let queue = Queue::<u64>::open(me.env("NAME")).unwrap();
        while let Ok(item) = queue.recv() {
            me.say(&item.to_string());
        }
        return;
    }
    let queue = Queue::<u64>::create(&name).unwrap();
    let mut set = tieline_shm::WaitSet::new().unwrap();
    set.attach(&queue, 0).unwrap();
    let mut consumer = Peer::of(test_name!()).role("consumer").env("NAME", &name).spawn();
    runtime().block_on(async {
        let waiting = aio::queue::Queue::from(queue.clone());
        let mut ready = Vec::new();
        for number in 0..300 {
            // Announced, before or after the thread in the other process sleeps.
            assert!(set.try_wait(&mut ready).is_err() || number > 0);
            assert!(timeout(Duration::from_micros(number % 3 * 100), waiting.recv()).await.is_err());
            queue.send(&number).unwrap();
            assert_eq!(consumer.hear(), number.to_string());
        }
    });
}

#[test]
fn cancelled_producers_and_consumers_of_a_queue_lose_nothing() {
    let place = Place::new();
    let queue = Queue::<u64>::options().capacity(8).create(place.name("queue")).unwrap();
    let (mut sent, mut got) = runtime().block_on(async {
        let (out, into) = (aio::queue::Queue::from(queue.clone()), aio::queue::Queue::from(queue));
        let sending = tokio::spawn(async move {
            let mut sent = Vec::new();
            for round in 1..=MESSAGES {
                if let Ok(done) = timeout(patience(round), out.send(&round)).await {
                    done.unwrap();
                    sent.push(round);
                }
            }
            timeout(PATIENCE, out.send(&0)).await.unwrap().unwrap();
            sent
        });
        let (mut got, mut round) = (Vec::new(), 3);
        loop {
            round += 1;
            if let Ok(item) = timeout(patience(round), into.recv()).await {
                match *item.unwrap() {
                    0 => return (sending.await.unwrap(), got),
                    number => got.push(number),
                }
            }
        }
    });
    sent.sort_unstable();
    got.sort_unstable();
    assert!(!sent.is_empty());
    assert_eq!(sent, got);
}

/// Many tasks on one handle, and on clones: each item once.
#[test]
fn many_tasks_share_a_queue() {
    let place = Place::new();
    let queue = Queue::<u64>::options().capacity(16).create(place.name("queue")).unwrap();
    runtime().block_on(async {
        let shared = std::sync::Arc::new(aio::queue::Queue::from(queue.clone()));
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                let shared = std::sync::Arc::clone(&shared);
                let own = aio::queue::Queue::clone(&shared);
                tokio::spawn(async move {
                    let mut sum = 0;
                    loop {
                        let item = if worker % 2 == 0 { shared.recv().await } else { own.recv().await };
                        match *item.unwrap() {
                            0 => return sum,
                            number => sum += number,
                        }
                    }
                })
            })
            .collect();
        for number in (1..=MESSAGES).chain([0; 8]) {
            timeout(PATIENCE, shared.send(&number)).await.unwrap().unwrap();
        }
        let mut sum = 0;
        for worker in workers {
            sum += timeout(PATIENCE, worker).await.unwrap().unwrap();
        }
        assert_eq!(sum, MESSAGES * (MESSAGES + 1) / 2);
    });
}

/// Each notification is told once; of a value that changes, the last one is always told.
#[test]
fn a_cancelled_wait_for_an_event_or_a_value_loses_nothing() {
    let place = Place::new();
    let event = Event::create(place.name("event")).unwrap();
    let mut listener = aio::event::Listener::from(event.listener());
    let latest = || Latest::<u64>::at(place.name("latest")).unwrap();
    let mut writer = latest().writer().unwrap();
    let mut reader = aio::latest::LatestReader::from(latest().reader().unwrap());
    let notifying = std::thread::spawn(move || {
        for number in 1..=MESSAGES {
            event.notify(3).unwrap();
            writer.write(&number).unwrap();
            dawdle(number);
        }
        (event, writer)
    });
    runtime().block_on(async {
        let (mut told, mut last, mut round, mut fired) = (0, 0, 0, Vec::new());
        while told < MESSAGES || last < MESSAGES {
            round += 1;
            tokio::select! {
                happened = listener.wait(&mut fired) => {
                    happened.unwrap();
                    assert!(fired.iter().all(|fired| fired.id == 3));
                    told += fired.iter().map(|fired| fired.times).sum::<u64>();
                }
                value = reader.changed() => {
                    let value = value.unwrap();
                    assert!(value > last);
                    last = value;
                }
                () = sleep(patience(round)) => {}
            }
        }
        assert_eq!(told, MESSAGES);
    });
    drop(notifying.join().unwrap());
}

/// A wait for room to write in place, given up at any moment: then and only then there is room.
#[test]
fn a_cancelled_wait_for_room_to_write_in_place_changes_nothing() {
    const FRAME: usize = 5000;
    let place = Place::new();
    let topic = Topic::<[u8]>::create(&place.name("frames")).unwrap();
    let options = topic.publisher_options().payload_max_bytes(FRAME).depth(2).max_payloads(2);
    let mut publisher = aio::topic::Publisher::from(options.waiting(Waiting::Block).open().unwrap());
    let mut subscriber = topic.subscriber().unwrap();
    let reading = std::thread::spawn(move || {
        for number in 0..200_u64 {
            let frame = subscriber.recv_timeout(PATIENCE).unwrap();
            assert!(frame.len() == FRAME && frame.iter().all(|byte| *byte == number as u8));
            dawdle(number);
        }
    });
    runtime().block_on(async {
        let (mut sent, mut round) = (0_u64, 0);
        while sent < 200 {
            round += 1;
            if timeout(patience(round), publisher.room()).await.is_err() {
                continue;
            }
            let mut frame = publisher.get_ref().try_loan_slice(FRAME).unwrap();
            frame.fill(sent as u8);
            frame.try_send().unwrap();
            sent += 1;
        }
    });
    reading.join().unwrap();
}

#[test]
fn a_cancelled_read_or_write_loses_no_byte() {
    const BYTES: usize = 200_000;
    let place = Place::new();
    let listener = Listener::options().capacity(4096).bind(place.name("stream")).unwrap();
    let name = place.name("stream");
    runtime().block_on(async {
        let listener = aio::stream::Listener::from(listener);
        let client = tokio::task::spawn_blocking(move || Stream::connect(&name).unwrap());
        let (mut read, _write) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap().split();
        let client = aio::stream::Stream::from(client.await.unwrap());
        let writing = tokio::spawn(async move {
            let (_read, mut write) = client.split();
            let bytes: Vec<u8> = (0..BYTES).map(|index| (index % 251) as u8).collect();
            let (mut done, mut round) = (0, 0);
            while done < BYTES {
                if let Ok(count) = timeout(patience(round), write.write(&bytes[done..])).await {
                    done += count.unwrap();
                }
                round += 1;
            }
            write.shutdown().await.unwrap();
        });
        let (mut got, mut round, mut buffer) = (Vec::new(), 0, [0; 700]);
        loop {
            round += 1;
            if let Ok(count) = timeout(patience(round + 3), read.read(&mut buffer)).await {
                match count.unwrap() {
                    0 => break,
                    count => got.extend_from_slice(&buffer[..count]),
                }
            }
        }
        assert_eq!(got.len(), BYTES);
        assert!(got.iter().enumerate().all(|(index, byte)| *byte == (index % 251) as u8));
        writing.await.unwrap();
    });
}

#[test]
fn cancelled_calls_are_cancelled_and_the_others_answered() {
    let place = Place::new();
    let server = Server::<u64, u64>::bind(place.name("calls")).unwrap();
    let client = Client::<u64, u64>::connect(place.name("calls")).unwrap();
    runtime().block_on(async {
        let server = aio::reqres::Server::from(server);
        let serving = tokio::spawn(async move {
            let mut round = 0;
            loop {
                round += 1;
                let Ok(request) = timeout(patience(round), server.recv()).await else { continue };
                let mut request = request.unwrap();
                match *request {
                    0 => return request.respond(&0).await.unwrap(),
                    number if number % 10 == 9 => {
                        // More than the window: it must wait for credit, and lose none by being cancelled.
                        let mut item = 0;
                        while item < 50 {
                            match timeout(patience(round + item), request.item(&item)).await {
                                Ok(sent) => {
                                    sent.unwrap();
                                    item += 1;
                                }
                                Err(_) => round += 1,
                            }
                        }
                        request.end().await.unwrap();
                    }
                    number => match request.respond(&(number * 2)).await {
                        Ok(()) => {}
                        Err(error) => panic!("{error}"),
                    },
                }
            }
        });
        let client = aio::reqres::Client::from(client);
        for number in 1..1000 {
            if number % 10 == 9 {
                let mut items = client.call_stream(&number).await.unwrap();
                let mut next = 0;
                loop {
                    match timeout(patience(number + next), items.recv()).await {
                        Ok(item) => match item.unwrap() {
                            Some(item) => {
                                assert_eq!(*item, next);
                                next += 1;
                            }
                            None => break,
                        },
                        Err(_) => tokio::task::yield_now().await,
                    }
                }
                assert_eq!(next, 50);
            } else if let Ok(answer) = timeout(patience(number), client.call(&number)).await {
                assert_eq!(*answer.unwrap(), number * 2);
            }
        }
        let (one, other) = tokio::join!(client.call(&5), client.call(&6));
        assert_eq!((*one.unwrap(), *other.unwrap()), (10, 12));
        timeout(PATIENCE, client.call(&0)).await.unwrap().unwrap();
        serving.await.unwrap();
    });
}

/// Descriptors, and bells that hang in the peer.
#[test]
fn a_hundred_thousand_cancelled_waits_leave_nothing() {
    // Alone in its process: other tests open descriptors, too.
    if role().is_none() {
        return Peer::of(test_name!()).role("alone").spawn().succeeds();
    }
    let place = Place::new();
    let topic = Topic::<u64>::create(&place.name("topic")).unwrap();
    let publisher = topic.publisher().unwrap();
    let mut subscriber =
        aio::topic::Subscriber::from(topic.subscriber_options().waiting(Waiting::Block).open().unwrap());
    let queue = aio::queue::Queue::from(Queue::<u64>::create(place.name("queue")).unwrap());
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let mut before = 0;
        for round in 0..100_000_u64 {
            tokio::select! {
                biased;
                _ = subscriber.recv() => panic!("nothing was published"),
                _ = queue.recv() => panic!("nothing was sent"),
                () = std::future::ready(()) => {}
            }
            if round == 1000 {
                // The publisher has its copy of the bell by now, most likely.
                sleep(Duration::from_millis(100)).await;
                before = descriptors();
            }
        }
        assert!(descriptors() <= before + 2, "{before} descriptors have become {}", descriptors());
        publisher.publish(&1).unwrap();
        queue.send(&2).await.unwrap();
        assert_eq!(*timeout(PATIENCE, subscriber.recv()).await.unwrap().unwrap(), 1);
        assert_eq!(*timeout(PATIENCE, queue.recv()).await.unwrap().unwrap(), 2);
    });
}
