//! Opening: what each scheme gives, and what each refusal says.

use std::time::{Duration, Instant};

use tieline_testkit::{Peer, eventually, test_name, until};
use tieline_transport::addr::Scheme;
use tieline_transport::endpoint::{Direction, Endpoint, Listener};
use tieline_transport::{Error, ErrorKind, Stop};

use crate::support::{Place, address, byte_sink, byte_source, open, own_host, receive, send, unique};

const SOON: Duration = Duration::from_millis(50);

fn refusal(text: &str, direction: Direction) -> Error {
    match Endpoint::open(&address(text), direction) {
        Ok(endpoint) => panic!("{text} was opened: {endpoint:?}"),
        Err(error) => error,
    }
}

/// A listener at `text`, a client of it, and the client as the listener sees it.
fn connect(text: &str) -> (Endpoint, Endpoint) {
    let listener = Listener::bind(&address(text)).unwrap_or_else(|error| panic!("{error}"));
    let client = open(listener.address(), Direction::Both);
    let server = listener.accept_timeout(Duration::from_secs(20)).unwrap_or_else(|error| panic!("{error}"));
    (client, server)
}

fn echo(from: &mut Endpoint, to: &mut Endpoint) {
    let (mut sender, mut receiver) = (from.sender().unwrap(), to.receiver().unwrap());
    sender.send(b"one").unwrap();
    sender.send(b"two").unwrap();
    assert_eq!(receiver.recv().unwrap(), Some(&b"one"[..]));
    assert_eq!(receiver.recv().unwrap(), Some(&b"two"[..]));
    sender.finish().unwrap();
    assert_eq!(receiver.recv().unwrap(), None, "the end came too");
}

#[test]
fn connections_carry_both_ways_and_tell_the_peer() {
    let place = Place::new();
    let file = place.at("unix", "stream").to_string();
    let framed = format!("{file}2?frame=u16le");
    let records = place.at("unix-seqpacket", "records").to_string();
    let name = format!("unix:@tieline-test-{}", unique());
    for text in [&file, &framed, &records, &name, "tcp:127.0.0.1:0", "tcp:localhost:0", "tcp:*:0"] {
        let (mut client, mut server) = connect(text);
        echo(&mut client, &mut server);
        echo(&mut server, &mut client);
        let peer = server.peer().unwrap_or_else(|| panic!("{text} tells no peer"));
        if text.starts_with("unix") {
            assert_eq!(peer.process, Some(std::process::id()), "{text}");
            assert!(server.capabilities().fds && server.capabilities().peer_identity);
        } else {
            assert!(peer.to_string().contains(':'), "{text}: {peer}");
        }
        assert!(client.capabilities().duplex && client.capabilities().reliable);
    }
    assert!(!place.path("stream").exists(), "the listener's file goes with it");
}

#[test]
fn ipv6_connects_in_brackets() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        tieline_testkit::skip!("this machine has no IPv6 loopback");
    }
    let (mut client, mut server) = connect("tcp:[::1]:0");
    echo(&mut client, &mut server);
    assert!(server.peer().unwrap().address.as_ref().unwrap().starts_with("[::1]:"));
}

#[test]
fn listen_in_the_address_takes_the_first_who_comes() {
    let place = Place::new();
    let at = place.at("unix", "s");
    let listening = address(&format!("{at}?listen=yes&mode=600&timeout=20s"));
    let server = std::thread::spawn(move || open(&listening, Direction::Both));
    eventually("somebody listens", || place.path("s").exists());
    let mut client = loop {
        // The file exists a moment before the listener does.
        match Endpoint::open(&at, Direction::Both) {
            Err(error) if error.is_peer_dead() => {}
            answer => break answer.unwrap(),
        }
    };
    echo(&mut client, &mut server.join().unwrap());
}

