//! Huge pages and nodes, where the machine has them to give.

use std::fs;
use std::path::Path;

use tieline_shm::{Arena, ArenaOptions, HugePages, Pages, Segment, SegmentOptions, ShmVec};
use tieline_testkit::skip;

const MIB2: usize = 2 << 20;
/// The administrator's number of reserved pages of 2 MiB.
const RESERVED: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

/// Some pages more than there were, until dropped.
struct Reserved {
    before: u64,
    /// Held: other runs of this test reserve pages and give them back, too.
    _turn: fs::File,
}

impl Reserved {
    /// `None` where we may not, or the machine does not find as many that lie together.
    fn more(count: u64) -> Option<Self> {
        let number = || fs::read_to_string(RESERVED).ok()?.trim().parse::<u64>().ok();
        let turn = fs::File::open(RESERVED).ok()?;
        turn.lock().ok()?;
        let ours = Self { before: number()?, _turn: turn };
        fs::write(RESERVED, (ours.before + count).to_string()).ok()?;
        (number()? >= ours.before + count).then_some(ours)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let _ = fs::write(RESERVED, self.before.to_string());
    }
}

/// The lines of `/proc/self/FILE` about the mapping with this name.
fn told_of(file: &str, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let mut lines = text.lines().skip_while(|line| !line.contains(name));
    let first = lines.next().unwrap_or_default();
    let rest = lines.take_while(|line| !line.contains('-') || line.contains("kB"));
    std::iter::once(first).chain(rest).collect::<Vec<_>>().join("\n")
}

fn accept(segment: &Segment, name: &str) -> Segment {
    SegmentOptions::new(name).accept(segment.try_clone_fd().unwrap()).unwrap()
}

#[test]
fn reserved_huge_pages_are_used_grow_shrink_and_are_seen_by_who_accepts() {
    let Some(_reserved) = Reserved::more(6) else {
        skip!("no huge pages can be reserved here ({RESERVED})");
    };
    let huge = Pages::Huge(HugePages::Mib2);
    let name = "huge segment";
    let options = SegmentOptions::new(name).huge_pages(HugePages::Mib2);
    let ours = options.create(MIB2 + 1).unwrap();
    assert_eq!(ours.obtained().pages, huge);
    assert_eq!(ours.len(), 2 * MIB2 - 4096, "whole pages, less the header");
    assert!(told_of("smaps", name).contains("KernelPageSize:     2048 kB"), "{}", told_of("smaps", name));
    let theirs = accept(&ours, name);
    assert_eq!(theirs.obtained().pages, huge);
    theirs.write(2 * MIB2 - 4097, b"x").unwrap();
    assert_eq!(ours.load::<u8>(2 * MIB2 - 4097).unwrap(), b'x');
    drop((ours, theirs));

    let ours = options.growable(4 * MIB2).create(4096).unwrap();
    let theirs = accept(&ours, name);
    assert_eq!(ours.obtained().pages, huge);
    ours.grow(3 * MIB2).unwrap();
    theirs.write(3 * MIB2 - 1, b"y").unwrap();
    ours.shrink(4096).unwrap();
    ours.grow(3 * MIB2).unwrap();
    assert_eq!(ours.load::<u8>(3 * MIB2 - 1).unwrap(), 0, "what was given back is zero");
    drop((ours, theirs));

    let mut arena = ArenaOptions::new("huge arena").huge_pages(HugePages::Mib2).create(MIB2).unwrap();
    let vec = arena.change(ShmVec::<u64>::new).unwrap();
    arena.change(|change| vec.extend_from_slice(change, &[3; 1000])).unwrap();
    assert_eq!(vec.get(&arena, 999).unwrap(), Some(3));
    assert!(told_of("smaps", "huge arena").contains("KernelPageSize:     2048 kB"));
    let again = Arena::accept(arena.try_clone_fd().unwrap()).unwrap();
    assert_eq!(vec.get(&again, 0).unwrap(), Some(3));
}

/// More than are reserved: others are taken, and there is no `SIGBUS` at some later store.
#[test]
fn too_few_huge_pages_are_replaced_by_usual_ones() {
    let ours = SegmentOptions::new("too few").huge_pages(HugePages::Gib1).create(MIB2).unwrap();
    if ours.obtained().pages == Pages::Huge(HugePages::Gib1) {
        skip!("this machine has huge pages of 1 GiB to spare");
    }
    assert!(matches!(ours.obtained().pages, Pages::Usual | Pages::Transparent), "{:?}", ours.obtained());
    assert_eq!(ours.len(), MIB2, "nothing is rounded up");
    ours.write(MIB2 - 1, b"x").unwrap();
}

#[test]
fn memory_is_bound_to_the_node_that_was_wished_for() {
    if !Path::new("/sys/devices/system/node/node0").exists() || !Path::new("/proc/self/numa_maps").exists() {
        skip!("this kernel has no nodes");
    }
    // A space would be shown as something else.
    let name = "node-segment";
    let ours = SegmentOptions::new(name).numa_node(0).create(64 * 1024).unwrap();
    let Some(node) = ours.obtained().numa_node else {
        skip!("this machine, or a sandbox, does not let us choose a node");
    };
    let told = told_of("numa_maps", name);
    assert_eq!(node, 0);
    assert!(told.contains("bind:0") && told.contains("N0=17"), "64 KiB and the header, all there: {told}");
    // A node that is not there is no error.
    let elsewhere = SegmentOptions::new("elsewhere").numa_node(1000).create(4096).unwrap();
    assert_eq!(elsewhere.obtained().numa_node, None);
}
