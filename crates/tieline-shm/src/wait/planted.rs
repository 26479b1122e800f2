//! Mistakes that the models switch on, to see that they would be found.

pub(super) struct Mistake(#[cfg(model)] &'static std::thread::LocalKey<std::cell::Cell<bool>>);

impl Mistake {
    /// Always false outside of models.
    #[cfg(not(model))]
    #[inline(always)]
    pub(super) fn is_on(&self) -> bool {
        false
    }

    #[cfg(model)]
    pub(super) fn is_on(&self) -> bool {
        self.0.with(std::cell::Cell::get)
    }

    /// A model's threads are one thread of the system, so other models do not see it.
    #[cfg(all(test, model))]
    pub(super) fn switch_on(&self) {
        self.0.with(|mistake| mistake.set(true));
    }
}

macro_rules! mistakes {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        #[cfg(not(model))]
        pub(super) static $name: Mistake = Mistake();
        $(#[$doc])*
        #[cfg(model)]
        pub(super) static $name: Mistake = Mistake({
            thread_local!(static ON: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
            &ON
        });
    )*};
}

mistakes! {
    /// A notification for one waiter is spent on a doorbell.
    BELL_INSTEAD,
    /// Neither side uses a fence or barrier.
    NO_FENCE,
    /// The sleeper does not look again after announcing.
    NO_SECOND_LOOK,
    /// The turn is counted before the announcement is taken off.
    TURN_FIRST
}
