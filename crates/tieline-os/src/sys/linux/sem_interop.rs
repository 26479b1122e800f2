//! Whether our semaphores are the C library's: the one promise of `posix::sem` that only unsafe code can check.

use std::ffi::{CString, c_char, c_int};

use crate::Mode;
use crate::mapping::Mapping;
use crate::posix::sem::{NamedSemaphore, UnnamedSemaphore, VALUE_MAX};

unsafe extern "C" {
    fn sem_open(name: *const c_char, flags: c_int, ...) -> *mut libc::sem_t;
    fn sem_close(semaphore: *mut libc::sem_t) -> c_int;
    fn sem_getvalue(semaphore: *mut libc::sem_t, value: *mut c_int) -> c_int;
}

/// The C library's value of the semaphore at `semaphore`.
fn value(semaphore: *mut libc::sem_t) -> c_int {
    let mut value = -1;
    // SAFETY: the tests pass only live semaphores.
    assert_eq!(unsafe { sem_getvalue(semaphore, &raw mut value) }, 0);
    value
}

#[test]
fn a_semaphore_in_memory_is_a_sem_t() {
    assert_eq!(size_of::<libc::sem_t>(), UnnamedSemaphore::SIZE);
    let memory = Mapping::anonymous(4096).unwrap();
    let ours = UnnamedSemaphore::init(&memory, 64, 2).unwrap();
    let theirs = memory.raw().as_ptr().wrapping_add(64).cast::<libc::sem_t>();
    assert_eq!(value(theirs), 2);
    // SAFETY: `theirs` is the 32 aligned bytes that `init` has just made a semaphore, mapped to the end of the test.
    assert_eq!(unsafe { libc::sem_wait(theirs) }, 0);
    assert_eq!(ours.value(), 1);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::sem_post(theirs) }, 0);
    assert_eq!(ours.value(), 2);

    // SAFETY: as above; the memory is ours to make a semaphore of, and nobody waits on the old one.
    assert_eq!(unsafe { libc::sem_init(theirs, 1, VALUE_MAX) }, 0);
    assert_eq!(ours.value(), VALUE_MAX);
    ours.post().unwrap_err();
    // SAFETY: as above.
    assert_eq!(unsafe { libc::sem_post(theirs) }, -1);
}

/// Each side sleeps and is woken by the other, again and again.
#[test]
fn each_side_wakes_the_other() {
    const ROUNDS: usize = 1000;
    let memory = Mapping::anonymous(4096).unwrap();
    let ping = UnnamedSemaphore::init(&memory, 0, 0).unwrap();
    let pong = UnnamedSemaphore::init(&memory, 128, 0).unwrap();
    let start = memory.raw().as_ptr().addr();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (ping, pong) = (std::ptr::with_exposed_provenance_mut(start), start + 128);
            let pong = std::ptr::with_exposed_provenance_mut(pong);
            for _ in 0..ROUNDS {
                // SAFETY: a semaphore of the mapping, which outlives the scope.
                assert_eq!(unsafe { libc::sem_wait(ping) }, 0);
                // SAFETY: as above.
                assert_eq!(unsafe { libc::sem_post(pong) }, 0);
            }
        });
        let _ = memory.raw().as_ptr().expose_provenance();
        for _ in 0..ROUNDS {
            ping.post().unwrap();
            pong.wait().unwrap();
        }
    });
    assert_eq!((ping.value(), pong.value(), ping.waiters(), pong.waiters()), (0, 0, 0, 0));
}

#[test]
fn a_named_semaphore_opens_in_c() {
    struct Unlink(String);
    impl Drop for Unlink {
        fn drop(&mut self) {
            let _ = NamedSemaphore::unlink(&self.0);
        }
    }
    let name = Unlink(format!("/tieline-interop-{}", std::process::id()));
    let ours = NamedSemaphore::create(&name.0, 3, Mode::OWNER).unwrap();
    let c_name = CString::new(name.0.as_str()).unwrap();
    // SAFETY: a C string, and no flag that takes further arguments.
    let theirs = unsafe { sem_open(c_name.as_ptr(), 0) };
    assert!(!theirs.is_null());
    assert_eq!(value(theirs), 3);
    // SAFETY: just opened.
    assert_eq!(unsafe { libc::sem_wait(theirs) }, 0);
    assert_eq!(ours.value(), 2);
    ours.post().unwrap();
    assert_eq!(value(theirs), 3);
    // SAFETY: just opened, and not used afterwards.
    assert_eq!(unsafe { sem_close(theirs) }, 0);

    // And the other way round: what the C library creates, we open.
    NamedSemaphore::unlink(&name.0).unwrap();
    // SAFETY: a C string; with O_CREAT follow a mode and a value.
    let theirs = unsafe { sem_open(c_name.as_ptr(), libc::O_CREAT | libc::O_EXCL, 0o600_u32, 7_u32) };
    assert!(!theirs.is_null());
    assert_eq!(NamedSemaphore::open(&name.0).unwrap().value(), 7);
    // SAFETY: as above.
    assert_eq!(unsafe { sem_close(theirs) }, 0);
}
