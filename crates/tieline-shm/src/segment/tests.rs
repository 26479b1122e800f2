//! What segments promise, within one process; between processes see `tests/it/segment`.

use std::os::fd::AsFd;

use proptest::prelude::*;
use tieline_os::Access;
use tieline_os::mapping::HugePages;
use tieline_os::memfd::{Memfd, MemfdOptions, Seals};

use super::header::{HEADER_BYTES, Header};
use super::*;
use crate::layout::ShmSafe;

fn segment(layout_hash: u64) -> Segment {
    Segment::create(&Purpose { kind: Kind::Queue, name: "jobs", layout_hash }, 8192).unwrap()
}

/// What a peer sends that has written any bytes it likes where the header should be.
fn forged(page: &[u8], len: u64) -> OwnedFd {
    let memfd = Memfd::create("forged", &MemfdOptions::new()).unwrap();
    memfd.set_len(len).unwrap();
    if !page.is_empty() {
        memfd.map(&MapOptions::new()).unwrap().write(0, page).unwrap();
    }
    memfd.add_seals(Seals::SHRINK | Seals::GROW).unwrap();
    memfd.into()
}

#[test]
fn a_segment_is_accepted_as_what_it_is_only() {
    let ours = segment(u32::LAYOUT.hash());
    let fd = || ours.as_fd().try_clone_to_owned().unwrap();
    let theirs = Segment::accept(fd(), Kind::Queue, u32::LAYOUT, Access::ReadWrite).unwrap();
    assert_eq!((theirs.len(), theirs.committed_len(), theirs.kind), (8192, 8192, Kind::Queue));
    theirs.view::<crate::raw::atomic::AtomicU64>(8).unwrap().store(5, Ordering::Relaxed);
    assert_eq!(ours.view::<crate::raw::atomic::AtomicU64>(8).unwrap().load(Ordering::Relaxed), 5);

    let error = Segment::accept(fd(), Kind::Log, u32::LAYOUT, Access::ReadWrite).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(error.to_string().contains("it is of the kind Queue, and should be Log"), "{error}");
    let error = Segment::accept(fd(), Kind::Queue, 1, Access::ReadWrite).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
}

#[test]
fn a_mismatch_of_layouts_shows_both() {
    let ours = segment(<[u32; 3]>::LAYOUT.hash());
    ours.describe(&Details { layout: Some(<[u32; 3]>::LAYOUT), ..Details::default() }).unwrap();
    let fd = ours.as_fd().try_clone_to_owned().unwrap();
    let error = Segment::accept(fd, Kind::Queue, <[u32; 4]>::LAYOUT, Access::ReadWrite).unwrap_err();
    assert!(error.to_string().contains("! 0: [u32; 4] | 0: [u32; 3]"), "{error}");
}

#[test]
fn what_is_not_sealed_or_no_memfd_is_refused() {
    let accept = |fd| Segment::accept(fd, Kind::Queue, 0, Access::ReadWrite).unwrap_err().kind();
    let open = Memfd::create("open", &MemfdOptions::new()).unwrap();
    open.set_len(8192).unwrap();
    assert_eq!(accept(open.into()), ErrorKind::PermissionDenied);
    assert_eq!(accept(tempfile::tempfile().unwrap().into()), ErrorKind::InvalidInput);
    assert_eq!(accept(forged(&[], 0)), ErrorKind::Corrupted);
    assert_eq!(accept(forged(&[], 100)), ErrorKind::Corrupted);
    assert_eq!(accept(forged(&[0; HEADER_BYTES], 4096)), ErrorKind::Corrupted);
    assert_eq!(accept(forged(&[0xff; HEADER_BYTES], 8192)), ErrorKind::Corrupted);
}

