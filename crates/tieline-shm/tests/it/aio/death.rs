//! `kill -9` of the peer while a task waits for it.

use std::time::{Duration, Instant};

use tieline_shm::queue::Queue;
use tieline_shm::reqres::{Client, Server};
use tieline_shm::stream::{Listener, Stream};
use tieline_shm::topic::{Policy, Topic};
use tieline_shm::{ErrorKind, Result, aio};
use tieline_testkit::{PATIENCE, Peer, role, soon, test_name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{Place, runtime};

/// The survivor knows of each death, and knows it within ten milliseconds.
fn told_soon(once: impl FnMut() -> Duration) {
    soon("the death", Duration::from_millis(10), once);
}

/// Waits in a task until the peer, killed meanwhile, is told of; how long after its death.
async fn killed<R>(peer: &mut Peer, waiting: impl Future<Output = R>) -> (R, Duration) {
    let mut waiting = std::pin::pin!(waiting);
    // It sleeps before the peer dies.
    assert!(timeout(Duration::from_millis(20), &mut waiting).await.is_err());
    let started = Instant::now();
    peer.kill();
    let told = timeout(PATIENCE, waiting).await.expect("it is told");
    (told, started.elapsed())
}

fn gone<T: std::fmt::Debug>(answer: Result<T>) {
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::PeerGone);
}

#[test]
fn a_subscriber_is_told_of_its_publishers_death() {
    if let Some(me) = role() {
        let publisher = Topic::<u64>::open(&me.env("NAME")).unwrap().publisher().unwrap();
        publisher.publish(&1).unwrap();
        me.say("ready");
        me.wait_for("never");
        return;
    }
    told_soon(|| {
        let place = Place::new();
        let name = place.name("topic");
        let topic = Topic::<u64>::create(&name).unwrap();
        let mut subscriber = aio::topic::Subscriber::from(topic.subscriber().unwrap());
        let mut peer = Peer::of(test_name!()).role("publisher").env("NAME", &name).spawn();
        peer.wait_for("ready");
        runtime().block_on(async {
            assert_eq!(*subscriber.recv().await.unwrap(), 1);
            let (told, after) = killed(&mut peer, subscriber.recv()).await;
            gone(told);
            after
        })
    });
}

/// A publisher waits for no dead subscriber.
#[test]
fn a_publisher_is_let_go_by_its_subscribers_death() {
    if let Some(me) = role() {
        let _subscriber =
            Topic::<u64>::open(&me.env("NAME")).unwrap().subscriber_options().policy(Policy::Block).open().unwrap();
        me.say("ready");
        me.wait_for("never");
        return;
    }
    told_soon(|| {
        let place = Place::new();
        let name = place.name("topic");
        let topic = Topic::<u64>::create(&name).unwrap();
        let mut publisher = aio::topic::Publisher::from(topic.publisher_options().depth(2).open().unwrap());
        let mut peer = Peer::of(test_name!()).role("subscriber").env("NAME", &name).spawn();
        peer.wait_for("ready");
        runtime().block_on(async {
            while publisher.try_publish(&1).is_ok() {}
            let (published, after) = killed(&mut peer, publisher.publish(&2)).await;
            published.unwrap();
            after
        })
    });
}

#[test]
fn an_item_of_a_dead_consumer_comes_to_a_waiting_task() {
    if let Some(me) = role() {
        let queue = Queue::<u64>::open(me.env("NAME")).unwrap();
        let item = queue.recv().unwrap();
        me.say("ready");
        me.wait_for("never");
        drop(item);
        return;
    }
    told_soon(|| {
        let place = Place::new();
        let name = place.name("queue");
        let queue = Queue::<u64>::create(&name).unwrap();
        queue.send(&7).unwrap();
        let mut peer = Peer::of(test_name!()).role("consumer").env("NAME", &name).spawn();
        peer.wait_for("ready");
        runtime().block_on(async {
            let queue = aio::queue::Queue::from(queue);
            let (item, after) = killed(&mut peer, queue.recv()).await;
            let item = item.unwrap();
            assert_eq!((*item, item.is_redelivered()), (7, true));
            after
        })
    });
}

#[test]
fn a_stream_is_told_of_its_peers_death() {
    if let Some(me) = role() {
        let stream = Stream::connect(me.env("NAME")).unwrap();
        me.say("ready");
        me.wait_for("never");
        drop(stream);
        return;
    }
    for is_reading in [true, false] {
        told_soon(|| {
            let place = Place::new();
            let name = place.name("stream");
            let listener = Listener::options().capacity(4096).bind(&name).unwrap();
            let mut peer = Peer::of(test_name!()).role("client").env("NAME", &name).spawn();
            runtime().block_on(async {
                let mut stream = aio::stream::Listener::from(listener).accept().await.unwrap();
                peer.wait_for("ready");
                let mut byte = [0];
                if is_reading {
                    let (read, after) = killed(&mut peer, stream.read(&mut byte)).await;
                    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
                    after
                } else {
                    let (written, after) = killed(&mut peer, stream.write_all(&[0; 5000])).await;
                    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
                    after
                }
            })
        });
    }
}

#[test]
fn a_call_is_told_of_its_servers_death() {
    if let Some(me) = role() {
        let server = Server::<u64, u64>::bind(me.env("NAME")).unwrap();
        me.say("ready");
        let request = server.recv().unwrap();
        me.wait_for("never");
        drop(request);
        return;
    }
    told_soon(|| {
        let place = Place::new();
        let name = place.name("calls");
        let mut peer = Peer::of(test_name!()).role("server").env("NAME", &name).spawn();
        peer.wait_for("ready");
        let client = Client::<u64, u64>::connect(&name).unwrap();
        runtime().block_on(async {
            let client = aio::reqres::Client::from(client);
            let (answer, after) = killed(&mut peer, client.call(&1)).await;
            gone(answer);
            after
        })
    });
}

/// A stream of items to a client that dies ends, whether it waits for credit or for room.
#[test]
fn a_server_is_told_of_its_clients_death() {
    if let Some(me) = role() {
        let client = Client::<u64, u64>::connect(me.env("NAME")).unwrap();
        let items = client.call_stream(&1).unwrap();
        me.say("ready");
        me.wait_for("never");
        drop(items);
        return;
    }
    told_soon(|| {
        let place = Place::new();
        let name = place.name("calls");
        let server = Server::<u64, u64>::bind(&name).unwrap();
        let mut peer = Peer::of(test_name!()).role("client").env("NAME", &name).spawn();
        peer.wait_for("ready");
        runtime().block_on(async {
            let mut request = aio::reqres::Server::from(server).recv().await.unwrap();
            let items = async {
                loop {
                    if let Err(error) = request.item(&1).await {
                        return error;
                    }
                }
            };
            let (error, after) = killed(&mut peer, items).await;
            assert_eq!(error.kind(), ErrorKind::PeerGone);
            after
        })
    });
}
