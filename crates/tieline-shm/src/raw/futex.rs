//! Sleeping on a word of shared memory: the kernel's futex, or its model.

#[cfg(not(model))]
mod kernel {
    use std::sync::OnceLock;

    use tieline_os::futex::{AnyWaited, Deadline, Futex, Waited};

    use crate::raw::atomic::AtomicU32;

    /// How many words [`wait_any`] takes at most.
    pub(crate) const MAX_WORDS: usize = tieline_os::futex::MAX_WORDS;

    /// How many words this kernel can sleep on at once: [`MAX_WORDS`], or one before Linux 5.16.
    pub(crate) fn most_words() -> usize {
        static IS_SUPPORTED: OnceLock<bool> = OnceLock::new();
        if *IS_SUPPORTED.get_or_init(tieline_os::futex::wait_any_is_supported) { MAX_WORDS } else { 1 }
    }

    /// Sleeps while `word` is `expected`, until woken or the deadline; look at the word again in every case.
    ///
    /// The memory may be mapped read-only.
    pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Option<Deadline>) -> tieline_os::Result<Waited> {
        match deadline {
            Some(deadline) => Futex::shared(word).wait_until(expected, deadline),
            None => Futex::shared(word).wait(expected),
        }
    }

    /// Sleeps while each word is what stands beside it; look at all of them again in every case.
    pub(crate) fn wait_any(words: &[(&AtomicU32, u32)], deadline: Option<Deadline>) -> tieline_os::Result<Waited> {
        let Some(&(first, expected)) = words.first() else {
            return Ok(Waited::Changed);
        };
        let mut list = [(Futex::shared(first), expected); MAX_WORDS];
        for (entry, &(word, expected)) in list.iter_mut().zip(words) {
            *entry = (Futex::shared(word), expected);
        }
        let list = &list[..words.len().min(MAX_WORDS)];
        tieline_os::futex::wait_any(list, deadline).map(|waited| match waited {
            AnyWaited::Woken(_) => Waited::Woken,
            AnyWaited::Changed => Waited::Changed,
            AnyWaited::TimedOut => Waited::TimedOut,
        })
    }

    /// Wakes up to `count` who sleep on `word`, and says how many there were.
    ///
    /// The memory may be mapped read-only.
    pub(crate) fn wake(word: &AtomicU32, count: u32) -> usize {
        // Memory that is mapped can be woken on; if it cannot, nobody sleeps there.
        Futex::shared(word).wake(count).unwrap_or(0)
    }
}

#[cfg(model)]
mod kernel {
    //! The kernel's table of sleepers: comparing and falling asleep happen under the lock that waking takes, so a
    //! wake-up that is lost is lost in the protocol under test, and loom reports a deadlock.

    use std::collections::HashMap;

    use loom::sync::{Arc, Condvar, Mutex};
    use tieline_os::futex::{Deadline, Waited};

    use crate::raw::atomic::{AtomicU32, Ordering};

    /// How many words [`wait_any`] takes.
    pub(crate) const MAX_WORDS: usize = 128;

    /// How many words this kernel can sleep on at once.
    pub(crate) fn most_words() -> usize {
        MAX_WORDS
    }

    /// One who sleeps, on one word or several.
    struct Sleeper {
        woken: Mutex<bool>,
        bell: Condvar,
    }

    loom::lazy_static! {
        /// Who sleeps on which word, in the order of falling asleep.
        static ref SLEEPERS: Mutex<HashMap<usize, Vec<Arc<Sleeper>>>> = Mutex::new(HashMap::new());
    }

    fn address(word: &AtomicU32) -> usize {
        std::ptr::from_ref(word).addr()
    }

    /// A deadline never passes in a model: who relies on one to be woken is found out.
    pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Option<Deadline>) -> tieline_os::Result<Waited> {
        wait_any(&[(word, expected)], deadline)
    }

    /// Sleeps while each word is what stands beside it.
    pub(crate) fn wait_any(words: &[(&AtomicU32, u32)], _: Option<Deadline>) -> tieline_os::Result<Waited> {
        let me = Arc::new(Sleeper { woken: Mutex::new(false), bell: Condvar::new() });
        let mut sleepers = SLEEPERS.lock().unwrap();
        if words.iter().any(|(word, expected)| word.load(Ordering::SeqCst) != *expected) {
            return Ok(Waited::Changed);
        }
        for (word, _) in words {
            sleepers.entry(address(word)).or_default().push(Arc::clone(&me));
        }
        drop(sleepers);
        let mut woken = me.woken.lock().unwrap();
        while !*woken {
            woken = me.bell.wait(woken).unwrap();
        }
        drop(woken);
        if words.len() > 1 {
            let mut sleepers = SLEEPERS.lock().unwrap();
            for (word, _) in words {
                sleepers.entry(address(word)).or_default().retain(|sleeper| !Arc::ptr_eq(sleeper, &me));
            }
        }
        Ok(Waited::Woken)
    }

    /// Wakes those who sleep longest, `count` of them at most.
    pub(crate) fn wake(word: &AtomicU32, count: u32) -> usize {
        let mut sleepers = SLEEPERS.lock().unwrap();
        let list = sleepers.entry(address(word)).or_default();
        let count = list.len().min(usize::try_from(count).unwrap_or(usize::MAX));
        for sleeper in list.drain(..count) {
            *sleeper.woken.lock().unwrap() = true;
            sleeper.bell.notify_one();
        }
        count
    }
}

pub(crate) use kernel::{MAX_WORDS, most_words, wait, wait_any, wake};