#[test]
fn datagrams_are_answered() {
    let place = Place::new();
    let at = place.at("unix-dgram", "s").to_string();
    let name = format!("unix-dgram:@tieline-test-{}", unique());
    for text in [at, name] {
        let mut server = open(&address(&format!("{text}?listen=yes")), Direction::Both);
        let mut client = open(&address(&text), Direction::Both);
        let (mut ask, mut answered) = (client.sender().unwrap(), client.receiver().unwrap());
        let (mut asked, mut answer) = (server.receiver().unwrap(), server.sender().unwrap());
        let early = answer.send(b"?").unwrap_err();
        assert_eq!(early.kind(), ErrorKind::InvalidInput, "{early}");
        ask.send(b"ping").unwrap();
        assert_eq!(asked.recv().unwrap(), Some(&b"ping"[..]));
        answer.send(b"").unwrap();
        assert_eq!(answered.recv().unwrap(), Some(&b""[..]), "an empty message is a message");
        assert!(client.capabilities().boundaries && client.capabilities().max_message.is_some());
    }
}

#[test]
fn udp_carries_both_ways() {
    let host = own_host();
    let port = std::net::UdpSocket::bind(format!("{host}:0")).unwrap().local_addr().unwrap().port();
    // A process that another test starts may have the socket until it runs its program.
    let listening = address(&format!("udp:{host}:{port}?listen=yes"));
    let mut server = until("the port is free again", || Endpoint::open(&listening, Direction::Both).ok());
    let mut client = open(&address(&format!("udp:{host}:{port}?bind=127.0.0.1:0")), Direction::Both);
    let (mut ask, mut answered) = (client.sender().unwrap(), client.receiver().unwrap());
    let (mut asked, mut answer) = (server.receiver().unwrap(), server.sender().unwrap());
    ask.send(b"ping").unwrap();
    assert_eq!(asked.recv().unwrap(), Some(&b"ping"[..]));
    answer.send(b"pong").unwrap();
    assert_eq!(answered.recv().unwrap(), Some(&b"pong"[..]));
    let error = ask.send(&[0; 65_508]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("65508") && error.to_string().contains("65507"), "{error}");
    assert!(!client.capabilities().reliable && !client.capabilities().ordered);
}

#[test]
fn a_message_longer_than_the_room_is_an_error_not_a_cut() {
    let name = format!("unix-dgram:@tieline-test-{}", unique());
    let mut server = open(&address(&format!("{name}?listen=yes&message-size=10")), Direction::Receive);
    let mut client = send(&name);
    let (mut sender, mut receiver) = (client.sender().unwrap(), server.receiver().unwrap());
    sender.send(b"short").unwrap();
    sender.send(b"eleven char").unwrap();
    assert_eq!(receiver.recv().unwrap(), Some(&b"short"[..]));
    let error = receiver.recv().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let text = error.to_string();
    assert!(text.contains("message 2") && text.contains("11 bytes") && text.contains("10"), "{text}");
}

#[test]
fn posix_queues_order_by_priority() {
    let name = format!("mq:/tieline-test-{}", unique());
    let mut made = open(&address(&format!("{name}?create=new&capacity=4&message-size=16")), Direction::Receive);
    let _unlink = Unlink(name["mq:".len()..].to_owned());
    assert_eq!(made.capabilities().max_message, Some(16));
    for (priority, text) in [(1, "low"), (9, "high"), (1, "low too")] {
        let mut sender = send(&format!("{name}?priority={priority}"));
        sender.sender().unwrap().send(text.as_bytes()).unwrap();
    }
    let mut receiver = made.receiver().unwrap();
    for expected in ["high", "low", "low too"] {
        assert_eq!(receiver.recv().unwrap(), Some(expected.as_bytes()));
    }
    let error = receiver.recv_timeout(SOON).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let error = send(&name).sender().unwrap().send(&[0; 17]).unwrap_err();
    assert!(error.to_string().contains("17") && error.to_string().contains("16"), "{error}");
    let error = refusal(&format!("{name}?create=new"), Direction::Send);
    assert_eq!(error.kind(), ErrorKind::System(tieline_os::ErrorKind::AlreadyExists));
}

struct Unlink(String);

impl Drop for Unlink {
    fn drop(&mut self) {
        let _ = tieline_os::posix::mq::MessageQueue::unlink(&self.0);
    }
}

