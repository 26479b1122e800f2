//! Sleeping on a word of shared memory: the kernel's futex, or its model.

#[cfg(not(model))]
mod kernel {
    use tieline_os::futex::{Deadline, Futex, Waited};

    use crate::raw::atomic::AtomicU32;

    /// Sleeps while `word` is `expected`, until woken or the deadline; look at the word again in every case.
    pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Option<Deadline>) -> tieline_os::Result<Waited> {
        match deadline {
            Some(deadline) => Futex::shared(word).wait_until(expected, deadline),
            None => Futex::shared(word).wait(expected),
        }
    }

    /// Wakes up to `count` who sleep on `word`.
    pub(crate) fn wake(word: &AtomicU32, count: u32) {
        // Memory that is mapped can be woken on; how many slept there is nobody's business.
        let _ = Futex::shared(word).wake(count);
    }
}

#[cfg(model)]
mod kernel {
    //! The kernel's table of sleepers: comparing and falling asleep happen under the lock that waking takes, so a
    //! wake-up that is lost is lost in the protocol under test, and loom reports a deadlock.

    use std::collections::HashMap;
    use std::sync::Arc;

    use loom::sync::{Condvar, Mutex};
    use tieline_os::futex::{Deadline, Waited};

    use crate::raw::atomic::{AtomicU32, Ordering};

    struct Bucket {
        turn: Mutex<u64>,
        woken: Condvar,
    }

    loom::lazy_static! {
        static ref BUCKETS: Mutex<HashMap<usize, Arc<Bucket>>> = Mutex::new(HashMap::new());
    }

    fn bucket(word: &AtomicU32) -> Arc<Bucket> {
        let mut buckets = BUCKETS.lock().unwrap();
        let fresh = || Arc::new(Bucket { turn: Mutex::new(0), woken: Condvar::new() });
        Arc::clone(buckets.entry(std::ptr::from_ref(word).addr()).or_insert_with(fresh))
    }

    /// A deadline never passes in a model: who relies on one to be woken is found out.
    pub(crate) fn wait(word: &AtomicU32, expected: u32, _: Option<Deadline>) -> tieline_os::Result<Waited> {
        let bucket = bucket(word);
        let mut turn = bucket.turn.lock().unwrap();
        if word.load(Ordering::SeqCst) != expected {
            return Ok(Waited::Changed);
        }
        let before = *turn;
        while *turn == before {
            turn = bucket.woken.wait(turn).unwrap();
        }
        Ok(Waited::Woken)
    }

    /// Wakes everyone, whatever the count: a protocol must bear being woken without cause.
    pub(crate) fn wake(word: &AtomicU32, _: u32) {
        let bucket = bucket(word);
        *bucket.turn.lock().unwrap() += 1;
        bucket.woken.notify_all();
    }
}

pub(crate) use kernel::{wait, wake};
