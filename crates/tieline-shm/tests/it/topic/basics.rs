//! One process, both ends.

use std::time::Duration;

use tieline_shm::topic::{Policy, Publisher, Topic};
use tieline_shm::{ErrorKind, WaitSet};
use tieline_testkit::{PATIENCE, eventually};

use super::place;

#[test]
fn small_and_large_values_arrive_in_order() {
    fn there_and_back<const N: usize>() {
        let (_place, name) = place();
        let topic = Topic::<[u64; N]>::open_or_create(&name).unwrap();
        let mut subscriber = topic.subscriber().unwrap();
        let publisher = topic.publisher().unwrap();
        assert_eq!(subscriber.try_recv().unwrap_err().kind(), ErrorKind::WouldBlock);
        for round in 0..20 {
            for value in 0..3 {
                publisher.publish(&[round * 3 + value; N]).unwrap();
            }
            for value in 0..3 {
                let sample = subscriber.try_recv().unwrap();
                assert_eq!(*sample, [round * 3 + value; N]);
                assert_eq!(sample.is_held(), N * 8 > 112);
            }
        }
        assert_eq!(subscriber.counters().received, 60);
        assert_eq!(subscriber.counters().lost, 0);
    }
    there_and_back::<1>();
    there_and_back::<6>();
    there_and_back::<8>();
    there_and_back::<14>();
    there_and_back::<15>();
    there_and_back::<100_000>();
}

#[test]
fn loans_are_not_copied_and_come_back_in_any_order() {
    let (_place, name) = place();
    let topic = Topic::<[u32; 65536]>::open_or_create(&name).unwrap();
    let mut subscriber = topic.subscriber().unwrap();
    let publisher = topic.publisher_options().max_loans(2).max_held(3).open().unwrap();
    let send = |value: u32| {
        let mut loan = publisher.loan().unwrap();
        loan[0] = value;
        loan[65535] = value;
        loan.send().unwrap();
    };
    (0..3).for_each(send);
    let mut held: Vec<_> = (0..3).map(|_| subscriber.recv().unwrap()).collect();
    send(3);
    assert_eq!(subscriber.try_recv().unwrap_err().kind(), ErrorKind::LimitReached);
    held.remove(1);
    let fourth = subscriber.recv().unwrap();
    assert_eq!((held[0][0], held[1][65535], fourth[0]), (0, 2, 3));
    drop(held);
    for value in 4..100 {
        send(value);
        assert_eq!(subscriber.recv().unwrap()[65535], value);
    }
    assert_eq!(fourth[65535], 3, "what is held is not overwritten");
    assert!(publisher.committed_payloads() <= 8, "{}", publisher.committed_payloads());
}

/// Bytes of memory behind the log of that name, as its publisher, this process, has it open.
fn memory_of_log(name: &str) -> u64 {
    let wanted = format!("/memfd:tieline:log:{} (deleted)", name.rsplit('/').next().unwrap());
    let is_it = |path: &std::path::PathBuf| std::fs::read_link(path).is_ok_and(|target| target == *wanted);
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let log = descriptors.into_iter().find(is_it).expect("the log is open");
    std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(log).unwrap()) * 512
}

/// A publisher that may send 16 MiB and sends 300 bytes takes no memory for what it does not send, however many of
/// those wait for a slow subscriber.
#[test]
fn memory_is_taken_for_messages_as_long_as_they_are() {
    let (place, _) = place();
    // A name of its own: other tests have logs open, too.
    let name = format!("{}/lengths", place.path().display());
    let topic = Topic::<[u8]>::open_or_create(&name).unwrap();
    let mut slow = topic.subscriber().unwrap();
    let publisher = topic.publisher_options().depth(64).payload_max_bytes(16 << 20).max_payloads(64).open().unwrap();
    for _ in 0..64 {
        publisher.try_publish(&[7; 300]).unwrap();
    }
    let (short, count) = (memory_of_log(&name), publisher.committed_payloads());
    assert!(count == 64 && short <= 8 << 20, "{short} bytes for {count} messages");

    // One that is longer has all the memory it needs, wherever it is put, and what was there stays.
    for _ in 0..64 {
        assert_eq!(slow.recv().unwrap()[..], [7; 300]);
    }
    let long: Vec<u8> = (0..(16 << 20)).map(|byte: u32| byte.to_le_bytes()[byte as usize % 4]).collect();
    for len in [70_000, 3 << 20, 16 << 20] {
        publisher.try_publish(&long[..len]).unwrap();
        assert!(slow.recv().unwrap()[..] == long[..len], "{len} bytes came otherwise");
    }
    let grown = memory_of_log(&name) - short;
    assert!(grown <= (16 << 20) + (4 << 20) + (1 << 20), "{grown} bytes more for three messages");
    assert_eq!(publisher.try_publish(&[0; (16 << 20) + 1]).unwrap_err().kind(), ErrorKind::TooLarge);
}

