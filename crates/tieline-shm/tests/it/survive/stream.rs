//! Byte streams: the right bytes in the right order up to the death, and then the news of it.

use std::time::{Duration, Instant};

use tieline_shm::ErrorKind;
use tieline_shm::stream::{Listener, Stream};
use tieline_testkit::PATIENCE;

use super::Subject;
use super::conduct::{End, Place};

pub(super) struct Bytes {
    listener: Listener,
}

const SHORT: Duration = Duration::from_millis(50);
const HELLO: [u8; 4] = *b"I am";
/// That, and who.
const HELLO_LEN: usize = HELLO.len() + size_of::<u32>();

fn hello(process: u32) -> [u8; HELLO_LEN] {
    let mut hello = [0; HELLO_LEN];
    hello[..HELLO.len()].copy_from_slice(&HELLO);
    hello[HELLO.len()..].copy_from_slice(&process.to_ne_bytes());
    hello
}

/// The bytes that are sent after so many.
fn fill(bytes: &mut [u8], sent: usize) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = ((sent + index) % 251) as u8;
    }
}

fn check(bytes: &[u8], received: usize) {
    let mut expected = vec![0; bytes.len()];
    fill(&mut expected, received);
    assert!(bytes == expected, "other bytes than were sent, after {received}");
}

/// Different lengths, some longer than the ring.
fn len(count: usize) -> usize {
    1 + count * 977 % 6000
}

impl Bytes {
    /// The victim's stream; `None` if it died before it had come.
    fn accept(&self, end: &End) -> Option<Stream> {
        let mut silent_since = None;
        loop {
            match self.listener.accept_timeout(SHORT) {
                Ok(mut stream) => {
                    let mut said = [0; HELLO_LEN];
                    let mut got = 0;
                    while got < said.len() {
                        match stream.reader().read_timeout(&mut said[got..], SHORT) {
                            Ok(0) => panic!("ended before it began"),
                            Ok(count) => got += count,
                            Err(error) if error.is_timeout() => drop(end.is_dead()),
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::PeerGone);
                                break;
                            }
                        }
                    }
                    if got == said.len() {
                        assert_eq!(said[..HELLO.len()], HELLO);
                        // Or it is of the one before, which died as it came, and is met only now.
                        if said == hello(end.process()) {
                            return Some(stream);
                        }
                    }
                }
                Err(error) => {
                    assert!(error.is_timeout(), "{error}");
                    if end.is_reaped() {
                        let since = *silent_since.get_or_insert_with(Instant::now);
                        if !end.was_ready() && since.elapsed() > Duration::from_millis(100) {
                            return None;
                        }
                        assert!(since.elapsed() < PATIENCE / 2, "a stream that was connected does not arrive");
                    }
                }
            }
        }
    }
}

impl Bytes {
    /// Stream after stream ends as its writer wants it, until the writer is dead.
    fn see_ends(&self, end: &End) -> Option<Instant> {
        while !end.is_reaped() {
            let Ok(mut stream) = self.listener.accept_timeout(SHORT) else { continue };
            let mut got = 0;
            loop {
                match stream.reader().read_timeout(&mut [0; 16], SHORT) {
                    Ok(0) => {
                        assert_eq!(got, HELLO_LEN, "the end comes after all that was written");
                        break;
                    }
                    Ok(count) => got += count,
                    Err(error) if error.is_timeout() => drop(end.is_dead()),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::PeerGone);
                        // One that died before it said a word may be of another round.
                        assert!(end.may_be_dead() || got == 0, "told of a death that was none");
                        break;
                    }
                }
            }
        }
        // What the dead one had connected and nobody accepted is not given to the next round.
        while self.listener.accept_timeout(SHORT).is_ok() {}
        None
    }
}

impl Subject for Bytes {
    const ROLES: &'static [&'static str] = &["writer", "reader", "closer"];
    const STEPS: &'static [&'static str] = &["stream"];

    fn start(place: &Place) -> Self {
        let listener = Listener::options().capacity(4096).bind(place.name("stream")).expect("a listener");
        Self { listener }
    }

    fn victim(role: &str, place: &Place) {
        if role == "closer" {
            for count in 0_u64.. {
                let mut stream = Stream::connect(place.name("stream")).expect("a stream");
                std::io::Write::write_all(&mut stream, &hello(std::process::id())).expect("written");
                stream.writer().shutdown();
                if count == 0 {
                    place.ready();
                }
                // Until the other end has gone.
                let end = std::io::Read::read(&mut stream, &mut [0]);
                assert!(matches!(end, Ok(0)), "{end:?}");
            }
        }
        let mut stream = Stream::connect(place.name("stream")).expect("a stream");
        std::io::Write::write_all(&mut stream, &hello(std::process::id())).expect("written");
        place.ready();
        let (mut moved, mut buffer) = (0, vec![0; 8192]);
        for count in 0.. {
            let part = &mut buffer[..len(count)];
            if role == "writer" {
                fill(part, moved);
                std::io::Write::write_all(&mut stream, part).expect("written");
                moved += part.len();
            } else {
                let got = std::io::Read::read(&mut stream, part).expect("read");
                assert!(got > 0, "the end, and nobody ended it");
                check(&part[..got], moved);
                moved += got;
            }
        }
    }

    fn round(&mut self, role: &str, end: &End) -> Option<Instant> {
        if role == "closer" {
            return self.see_ends(end);
        }
        let mut stream = self.accept(end)?;
        let (mut moved, mut buffer) = (0, vec![0; 8192]);
        for count in 0.. {
            let part = &mut buffer[..len(count)];
            let answer = if role == "writer" {
                stream.reader().read_timeout(part, SHORT)
            } else {
                fill(part, moved);
                stream.writer().write_timeout(part, SHORT)
            };
            match answer {
                Ok(0) => panic!("the end, and nobody ended it"),
                Ok(got) => {
                    if role == "writer" {
                        check(&part[..got], moved);
                    }
                    moved += got;
                }
                Err(error) if error.is_timeout() => drop(end.is_dead()),
                Err(error) => {
                    let told = Instant::now();
                    assert_eq!(error.kind(), ErrorKind::PeerGone);
                    assert!(end.may_be_dead(), "told of a death that was none");
                    return Some(told);
                }
            }
        }
        None
    }
}