/// Each byte of a true header is set to values that might break something: never a panic, and never another length.
#[test]
fn no_byte_of_a_header_can_do_harm() {
    let true_one = segment(0);
    true_one
        .describe(&Details {
            layout: None,
            version: 1,
            facts: &[Fact { name: "cursor", offset: 8, width: 8, count: 3, stride: 64 }],
        })
        .unwrap();
    let page = true_one.header().unwrap().copy();
    for place in 0..size_of::<Header>() {
        for value in [0, 1, 0x7f, 0x80, 0xff, page[place] ^ 1] {
            let mut wrong = page;
            wrong[place] = value;
            let len = (HEADER_BYTES + 8192) as u64;
            if let Ok(segment) = Segment::accept(forged(&wrong, len), Kind::Queue, 0, Access::ReadWrite) {
                assert_eq!(segment.front() + segment.len(), 8192);
                assert!(segment.committed_len() <= segment.len());
            }
        }
    }
}

proptest! {
    #[test]
    fn any_page_is_understood_or_refused(bytes in proptest::collection::vec(any::<u8>(), HEADER_BYTES), magic: bool) {
        let mut page: [u8; HEADER_BYTES] = bytes.try_into().expect("as many as asked");
        if magic {
            page[..8].copy_from_slice(b"TIELINE\x01");
            page[8..12].copy_from_slice(&1_u32.to_ne_bytes());
        }
        if let Ok(description) = Description::parse(&page) {
            prop_assert!(description.committed_bytes <= description.len_bytes);
        }
    }
}

#[test]
fn the_description_tells_lookers_everything() {
    let ours = segment(u16::LAYOUT.hash());
    let facts = [
        Fact { name: "cursor", offset: 64, width: 8, count: 4, stride: 128 },
        Fact { name: "a name that is longer than there is room for", offset: 0, width: 4, count: 1, stride: 0 },
    ];
    ours.describe(&Details { layout: Some(u16::LAYOUT), version: 7, facts: &facts }).unwrap();
    let told = ours.description().unwrap();
    assert_eq!((told.kind, told.name.as_str(), told.body_version), (Some(Kind::Queue), "jobs", 7));
    assert_eq!((told.layout_name.as_str(), told.layout_text.as_str()), ("u16", "0: u16"));
    assert_eq!((told.layout_hash, told.creator_pid), (u16::LAYOUT.hash(), std::process::id()));
    assert_eq!((told.len_bytes, told.committed_bytes), (8192 + 4096, 8192));
    assert!(!told.growable && !told.writer_only && !told.persistent);
    assert_eq!(told.facts[0], FactPlace { name: "cursor".into(), offset: 4096 + 64, width: 8, count: 4, stride: 128 });
    assert_eq!(told.facts[1].name, "a name that is longer than there");
}

#[test]
fn a_long_name_is_cut_between_characters() {
    let name = "ö".repeat(300);
    let ours = Segment::create(&Purpose { kind: Kind::Event, name: &name, layout_hash: 0 }, 1).unwrap();
    assert_eq!(ours.description().unwrap().name, "ö".repeat(64));
}