#[test]
fn sysv_queues_select_by_type() {
    let key = unique();
    let name = format!("sysv-mq:{key}");
    let mut any = open(&address(&format!("{name}?create=new")), Direction::Receive);
    let key = tieline_os::sysv::Key::new(key.cast_signed());
    let queue = tieline_os::sysv::msg::MessageQueue::open(key).unwrap();
    let _remove = tieline_os::sysv::RemoveOnDrop::new(queue);
    for kind in [3, 2, 5] {
        send(&format!("{name}?type={kind}")).sender().unwrap().send(&[kind]).unwrap();
    }
    let by_id = format!("sysv-mq:id:{}", queue.id());
    for (text, expected) in [(format!("{by_id}?type=5"), 5), (format!("{name}?type=-4"), 2)] {
        assert_eq!(receive(&text).receiver().unwrap().recv().unwrap(), Some(&[expected][..]), "{text}");
    }
    let mut receiver = any.receiver().unwrap();
    assert_eq!(receiver.recv().unwrap(), Some(&[3][..]));
    assert!(receiver.recv_timeout(SOON).unwrap_err().is_timeout());
    let error = send(&name).sender().unwrap().send(&vec![0; 1 << 20]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert_eq!(refusal(&format!("{name}?type=0"), Direction::Send).kind(), ErrorKind::InvalidInput);

    // Below the system's limit but above this queue's capacity, a message would wait for ever.
    queue.set_capacity(100).unwrap();
    let mut sender = send(&name).sender().unwrap();
    let error = sender.send(&[0; 101]).unwrap_err();
    assert!(error.to_string().contains("101") && error.to_string().contains("100"), "{error}");
    sender.send(&[0; 100]).unwrap();
    assert!(sender.send_timeout(&[0; 100], SOON).unwrap_err().is_timeout(), "this one only waits for room");
}

#[test]
fn fifos_wait_for_their_other_end() {
    let place = Place::new();
    let made = address(&format!("{}?create=yes&timeout=20s", place.at("fifo", "f")));
    let reader = std::thread::spawn({
        let made = made.clone();
        move || open(&made, Direction::Receive)
    });
    let mut writer = open(&made, Direction::Send);
    echo(&mut writer, &mut reader.join().unwrap());

    let text = format!("{}?timeout=50ms", place.at("fifo", "f"));
    for direction in [Direction::Receive, Direction::Send] {
        // A process that another test starts may have the other end until it runs its program.
        let (error, took) = until("nobody has the other end", || {
            let begun = Instant::now();
            Endpoint::open(&address(&text), direction).err().map(|error| (error, begun.elapsed()))
        });
        assert!(error.is_timeout() && took >= SOON, "{error}");
    }
    assert_eq!(refusal(&text, Direction::Both).kind(), ErrorKind::InvalidInput);
}

#[test]
fn an_opening_can_be_asked_to_stop() {
    let place = Place::new();
    let fifo = address(&format!("{}?create=yes", place.at("fifo", "f")));
    let unix = address(&format!("{}?listen=yes", place.at("unix", "u")));
    for (at, direction) in [(&fifo, Direction::Send), (&fifo, Direction::Receive), (&unix, Direction::Both)] {
        let stop = Stop::new().unwrap();
        let asker = stop.clone();
        let opening = std::thread::scope(|scope| {
            let opening = scope.spawn(|| Endpoint::open_until(at, direction, &stop));
            tieline_testkit::pause(SOON);
            asker.request();
            opening.join().unwrap()
        });
        let error = opening.unwrap_err();
        assert!(error.is_stopped(), "{at}: {error}");
    }
}

/// A listener whose queue is full lets clients wait; a deadline and a request to stop end that.
#[test]
fn a_connection_that_is_not_taken_ends_in_time_or_on_request() {
    let place = Place::new();
    let path = place.path("full");
    let bind = tieline_os::unix::BindOptions::new().backlog(0);
    let name = tieline_os::unix::Address::path(&path).unwrap();
    let _unix = tieline_os::unix::StreamListener::bind_with(&name, bind).unwrap();
    let backlog = tieline_os::tcp::ListenOptions::new().backlog(0);
    let tcp = tieline_os::tcp::Listener::bind_with("127.0.0.1:0", backlog).unwrap();
    let texts = [format!("unix:{}", path.display()), format!("tcp:{}", tcp.local_address().unwrap())];
    for text in texts {
        let limited = address(&format!("{text}?timeout=100ms"));
        let mut taken = Vec::new();
        let error = loop {
            match Endpoint::open(&limited, Direction::Both) {
                Ok(endpoint) => taken.push(endpoint),
                Err(error) => break error,
            }
            assert!(taken.len() < 10, "the queue of {text} never fills");
        };
        assert!(error.is_timeout(), "{error}");
        let stop = Stop::new().unwrap();
        let asker = stop.clone();
        let opening = std::thread::spawn(move || Endpoint::open_until(&address(&text), Direction::Both, &stop));
        tieline_testkit::pause(SOON);
        asker.request();
        let error = opening.join().unwrap().unwrap_err();
        assert!(error.is_stopped(), "{error}");
    }
}

#[test]
fn a_listener_waits_no_longer_than_told() {
    let place = Place::new();
    for text in ["tcp:127.0.0.1:0".to_owned(), place.at("unix-seqpacket", "s").to_string()] {
        let listener = Listener::bind(&address(&text)).unwrap();
        let error = listener.accept_timeout(Duration::from_millis(10)).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        let stop = Stop::new().unwrap();
        stop.request();
        assert!(listener.accept_until(&stop).unwrap_err().is_stopped());
        let again = Listener::bind(listener.address()).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::System(tieline_os::ErrorKind::AlreadyExists), "{again}");
    }
    let error = Listener::bind(&address("tcp:127.0.0.1:0?listen=no")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

#[test]
fn a_pipe_of_our_own_gives_back_what_it_gets() {
    let mut pipe = open(&address("pipe:?capacity=128K"), Direction::Both);
    echo_in_itself(&mut pipe);
    assert!(!pipe.capabilities().duplex);
    assert_eq!(refusal("pipe:", Direction::Send).kind(), ErrorKind::InvalidInput);
}

fn echo_in_itself(pipe: &mut Endpoint) {
    let (mut sender, mut receiver) = (pipe.sender().unwrap(), pipe.receiver().unwrap());
    sender.send(b"x").unwrap();
    sender.finish().unwrap();
    assert_eq!(receiver.recv().unwrap(), Some(&b"x"[..]));
    assert_eq!(receiver.recv().unwrap(), None);
}

#[test]
fn descriptors_are_used_by_number_whatever_they_are() {
    use std::os::fd::AsRawFd;
    let (reader, writer) = std::io::pipe().unwrap();
    let text = format!("fd:{},{}", reader.as_raw_fd(), writer.as_raw_fd());
    let mut pipe = open(&address(&text), Direction::Both);
    let (mut sender, mut receiver) = (pipe.sender().unwrap(), pipe.receiver().unwrap());
    sender.send(b"x").unwrap();
    assert_eq!(receiver.recv().unwrap(), Some(&b"x"[..]));

    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut ours = open(&address(&format!("fd:{}", ours.as_raw_fd())), Direction::Both);
    let mut theirs = open(&address(&format!("fd:{}", theirs.as_raw_fd())), Direction::Both);
    echo(&mut ours, &mut theirs);

    let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let mut ours = open(&address(&format!("fd:{}", ours.as_raw_fd())), Direction::Send);
    let mut theirs = open(&address(&format!("fd:{}", theirs.as_raw_fd())), Direction::Receive);
    ours.sender().unwrap().send(b"whole").unwrap();
    assert_eq!(theirs.receiver().unwrap().recv().unwrap(), Some(&b"whole"[..]));
    assert!(theirs.capabilities().boundaries);

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error = refusal(&format!("fd:{}", listener.as_raw_fd()), Direction::Both);
    assert!(error.to_string().contains("listening"), "{error}");
    let error = refusal("fd:1000000", Direction::Both);
    assert!(error.to_string().contains("1000000"), "{error}");
}

/// The standard streams, in a process of our own that has nothing else to do with them.
#[test]
fn stdio_is_read_and_written() {
    if let Some(me) = tieline_testkit::role() {
        me.say("ready");
        let mut stdio = open(&address("stdio:"), Direction::Both);
        let mut receiver = stdio.receiver().unwrap();
        let word = receiver.recv().unwrap().unwrap().to_vec();
        let mut answer = b"\n@tieline heard ".to_vec();
        answer.extend(word);
        answer.push(b'\n');
        byte_sink(&mut stdio).write_all(&answer).unwrap();
        return;
    }
    let mut peer = Peer::of(test_name!()).role("stdio").spawn();
    peer.wait_for("ready");
    peer.say("hello");
    peer.wait_for("heard hello");
    peer.succeeds();
}

#[test]
fn files_are_read_in_part_and_written_whole_or_in_part() {
    let place = Place::new();
    std::fs::write(place.path("f"), "0123456789").unwrap();
    let at = place.at("file", "f").to_string();
    for (options, expected) in [("", "0123456789"), ("?offset=3", "3456789"), ("?offset=2&length=4", "2345")] {
        let mut file = receive(&format!("{at}{options}"));
        assert_eq!(file.capabilities().length, Some(expected.len() as u64), "{options}");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut byte_source(&mut file), &mut text).unwrap();
        assert_eq!(text, expected, "{options}");
    }
    let wrong = refusal(&format!("{at}?offset=8&length=4"), Direction::Receive);
    assert!(wrong.to_string().contains("10 bytes"), "{wrong}");

    let write = |options: &str, bytes: &[u8]| {
        let mut file = send(&format!("{at}{options}"));
        let mut sink = byte_sink(&mut file);
        sink.write_all(bytes)?;
        sink.finish()
    };
    write("?offset=4", b"xy").unwrap();
    assert_eq!(std::fs::read_to_string(place.path("f")).unwrap(), "0123xy6789");
    let full = write("?offset=8&length=2", b"abc").unwrap_err();
    assert_eq!(full.kind(), ErrorKind::TooLarge, "{full}");
    assert_eq!(std::fs::read_to_string(place.path("f")).unwrap(), "0123xy67ab");
    write("", b"new").unwrap();
    assert_eq!(std::fs::read_to_string(place.path("f")).unwrap(), "new", "replaced, and cut");

    let error = refusal(&place.at("file", "none").to_string(), Direction::Send);
    assert!(error.to_string().contains("create=yes"), "{error}");
    send(&format!("{}?create=new&mode=640", place.at("file", "made")));
    let mode = std::os::unix::fs::PermissionsExt::mode(&place.path("made").metadata().unwrap().permissions());
    assert_eq!(mode & 0o777 & !0o640, 0, "no more than asked for");
    assert_eq!(refusal(&at, Direction::Both).kind(), ErrorKind::InvalidInput);
}

#[test]
fn memories_are_read_and_written_within_their_bounds() {
    let key = unique();
    let shm = format!("/tieline-test-{}", unique());
    let texts = [format!("posix-shm:{shm}"), format!("sysv-shm:{key}")];
    for text in &texts {
        let unsized_ = refusal(&format!("{text}?create=new"), Direction::Send);
        assert!(unsized_.to_string().contains("capacity"), "{unsized_}");
        let mut made = send(&format!("{text}?create=new&capacity=4K&offset=4090"));
        let mut sink = byte_sink(&mut made);
        sink.write_all(b"abcdef").unwrap();
        let full = sink.write_all(b"g").unwrap_err();
        assert_eq!(full.kind(), ErrorKind::TooLarge, "{full}");
        let mut part = receive(&format!("{text}?offset=4091&length=3"));
        assert_eq!(part.capabilities().length, Some(3));
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut byte_source(&mut part), &mut bytes).unwrap();
        assert_eq!(bytes, b"bcd");
        let outside = refusal(&format!("{text}?offset=4097"), Direction::Receive);
        assert!(outside.to_string().contains("4096"), "{outside}");
        assert_eq!(refusal(text, Direction::Both).kind(), ErrorKind::InvalidInput);
    }
    tieline_os::posix::shm::SharedMemory::unlink(&shm).unwrap();
    let key = tieline_os::sysv::Key::new(key.cast_signed());
    tieline_os::sysv::shm::Segment::open(key).unwrap().remove().unwrap();
}

