//! Other namespaces, entered by a thread that ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tieline_os::ErrorKind;
use tieline_os::namespace::{Kind, Namespace};
use tieline_os::sysv::shm;
use tieline_testkit::{Isolation, Peer, can_run_as, eventually, has_command, role, skip, test_name};

/// A program in namespaces of its own, which has done its work and waits to be killed.
struct Elsewhere(Child);

impl Elsewhere {
    fn running(options: &[&str], script: &str) -> Self {
        let mut child = Command::new("unshare")
            .args(options)
            .args(["sh", "-c", &format!("{script} && echo ready && exec sleep 60")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("start unshare");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let ready = lines.find(|line| line.as_ref().map_or(true, |line| line == "ready"));
        assert!(ready.is_some_and(|line| line.is_ok()), "the program elsewhere failed");
        Self(child)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn may_make_namespaces() -> bool {
    has_command("unshare")
        && Command::new("unshare").args(["-i", "-n", "-m", "true"]).status().is_ok_and(|status| status.success())
}

fn segments() -> usize {
    shm::segments().unwrap().count()
}

/// Given a program with a segment in an IPC namespace of its own, then a function that runs there sees it, and neither
/// the caller nor anybody else has moved.
#[test]
fn a_function_runs_there_and_nobody_else_does() {
    if tieline_testkit::Namespace::enter(&[tieline_testkit::Namespace::Ipc], &test_name!()) == Isolation::Done {
        return;
    }
    if !may_make_namespaces() || !has_command("ipcmk") {
        skip!("it takes root, unshare and ipcmk");
    }
    let elsewhere = Elsewhere::running(&["-i"], "ipcmk -M 100 && ipcmk -M 100");
    let before = Namespace::own(Kind::Ipc).unwrap();
    let there = Namespace::of_process(elsewhere.0.id(), Kind::Ipc).unwrap();
    assert_ne!(before.inode(), there.inode());
    let seen = there.run(|| (segments(), Namespace::own(Kind::Ipc).unwrap().inode())).unwrap();
    assert_eq!(seen, (2, there.inode()));
    assert_eq!((segments(), Namespace::own(Kind::Ipc).unwrap().inode()), (0, before.inode()));
    // The thread that was there is joined before the kernel has quite ended it.
    eventually("no thread is elsewhere", || {
        let mut threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        threads.all(|thread| {
            let link = std::fs::read_link(thread.path().join("ns/ipc")).unwrap_or_default();
            link.to_str() == Some(format!("ipc:[{}]", before.inode()).as_str())
        })
    });
}

#[test]
fn the_hold_outlives_the_last_process() {
    if !may_make_namespaces() || !has_command("ipcmk") {
        skip!("it takes root, unshare and ipcmk");
    }
    let elsewhere = Elsewhere::running(&["-i"], "ipcmk -M 100");
    let there = Namespace::of_process(elsewhere.0.id(), Kind::Ipc).unwrap();
    drop(elsewhere);
    assert_eq!(there.run(segments).unwrap(), 1);
}

/// A mount namespace has a root and a working directory, which the threads of a process share unless told otherwise.
#[test]
fn entering_a_mount_namespace_leaves_the_working_directory_of_others() {
    if !may_make_namespaces() {
        skip!("it takes root and unshare");
    }
    let directory = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs none {0} && touch {0}/there", directory.path().display());
    let elsewhere = Elsewhere::running(&["-m"], &script);
    let there = Namespace::of_process(elsewhere.0.id(), Kind::Mount).unwrap();
    let before = std::env::current_dir().unwrap();
    let file = directory.path().join("there");
    assert!(there.run(|| file.exists()).unwrap());
    assert!(!file.exists());
    assert_eq!(std::env::current_dir().unwrap(), before);
}

#[test]
fn a_socket_opened_there_goes_on_working_here() {
    if !may_make_namespaces() {
        skip!("it takes root and unshare");
    }
    let elsewhere = Elsewhere::running(&["-n"], "true");
    let there = Namespace::of_process(elsewhere.0.id(), Kind::Net).unwrap();
    let monitor = there.run(tieline_os::sock_diag::Monitor::open).unwrap();
    let mut monitor = match monitor {
        Ok(monitor) => monitor,
        Err(error) => skip!("{error}"),
    };
    let (_one, _other) = tieline_os::unix::Stream::pair().unwrap();
    assert_eq!(monitor.unix().unwrap().iter().count(), 0, "ours are not there");
}

#[test]
#[should_panic(expected = "from inside")]
fn a_panic_comes_out() {
    let own = Namespace::own(Kind::Ipc).unwrap();
    let _: tieline_os::Result<()> = own.run(|| panic!("from inside"));
}

#[test]
fn no_such_process() {
    let error = Namespace::of_process(u32::MAX, Kind::Net).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("/proc/4294967295/ns/net"), "{error}");
}

/// Without privilege one's own namespace may be entered, and no other, not even one's own child's.
#[test]
fn without_privilege_only_ones_own() {
    const NOBODY: u32 = 65534;
    if let Some(me) = role() {
        assert_eq!(Namespace::own(Kind::Ipc).unwrap().run(|| 7).unwrap(), 7);
        let refused = Namespace::of_process(1, Kind::Net).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        let pid = me.env("ELSEWHERE").parse().unwrap();
        let there = Namespace::of_process(pid, Kind::Ipc).unwrap();
        let refused = there.run(|| ()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        assert!(refused.to_string().contains("CAP_SYS_ADMIN"), "{refused}");
        return;
    }
    if !can_run_as(NOBODY) || !may_make_namespaces() || !has_command("setpriv") {
        skip!("it takes root, unshare, setpriv and a test binary that everybody may run");
    }
    let drop = ["-i", "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let elsewhere = Elsewhere::running(&drop, "true");
    let peer = Peer::of(test_name!()).role("nobody").user(NOBODY).env("ELSEWHERE", elsewhere.0.id().to_string());
    peer.spawn().succeeds();
}
