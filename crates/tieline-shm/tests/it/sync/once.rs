//! What is done once among processes.

use std::time::Duration;

use tieline_shm::ErrorKind;
use tieline_shm::sync::{Once, OnceCell};
use tieline_testkit::{role, test_name};

use super::{peer, segment};

#[test]
fn one_process_of_many_makes_the_value() {
    if let Some(me) = role() {
        let cell = OnceCell::<u64>::from_fd(segment()).unwrap();
        me.say("ready");
        me.wait_for("go");
        let value = cell.get_or_init(|| u64::from(std::process::id())).unwrap();
        me.say(&value.to_string());
        return;
    }
    let cell = OnceCell::<u64>::anonymous().unwrap();
    let mut peers: Vec<_> = (0..8).map(|_| peer(&test_name!(), "maker", cell.as_fd()).spawn()).collect();
    peers.iter_mut().for_each(|peer| peer.wait_for("ready"));
    peers.iter_mut().for_each(|peer| peer.say("go"));
    let values: Vec<_> = peers.iter_mut().map(tieline_testkit::Peer::hear).collect();
    let value = cell.get().unwrap().unwrap();
    assert!(values.iter().all(|heard| *heard == value.to_string()), "{values:?}");
    assert!(peers.iter().any(|peer| u64::from(peer.id()) == value));
}

#[test]
fn if_the_maker_dies_another_takes_over() {
    if role().is_some() {
        OnceCell::<u64>::from_fd(segment()).unwrap().get_or_init(|| 7).unwrap();
        return;
    }
    for (step, expected) in [("once:begun", 8), ("once:made", 8), ("once:done", 7)] {
        let cell = OnceCell::<u64>::anonymous().unwrap();
        let mut maker = peer(&test_name!(), "maker", cell.as_fd()).env("TIELINE_STEP", format!("kill:{step}")).spawn();
        assert!(!maker.exit_status().success(), "{step}");
        assert_eq!(cell.get_or_init(|| 8).unwrap(), expected, "{step}");
        assert_eq!(cell.get_or_init(|| 9).unwrap(), expected, "{step}");
    }
}

#[test]
fn a_maker_that_panics_or_asks_itself_leaves_it_to_others() {
    let once = Once::anonymous().unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| once.call_once(|| panic!("on purpose"))));
    assert!(panicked.is_err());
    assert!(!once.is_done());
    once.call_once(|| {
        assert_eq!(once.call_once(|| ()).unwrap_err().kind(), ErrorKind::Deadlock);
        std::thread::scope(|scope| {
            let late = scope.spawn(|| once.call_once_timeout(Duration::from_millis(10), || ()));
            assert_eq!(late.join().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
        });
    })
    .unwrap();
    assert!(once.is_done());
    once.call_once(|| panic!("it is done")).unwrap();
}