#[test]
fn schemes_of_other_builds_say_so() {
    for scheme in Scheme::all().filter(|scheme| !scheme.is_available()) {
        let error = refusal(scheme.example(), Direction::Both);
        assert_eq!(error.kind(), ErrorKind::NotInThisBuild, "{error}");
        assert!(error.to_string().contains("unix, "), "the text lists what there is: {error}");
    }
}

#[test]
fn refusals_name_object_and_remedy() {
    use tieline_os::ErrorKind as Os;
    let place = Place::new();
    let none = place.path("none").display().to_string();
    let dead = place.path("dead").display().to_string();
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let host = own_host();
    let closed = std::net::TcpListener::bind(format!("{host}:0")).unwrap().local_addr().unwrap();
    // A process that another test starts has both until it runs its program.
    let is_refused = |answer: std::io::Error| answer.kind() == std::io::ErrorKind::ConnectionRefused;
    eventually("both are closed", || {
        std::os::unix::net::UnixStream::connect(&dead).is_err_and(is_refused)
            && std::net::TcpStream::connect(closed).is_err_and(is_refused)
    });
    let live = place.path("live").display().to_string();
    let _live = std::os::unix::net::UnixListener::bind(&live).unwrap();
    let long_label = format!("tcp:{}.example:1", "x".repeat(64));
    let given = [
        (format!("unix:{none}"), ErrorKind::System(Os::NotFound), none.as_str()),
        (format!("unix:{dead}"), ErrorKind::PeerGone, dead.as_str()),
        (format!("unix-seqpacket:{live}"), ErrorKind::InvalidInput, "another type"),
        (format!("unix:{live}?listen=yes"), ErrorKind::System(Os::AlreadyExists), live.as_str()),
        (format!("tcp:{closed}"), ErrorKind::PeerGone, host.as_str()),
        ("tcp:*:1".to_owned(), ErrorKind::InvalidInput, "listen=yes"),
        (long_label, ErrorKind::UnknownHost, "cannot find the host"),
        (format!("unix:{none}?mode=600"), ErrorKind::InvalidInput, "listen=yes"),
        (format!("mq:{}?mode=600", "/none"), ErrorKind::InvalidInput, "create=yes"),
        ("sysv-mq:id:2147483647".to_owned(), ErrorKind::System(Os::Removed), "2147483647"),
        ("sysv-mq:id:1?create=yes".to_owned(), ErrorKind::InvalidInput, "by a key"),
        (format!("fifo:{none}"), ErrorKind::System(Os::NotFound), none.as_str()),
    ];
    for (text, kind, word) in given {
        let direction = if text.starts_with("fifo") { Direction::Send } else { Direction::Both };
        let error = refusal(&text, direction);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(word), "no {word:?} in: {error}");
    }
    let listener = Listener::bind(&address("fifo:/tmp/f")).unwrap_err();
    assert_eq!(listener.kind(), ErrorKind::InvalidInput, "{listener}");
    let fifo = place.at("fifo", "f").to_string();
    assert!(Endpoint::open(&address(&format!("{fifo}?create=yes&timeout=1ms")), Direction::Send).is_err());
    let error = refusal(&fifo.replacen("fifo:", "file:", 1), Direction::Receive);
    assert!(error.to_string().contains("fifo:"), "{error}");
}

/// Alone in a process of its own, so that nobody else opens descriptors meanwhile.
#[test]
fn no_descriptor_is_left_behind() {
    if tieline_testkit::role().is_none() {
        let mut peer = Peer::of(test_name!()).role("counter").spawn();
        peer.wait_for("done");
        return peer.succeeds();
    }
    let open_now = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let round = || {
        let place = Place::new();
        connect(&place.at("unix", "s").to_string());
        connect("tcp:127.0.0.1:0");
        open(&address("pipe:"), Direction::Both);
        open(&address("exec:true"), Direction::Both);
        open(&address("fd:0"), Direction::Receive);
        refusal(&place.at("unix", "none").to_string(), Direction::Both);
        refusal(&format!("{}?create=yes&timeout=1ms", place.at("fifo", "f")), Direction::Receive);
    };
    round();
    let before = open_now();
    for _ in 0..5 {
        round();
    }
    assert_eq!(open_now(), before);
    tieline_testkit::role().unwrap().say("done");
}
