//! vsock: a real round trip where the machine has the loopback transport, the clear refusal where it has not.

use std::time::Duration;

use tieline_os::ErrorKind;
use tieline_os::vsock::{Address, Listener, Stream, local_cid};
use tieline_testkit::{PATIENCE, skip};

fn any_listener() -> tieline_os::Result<Listener> {
    Listener::bind(Address::new(Address::ANY, Address::ANY))
}

#[test]
fn a_round_trip_over_loopback_or_a_clear_refusal() {
    let listener = match any_listener() {
        Ok(listener) => listener,
        Err(error) => {
            assert!(error.is_unsupported(), "{error}");
            skip!("{error}");
        }
    };
    let port = listener.local_address().unwrap().port;
    let target = Address::new(Address::LOCAL, port);
    let client = match Stream::connect_timeout(target, PATIENCE) {
        Ok(client) => client,
        Err(error) => {
            assert!(error.is_unsupported(), "{error}");
            assert!(error.to_string().contains("no vsock transport"), "{error}");
            skip!("{error}");
        }
    };
    let server = listener.accept_timeout(PATIENCE).unwrap();
    client.send(b"hello").unwrap();
    let mut buffer = [0; 8];
    assert_eq!(server.recv_timeout(&mut buffer, PATIENCE).unwrap(), 5);
    assert_eq!(client.peer_address().unwrap(), target);
    drop(server);
    assert_eq!(client.recv_timeout(&mut buffer, PATIENCE).unwrap(), 0);
}

#[test]
fn ports_are_taken_once_and_accepting_has_deadlines() {
    let listener = match any_listener() {
        Ok(listener) => listener,
        Err(error) => {
            assert!(error.is_unsupported(), "{error}");
            skip!("{error}");
        }
    };
    assert!(listener.try_accept().unwrap_err().is_would_block());
    assert!(listener.accept_timeout(Duration::from_millis(20)).unwrap_err().is_timeout());
    let port = listener.local_address().unwrap().port;
    assert_ne!(port, Address::ANY, "the kernel chose one");
    let error = Listener::bind(Address::new(Address::ANY, port)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    assert!(Stream::from_fd(listener.into()).is_err());
}

#[test]
fn the_context_id_or_why_not() {
    match local_cid() {
        Ok(cid) => assert_ne!(cid, Address::HOST.wrapping_sub(2), "0 is the hypervisor's"),
        Err(error) => {
            assert!(error.is_unsupported() || error.kind() == ErrorKind::PermissionDenied, "{error}");
            skip!("{error}");
        }
    }
}