#[test]
fn a_held_sample_outlives_subscriber_and_publisher() {
    let (_place, name) = place();
    let topic = Topic::<[u64; 1000]>::open_or_create(&name).unwrap();
    let mut subscriber = topic.subscriber().unwrap();
    let publisher = topic.publisher().unwrap();
    publisher.publish(&[5; 1000]).unwrap();
    let sample = subscriber.recv().unwrap();
    drop(publisher);
    drop(subscriber);
    assert_eq!(*sample, [5; 1000]);
    std::thread::spawn(move || drop(sample)).join().unwrap();
}

#[test]
fn slices_have_any_length_up_to_the_maximum() {
    let (_place, name) = place();
    let topic = Topic::<[u16]>::open_or_create(&name).unwrap();
    let mut subscriber = topic.subscriber().unwrap();
    let publisher = topic.publisher_options().payload_max_bytes(10_000).open().unwrap();
    for len in [0, 1, 3, 56, 57, 1000, 5000] {
        let value: Vec<u16> = (0..len).collect();
        publisher.publish(&value).unwrap();
        assert_eq!(*subscriber.recv().unwrap(), value[..]);
    }
    assert_eq!(publisher.publish(&vec![0; 10_001]).unwrap_err().kind(), ErrorKind::TooLarge);
    let mut loan = publisher.loan_slice(3).unwrap();
    loan.copy_from_slice(&[7, 8, 9]);
    loan.send().unwrap();
    assert_eq!(*subscriber.recv().unwrap(), [7, 8, 9]);
    publisher.loan_slice_uninit(4).unwrap().fill_with(|index| index as u16).send().unwrap();
    assert_eq!(*subscriber.recv().unwrap(), [0, 1, 2, 3]);
}

#[test]
fn batches_are_drained() {
    let (_place, name) = place();
    let topic = Topic::<u64>::open_or_create(&name).unwrap();
    let mut subscriber = topic.subscriber().unwrap();
    let publisher = topic.publisher().unwrap();
    let values: Vec<u64> = (0..1000).collect();
    publisher.publish_many(&values).unwrap();
    let mut got = Vec::new();
    assert_eq!(subscriber.recv_many(10, |value| got.push(*value)).unwrap(), 10);
    assert_eq!(subscriber.drain(|value| got.push(*value)).unwrap(), 990);
    assert_eq!(got, values);
    assert_eq!(subscriber.drain(|_| unreachable!()).unwrap(), 0);
}

#[test]
fn every_subscriber_gets_every_message_of_every_publisher() {
    let (_place, name) = place();
    let topic = Topic::<u64>::open_or_create(&name).unwrap();
    let publishers: Vec<_> = (0..3).map(|_| topic.publisher().unwrap()).collect();
    let mut subscribers: Vec<_> = (0..4).map(|_| topic.subscriber().unwrap()).collect();
    for round in 0..100 {
        for (number, publisher) in publishers.iter().enumerate() {
            publisher.publish(&(round * 3 + number as u64)).unwrap();
        }
    }
    for subscriber in &mut subscribers {
        let mut got: Vec<u64> = (0..300).map(|_| *subscriber.try_recv().unwrap()).collect();
        assert!(got.iter().zip(&got[3..]).all(|(value, later)| later > value || later.abs_diff(*value) < 9));
        got.sort_unstable();
        assert_eq!(got, (0..300).collect::<Vec<_>>());
        assert_eq!(subscriber.counters().publishers, 3);
    }
}

#[test]
fn late_joiners_get_history_if_they_want_it() {
    let (_place, name) = place();
    let topic = Topic::<[u64; 500]>::open_or_create(&name).unwrap();
    let publisher = topic.publisher_options().depth(8).history(4).open().unwrap();
    for value in 0..10 {
        publisher.publish(&[value; 500]).unwrap();
    }
    let mut all = topic.subscriber_options().history(100).open().unwrap();
    let mut two = topic.subscriber_options().history(2).open().unwrap();
    let mut none = topic.subscriber().unwrap();
    assert_eq!((0..4).map(|_| all.try_recv().unwrap()[499]).collect::<Vec<_>>(), [6, 7, 8, 9]);
    assert_eq!((0..2).map(|_| two.try_recv().unwrap()[499]).collect::<Vec<_>>(), [8, 9]);
    assert!(none.try_recv().unwrap_err().is_would_block());
}

