//! Peers that are not ours: python3, socat, nc. They decide whether we speak what everybody speaks.

use std::process::Command;
use std::time::Duration;

use tieline_testkit::{has_command, skip};
use tieline_transport::endpoint::{Direction, Endpoint, Listener};
use tieline_transport::relay::{End, Relay};

use crate::support::{Place, Stranger, address, assert_same, data, open, send, unique};

const PATIENT: Duration = Duration::from_secs(20);

/// A server that reads to the end before it answers: it answers only if the half-close reaches it.
const PYTHON_SERVER: &str = "
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
got = b''
while chunk := s.recv(65536): got += chunk
s.sendall(bytes(reversed(got))); s.close()
";

const PYTHON_CLIENT: &str = "
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
sent = bytes(range(256)) * 4096
s.sendall(sent); s.shutdown(socket.SHUT_WR)
got = b''
while chunk := s.recv(65536): got += chunk
assert got == bytes(reversed(sent)), len(got)
print('right')
";

#[test]
fn python_asks_python_through_a_relay() {
    if !has_command("python3") {
        skip!("python3 is not installed");
    }
    let place = Place::new();
    let (at_a, at_b) = (place.at("unix", "a"), place.at("unix", "b"));
    let (a, b) = (Listener::bind(&at_a).unwrap(), Listener::bind(&at_b).unwrap());
    let server = Stranger::python(PYTHON_SERVER, &place.path("b"));
    let client = Stranger::python(PYTHON_CLIENT, &place.path("a"));
    let (a, b) = (a.accept_timeout(PATIENT).unwrap(), b.accept_timeout(PATIENT).unwrap());
    let outcome = Relay::new().both_ways(a, b).unwrap();
    assert_eq!(client.output(), b"right\n");
    server.output();
    let backward = outcome.backward.unwrap();
    assert_eq!((outcome.forward.bytes, backward.bytes), (1 << 20, 1 << 20));
    assert!(matches!(outcome.forward.end, End::SourceEnded) && matches!(backward.end, End::SourceEnded));
}

#[test]
fn python_reads_what_we_write_to_queues_and_memory() {
    if !has_command("python3") {
        skip!("python3 is not installed");
    }
    let name = format!("tieline-test-{}", unique());
    let mut memory = send(&format!("posix-shm:/{name}?create=new&capacity=1M"));
    let content = data(1 << 20);
    crate::support::byte_sink(&mut memory).write_all(&content).unwrap();
    let script = "import sys; from multiprocessing import shared_memory as m
s = m.SharedMemory(sys.argv[1]); sys.stdout.buffer.write(bytes(s.buf[:1048576])); s.close(); s.unlink()";
    // Its resource tracker would remove the object a second time and complain; the content is what counts.
    let said = Stranger::start("python3", &["-W", "ignore", "-c", script, &name]).output();
    let _ = tieline_os::posix::shm::SharedMemory::unlink(format!("/{name}"));
    assert_same(&said, &content);
}

#[test]
fn socat_talks_to_us_over_every_socket() {
    if !has_command("socat") {
        skip!("socat is not installed");
    }
    let place = Place::new();
    for (text, socat) in [
        (place.at("unix", "s").to_string(), format!("UNIX-CONNECT:{}", place.path("s").display())),
        ("tcp:127.0.0.1:0".to_owned(), "TCP:127.0.0.1:PORT".to_owned()),
        (format!("unix:@tieline-test-{}", unique()), "ABSTRACT-CONNECT:NAME".to_owned()),
    ] {
        let listener = Listener::bind(&address(&text)).unwrap();
        let target = listener.address().to_string();
        let socat = socat
            .replace("PORT", target.rsplit(':').next().unwrap_or_default())
            .replace("NAME", target.trim_start_matches("unix:@"));
        let mut stranger = Stranger::start("socat", &["-t", "20", "-", &socat]);
        let peer = listener.accept_timeout(PATIENT).unwrap();
        let filter = open(&address("exec:tr a-z A-Z"), Direction::Both);
        let relay = std::thread::spawn(move || Relay::new().both_ways(peer, filter).unwrap());
        stranger.write(b"shout\n");
        assert_eq!(stranger.output(), b"SHOUT\n", "{text}");
        let outcome = relay.join().unwrap();
        assert!(outcome.forward.end.is_natural(), "{}", outcome.forward.end);
        assert!(outcome.exits[0].1.success());
    }
}

#[test]
fn socat_datagrams_come_one_by_one() {
    if !has_command("socat") {
        skip!("socat is not installed");
    }
    let place = Place::new();
    let mut ours = open(&address(&format!("{}?listen=yes", place.at("unix-dgram", "d"))), Direction::Receive);
    let target = format!("UNIX-SENDTO:{}", place.path("d").display());
    let mut stranger = Stranger::start("socat", &["-u", "-", &target]);
    let mut receiver = ours.receiver().unwrap();
    for word in [&b"one"[..], b"two"] {
        stranger.write(word);
        assert_eq!(receiver.recv_timeout(PATIENT).unwrap(), Some(word));
    }
    stranger.output();
}

#[test]
fn nc_is_served_by_a_command() {
    // There are several programs of that name.
    let help = Command::new("nc").arg("-h").output();
    if !help.is_ok_and(|help| [help.stdout, help.stderr].concat().windows(7).any(|word| word == b"OpenBSD")) {
        skip!("OpenBSD's nc is not installed");
    }
    let place = Place::new();
    let listener = Listener::bind(&place.at("unix", "s")).unwrap();
    let mut stranger = Stranger::start("nc", &["-N", "-U", &place.path("s").display().to_string()]);
    let peer: Endpoint = listener.accept_timeout(PATIENT).unwrap();
    let relay = std::thread::spawn(move || {
        let counter = open(&address("exec:wc -c"), Direction::Both);
        Relay::new().both_ways(peer, counter).unwrap()
    });
    stranger.write(&[b'x'; 100_000]);
    assert_eq!(stranger.output().trim_ascii(), b"100000");
    assert_eq!(relay.join().unwrap().forward.bytes, 100_000);
}
