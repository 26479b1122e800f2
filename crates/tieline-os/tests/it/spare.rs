//! The spare descriptor; its purpose is line 107 of the corner list.

use std::io::Read;
use std::net::{TcpListener, TcpStream};

use tieline_os::spare::SpareDescriptor;

/// A blocking listener does not block a refusal, and each call refuses one client.
#[test]
fn one_client_is_refused_at_a_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut spare = SpareDescriptor::new().unwrap();
    assert!(spare.refuse_one(&listener).unwrap_err().is_would_block());
    let mut first = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let _second = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    spare.refuse_one(&listener).unwrap();
    assert_eq!(first.read(&mut [0]).unwrap(), 0);
    assert!(spare.is_held());
    listener.accept().expect("the second still waits");
    let (pipe, _writer) = std::io::pipe().unwrap();
    assert!(spare.refuse_one(&pipe).is_err(), "not a listener");
    assert!(spare.is_held());
}