#[test]
fn each_subscriber_has_its_own_policy() {
    let (_place, name) = place();
    let topic = Topic::<u64>::open_or_create(&name).unwrap();
    let publisher = topic.publisher_options().depth(8).open().unwrap();
    let mut oldest = topic.subscriber_options().policy(Policy::DropOldest).open().unwrap();
    let mut latest = topic.subscriber_options().policy(Policy::SkipToLatest).open().unwrap();
    let mut strict = topic.subscriber_options().policy(Policy::Disconnect).open().unwrap();
    (0..20).for_each(|value| publisher.publish(&value).unwrap());
    assert_eq!(*latest.try_recv().unwrap(), 19);
    assert!(latest.try_recv().unwrap_err().is_would_block());
    assert_eq!(latest.counters().lost, 19);
    assert_eq!(strict.try_recv().unwrap_err().kind(), ErrorKind::Lagged);
    assert_eq!(strict.recv().unwrap_err().kind(), ErrorKind::Lagged);
    assert_eq!(*oldest.try_recv().unwrap(), 13);
    assert_eq!(oldest.counters().lost, 13);

    let mut block = topic.subscriber_options().depth(2).open().unwrap();
    publisher.publish(&20).unwrap();
    publisher.publish(&21).unwrap();
    assert!(publisher.try_publish(&22).unwrap_err().is_would_block());
    let timeout = Duration::from_millis(5);
    assert!(publisher.publish_timeout(&22, timeout).unwrap_err().is_timeout());
    assert_eq!(*block.recv().unwrap(), 20);
    publisher.try_publish(&22).unwrap();
    drop(block);
    (23..100).for_each(|value| publisher.publish(&value).unwrap());
}

#[test]
fn large_messages_overwrite_what_laggards_have_not_read_but_not_what_they_hold() {
    let (_place, name) = place();
    let topic = Topic::<[u64; 2000]>::open_or_create(&name).unwrap();
    let publisher = topic.publisher_options().depth(4).max_payloads(6).open().unwrap();
    let mut laggard = topic.subscriber_options().policy(Policy::DropOldest).open().unwrap();
    publisher.publish(&[1; 2000]).unwrap();
    let held = laggard.recv().unwrap();
    for value in 2..200 {
        publisher.publish(&[value; 2000]).unwrap();
    }
    assert_eq!(*held, [1; 2000]);
    let next = laggard.recv().unwrap();
    assert!(next[0] >= 196 && next.iter().all(|word| *word == next[0]), "{}", next[0]);
    assert!(publisher.committed_payloads() <= 6);
}

#[test]
fn the_last_publisher_s_leaving_is_told_once_and_after_all_messages() {
    let (_place, name) = place();
    let topic = Topic::<u64>::open_or_create(&name).unwrap();
    let mut subscriber = topic.subscriber().unwrap();
    for round in 0..3 {
        let publisher = topic.publisher().unwrap();
        publisher.publish(&round).unwrap();
        drop(publisher);
        assert_eq!(*subscriber.recv().unwrap(), round);
        assert_eq!(subscriber.recv().unwrap_err().kind(), ErrorKind::PeerGone);
        assert!(subscriber.try_recv().unwrap_err().is_would_block());
    }
}

#[test]
fn a_wait_set_tells_of_messages_newcomers_and_departures() {
    let places = [place(), place()];
    let topics = [0, 1].map(|index: usize| Topic::<u64>::open_or_create(&places[index].1).unwrap());
    let mut subscribers = [0, 1].map(|index: usize| topics[index].subscriber().unwrap());
    let mut set = WaitSet::new().unwrap();
    set.attach(&subscribers[0], 0).unwrap();
    set.attach(&subscribers[1], 1).unwrap();
    let mut ready = Vec::new();
    assert!(set.try_wait(&mut ready).unwrap_err().is_would_block());
    for round in 0..20 {
        for (index, token) in [(0, 0), (1, 1)] {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let publisher = topics[index].publisher().unwrap();
                    publisher.publish(&round).unwrap();
                });
                let mut got = Vec::new();
                while got.len() < 2 {
                    set.wait_timeout(&mut ready, PATIENCE).unwrap();
                    assert!(ready.iter().all(|ready| ready.token == token), "{ready:?}");
                    match subscribers[index].try_recv() {
                        Ok(value) => got.push(Ok(*value)),
                        Err(error) if error.is_would_block() => {}
                        Err(error) => got.push(Err(error.kind())),
                    }
                }
                assert_eq!(got, [Ok(round), Err(ErrorKind::PeerGone)]);
            });
        }
    }
}

