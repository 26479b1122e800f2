//! Waiting in tasks.

mod cancelled;
mod death;
mod quiet;
mod together;

use std::time::Duration;

use tieline_shm::aio;
use tieline_shm::testing::Signal;
use tieline_testkit::PATIENCE;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// A runtime directory of the test's own, in which names are given by their paths.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn name(&self, of: &str) -> String {
        format!("{}/{of}", self.0.path().display())
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// What every future must be, to be spawned on a runtime with several threads. Compiling the next two is the test.
fn spawnable<F: Future + Send>(future: F) -> F {
    future
}

#[expect(dead_code, reason = "never run")]
async fn messages_may_be_awaited_by_any_thread(
    subscriber: &mut aio::topic::Subscriber<[f32]>,
    publisher: &mut aio::topic::Publisher<[f32]>,
    queue: &aio::queue::Queue<[f32]>,
    latest: &mut aio::latest::LatestReader<u64>,
    events: &mut aio::event::Listener,
) {
    spawnable(subscriber.recv_many(2, |_| {})).await.unwrap();
    spawnable(subscriber.recv()).await.unwrap();
    spawnable(publisher.publish(&[1.0])).await.unwrap();
    spawnable(publisher.room()).await.unwrap();
    spawnable(queue.send(&[1.0])).await.unwrap();
    spawnable(queue.recv()).await.unwrap().ack().unwrap();
    spawnable(latest.changed()).await.unwrap();
    spawnable(events.wait(&mut Vec::new())).await.unwrap();
}

#[expect(dead_code, reason = "never run")]
async fn calls_and_bytes_may_be_awaited_by_any_thread(
    client: &aio::reqres::Client<[f32], u64>,
    server: &aio::reqres::Server<[f32], u64>,
    listener: &aio::stream::Listener,
) {
    spawnable(client.call(&[1.0])).await.unwrap();
    spawnable(spawnable(client.start(&[1.0])).await.unwrap().wait()).await.unwrap();
    let mut items = spawnable(client.call_stream(&[1.0])).await.unwrap();
    spawnable(items.recv()).await.unwrap();
    let mut request = spawnable(server.recv()).await.unwrap();
    spawnable(request.item(&7)).await.unwrap();
    spawnable(request.end()).await.unwrap();
    spawnable(spawnable(server.recv()).await.unwrap().respond(&7)).await.unwrap();
    spawnable(spawnable(server.recv()).await.unwrap().fail("no")).await.unwrap();
    let (mut read, mut write) = spawnable(listener.accept()).await.unwrap().split();
    spawnable(tokio::io::copy(&mut read, &mut write)).await.unwrap();
}

/// Two tasks to and fro, by bells that each gave the other, and by the relay.
#[test]
fn no_wake_up_is_lost_between_two_tasks() {
    const ROUNDS: u64 = 3000;
    for is_lined in [true, false] {
        runtime().block_on(async {
            let (ping, pong) = (Signal::create().unwrap(), Signal::create().unwrap());
            let (at_ping, at_pong) = (ping.again(is_lined).unwrap(), pong.again(is_lined).unwrap());
            let _hung = is_lined
                .then(|| (ping.hang(at_ping.bell().unwrap()).unwrap(), pong.hang(at_pong.bell().unwrap()).unwrap()));
            let echo = tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let seen = timeout(PATIENCE, at_ping.beyond_in_task(round)).await.unwrap().unwrap();
                    pong.raise(seen);
                }
            });
            for round in 0..ROUNDS {
                ping.raise(round + 1);
                timeout(PATIENCE, at_pong.beyond_in_task(round)).await.unwrap().unwrap();
            }
            echo.await.unwrap();
        });
    }
}

/// Waits that are given up at any moment leave nothing, and lose nothing.
#[test]
fn a_cancelled_wait_loses_nothing() {
    runtime().block_on(async {
        let signal = Signal::create().unwrap();
        let notifier = signal.again(false).unwrap();
        let raising = std::thread::spawn(move || {
            for value in 1..=300 {
                notifier.raise(value);
                tieline_testkit::pause(Duration::from_micros(300));
            }
        });
        let mut seen = 0;
        while seen < 300 {
            if let Ok(value) = timeout(Duration::from_micros(200), signal.beyond_in_task(seen)).await {
                seen = value.unwrap();
            }
        }
        raising.join().unwrap();
    });
}

/// A task that waits in vain leaves the runtime's threads to others, and costs no wake-ups.
#[test]
fn a_waiting_task_costs_nothing() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let signal = Signal::create().unwrap();
        let waiting = async { timeout(Duration::from_millis(300), signal.beyond_in_task(0)).await.unwrap_err() };
        let switches = voluntary_switches();
        waiting.await;
        let switched = voluntary_switches() - switches;
        assert!(switched < 20, "{switched} wake-ups in 300 ms");
    });
}

/// How often this thread has gone to sleep.
fn voluntary_switches() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}
