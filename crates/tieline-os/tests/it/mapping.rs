//! Mappings of files and of nothing, against the real kernel.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::sync::atomic::Ordering;

use tieline_os::mapping::{Advice, HugePages, MapOptions, Mapping};
use tieline_os::{Access, ErrorKind};

const PAGE: usize = 4096;

fn file_of(len: usize) -> File {
    let file = tempfile::tempfile().expect("a scratch file");
    file.set_len(len as u64).expect("its length");
    file
}

#[test]
fn what_one_mapping_writes_the_other_and_the_file_show() {
    let mut file = file_of(2 * PAGE);
    let writer = Mapping::of(&file, &MapOptions::new()).unwrap();
    let reader = Mapping::of(&file, &MapOptions::new().offset(PAGE as u64).access(Access::ReadOnly)).unwrap();
    writer.write(PAGE + 7, b"hello").unwrap();
    let mut seen = [0; 5];
    reader.read(7, &mut seen).unwrap();
    assert_eq!(&seen, b"hello");
    writer.sync(..).unwrap();
    writer.sync(PAGE + 8..PAGE + 9).unwrap();
    writer.sync_async(..PAGE).unwrap();
    file.seek(std::io::SeekFrom::Start(PAGE as u64 + 7)).unwrap();
    file.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"hello");
}

#[test]
fn a_mapping_outlives_its_descriptor() {
    let file = file_of(PAGE);
    let mapping = Mapping::of(&file, &MapOptions::new()).unwrap();
    drop(file);
    mapping.write(0, b"still here").unwrap();
}

