//! UDP beyond the corner lines.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tieline_os::udp::Socket;
use tieline_os::{ErrorKind, Packet};
use tieline_testkit::{Isolation, Namespace, PATIENCE, skip, test_name, until};

const HOME: &str = "127.0.0.1:0";

#[test]
fn messages_keep_their_bounds_and_empty_ones_count() {
    let receiver = Socket::bind(HOME).unwrap();
    let sender = Socket::bind(HOME).unwrap();
    sender.connect(receiver.local_address().unwrap()).unwrap();
    assert_eq!(sender.peer_address().unwrap(), receiver.local_address().unwrap());
    for message in [&b"long message"[..], b"", b"next"] {
        sender.send(message).unwrap();
    }
    let mut buffer = [0; 4];
    let cut = receiver.recv_timeout(&mut buffer, PATIENCE).unwrap();
    assert_eq!((cut, cut.is_truncated()), (Packet { len: 4, full_len: 12 }, true));
    assert_eq!(receiver.recv_timeout(&mut buffer, PATIENCE).unwrap(), Packet { len: 0, full_len: 0 });
    assert_eq!(receiver.unread_bytes().unwrap(), 4);
    let (packet, from) = receiver.recv_from_timeout(&mut buffer, PATIENCE).unwrap();
    assert_eq!((packet.len, from), (4, sender.local_address().unwrap()));
    assert!(receiver.try_recv(&mut buffer).unwrap_err().is_would_block());
    assert!(receiver.recv_from_timeout(&mut buffer, Duration::from_millis(20)).unwrap_err().is_timeout());
    assert!(receiver.peer_address().is_err());
    let error = receiver.send(b"to whom?").unwrap_err();
    assert!(error.to_string().contains("not connected"), "{error}");
}

#[test]
fn options_are_what_was_set() {
    let socket = Socket::bind(HOME).unwrap();
    socket.set_ttl(7).unwrap();
    assert_eq!(socket.ttl().unwrap(), 7);
    assert!(socket.set_ttl(0).is_err());
    let broadcast = "255.255.255.255:9".parse().unwrap();
    assert_eq!(socket.send_to(b"all", broadcast).unwrap_err().kind(), ErrorKind::PermissionDenied);
    socket.set_broadcast(true).unwrap();
    assert!(rustix::net::sockopt::socket_broadcast(&socket).unwrap());
    assert_eq!(socket.set_recv_buffer_bytes(20_000).unwrap(), 40_000);
    assert_eq!(Socket::bind(socket.local_address().unwrap()).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let error = socket.join_multicast_v4(Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    if let Ok(six) = Socket::bind("[::1]:0") {
        six.set_ttl(9).unwrap();
        assert_eq!(six.ttl().unwrap(), 9);
        six.set_multicast_ttl(2).unwrap();
    }
}

fn ip(arguments: &str) -> bool {
    let status = std::process::Command::new("ip").args(arguments.split(' ')).status();
    status.is_ok_and(|status| status.success())
}

/// Two members of one group on one machine each get a copy, by the loopback of a network namespace of our own.
#[test]
fn multicast_reaches_every_member() {
    if Namespace::enter(&[Namespace::Net], &test_name!()) == Isolation::Done {
        return;
    }
    if !ip("link set lo up") {
        skip!("the ip program is not here to raise the loopback device");
    }
    let group = Ipv4Addr::new(239, 7, 7, 7);
    let members = [(); 2].map(|()| {
        let member = Socket::bind_shared((Ipv4Addr::UNSPECIFIED, 7777)).unwrap();
        member.join_multicast_v4(group, Ipv4Addr::LOCALHOST).unwrap();
        member
    });
    let again = members[0].join_multicast_v4(group, Ipv4Addr::LOCALHOST).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    let sender = Socket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    sender.set_multicast_interface_v4(Ipv4Addr::LOCALHOST).unwrap();
    sender.set_multicast_loop(true).unwrap();
    sender.send_to(b"all", (group, 7777).into()).unwrap();
    let mut buffer = [0; 8];
    for member in &members {
        assert_eq!(member.recv_timeout(&mut buffer, PATIENCE).unwrap().len, 3);
    }
    members[0].leave_multicast_v4(group, Ipv4Addr::LOCALHOST).unwrap();
    assert!(members[0].leave_multicast_v4(group, Ipv4Addr::LOCALHOST).is_err());

    let Ok(member) = Socket::bind_shared((Ipv6Addr::UNSPECIFIED, 7778)) else {
        skip!("this machine has no IPv6");
    };
    // The loopback device does not carry IPv6 multicast.
    let ready = ip("link add v0 type veth peer name v1")
        && ip("-6 address add fe80::7/64 dev v0 nodad")
        && ip("link set v0 up")
        && ip("link set v1 up");
    if !ready {
        skip!("this machine makes no pair of virtual network devices");
    }
    let interface = rustix::net::netdevice::name_to_index(&member, "v0").unwrap();
    let group = "ff02::7777".parse().unwrap();
    member.join_multicast_v6(group, interface).unwrap();
    let sender = Socket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    sender.set_multicast_interface_v6(interface).unwrap();
    // A device has no route for groups before its link is known to be up, which the kernel sees to by and by.
    until("the pair of devices carries IPv6", || sender.send_to(b"all six", (group, 7778).into()).ok());
    assert_eq!(member.recv_timeout(&mut buffer, PATIENCE).unwrap().len, 7);
    member.leave_multicast_v6(group, interface).unwrap();
}
