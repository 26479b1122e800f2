//! More publishers than one call of the kernel can wait for.

use std::sync::mpsc::channel;
use std::time::Duration;

use tieline_shm::topic::Topic;
use tieline_testkit::PATIENCE;

use super::place;

#[test]
fn a_subscriber_sleeps_for_more_publishers_than_a_call_of_the_kernel_takes() {
    const PUBLISHERS: u64 = 140;
    if !tieline_testkit::room_for_descriptors(900) {
        tieline_testkit::skip!("needs more descriptors than this machine lets a process have");
    }
    let (_place, name) = place();
    let topic = Topic::<u64>::open_or_create(&name).unwrap();
    let mut subscriber = topic.subscriber().unwrap();
    let mut publishers: Vec<_> = (0..PUBLISHERS).map(|_| topic.publisher_options().depth(8).open().unwrap()).collect();
    tieline_testkit::eventually("all are connected", || {
        assert!(subscriber.try_recv().unwrap_err().is_would_block());
        subscriber.counters().publishers == publishers.len()
    });
    assert!(subscriber.recv_timeout(Duration::from_millis(30)).unwrap_err().is_timeout());
    let (sender, received) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while let Ok(value) = subscriber.recv() {
                sender.send(*value).unwrap();
            }
            sender.send(u64::MAX).unwrap();
        });
        for round in 0..3 {
            for index in [0, 1, 70, 126, 127, 128, 139] {
                // Time to fall asleep.
                tieline_testkit::pause(Duration::from_millis(5));
                let value = round * 1000 + index;
                publishers[usize::try_from(index).unwrap()].publish(&value).unwrap();
                assert_eq!(received.recv_timeout(PATIENCE).unwrap(), value);
            }
        }
        // A crowd that is none any more.
        publishers.truncate(2);
        publishers[1].publish(&5).unwrap();
        assert_eq!(received.recv_timeout(PATIENCE).unwrap(), 5);
        publishers.clear();
        assert_eq!(received.recv_timeout(PATIENCE).unwrap(), u64::MAX);
    });
}
