//! Messages through a relay: framing on either side, limits, and what a message that does not fit does.

use std::time::Duration;

use tieline_testkit::eventually;
use tieline_transport::endpoint::{Direction, Endpoint, Listener, Receiver};
use tieline_transport::frame::Framing;
use tieline_transport::relay::{End, Flow, Relay};
use tieline_transport::{ErrorKind, Stop};

use crate::support::{Place, address, open, receive, send, unique};

/// A POSIX queue of its own, removed in the end.
struct Queue(String);

impl Queue {
    fn new(capacity: usize, message_size: usize) -> Self {
        let name = format!("mq:/tieline-test-{}", unique());
        receive(&format!("{name}?create=new&capacity={capacity}&message-size={message_size}"));
        Self(name)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let _ = tieline_os::posix::mq::MessageQueue::unlink(&self.0["mq:".len()..]);
    }
}

fn file(place: &Place, name: &str, content: &[u8], options: &str) -> Endpoint {
    std::fs::write(place.path(name), content).unwrap();
    receive(&format!("{}{options}", place.at("file", name)))
}

fn one_way(relay: Relay, from: Endpoint, to: Endpoint) -> Flow {
    relay.one_way(from, to).unwrap().forward
}

fn all(receiver: &mut Receiver) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Ok(Some(message)) = receiver.recv_timeout(Duration::from_millis(100)) {
        messages.push(message.to_vec());
    }
    messages
}

#[test]
fn lines_become_messages_and_messages_lines() {
    let place = Place::new();
    let queue = Queue::new(10, 64);
    let flow = one_way(Relay::new(), file(&place, "in", b"one\n\nthree", ""), send(&queue.0));
    assert_eq!((flow.messages, flow.bytes), (3, 8));
    assert!(matches!(flow.end, End::SourceEnded), "{}", flow.end);
    let out = send(&format!("{}?create=yes", place.at("file", "out")));
    let flow = one_way(Relay::new().max_messages(3), receive(&queue.0), out);
    assert_eq!((flow.messages, flow.bytes), (3, 8));
    assert!(matches!(flow.end, End::LimitReached), "{}", flow.end);
    assert_eq!(std::fs::read(place.path("out")).unwrap(), b"one\n\nthree\n");
}

#[test]
fn framings_in_the_addresses_are_translated() {
    let place = Place::new();
    let from = file(&place, "in", b"one\ntwo\n", "?frame=line");
    let to = send(&format!("{}?create=yes&frame=u16", place.at("file", "out")));
    let flow = one_way(Relay::new(), from, to);
    assert_eq!((flow.messages, flow.bytes), (2, 6));
    assert_eq!(std::fs::read(place.path("out")).unwrap(), b"\0\x03one\0\x03two");

    let from = receive(&format!("{}?frame=u16", place.at("file", "out")));
    let to = send(&format!("{}?create=yes&frame=nul", place.at("file", "back")));
    one_way(Relay::new(), from, to);
    assert_eq!(std::fs::read(place.path("back")).unwrap(), b"one\0two\0");
}

#[test]
fn messages_go_one_to_one_between_all_kinds() {
    let place = Place::new();
    let texts: Vec<Vec<u8>> = (0..200_u32).map(|index| index.to_le_bytes().repeat(1 + index as usize % 7)).collect();
    let key = unique();
    let (queue, sysv) = (Queue::new(5, 64), format!("sysv-mq:{key}"));
    let _made = open(&address(&format!("{sysv}?create=new")), Direction::Receive);
    let key = tieline_os::sysv::Key::new(key.cast_signed());
    let _remove = tieline_os::sysv::RemoveOnDrop::new(tieline_os::sysv::msg::MessageQueue::open(key).unwrap());
    let dgram = place.at("unix-dgram", "d").to_string();
    let seqpacket = Listener::bind(&place.at("unix-seqpacket", "s")).unwrap();

    // feeder -> mq -> sysv -> dgram -> seqpacket -> us, each step a relay of its own
    let mut dgram_in = Some(receive(&format!("{dgram}?listen=yes")));
    let last = open(seqpacket.address(), Direction::Send);
    let mut end = seqpacket.accept().unwrap();
    let count = texts.len() as u64;
    let step =
        |from: Endpoint, to: Endpoint| std::thread::spawn(move || one_way(Relay::new().max_messages(count), from, to));
    let steps = [
        step(receive(&queue.0), send(&sysv)),
        step(receive(&sysv), send(&dgram)),
        step(dgram_in.take().unwrap(), last),
    ];
    let mut feeder = send(&queue.0).sender().unwrap();
    let feeding = texts.clone();
    let feeder = std::thread::spawn(move || feeding.iter().for_each(|text| feeder.send(text).unwrap()));
    let mut receiver = end.receiver().unwrap();
    for text in &texts {
        assert_eq!(receiver.recv().unwrap(), Some(text.as_slice()));
    }
    assert_eq!(receiver.recv().unwrap(), None, "the last relay reached its limit and told so");
    feeder.join().unwrap();
    for step in steps {
        let flow = step.join().unwrap();
        assert_eq!((flow.messages, flow.bytes), (count, texts.iter().map(|text| text.len() as u64).sum()));
    }
}

