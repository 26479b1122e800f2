//! Calls: each ends, with its own answer or with the news of a death.

use std::time::{Duration, Instant};

use tieline_shm::ErrorKind;
use tieline_shm::reqres::{Client, Server};

use super::Subject;
use super::conduct::{End, Place};

/// The server, or room for a victim's.
pub(super) struct Calls {
    name: String,
    /// The name that victims serve.
    victims: String,
    server: Option<Server<[u8], [u8]>>,
}

const SHORT: Duration = Duration::from_millis(50);

fn bind(name: &str) -> tieline_shm::Result<Server<[u8], [u8]>> {
    Server::options().areas(2).payload_max_bytes(8192).bind(name)
}

/// Small ones, and such as need an area.
fn question(count: u64) -> Vec<u8> {
    let mut bytes = vec![count as u8; if count.is_multiple_of(3) { 5000 } else { 24 }];
    bytes[..8].copy_from_slice(&count.to_le_bytes());
    bytes
}

fn check(question: &[u8], answer: &[u8]) {
    let same = question.len() == answer.len() && question.iter().zip(answer).all(|(asked, got)| *got == !asked);
    assert!(same, "not the answer to this call");
}

fn answer(question: &[u8]) -> Vec<u8> {
    question.iter().map(|byte| !byte).collect()
}

impl Calls {
    fn serve(&self, end: &End) -> Option<Instant> {
        let server = self.server.as_ref().expect("bound at the start");
        let mut told = None;
        loop {
            // Nobody wakes a server because a client died.
            match server.recv_timeout(Duration::from_millis(1)) {
                Ok(request) => {
                    let response = answer(&request);
                    match request.respond(&response) {
                        Ok(()) => {}
                        Err(error) => assert_eq!(error.kind(), ErrorKind::PeerGone, "{error}"),
                    }
                }
                Err(error) => assert!(error.is_timeout(), "{error}"),
            }
            if end.is_reaped() {
                if server.clients() == 0 {
                    return told.or_else(|| Some(Instant::now())).filter(|_| end.was_ready());
                }
            } else if end.is_dead() && end.was_ready() && server.clients() == 0 {
                told.get_or_insert_with(Instant::now);
            }
        }
    }

    fn call(&self, end: &End) -> Option<Instant> {
        let mut client = None;
        for count in 0.. {
            let Some(connected) = &client else {
                match Client::<[u8], [u8]>::connect_timeout(&self.victims, Duration::from_secs(2)) {
                    Ok(connected) => client = Some(connected),
                    Err(error) => {
                        let expected = [ErrorKind::NotFound, ErrorKind::PeerGone, ErrorKind::TimedOut];
                        assert!(expected.contains(&error.kind()), "{error}");
                        if end.is_reaped() {
                            return None;
                        }
                        tieline_testkit::pause(Duration::from_micros(300));
                    }
                }
                continue;
            };
            let asked = question(count);
            match connected.call_timeout(&asked, SHORT) {
                Ok(response) => check(&asked, &response),
                Err(error) if error.is_timeout() => drop(end.is_dead()),
                // Calls that were given up hold their areas until the server, which is stopped, has seen it.
                Err(error) if error.kind() == ErrorKind::LimitReached => drop(end.is_dead()),
                Err(error) => {
                    let told = Instant::now();
                    assert_eq!(error.kind(), ErrorKind::PeerGone, "{error}");
                    assert!(end.may_be_dead(), "told of a death that was none");
                    return Some(told).filter(|_| end.was_ready());
                }
            }
        }
        None
    }
}

impl Subject for Calls {
    const ROLES: &'static [&'static str] = &["client", "server"];
    const STEPS: &'static [&'static str] = &["calls"];

    fn start(place: &Place) -> Self {
        let name = place.name("calls");
        let server = Some(bind(&name).expect("a server"));
        Self { name, victims: place.name("victims"), server }
    }

    fn victim(role: &str, place: &Place) {
        if role == "client" {
            let client = Client::<[u8], [u8]>::connect(place.name("calls")).expect("a client");
            place.ready();
            for count in 0.. {
                let asked = question(count);
                // Two at a time.
                let first = client.start(&asked).expect("asked");
                check(&asked, &client.call(&asked).expect("answered"));
                check(&asked, &first.wait().expect("answered"));
            }
        }
        // The name is that of a server killed before.
        let server = bind(&place.name("victims")).expect("a server");
        place.ready();
        loop {
            let request = server.recv().expect("a request");
            let response = answer(&request);
            // Who gave the call up does not wait for it.
            let _ = request.respond(&response);
        }
    }

    fn round(&mut self, role: &str, end: &End) -> Option<Instant> {
        let told = if role == "client" { self.serve(end) } else { self.call(end) };
        while !end.is_reaped() {}
        if role == "server" {
            // The name is free again.
            drop(bind(&self.victims).unwrap_or_else(|error| panic!("{} after a death: {error}", self.name)));
        }
        told
    }
}