#[test]
fn only_the_creator_writes_what_is_made_so() {
    let ours = SegmentOptions::new("log").writer_only().create(4096).unwrap();
    ours.write(0, b"still ours").unwrap();
    let fd = || ours.try_clone_fd().unwrap();
    let error = SegmentOptions::new("log").accept(fd()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    let theirs = SegmentOptions::new("log").read_only().accept(fd()).unwrap();
    assert_eq!(&theirs.load::<[u8; 5]>(0).unwrap(), b"still");
    assert_eq!(theirs.write(0, b"mine").unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert!(ours.description().unwrap().writer_only);
}

#[test]
fn memory_grows_and_shrinks_under_those_who_have_it() {
    let ours = SegmentOptions::new("pool").growable(1 << 30).create(4096).unwrap();
    let theirs = SegmentOptions::new("pool").accept(ours.try_clone_fd().unwrap()).unwrap();
    assert_eq!((theirs.len(), theirs.committed_len()), (1 << 30, 4096));
    assert_eq!(theirs.write(4096, b"x").unwrap_err().kind(), ErrorKind::InvalidInput);
    theirs.grow(1 << 20).unwrap();
    assert_eq!(ours.committed_len(), 1 << 20, "growth by one is seen by all");
    ours.write((1 << 20) - 1, b"x").unwrap();
    let blocks = || rustix::fs::fstat(ours.as_fd()).unwrap().st_blocks * 512;
    assert_eq!(blocks(), (1 << 20) + 4096);
    ours.shrink(8192).unwrap();
    assert_eq!((theirs.committed_len(), blocks()), (8192, 8192 + 4096));
    ours.grow(1 << 20).unwrap();
    assert_eq!(ours.load::<u8>((1 << 20) - 1).unwrap(), 0, "what was given back is zero");
    assert_eq!(ours.grow((1 << 30) + 1).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(segment(0).grow(4096).unwrap_err().kind(), ErrorKind::Unsupported);

    let log = SegmentOptions::new("log").growable(1 << 20).writer_only().create(8192).unwrap();
    log.grow(65536).unwrap();
    assert_eq!(log.shrink(0).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(log.committed_len(), 65536, "what was refused changes nothing");
}

#[test]
fn more_memory_than_there_is_is_an_error() {
    for len in [1 << 44, usize::MAX / 2 - 4096, usize::MAX] {
        let error = SegmentOptions::new("huge").create(len).unwrap_err();
        let expected = matches!(error.kind(), ErrorKind::OutOfMemory | ErrorKind::TooLarge | ErrorKind::LimitReached);
        assert!(expected, "{len}: {error}");
    }
    let growing = SegmentOptions::new("huge").growable(1 << 44).create(0);
    // Where so much address space is not to be had, creation says so; where it is, growth does.
    let Ok(growing) = growing else { return };
    assert_eq!(growing.grow(1 << 44).unwrap_err().kind(), ErrorKind::OutOfMemory);
    assert_eq!(growing.committed_len(), 0);
    growing.grow(4096).unwrap();
}

#[test]
fn wishes_that_cannot_be_met_are_told() {
    let ours = SegmentOptions::new("wish").huge_pages(HugePages::Gib1).numa_node(1023).create(4096).unwrap();
    assert_eq!(ours.obtained().numa_node, None);
    ours.write(0, b"usable all the same").unwrap();
    let ours = SegmentOptions::new("wish").huge_pages(HugePages::Mib2).numa_node(0).create(4096).unwrap();
    match ours.obtained().pages {
        Pages::Huge(pages) => assert_eq!(ours.len(), pages.size() - HEADER_BYTES),
        Pages::Transparent | Pages::Usual => assert_eq!(ours.len(), 4096),
    }
    assert!(matches!(ours.obtained().numa_node, Some(0) | None));
    ours.write(4000, b"x").unwrap();
}

#[test]
fn values_are_checked_when_loaded() {
    let ours = SegmentOptions::new("values").holds::<bool>().create(4096).unwrap();
    ours.store(3, &true).unwrap();
    assert!(ours.load::<bool>(3).unwrap());
    ours.store(3, &7_u8).unwrap();
    assert_eq!(ours.load::<bool>(3).unwrap_err().kind(), ErrorKind::Corrupted);
    assert_eq!(ours.load::<u64>(4089).unwrap_err().kind(), ErrorKind::InvalidInput);
    let large = [0x5a_u64; 100];
    ours.store(8, &large).unwrap();
    assert_eq!(ours.load::<[u64; 100]>(8).unwrap(), large);
    ours.atomic_u32(4).unwrap().store(1, Ordering::Relaxed);
    assert_eq!(ours.atomic_u64(4).unwrap_err().kind(), ErrorKind::InvalidInput);
    let error = SegmentOptions::new("values").holds::<u8>().accept(ours.try_clone_fd().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
}
