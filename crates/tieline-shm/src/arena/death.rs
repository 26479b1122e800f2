//! Where the tests let a change die: before any one of its stores.

#[cfg(all(test, not(model)))]
mod planned {
    use std::cell::Cell;

    use crate::error::{Error, ErrorKind, Result};

    thread_local! {
        static STORES_LEFT: Cell<Option<u64>> = const { Cell::new(None) };
        static FORGETS: Cell<bool> = const { Cell::new(false) };
    }

    /// Lets this thread die before its store number `stores`, counted from 0; `None` lets it live.
    pub(in crate::arena) fn plan(stores: Option<u64>) {
        STORES_LEFT.set(stores);
    }

    /// Plants the bug that the tests must find: old values are not noted.
    pub(in crate::arena) fn forget_to_note(forget: bool) {
        FORGETS.set(forget);
    }

    pub(in crate::arena) fn at_store() -> Result<()> {
        match STORES_LEFT.get() {
            None => Ok(()),
            Some(0) => Err(Error::new("live on", ErrorKind::PeerGone)),
            Some(left) => {
                STORES_LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }

    /// The dead tidy nothing up.
    pub(in crate::arena) fn is_dead() -> bool {
        STORES_LEFT.get() == Some(0)
    }

    pub(in crate::arena) fn forgets_to_note() -> bool {
        FORGETS.get()
    }
}

#[cfg(not(all(test, not(model))))]
mod planned {
    use crate::error::Result;

    #[inline(always)]
    pub(in crate::arena) fn at_store() -> Result<()> {
        Ok(())
    }

    #[inline(always)]
    pub(in crate::arena) fn is_dead() -> bool {
        false
    }

    #[inline(always)]
    pub(in crate::arena) fn forgets_to_note() -> bool {
        false
    }
}

pub(super) use planned::*;