#[test]
fn ranges_that_do_not_exist_are_refused_before_the_kernel_is_asked() {
    let file = file_of(PAGE + 1);
    let whole = Mapping::of(&file, &MapOptions::new()).unwrap();
    assert_eq!(whole.len(), PAGE + 1, "not rounded up: what follows the end is not ours to show");
    let wrong = [
        MapOptions::new().len(PAGE + 2),
        MapOptions::new().len(0),
        MapOptions::new().len(usize::MAX),
        MapOptions::new().len(usize::MAX).offset(u64::MAX - PAGE as u64 + 1),
        MapOptions::new().offset(1).len(1),
        MapOptions::new().offset(2 * PAGE as u64),
        MapOptions::new().access(Access::WriteOnly),
        MapOptions::new().huge_pages(HugePages::Mib2),
    ];
    for options in wrong {
        let error = Mapping::of(&file, &options).unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::InvalidInput, None), "{options:?}: {error}");
    }
    assert_eq!(Mapping::of(file_of(0), &MapOptions::new()).unwrap_err().kind(), ErrorKind::InvalidInput);
    for len in [0, usize::MAX] {
        assert_eq!(Mapping::anonymous(len).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(Mapping::anonymous_with(&MapOptions::new()).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn more_than_the_address_space_is_out_of_memory() {
    let error = Mapping::anonymous(isize::MAX as usize).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
}

#[test]
fn populating_more_than_the_machine_has_is_refused_not_tried() {
    // More than any address space, so that the kernel refuses as well if our check should ever break.
    let options = MapOptions::new().len(1 << 58).no_reserve().populate();
    let error = Mapping::anonymous_with(&options).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::OutOfMemory, None), "{error}");
}

#[test]
fn only_files_can_be_mapped() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let null = File::open("/dev/zero").unwrap();
    assert_eq!(Mapping::of(&reader, &MapOptions::new().len(1)).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(Mapping::of(&null, &MapOptions::new().len(1)).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_descriptor_open_for_reading_cannot_be_mapped_for_writing() {
    let named = tempfile::NamedTempFile::new().unwrap();
    named.as_file().set_len(PAGE as u64).unwrap();
    let read_only = File::open(named.path()).unwrap();
    let error = Mapping::of(&read_only, &MapOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("open for reading and writing"), "{error}");
    let mut reader = Mapping::of(&read_only, &MapOptions::new().access(Access::ReadOnly)).unwrap();
    assert_eq!(reader.protect(Access::ReadWrite).unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert!(!reader.is_writable());
    // A private one may be written: its pages are copies.
    let private = Mapping::of(&read_only, &MapOptions::new().private()).unwrap();
    private.write(0, b"mine").unwrap();
    assert_eq!(reader.load_u32(0, Ordering::Relaxed).unwrap(), 0);
    assert!(private.is_private() && !reader.is_private());
}

#[test]
fn protection_changes_what_the_region_allows() {
    let mut mapping = Mapping::anonymous(PAGE).unwrap();
    mapping.write(0, &[1]).unwrap();
    mapping.protect(Access::ReadOnly).unwrap();
    assert_eq!(mapping.write(0, &[2]).unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(mapping.write_checked(0, &[2]).unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert!(mapping.atomic_u8(0).is_err());
    let mut byte = [0];
    mapping.read_checked(0, &mut byte).unwrap();
    assert_eq!(byte, [1]);
    mapping.protect(Access::ReadWrite).unwrap();
    mapping.write(0, &[3]).unwrap();
    assert_eq!(mapping.protect(Access::WriteOnly).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_file_cut_under_the_mapping_is_an_error_to_checked_copies() {
    let file = file_of(3 * PAGE);
    let mapping = Mapping::of(&file, &MapOptions::new()).unwrap();
    mapping.write(0, b"kept").unwrap();
    let pattern: Vec<u8> = (0..3 * PAGE).map(|index| (index % 251) as u8).collect();
    mapping.write_checked(0, &pattern).unwrap();
    let mut buffer = vec![0; 3 * PAGE];
    mapping.read_checked(0, &mut buffer).unwrap();
    assert_eq!(buffer, pattern);

    file.set_len(PAGE as u64).unwrap();
    assert_eq!(mapping.read_checked(0, &mut buffer).unwrap_err().kind(), ErrorKind::Removed);
    assert_eq!(mapping.read_checked(2 * PAGE, &mut buffer[..1]).unwrap_err().kind(), ErrorKind::Removed);
    assert_eq!(mapping.write_checked(2 * PAGE, b"x").unwrap_err().kind(), ErrorKind::Removed);
    let error = mapping.populate(..).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitReached, "{error}");
    // What is left can still be read, and copies outside the mapping are refused as ever.
    mapping.read_checked(1, &mut buffer[..PAGE - 1]).unwrap();
    assert_eq!(buffer[..PAGE - 1], pattern[1..PAGE]);
    mapping.read_checked(3 * PAGE, &mut []).unwrap();
    assert_eq!(mapping.read_checked(3 * PAGE, &mut buffer[..1]).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn it_shrinks_and_grows_with_its_file() {
    let file = file_of(2 * PAGE);
    let mut mapping = Mapping::of(&file, &MapOptions::new()).unwrap();
    mapping.write(0, b"start").unwrap();
    mapping.shrink(10).unwrap();
    assert_eq!(mapping.len(), 10);
    assert!(mapping.write(10, &[1]).is_err());
    for wrong in [0, 11, usize::MAX] {
        assert_eq!(mapping.shrink(wrong).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(mapping.grow(&file, 3 * PAGE).unwrap_err().kind(), ErrorKind::InvalidInput, "beyond the file");
    file.set_len(100 * PAGE as u64).unwrap();
    mapping.grow(&file, 100 * PAGE).unwrap();
    let mut start = [0; 5];
    mapping.read(0, &mut start).unwrap();
    assert_eq!(&start, b"start");
    mapping.write(100 * PAGE - 3, b"end").unwrap();
    assert_eq!(mapping.grow(file_of(200 * PAGE), 200 * PAGE).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(mapping.grow(&file, 1).unwrap_err().kind(), ErrorKind::InvalidInput);

    let mut anonymous = Mapping::anonymous(2 * PAGE).unwrap();
    anonymous.shrink(PAGE).unwrap();
    assert_eq!(anonymous.grow(&file, 2 * PAGE).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn discarding_frees_whole_pages_and_leaves_zeros() {
    let mapping = Mapping::anonymous_with(&MapOptions::new().len(3 * PAGE).populate()).unwrap();
    mapping.fill(0, 3 * PAGE, 0xAA).unwrap();
    mapping.advise(PAGE..2 * PAGE, Advice::Discard).unwrap();
    let mut bytes = vec![1; 3 * PAGE];
    mapping.read(0, &mut bytes).unwrap();
    assert!(bytes[..PAGE].iter().chain(&bytes[2 * PAGE..]).all(|&byte| byte == 0xAA));
    assert!(bytes[PAGE..2 * PAGE].iter().all(|&byte| byte == 0));
    assert_eq!(mapping.advise(1..PAGE, Advice::Discard).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(mapping.advise(..1, Advice::Discard).unwrap_err().kind(), ErrorKind::InvalidInput);
    let private = Mapping::anonymous_with(&MapOptions::new().len(PAGE).private().no_reserve()).unwrap();
    assert_eq!(private.advise(.., Advice::Discard).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn advice_and_locks_leave_the_bytes_alone() {
    let mapping = Mapping::anonymous(4 * PAGE).unwrap();
    mapping.fill(0, 4 * PAGE, 7).unwrap();
    let advice = [
        Advice::Normal,
        Advice::Sequential,
        Advice::Random,
        Advice::WillNeed,
        Advice::Cold,
        Advice::PageOut,
        Advice::DontDump,
        Advice::DoDump,
    ];
    for advice in advice {
        mapping.advise(.., advice).unwrap();
        mapping.advise(PAGE + 1..=PAGE + 5, advice).unwrap();
        mapping.advise(3..3, advice).unwrap();
    }
    mapping.lock(PAGE..2 * PAGE).unwrap();
    mapping.unlock(PAGE..2 * PAGE).unwrap();
    let mut bytes = vec![0; 4 * PAGE];
    mapping.read(0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|&byte| byte == 7));
    let backwards = std::ops::Range { start: 5, end: 3 };
    for refused in [mapping.lock(..4 * PAGE + 1), mapping.sync(backwards), mapping.populate(..=usize::MAX)] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn huge_pages_work_or_say_who_can_reserve_them() {
    let options = MapOptions::new().len(HugePages::Mib2.size()).huge_pages(HugePages::Mib2).populate();
    match Mapping::anonymous_with(&options) {
        Ok(mut mapping) => {
            assert_eq!(mapping.page_size(), HugePages::Mib2.size());
            assert_eq!(mapping.shrink(PAGE).unwrap_err().kind(), ErrorKind::InvalidInput);
            mapping.write(0, b"huge").unwrap();
        }
        Err(error) => assert!(error.to_string().contains("huge pages"), "{error}"),
    }
    let odd = MapOptions::new().len(PAGE).huge_pages(HugePages::Mib2);
    assert_eq!(Mapping::anonymous_with(&odd).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn dropping_unmaps() {
    let mapping = Mapping::anonymous(64 * PAGE).unwrap();
    mapping.fill(0, 64 * PAGE, 1).unwrap();
    let address = format!("{:x}-", mapping.as_ptr().addr());
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap();
    // The line holds the inode, which tells our memory from whatever another test maps there next.
    let line = maps().lines().find(|line| line.starts_with(&address)).expect("it is mapped").to_owned();
    assert!(line.contains("/dev/zero"), "{line}");
    drop(mapping);
    assert!(!maps().lines().any(|other| other == line), "still mapped: {line}");
}

#[test]
fn a_file_written_elsewhere_shows_in_the_mapping() {
    let mut file = file_of(PAGE);
    let mapping = Mapping::of(&file, &MapOptions::new().access(Access::ReadOnly)).unwrap();
    file.write_all(b"by write").unwrap();
    let mut seen = [0; 8];
    mapping.read_checked(0, &mut seen).unwrap();
    assert_eq!(&seen, b"by write");
}

/// Every order of a load works on memory that may only be read, and orders that are none are refused as atomics do.
#[test]
fn read_only_memory_is_loaded_in_every_order() {
    use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
    use tieline_os::futex::WaitOnly;
    let file = file_of(PAGE);
    let writer = Mapping::of(&file, &MapOptions::new()).unwrap();
    let reader = Mapping::of(&file, &MapOptions::new().access(Access::ReadOnly)).unwrap();
    for (value, order) in [(1, Relaxed), (2, Acquire), (3, SeqCst)] {
        writer.atomic_u64(8).unwrap().store(value, Release);
        assert_eq!(reader.load_u64(8, order).unwrap(), value);
        let low = reader.load_u32(8, order).unwrap();
        assert_eq!(
            (low, low),
            (writer.load_u32(8, order).unwrap(), WaitOnly::in_region(&reader, 8).unwrap().load(order))
        );
    }
    for order in [Release, AcqRel] {
        for memory in [&reader, &writer] {
            assert!(std::panic::catch_unwind(|| memory.load_u32(8, order)).is_err());
            assert!(std::panic::catch_unwind(|| memory.load_u64(8, order)).is_err());
        }
    }
}
