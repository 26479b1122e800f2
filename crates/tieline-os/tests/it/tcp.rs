//! TCP beyond the corner lines.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tieline_os::ErrorKind;
use tieline_os::poll::{self, Interest};
use tieline_os::tcp::{Keepalive, ListenOptions, Listener, Stream};
use tieline_testkit::{PATIENCE, skip, until};

const HOME: &str = "127.0.0.1:0";
const SHORT: Duration = Duration::from_millis(30);

#[test]
fn std_traits_and_names_work() {
    let listener = Listener::bind(("localhost", 0)).unwrap();
    let port = listener.local_address().unwrap().port();
    let mut client = Stream::connect(("localhost", port)).unwrap();
    let (mut server, _) = listener.accept_timeout(PATIENCE).unwrap();
    client.write_all(b"question").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    server.read_to_string(&mut text).unwrap();
    assert_eq!(text, "question");
    assert_eq!(client.peer_address().unwrap(), server.local_address().unwrap());
    // Longer than a name can be, so that no name server is asked and none can answer.
    let nobody = format!("{}.invalid:1", "x".repeat(300));
    let error = Stream::connect(nobody.as_str()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

/// A socket that has a port and does not listen: nobody else gets the port, and who connects to it is refused.
fn reserved(address: &str) -> rustix::io::Result<(OwnedFd, SocketAddr)> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &address.parse::<SocketAddr>().expect("an address"))?;
    let at = rustix::net::getsockname(&socket)?.try_into().expect("an internet address");
    Ok((socket, at))
}

#[test]
fn options_are_what_was_set() {
    let listener = Listener::bind(HOME).unwrap();
    let stream = Stream::connect(listener.local_address().unwrap()).unwrap();
    assert_eq!((stream.keepalive().unwrap(), stream.linger().unwrap()), (None, None));
    let keepalive = Keepalive { idle: Duration::from_secs(9), interval: Duration::from_secs(2), probes: 3 };
    stream.set_keepalive(Some(keepalive)).unwrap();
    assert_eq!(stream.keepalive().unwrap(), Some(keepalive));
    let wrong = Keepalive { idle: Duration::ZERO, ..keepalive };
    assert_eq!(stream.set_keepalive(Some(wrong)).unwrap_err().kind(), ErrorKind::InvalidInput);
    stream.set_keepalive(None).unwrap();
    assert_eq!(stream.keepalive().unwrap(), None);
    stream.set_linger(Some(Duration::from_millis(1500))).unwrap();
    assert_eq!(stream.linger().unwrap(), Some(Duration::from_secs(2)), "rounded up");
    stream.set_user_timeout(Some(Duration::from_millis(1234))).unwrap();
    assert_eq!(rustix::net::sockopt::tcp_user_timeout(&stream).unwrap(), 1234);
    assert!(stream.set_user_timeout(Some(Duration::MAX)).is_err());
    assert!(stream.set_send_buffer_bytes(usize::MAX).is_err());
    assert_eq!(stream.set_send_buffer_bytes(10_000).unwrap(), 20_000);
    let flags = rustix::fs::fcntl_getfl(&stream).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK), "connecting left no flag behind");
}

#[test]
fn nobody_there_and_nobody_answers() {
    let (_silent, closed) = reserved(HOME).unwrap();
    let error = Stream::connect_timeout(closed, PATIENCE).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::PeerGone, Some(libc::ECONNREFUSED)), "{error}");

    // A listener whose backlog is full lets handshakes wait.
    let listener = Listener::bind_with(HOME, ListenOptions::new().backlog(0)).unwrap();
    let address = listener.local_address().unwrap();
    let _first = Stream::connect(address).unwrap();
    // The last step of the handshake may come a moment after the client is connected.
    poll::wait_timeout(&listener, Interest::READABLE, PATIENCE).unwrap();
    let start = Instant::now();
    let error = Stream::connect_timeout(address, SHORT).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(start.elapsed() >= SHORT);
}

#[test]
fn a_port_is_taken_once_and_accepting_has_deadlines() {
    let listener = Listener::bind(HOME).unwrap();
    let address = listener.local_address().unwrap();
    assert_eq!(Listener::bind(address).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(listener.try_accept().unwrap_err().is_would_block());
    assert!(listener.accept_timeout(SHORT).unwrap_err().is_timeout());
    let options = ListenOptions::new().reuse_port(true);
    let one = Listener::bind_with(HOME, options).unwrap();
    let _two = Listener::bind_with(one.local_address().unwrap(), options).unwrap();
    let stream = Stream::connect(address).unwrap();
    assert!(Listener::from_fd(stream.into()).is_err());
    assert!(Stream::from_fd(listener.into()).is_err());
}

#[test]
fn ipv6_alone_or_with_ipv4() {
    let Ok(only) = Listener::bind_with("[::]:0", ListenOptions::new().v6only(true)) else {
        skip!("this machine has no IPv6");
    };
    // The port of IPv4 is free for others, so we take it lest somebody else should answer there.
    let (mut only, mut others) = (only, Vec::new());
    let (port, _silent) = until("a port is free in both families", || {
        let port = only.local_address().unwrap().port();
        let silent = reserved(&format!("127.0.0.1:{port}")).ok();
        if silent.is_none() {
            let next = Listener::bind_with("[::]:0", ListenOptions::new().v6only(true)).unwrap();
            others.push(std::mem::replace(&mut only, next));
        }
        silent.map(|silent| (port, silent))
    });
    match Stream::connect(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))) {
        Err(error) if error.errno() == Some(libc::EADDRNOTAVAIL) => skip!("this machine has no IPv6 loopback"),
        connected => drop(connected.unwrap()),
    }
    let refused = Stream::connect(SocketAddr::from(([127, 0, 0, 1], port))).unwrap_err();
    assert_eq!(refused.errno(), Some(libc::ECONNREFUSED), "{refused}");
    let both = Listener::bind_with("[::]:0", ListenOptions::new().v6only(false)).unwrap();
    let port = both.local_address().unwrap().port();
    drop(Stream::connect(SocketAddr::from(([127, 0, 0, 1], port))).unwrap());
}
