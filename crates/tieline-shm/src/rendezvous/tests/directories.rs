//! Runtime directories that cannot be used: each a sentence of its own.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use tieline_testkit::{Isolation, Namespace, can_run_as, skip, test_name};

use super::actor::{TIMEOUT, directory, files, name_in, offer};
use crate::error::ErrorKind;
use crate::rendezvous::{Name, Role, create, open, open_or_create};

fn refusal(name: &Name) -> (ErrorKind, String) {
    let error = create(name, offer(Role::Producer), TIMEOUT).expect_err("refused");
    (error.kind(), error.to_string())
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_directory_that_is_missing_writable_by_all_a_link_or_none_is_refused() {
    let directory = directory();
    let missing = directory.path().join("missing");
    let (kind, text) = refusal(&name_in(&missing, "x"));
    assert!(kind == ErrorKind::NotFound && text.contains("no such directory"), "{text}");

    let shared = directory.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    set_mode(&shared, 0o777);
    let (kind, text) = refusal(&name_in(&shared, "x"));
    assert!(kind == ErrorKind::PermissionDenied && text.contains("mode is 0777"), "{text}");
    set_mode(&shared, 0o700);

    let link = directory.path().join("link");
    symlink(&shared, &link).unwrap();
    let (kind, text) = refusal(&name_in(&link, "x"));
    assert!(kind == ErrorKind::PermissionDenied && text.contains("symbolic link"), "{text}");

    let file = directory.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let (kind, text) = refusal(&name_in(&file, "x"));
    assert!(kind == ErrorKind::InvalidInput && text.contains("no directory"), "{text}");
}

#[test]
fn files_that_others_put_in_the_place_of_a_name_are_left_alone() {
    let directory = directory();
    let aim = directory.path().join("aim");
    symlink(&aim, directory.path().join("trap.lock")).unwrap();
    let (_, text) = refusal(&name_in(directory.path(), "trap"));
    assert!(text.contains("symbolic link"), "{text}");
    assert!(!aim.exists(), "what it leads to was not made");
    // In the place of the socket, a file is replaced by the socket, never followed.
    symlink(&aim, directory.path().join("other.sock")).unwrap();
    drop(create(&name_in(directory.path(), "other"), offer(Role::Producer), TIMEOUT).unwrap());
    assert!(!aim.exists());
}

#[test]
fn the_users_own_directory_is_made_and_must_be_the_users() {
    if let Some(me) = tieline_testkit::role() {
        let name = "camera".parse().unwrap();
        match create(&name, offer(Role::Producer), TIMEOUT) {
            Ok(_joined) => me.say("created"),
            Err(error) => me.say(&error.to_string()),
        }
        return;
    }
    let directory = directory();
    let run = |variables: &[(&str, &str)], uid: Option<u32>| {
        let mut peer = tieline_testkit::Peer::of(test_name!()).role("own");
        for key in ["TIELINE_RUNTIME_DIR", "XDG_RUNTIME_DIR"] {
            peer = peer.env(key, "");
        }
        for (key, value) in variables {
            peer = peer.env(*key, *value);
        }
        let peer = if let Some(uid) = uid { peer.user(uid) } else { peer };
        let mut peer = peer.spawn();
        let word = peer.hear();
        peer.succeeds();
        word
    };
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    let own = directory.path().join("own");
    let own_text = own.to_str().unwrap();
    assert_eq!(run(&[("TIELINE_RUNTIME_DIR", own_text), ("XDG_RUNTIME_DIR", "/nowhere")], None), "created");
    assert_eq!(mode(&own), 0o700);
    assert!(files(&own).is_empty());
    assert_eq!(run(&[("XDG_RUNTIME_DIR", own_text)], None), "created");
    assert_eq!(mode(&own.join("tieline")), 0o700);
    let text = run(&[("XDG_RUNTIME_DIR", "/nowhere")], None);
    assert!(text.contains("the directory above it does not exist") && text.contains("TIELINE_RUNTIME_DIR"), "{text}");
    set_mode(&own, 0o770);
    let text = run(&[("TIELINE_RUNTIME_DIR", own_text)], None);
    assert!(text.contains("mode is 0770"), "{text}");
    if can_run_as(65_531) {
        set_mode(&own, 0o755);
        set_mode(directory.path(), 0o755);
        let text = run(&[("TIELINE_RUNTIME_DIR", own_text)], Some(65_531));
        assert!(text.contains("it belongs to user"), "{text}");
    }
}

#[test]
fn on_a_read_only_file_system_names_cannot_be_made_and_can_be_joined() {
    if Namespace::enter(&[Namespace::Mount], &test_name!()) == Isolation::Done {
        return;
    }
    let directory = directory();
    let name = name_in(directory.path(), "there");
    let _host = super::actor::Actor::create(&name, Role::Producer);
    let mount = |arguments: &[&str]| {
        std::process::Command::new("mount").args(arguments).status().is_ok_and(|status| status.success())
    };
    let path = directory.path().to_str().unwrap();
    if !mount(&["--bind", path, path]) || !mount(&["-o", "remount,bind,ro", path]) {
        skip!("this machine does not let us mount read-only");
    }
    let (_, text) = refusal(&name_in(directory.path(), "new"));
    assert!(text.contains("read-only"), "{text}");
    assert!(open(&name, offer(Role::Consumer), TIMEOUT).is_ok(), "as one who cannot become the host");
    assert!(open_or_create(&name_in(directory.path(), "none"), offer(Role::Consumer), TIMEOUT).is_err());
    let unmounted = std::process::Command::new("umount").arg(path).status().is_ok_and(|status| status.success());
    assert!(unmounted);
}
