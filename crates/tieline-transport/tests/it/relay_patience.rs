//! Whose time is up: the source's or the sink's; and that what was taken is given all the same.

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use tieline_os::posix::mq::{Attributes, MessageQueue};
use tieline_os::sysv::msg::MessageQueue as SysvQueue;
use tieline_os::sysv::{Key, RemoveOnDrop};
use tieline_os::{Access, Mode};
use tieline_testkit::PATIENCE;
use tieline_transport::relay::{End, Relay};

use crate::support::{Place, receive, send, unique};

/// Given a full queue and a source that takes its time, when the sink may not be waited for, then the relay waits for
/// the source and not for the sink, and hands back what the sink did not take.
#[test]
fn a_sink_without_patience_does_not_hurry_the_source() {
    let name = format!("/tieline-patience-{}", unique());
    let size = Attributes { capacity: 1, message_size: 16 };
    let queue = MessageQueue::create(&name, size, Access::ReadWrite, Mode::OWNER).unwrap();
    let relay = Relay::new().sink_timeout(Duration::ZERO).grace(Duration::ZERO);
    let from = receive("exec:sleep 0.2; echo one; echo two");
    let outcome = relay.one_way(from, send(&format!("mq:{name}"))).unwrap();
    MessageQueue::unlink(&name).unwrap();
    let flow = outcome.forward;
    assert!(matches!(flow.end, End::TimedOut), "{}", flow.end);
    assert_eq!((flow.messages, flow.undelivered_messages), (1, 1));
    assert!(flow.undelivered.starts_with(b"two"));
    assert_eq!(queue.depth().unwrap(), 1);
}

/// Given messages that were taken from a queue and a reader that is slower than the deadline, when the time is up, then
/// they are still given: nobody else could give them.
#[test]
fn what_was_taken_is_given_although_the_time_is_up() {
    let name = format!("/tieline-patience-{}", unique());
    let size = Attributes { capacity: 10, message_size: 8192 };
    let queue = MessageQueue::create(&name, size, Access::ReadWrite, Mode::OWNER).unwrap();
    // More than the pipe of one page holds.
    for byte in 0..10 {
        queue.send(&[b'a' + byte; 8000], 0).unwrap();
    }
    let place = Place::new();
    let to = send(&format!("exec:sleep 0.3; cat > {}", place.path("got").display()));
    let relay = Relay::new().idle_timeout(Duration::from_millis(50)).grace(3 * PATIENCE);
    let flow = relay.one_way(receive(&format!("mq:{name}")), to).unwrap().forward;
    MessageQueue::unlink(&name).unwrap();
    assert!(matches!(flow.end, End::Idle), "{}", flow.end);
    assert_eq!(flow.messages + queue.depth().unwrap() as u64, 10);
    assert!(flow.undelivered.is_empty(), "{} bytes were lost", flow.undelivered.len());
}

/// Given a full System V queue, which can only be asked again and again, when the time is up, then the relay ends.
#[test]
fn a_sink_that_cannot_be_polled_does_not_outlast_the_deadline() {
    let queue = RemoveOnDrop::new(SysvQueue::create(Key::PRIVATE, Mode::OWNER).unwrap());
    queue.set_capacity(1).unwrap();
    let at = format!("sysv-mq:id:{}", queue.id());
    for relay in [
        Relay::new().timeout(Duration::from_millis(300)).grace(Duration::from_millis(20)),
        Relay::new().sink_timeout(Duration::from_millis(60)).grace(Duration::from_millis(20)),
    ] {
        while queue.try_send(1, b"x").is_ok() {}
        // There from the beginning, and more may come.
        let (reader, writer) = tieline_os::pipe::pipe().unwrap();
        writer.write_all(b"y\n").unwrap();
        let from = receive(&format!("fd:{}", reader.as_fd().as_raw_fd()));
        let began = Instant::now();
        let flow = relay.one_way(from, send(&at)).unwrap().forward;
        assert!(matches!(flow.end, End::TimedOut), "{}", flow.end);
        assert!(began.elapsed() < PATIENCE);
        assert_eq!((flow.messages, flow.undelivered_messages), (0, 1));
    }
}
