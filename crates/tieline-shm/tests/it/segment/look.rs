//! What someone sees who is no peer, and what no peer can take away.

use tieline_os::process_memory::ProcessMemory;
use tieline_shm::{Description, Kind, SegmentOptions};
use tieline_testkit::{Peer, skip, test_name};

#[test]
fn a_looker_reads_the_description_out_of_another_process() {
    if let Some(me) = tieline_testkit::role() {
        let _segment = SegmentOptions::new("looked at").holds::<u64>().create(4096).unwrap();
        me.say("made");
        me.wait_for("go");
        return;
    }
    let mut peer = Peer::of(test_name!()).role("peer").spawn();
    peer.wait_for("made");
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", peer.id())).unwrap();
    let line = maps.lines().find(|line| line.contains("/memfd:tieline:memory:looked at")).expect("its name is in maps");
    let start = usize::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
    let mut page = [0; Description::LEN_BYTES];
    match ProcessMemory::open(peer.id()).and_then(|memory| memory.read_exact(start, &mut page)) {
        Err(error) if error.kind() == tieline_os::ErrorKind::PermissionDenied => {
            skip!("this machine does not let us read the memory of our own children: {error}");
        }
        read => read.unwrap(),
    }
    let told = Description::parse(&page).unwrap();
    assert_eq!((told.kind, told.name.as_str(), told.creator_pid), (Some(Kind::Memory), "looked at", peer.id()));
    assert_eq!((told.layout_name.as_str(), told.committed_bytes), ("u64", 4096));
    peer.say("go");
    peer.succeeds();
}

#[test]
fn a_peer_cannot_take_the_memory_away() {
    use std::os::fd::AsFd;
    let segment = SegmentOptions::new("kept").create(8192).unwrap();
    assert!(rustix::fs::ftruncate(segment.as_fd(), 0).is_err(), "it is sealed against cutting");
    assert!(rustix::fs::ftruncate(segment.as_fd(), 1 << 20).is_err(), "and against growing");
    segment.write(8000, b"alive").unwrap();
}