/// Without marks there is no message that could be too large.
#[test]
fn raw_bytes_are_cut_to_what_the_sink_takes() {
    let place = Place::new();
    let queue = Queue::new(10, 8);
    let from = file(&place, "in", b"0123456789abcdefghij", "");
    let flow = one_way(Relay::new().framing(Framing::raw()), from, send(&queue.0));
    assert!(flow.end.is_natural(), "{}", flow.end);
    assert_eq!((flow.messages, flow.bytes), (3, 20));
    assert_eq!(all(&mut receive(&queue.0).receiver().unwrap()), [&b"01234567"[..], b"89abcdef", b"ghij"]);
}

#[test]
fn a_message_too_large_names_itself_and_the_limit_and_comes_back() {
    let place = Place::new();
    let queue = Queue::new(10, 8);
    let flow = one_way(Relay::new(), file(&place, "in", b"fits\n123456789\nnever\n", ""), send(&queue.0));
    let End::Failed(error) = &flow.end else { panic!("{}", flow.end) };
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let text = error.to_string();
    for word in ["message 2", "9 bytes", "8", "message-size"] {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
    assert_eq!((flow.messages, flow.undelivered_messages), (1, 2));
    assert_eq!((flow.undelivered_bytes, flow.undelivered_part), (14, 0));
    assert_eq!(flow.undelivered, b"123456789never\n", "the message, and what was read beyond it");
    assert_eq!(all(&mut receive(&queue.0).receiver().unwrap()), [b"fits"]);
}

#[test]
fn a_frame_too_long_is_an_error_of_the_source() {
    let place = Place::new();
    let queue = Queue::new(10, 64);
    let from = file(&place, "in", b"ok\nthis line is too long\n", "?frame=line,10");
    let flow = one_way(Relay::new(), from, send(&queue.0));
    let text = flow.end.to_string();
    assert!(matches!(&flow.end, End::Failed(error) if error.kind() == ErrorKind::TooLarge), "{text}");
    assert!(text.contains("message 2") && text.contains("10"), "{text}");
    assert_eq!(flow.undelivered, b"this line is too long\n");
    assert_eq!((flow.undelivered_messages, flow.undelivered_bytes, flow.undelivered_part), (0, 0, 22));

    let from = file(&place, "in", b"\0\0\0\x05abc", "?frame=u32");
    let flow = one_way(Relay::new(), from, send(&queue.0));
    assert!(matches!(&flow.end, End::Failed(error) if error.kind() == ErrorKind::Framing), "{}", flow.end);
}

#[test]
fn a_message_with_the_delimiter_inside_is_refused() {
    let place = Place::new();
    let queue = Queue::new(10, 64);
    send(&queue.0).sender().unwrap().send(b"two\nlines").unwrap();
    let out = |name| send(&format!("{}?create=yes", place.at("file", name)));
    let flow = one_way(Relay::new(), receive(&queue.0), out("lines"));
    assert!(matches!(&flow.end, End::Failed(error) if error.kind() == ErrorKind::Framing), "{}", flow.end);
    assert_eq!(flow.undelivered, b"two\nlines");
    assert_eq!(flow.at_hand, Some(0..9), "what was refused is told apart");
    send(&queue.0).sender().unwrap().send(b"two\nlines").unwrap();
    let flow = one_way(Relay::new().framing(Framing::raw()).max_messages(1), receive(&queue.0), out("raw"));
    assert!(flow.end.is_natural(), "{}", flow.end);
    assert_eq!(std::fs::read(place.path("raw")).unwrap(), b"two\nlines");
}

#[test]
fn a_limit_of_bytes_never_cuts_a_message() {
    let place = Place::new();
    let queue = Queue::new(10, 64);
    // Reached exactly, and inside a message: that one goes whole.
    for limit in [6, 5] {
        let flow = one_way(Relay::new().max_bytes(limit), file(&place, "in", b"abc\ndef\nghi\n", ""), send(&queue.0));
        assert!(matches!(flow.end, End::LimitReached));
        assert_eq!((flow.messages, flow.bytes), (2, 6));
        assert_eq!(all(&mut receive(&queue.0).receiver().unwrap()), [b"abc", b"def"]);
    }
}

/// Given a queue and a limit inside its second message, then that message is delivered and the third stays in it: what
/// was taken from a queue would otherwise be nowhere.
#[test]
fn a_limit_of_bytes_loses_no_message_of_a_queue() {
    let place = Place::new();
    let queue = Queue::new(10, 64);
    let mut sender = send(&queue.0).sender().unwrap();
    ["one", "two", "three"].into_iter().for_each(|message| sender.send(message.as_bytes()).unwrap());
    let to = send(&format!("{}?create=yes", place.at("file", "out")));
    let flow = one_way(Relay::new().max_bytes(4), receive(&queue.0), to);
    assert!(matches!(flow.end, End::LimitReached) && flow.undelivered.is_empty(), "{flow:?}");
    assert_eq!(std::fs::read(place.path("out")).unwrap(), b"one\ntwo\n");
    assert_eq!(all(&mut receive(&queue.0).receiver().unwrap()), [b"three"]);
}

/// Given two byte streams that are framed alike, then they pass as they are, unless somebody asked for messages: then
/// what is no frame is a fault, and what is one arrives as it was.
#[test]
fn frames_are_checked_where_messages_were_asked_for() {
    let place = Place::new();
    let framed = |relay: Relay, bytes: &[u8]| {
        let from = file(&place, "in", bytes, "");
        let to = send(&format!("{}?create=yes", place.at("file", "out")));
        let flow = one_way(relay.framing("u8".parse().unwrap()), from, to);
        (flow, std::fs::read(place.path("out")).unwrap())
    };
    let (flow, out) = framed(Relay::new(), b"\x05ab");
    assert_eq!((flow.end.is_natural(), flow.messages, &out[..]), (true, 0, &b"\x05ab"[..]));
    let (flow, out) = framed(Relay::new().by_message(), b"\x02ab\x00");
    assert_eq!((flow.end.is_natural(), flow.messages, &out[..]), (true, 2, &b"\x02ab\x00"[..]));
    let (flow, _) = framed(Relay::new().by_message(), b"\x05ab");
    assert!(matches!(&flow.end, End::Failed(error) if error.kind() == ErrorKind::Framing), "{}", flow.end);
}

/// The queue is full and nobody reads it: a stop hands back what was taken, and not a message is missing.
#[test]
fn a_stop_before_a_full_queue_hands_back_what_was_taken() {
    let place = Place::new();
    let queue = Queue::new(3, 64);
    let lines: Vec<u8> = (0..100).flat_map(|index| format!("line {index}\n").into_bytes()).collect();
    let from = file(&place, "in", &lines, "");
    let stop = Stop::new().unwrap();
    let relay = Relay::new().stop_on(&stop).grace(Duration::from_millis(20));
    let progress = relay.progress();
    let to = send(&queue.0);
    let (say, hear) = std::sync::mpsc::channel();
    let relay = std::thread::spawn(move || {
        say.send(tieline_os::process::current_thread().as_raw().cast_unsigned()).unwrap();
        one_way(relay, from, to)
    });
    let thread = hear.recv().unwrap();
    eventually("the queue is full, and the relay waits for room", || {
        progress.forward.messages() == 3 && tieline_testkit::sleeps(thread)
    });
    stop.request();
    let flow = relay.join().unwrap();
    assert!(matches!(flow.end, End::Stopped), "{}", flow.end);
    assert_eq!((flow.messages, flow.undelivered_messages), (3, 97));
    assert_eq!((flow.undelivered_bytes, flow.undelivered_part), (lines.len() as u64 - 100 - 18, 0));
    let mut seen = b"line 0\nline 1\nline 2\n".to_vec();
    // The message at hand has lost its line feed to the framing; what follows was not cut yet.
    seen.extend(b"line 3\n");
    seen.extend(&flow.undelivered[b"line 3".len()..]);
    assert_eq!(seen, lines);
}

/// Many small messages into a stream share system calls, and none waits for the next.
#[test]
fn a_lone_message_goes_out_at_once() {
    let queue = Queue::new(10, 64);
    let place = Place::new();
    let listener = Listener::bind(&place.at("unix", "s")).unwrap();
    let mut reader = open(listener.address(), Direction::Both);
    let (from, to) = (receive(&queue.0), listener.accept().unwrap());
    let stop = Stop::new().unwrap();
    let relay = Relay::new().stop_on(&stop);
    let relay = std::thread::spawn(move || one_way(relay, from, to));
    let (mut sender, mut receiver) = (send(&queue.0).sender().unwrap(), reader.receiver().unwrap());
    for word in ["one", "two"] {
        sender.send(word.as_bytes()).unwrap();
        assert_eq!(receiver.recv_timeout(Duration::from_secs(20)).unwrap(), Some(word.as_bytes()));
    }
    stop.request();
    assert_eq!(relay.join().unwrap().messages, 2);
}
