//! Memory that comes and goes under those who use it.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use tieline_shm::{ErrorKind, Segment, SegmentOptions};
use tieline_testkit::{PATIENCE, Peer, test_name};

const MOST: usize = 1 << 20;

fn inherited() -> Segment {
    let fd: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    SegmentOptions::new("moving").accept(fd).unwrap()
}

/// One process grows and shrinks a segment for ever while another reads and writes all over it, and is killed in the
/// middle: calls answer values or "not there", no access is a signal, and who is left goes on.
#[test]
fn growing_and_shrinking_under_a_user_harms_nobody() {
    if tieline_testkit::role().is_some() {
        let segment = inherited();
        for round in 0_usize.. {
            let len = round * 7919 % MOST;
            segment.grow(len).unwrap();
            segment.shrink(len / 3).unwrap();
        }
    }
    let ours = SegmentOptions::new("moving").growable(MOST).create(4096).unwrap();
    for _ in 0..3 {
        let mut peer = Peer::of(test_name!()).role("mover").stdin(ours.try_clone_fd().unwrap()).spawn();
        let (mut there, mut missing) = (0_u64, 0_u64);
        let end = Instant::now() + PATIENCE;
        for round in 0_usize.. {
            let offset = round * 104_729 % (MOST - 8);
            for answer in [ours.load::<u64>(offset).map(drop), ours.store(offset, &0x5a_u64)] {
                match answer {
                    Ok(()) => there += 1,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
                        missing += 1;
                    }
                }
            }
            if (there > 1000 && missing > 1000) || Instant::now() > end {
                break;
            }
        }
        peer.kill();
        assert!(there > 1000 && missing > 1000, "{there} were there and {missing} were not");
        // Whatever the dead one was in the middle of.
        ours.grow(MOST).unwrap();
        assert_eq!(ours.committed_len(), MOST);
        ours.write(MOST - 8, &[7; 8]).unwrap();
        ours.shrink(4096).unwrap();
        ours.grow(MOST).unwrap();
        assert_eq!(ours.load::<u64>(MOST - 8).unwrap(), 0);
    }
}