#[test]
fn a_sample_outlives_its_subscriber_unchanged() {
    let (_place, name) = place();
    let topic = Topic::<[u64; 1000]>::open_or_create(&name).unwrap();
    let publisher = topic.publisher_options().depth(2).open().unwrap();
    let mut subscriber = topic.subscriber().unwrap();
    publisher.publish(&[7; 1000]).unwrap();
    let sample = subscriber.recv().unwrap();
    drop(subscriber);
    // Nobody reads any more, so nobody is waited for.
    let mut witness = topic.subscriber().unwrap();
    for value in 100..200 {
        publisher.publish_timeout(&[value; 1000], PATIENCE).unwrap();
        assert_eq!(witness.recv().unwrap()[0], value);
        assert_eq!(*sample, [7; 1000]);
    }
    drop(sample);
    eventually("it is forgotten", || publisher.subscribers() == 1);
}

#[test]
fn a_subscriber_sleeps_beside_more_publishers_than_the_kernel_watches_at_once() {
    if !tieline_testkit::room_for_descriptors(900) {
        tieline_testkit::skip!("needs more descriptors than this machine lets a process have");
    }
    let (_place, name) = place();
    let topic = Topic::<u64>::open_or_create(&name).unwrap();
    let mut subscriber = topic.subscriber().unwrap();
    let mut publishers: Vec<_> = (0..140).map(|_| topic.publisher_options().depth(2).open().unwrap()).collect();
    let error = subscriber.recv_timeout(Duration::from_millis(20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    let last = publishers.pop().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            tieline_testkit::pause(Duration::from_millis(30));
            last.publish(&7).unwrap();
        });
        assert_eq!(*subscriber.recv_timeout(PATIENCE).unwrap(), 7);
    });
}

/// A program that must be able to end is not held up by a subscriber that stands still, and does not look again and
/// again: it goes on when there is room, when the subscriber leaves, and when it is told to stop.
#[test]
fn a_wait_for_room_ends_with_room_with_its_subscriber_or_with_a_descriptor() {
    let (_place, name) = place();
    let topic = Topic::<[u8]>::open_or_create(&name).unwrap();
    // Short messages find no room in the log, long ones none in the pool.
    for len in [8, 1000] {
        let mut publisher = topic.publisher_options().depth(64).history(32).max_payloads(40).open().unwrap();
        let message = vec![1; len];
        let full = |publisher: &Publisher<[u8]>| while publisher.try_publish(&message).is_ok() {};
        let (stop, mut teller) = std::os::unix::net::UnixStream::pair().unwrap();
        // The second subscriber of this user comes when the first has gone: it tells elsewhere.
        for leaves in [true, false] {
            let mut slow = topic.subscriber().unwrap();
            full(&publisher);
            let brief = Some(Duration::from_millis(20));
            assert_eq!(publisher.publish_unless(&message, &stop, brief).unwrap_err().kind(), ErrorKind::TimedOut);
            let (told, answer) = std::sync::mpsc::channel();
            let (bytes, ends) = (message.clone(), stop.try_clone().unwrap());
            let thread = std::thread::spawn(move || {
                told.send(publisher.publish_unless(&bytes, &ends, None).unwrap()).unwrap();
                publisher
            });
            assert!(answer.recv_timeout(Duration::from_millis(50)).is_err(), "there is no room");
            match leaves {
                true => drop(slow),
                false => while slow.try_recv().is_ok() {},
            }
            assert!(answer.recv_timeout(PATIENCE).expect("it goes on"), "it was published");
            publisher = thread.join().unwrap();
        }
        let _stands_still = topic.subscriber().unwrap();
        full(&publisher);
        std::io::Write::write_all(&mut teller, b"stop").unwrap();
        assert!(!publisher.publish_unless(&message, &stop, None).unwrap());
    }
}
