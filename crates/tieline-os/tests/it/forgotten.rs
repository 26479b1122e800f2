//! The C library keeps the address of a robust lock that is held. So memory with such a lock in it must not go while
//! the lock is held, and a guard that was forgotten holds it for ever.

use tieline_os::mapping::Mapping;
use tieline_os::pthread::{Mutex, MutexOptions, Place};
use tieline_os::sysv::{Key, shm::Segment};
use tieline_os::transfer::Pages;
use tieline_os::{Access, ErrorKind, Mode, Region};
use tieline_testkit::{Peer, test_name};

/// Given memory of every sort with a held robust lock whose guard is forgotten, when the memory is dropped, then it
/// stays mapped, and moving, protecting or detaching it is `Busy`.
///
/// In a process of its own, where nobody else could map something at the same address.
#[test]
fn memory_of_a_held_robust_lock_stays() {
    if tieline_testkit::role().is_none() {
        return Peer::of(test_name!()).role("alone").spawn().succeeds();
    }
    let mut mapping = Mapping::anonymous(8192).unwrap();
    let mapping_start = hold_and_forget(&mapping, 0);
    assert_eq!(mapping.shrink(4096).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(mapping.protect(Access::ReadOnly).unwrap_err().kind(), ErrorKind::Busy);
    drop(mapping);
    assert!(is_mapped(mapping_start), "a mapping");

    let segment = Segment::create(Key::PRIVATE, 4096, Mode::OWNER).unwrap();
    let (dropped, detached) = (segment.attach().unwrap(), segment.attach().unwrap());
    segment.remove().unwrap();
    let dropped_start = hold_and_forget(&dropped, 0);
    // Both show the same bytes.
    let detached_start = hold_and_forget(&detached, 128);
    drop(dropped);
    assert!(is_mapped(dropped_start), "an attachment that is dropped");
    assert_eq!(detached.detach().unwrap_err().kind(), ErrorKind::Busy);
    assert!(is_mapped(detached_start), "an attachment that is detached");

    let pages = Pages::new(4096).unwrap();
    let pages_start = hold_and_forget(&pages, 0);
    drop(pages.into_gift());
    assert!(is_mapped(pages_start), "pages to give away");
}

/// Locks a new robust mutex in the memory, forgets the guard, and returns where the memory begins.
fn hold_and_forget(memory: &Region, offset: usize) -> usize {
    let mutex = Mutex::create(Place::trusting(memory, offset), MutexOptions::new()).unwrap();
    std::mem::forget(mutex.lock().unwrap());
    memory.as_ptr().addr()
}

fn is_mapped(address: usize) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| {
        let (start, rest) = line.split_once('-').unwrap();
        let (end, _) = rest.split_once(' ').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        (number(start)..number(end)).contains(&address)
    })
}
