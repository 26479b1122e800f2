//! Lines 104 to 106: UDP and TCP.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use tieline_os::tcp::{Listener, Stream};
use tieline_os::udp::Socket;
use tieline_os::{ErrorKind, Packet};
use tieline_testkit::{PATIENCE, eventually, until};

const HOME: &str = "127.0.0.1:0";

fn tcp_pair() -> (Stream, Stream) {
    let listener = Listener::bind(HOME).unwrap();
    let client = Stream::connect(listener.local_address().unwrap()).unwrap();
    let (server, from) = listener.accept().unwrap();
    assert_eq!(from, client.local_address().unwrap());
    (client, server)
}

/// Given a connected UDP socket whose other end is closed, when a message is sent, then the *next* call fails
/// `ECONNREFUSED`, once; 65508 bytes are `EMSGSIZE` and 65507 go; a full receive buffer loses messages silently, which
/// the kernel counts.
#[test]
fn line104_udp_refusal_comes_late_and_overflow_is_silent() {
    // Connected to nobody who lives, it takes messages of nobody else, as if it were closed; and nobody gets the port.
    let deaf = Socket::bind(HOME).unwrap();
    deaf.connect("127.0.1.104:9").unwrap();
    let closed = deaf.local_address().unwrap();
    let sender = Socket::bind(HOME).unwrap();
    sender.connect(closed).unwrap();
    sender.send(b"anybody?").unwrap();
    let error = sender.recv_timeout(&mut [0; 4], PATIENCE).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::PeerGone, Some(libc::ECONNREFUSED)), "{error}");
    assert!(sender.try_recv(&mut [0; 4]).unwrap_err().is_would_block(), "it is told once");
    sender.send(b"anybody?").unwrap();
    eventually("the next send reports it", || match sender.try_send(b"again") {
        Err(error) => error.errno() == Some(libc::ECONNREFUSED),
        Ok(()) => false,
    });

    let receiver = Socket::bind(HOME).unwrap();
    let to = receiver.local_address().unwrap();
    let sender = Socket::bind(HOME).unwrap();
    let large = vec![5; Socket::MAX_BYTES + 1];
    let error = sender.send_to(&large, to).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::TooLarge, Some(libc::EMSGSIZE)), "{error}");
    sender.send_to(&large[1..], to).unwrap();
    let mut buffer = vec![0; 70_000];
    let (packet, from) = receiver.recv_from_timeout(&mut buffer, PATIENCE).unwrap();
    assert_eq!((packet, from), (Packet { len: 65507, full_len: 65507 }, sender.local_address().unwrap()));

    receiver.set_recv_buffer_bytes(4096).unwrap();
    assert_eq!(receiver.dropped().unwrap(), 0);
    let sent = 200_u32;
    for _ in 0..sent {
        sender.send_to(&[0; 1000], to).expect("the sender is not told");
    }
    let mut received = 0;
    // Loopback delivers within the send, unless the kernel is too busy and leaves it for later.
    eventually("each message has come or is counted as lost", || {
        while receiver.try_recv(&mut buffer).is_ok() {
            received += 1;
        }
        received + receiver.dropped().unwrap() == sent
    });
    assert!(received < sent, "all {sent} arrived in a buffer of 8 KiB");
}

/// Given TCP without `NODELAY`, then write-write-read may cost up to 40 ms (Nagle waits for a delayed acknowledgement);
/// our streams have it set, on both ends, so the second small write does not wait.
#[test]
fn line105_our_tcp_streams_send_small_writes_at_once() {
    let (client, server) = tcp_pair();
    assert!(client.nodelay().unwrap() && server.nodelay().unwrap());
    let round_trip = |client: &Stream, server: &Stream| {
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut got = 0;
                while got < 2 {
                    got += server.recv(&mut [0; 2]).unwrap();
                }
                server.send(b"a").unwrap();
            });
            client.send(b"1").unwrap();
            client.send(b"2").unwrap();
            client.recv(&mut [0; 2]).unwrap();
        });
        start.elapsed()
    };
    // At first a connection acknowledges everything at once, so that nobody has to wait for it.
    for _ in 0..20 {
        round_trip(&client, &server);
    }
    // A busy machine may make any of them slow, but none is quick that waits for a delayed acknowledgement.
    let with = until("a round trip does not wait", || {
        Some(round_trip(&client, &server)).filter(|took| *took < Duration::from_millis(20))
    });
    client.set_nodelay(false).unwrap();
    server.set_nodelay(false).unwrap();
    assert!(!client.nodelay().unwrap());
    // The control: without, such a wait is to be seen.
    let without = until("a round trip waits for an acknowledgement", || {
        Some(round_trip(&client, &server)).filter(|took| *took > Duration::from_millis(20))
    });
    println!("write-write-read: {with:?} with NODELAY, {without:?} without");
}

/// Given a TCP stream closed with bytes unread, then the peer gets a reset and loses what was sent to it before and had not
/// reached its buffer (what had is still read first); read to the end first and it loses nothing.
#[test]
fn line106_closing_tcp_with_unread_bytes_resets_and_loses() {
    let (client, server) = tcp_pair();
    client.send(b"unread").unwrap();
    eventually("the bytes are there", || server.unread_bytes().unwrap() == 6);
    let chunk = vec![0; 65536];
    let mut sent = 0;
    // More than the client was ready for when it connected, so that some of it is still on this side.
    server.set_send_buffer_bytes(1 << 20).unwrap();
    client.set_recv_buffer_bytes(4096).unwrap();
    while let Ok(len) = server.try_send(&chunk) {
        sent += len;
    }
    drop(server);
    let mut buffer = vec![0; 65536];
    let mut received = 0;
    let error = loop {
        match client.recv_timeout(&mut buffer, PATIENCE) {
            Ok(len) => {
                assert_ne!(len, 0, "a clean end");
                received += len;
            }
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), error.errno()), (ErrorKind::PeerGone, Some(libc::ECONNRESET)), "{error}");
    assert!(received < sent, "all {sent} bytes arrived");

    let (client, server) = tcp_pair();
    client.send(b"read").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    server.send(b"answer").unwrap();
    assert_eq!(server.recv(&mut buffer).unwrap(), 4);
    assert_eq!(server.recv(&mut buffer).unwrap(), 0);
    drop(server);
    assert_eq!(client.recv(&mut buffer).unwrap(), 6);
    assert_eq!(client.recv(&mut buffer).unwrap(), 0);
}
