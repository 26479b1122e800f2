//! Whose time is up: the source's or the sink's; and that what was taken is given all the same.

use std::time::Duration;

use tieline_os::posix::mq::{Attributes, MessageQueue};
use tieline_os::{Access, Mode};
use tieline_transport::relay::{End, Relay};

use crate::support::{Place, open, receive, send, unique};

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
    let slow = tieline_transport::addr::Address::new(
        tieline_transport::addr::Target::Exec(format!("sleep 0.3; cat > {}", place.path("got").display())),
        tieline_transport::addr::Options::default(),
    );
    let to = open(&slow.unwrap(), tieline_transport::endpoint::Direction::Send);
    let relay = Relay::new().idle_timeout(Duration::from_millis(50)).grace(Duration::from_secs(5));
    let flow = relay.one_way(receive(&format!("mq:{name}")), to).unwrap().forward;
    MessageQueue::unlink(&name).unwrap();
    assert!(matches!(flow.end, End::Idle), "{}", flow.end);
    assert_eq!(flow.messages + queue.depth().unwrap() as u64, 10);
    assert!(flow.undelivered.is_empty(), "{} bytes were lost", flow.undelivered.len());
}
