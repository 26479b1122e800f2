//! Being told what happens to files.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use tieline_os::ErrorKind;
use tieline_os::inotify::{Inotify, Options, What};
use tieline_testkit::{Peer, test_name};

#[test]
fn the_life_of_a_file_is_told_in_order() {
    // In a process of its own: a process that another test starts has our files open until it runs its program, and the
    // closing of a file is told when the last has closed it.
    if tieline_testkit::role().is_none() {
        return Peer::of(test_name!()).role("alone").spawn().succeeds();
    }
    let directory = tempfile::tempdir().unwrap();
    let mut inotify = Inotify::new().unwrap();
    let watch = inotify.watch(directory.path(), What::ANY - What::ACCESSED).unwrap();
    assert!(inotify.try_read().unwrap_err().is_would_block());
    assert!(inotify.read_timeout(Duration::from_millis(5)).unwrap_err().is_timeout());

    let (old, new) = (directory.path().join("old"), directory.path().join("new"));
    fs::write(&old, "text").unwrap();
    fs::rename(&old, &new).unwrap();
    fs::remove_file(&new).unwrap();
    fs::create_dir(directory.path().join("sub")).unwrap();
    let mut told = Vec::new();
    while let Ok(event) = inotify.try_read() {
        assert_eq!(event.watch, Some(watch));
        told.push(event);
    }
    let story: Vec<_> =
        told.iter().map(|event| (event.what, event.name.as_deref().unwrap().to_str().unwrap())).collect();
    assert_eq!(
        story,
        [
            (What::CREATED, "old"),
            (What::OPENED, "old"),
            (What::MODIFIED, "old"),
            (What::CLOSED_AFTER_WRITING, "old"),
            (What::MOVED_OUT, "old"),
            (What::MOVED_IN, "new"),
            (What::REMOVED, "new"),
            (What::CREATED, "sub"),
        ]
    );
    assert!(told[4].cookie.is_some() && told[4].cookie == told[5].cookie);
    assert!(told[0].cookie.is_none() && !told[0].is_directory && told[7].is_directory);
}

/// Names are bytes: not UTF-8, with newlines, and as long as a name can be, they come as they are.
#[test]
fn odd_names_arrive_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let mut inotify = Inotify::new().unwrap();
    inotify.watch(directory.path(), What::CREATED).unwrap();
    let longest = [b'n'; 255];
    for name in [b"\xff\xfe" as &[u8], b"new\nline", b"-rf *", b" ", &longest] {
        let name = OsStr::from_bytes(name);
        fs::write(directory.path().join(name), "").unwrap();
        assert_eq!(inotify.read().unwrap().name.as_deref(), Some(name));
    }
}

#[test]
fn the_end_of_a_watch_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let mut inotify = Inotify::new().unwrap();
    let watch = inotify.watch(&file, What::SELF_REMOVED).unwrap();
    fs::remove_file(&file).unwrap();
    let event = inotify.read().unwrap();
    assert_eq!((event.what, event.name), (What::SELF_REMOVED, None));
    assert_eq!(inotify.read().unwrap().what, What::WATCH_ENDED);
    assert_eq!(inotify.unwatch(watch).unwrap_err().kind(), ErrorKind::InvalidInput);

    let watch = inotify.watch_with(directory.path(), What::CREATED, Options::ONCE).unwrap();
    fs::write(&file, "").unwrap();
    assert_eq!(inotify.read().unwrap().what, What::CREATED);
    let event = inotify.read().unwrap();
    assert_eq!((event.watch, event.what), (Some(watch), What::WATCH_ENDED));

    let watch = inotify.watch(directory.path(), What::CREATED).unwrap();
    inotify.unwatch(watch).unwrap();
    assert_eq!(inotify.read().unwrap().what, What::WATCH_ENDED);
}

#[test]
fn a_second_watch_of_the_same_thing_is_the_same_watch() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut inotify = Inotify::new().unwrap();
    let watch = inotify.watch(path, What::CREATED).unwrap();
    assert_eq!(inotify.watch_with(path, What::REMOVED, Options::NEW).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(inotify.watch_with(path.join("."), What::REMOVED, Options::ADD).unwrap(), watch);
    fs::write(path.join("a"), "").unwrap();
    fs::remove_file(path.join("a")).unwrap();
    assert_eq!([inotify.read().unwrap().what, inotify.read().unwrap().what], [What::CREATED, What::REMOVED]);
    assert_eq!(inotify.watch(path, What::REMOVED).unwrap(), watch);
    fs::write(path.join("a"), "").unwrap();
    fs::remove_file(path.join("a")).unwrap();
    assert_eq!(inotify.read().unwrap().what, What::REMOVED, "replaced");
}

#[test]
fn what_cannot_be_watched_is_told_by_kind() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let inotify = Inotify::new().unwrap();
    let error = inotify.watch(&file, What::ANY).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("file"), "{error}");
    fs::write(&file, "").unwrap();
    let kind = |what, options| inotify.watch_with(&file, what, options).unwrap_err().kind();
    assert_eq!(kind(What::ANY, Options::ONLY_DIRECTORY), ErrorKind::InvalidInput);
    assert_eq!(kind(What::empty(), Options::empty()), ErrorKind::InvalidInput);
    assert_eq!(kind(What::OVERFLOW, Options::empty()), ErrorKind::InvalidInput, "nothing that can be asked for");
    assert_eq!(inotify.watch("nul\0byte", What::ANY).unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// A queue that nobody reads loses events, and says so exactly once, at the place of the loss.
#[test]
fn an_overflow_is_told() {
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    if limit > 100_000 {
        tieline_testkit::skip!("fs.inotify.max_queued_events is {limit}");
    }
    let directory = tempfile::tempdir().unwrap();
    let mut inotify = Inotify::new().unwrap();
    inotify.watch(directory.path(), What::CREATED | What::REMOVED).unwrap();
    let file = directory.path().join("f");
    for _ in 0..=limit / 2 {
        fs::File::create(&file).unwrap();
        fs::remove_file(&file).unwrap();
    }
    let mut count = 0;
    let last = loop {
        let event = inotify.try_read().unwrap();
        if event.is_overflow() {
            break event;
        }
        count += 1;
    };
    assert_eq!((count, last.watch, last.name), (limit, None, None));
    assert!(inotify.try_read().unwrap_err().is_would_block());
    fs::File::create(&file).unwrap();
    assert_eq!(inotify.read().unwrap().what, What::CREATED, "and goes on");
}

/// What another process does is told, also if it is killed in the middle: its files are closed like any other's.
#[test]
fn a_killed_writer_is_seen_to_close() {
    if let Some(me) = tieline_testkit::role() {
        let _file = fs::File::create(me.env("FILE")).unwrap();
        me.say("open");
        me.wait_for("never");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let mut inotify = Inotify::new().unwrap();
    // Not openings: others look through the directories of temporary files now and then.
    inotify.watch(directory.path(), What::CREATED | What::CLOSED_AFTER_WRITING).unwrap();
    let mut peer = Peer::of(test_name!()).role("writer").env("FILE", &file).spawn();
    peer.wait_for("open");
    assert_eq!(inotify.read().unwrap().what, What::CREATED);
    assert!(inotify.try_read().unwrap_err().is_would_block());
    peer.kill();
    assert_eq!(inotify.read_timeout(tieline_testkit::PATIENCE).unwrap().what, What::CLOSED_AFTER_WRITING);
}
