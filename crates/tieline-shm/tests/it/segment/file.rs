//! Segment files: who opens one is told how its last users left it.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use tieline_shm::{ErrorKind, Opened, SegmentOptions};
use tieline_testkit::{Namespace, Peer, Role, skip, test_name};

fn options() -> SegmentOptions {
    SegmentOptions::new("state").holds::<u64>()
}

fn path(me: &Role) -> PathBuf {
    me.env("FILE").into()
}

#[test]
fn the_last_to_close_leaves_it_clean() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    assert_eq!(options().open_file(&path).unwrap_err().kind(), ErrorKind::NotFound);
    let one = options().create_file(&path, 4096).unwrap();
    assert_eq!(options().create_file(&path, 4096).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let other = options().open_or_create_file(&path, 99).unwrap();
    assert_eq!((one.opened(), other.opened(), other.len()), (Opened::Created, Opened::Joined, 4096));
    one.store(8, &7_u64).unwrap();
    one.sync().unwrap();
    one.close().unwrap();
    assert_eq!(other.description().unwrap().openers, 1);
    drop(other);
    let again = options().open_file(&path).unwrap();
    assert_eq!((again.opened(), again.load::<u64>(8).unwrap()), (Opened::Clean, 7));
    assert_eq!(again.description().unwrap().generation, 2, "made once, opened once");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Whatever the moment: the file is whole or not there, a death is told once, and what was stored is there.
#[test]
fn a_killed_user_is_told_to_the_next() {
    if let Some(me) = tieline_testkit::role() {
        let state = options().open_or_create_file(path(&me), 4096).unwrap();
        state.store(0, &1_u64).unwrap();
        me.say("open");
        if me.name() == "closing" {
            state.close().unwrap();
        }
        me.wait_for("never");
        return;
    }
    // (role, the step at which it dies, whether the file is there, whether the next is told of a death)
    let moments = [
        ("user", "segment-file:before-link", false, false),
        ("user", "segment-file:after-link", true, true),
        ("user", "", true, true),
        ("closing", "segment-file:before-count", true, true),
    ];
    for (role, step, there, told) in moments {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state");
        let mut peer = Peer::of(test_name!()).role(role).env("FILE", &file);
        if !step.is_empty() {
            peer = peer.env("TIELINE_STEP", format!("kill:{step}"));
        }
        let mut peer = peer.spawn();
        if step.is_empty() {
            peer.wait_for("open");
            peer.kill();
        } else {
            assert!(!peer.exit_status().success(), "{step} is passed");
        }
        assert_eq!(file.exists(), there, "{step}");
        let next = options().open_or_create_file(&file, 4096).unwrap();
        let expected = if told { Opened::ProcessDied } else { Opened::Created };
        assert_eq!(next.opened(), expected, "{role} {step}");
        next.close().unwrap();
        let expected = Opened::Clean;
        assert_eq!(options().open_file(&file).unwrap().opened(), expected, "a death is told once: {step}");
    }
}

/// Opening is interrupted as well: by the first one, and by one who joins.
#[test]
fn a_death_while_opening_is_told_too() {
    if let Some(me) = tieline_testkit::role() {
        let _state = options().open_file(path(&me)).unwrap();
        me.wait_for("never");
        return;
    }
    for (step, others) in [("segment-file:first", false), ("segment-file:joined", true)] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state");
        let ours = options().create_file(&file, 4096).unwrap();
        let ours = others.then_some(ours);
        let wanted = format!("kill:{step}");
        let mut peer = Peer::of(test_name!()).role("opener").env("FILE", &file).env("TIELINE_STEP", wanted).spawn();
        assert!(!peer.exit_status().success(), "{step} is passed");
        drop(ours);
        assert_eq!(options().open_file(&file).unwrap().opened(), Opened::ProcessDied, "{step}");
    }
}

#[test]
fn a_panic_leaves_it_marked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state");
    let panicked = std::panic::catch_unwind(|| {
        let _state = options().create_file(&file, 4096).unwrap();
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(panicked.is_err());
    assert_eq!(options().open_file(&file).unwrap().opened(), Opened::ProcessDied);
}

#[test]
fn strangers_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state");
    options().create_file(&file, 4096).unwrap().close().unwrap();
    let refused = |name: &str| options().open_file(folder.path().join(name)).unwrap_err();

    symlink(&file, folder.path().join("link")).unwrap();
    assert_eq!(refused("link").kind(), ErrorKind::PermissionDenied);
    std::fs::write(folder.path().join("short"), b"TIELINE").unwrap();
    assert_eq!(refused("short").kind(), ErrorKind::Corrupted);
    std::fs::write(folder.path().join("other"), [7; 8192]).unwrap();
    assert_eq!(refused("other").kind(), ErrorKind::Corrupted);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o620)).unwrap();
    assert!(refused("state").to_string().contains("others may write it (mode 620)"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();

    // Cut, and with a header that promises more than there is.
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(5000).unwrap();
    assert_eq!(refused("state").kind(), ErrorKind::Corrupted);

    let error = SegmentOptions::new("state").holds::<u32>().open_file(&file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupted, "the length is looked at first: {error}");
}

#[test]
fn another_format_and_another_layout_are_told_apart() {
    use std::os::unix::fs::FileExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state");
    options().create_file(&file, 4096).unwrap().close().unwrap();
    let error = SegmentOptions::new("state").holds::<u32>().open_file(&file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(error.to_string().contains("! 0: u32 | 0: u64"), "{error}");

    let raw = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    raw.write_at(&9_u32.to_ne_bytes(), 8).unwrap();
    let error = options().open_file(&file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(error.to_string().contains("it has format 9, and this program knows 1"), "{error}");
}

#[test]
fn a_system_that_stopped_is_told() {
    use std::os::unix::fs::FileExt;
    if let Some(me) = tieline_testkit::role() {
        let _state = options().open_file(path(&me)).unwrap();
        me.say("open");
        me.wait_for("never");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state");
    options().create_file(&file, 4096).unwrap().close().unwrap();
    let mut peer = Peer::of(test_name!()).role("user").env("FILE", &file).spawn();
    peer.wait_for("open");
    peer.kill();
    // As a file that comes from another start of the system.
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().write_at(&[7; 16], 72).unwrap();
    assert_eq!(options().open_file(&file).unwrap().opened(), Opened::SystemStopped);
}

#[test]
fn a_full_file_system_is_an_error() {
    if let Some(me) = tieline_testkit::role() {
        let folder = tempfile::tempdir().unwrap();
        rustix::mount::mount("none", folder.path(), "tmpfs", rustix::mount::MountFlags::empty(), c"size=1m").unwrap();
        let error = options().create_file(folder.path().join("large"), 2 << 20).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitReached, "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left of it");
        let growing = options().growable(8 << 20).create_file(folder.path().join("growing"), 4096).unwrap();
        growing.grow(512 << 10).unwrap();
        let error = growing.grow(2 << 20).unwrap_err();
        assert_eq!((error.kind(), growing.committed_len()), (ErrorKind::LimitReached, 512 << 10), "{error}");
        growing.shrink(4096).unwrap();
        growing.write(0, b"alive").unwrap();
        drop(growing);
        rustix::mount::unmount(folder.path(), rustix::mount::UnmountFlags::empty()).unwrap();
        me.say("done");
        return;
    }
    if !Namespace::can_make(&[Namespace::Mount]) {
        skip!("no mount namespaces here");
    }
    let mut peer = Peer::of(test_name!()).role("inside").namespaces(&[Namespace::Mount]).spawn();
    peer.wait_for("done");
    peer.succeeds();
}
