//! Sets of signals.

use std::fmt;
use std::ops::{BitOr, Sub};

use super::Signal;
use super::number::HIGHEST;

/// A set of signals.
///
/// Functions that want a set take `impl Into<SignalSet>`, so that one signal or an array will do.
///
/// ```
/// use tieline_os::signal::{Signal, SignalSet};
/// let polite = SignalSet::from([Signal::INT, Signal::TERM]);
/// assert!(polite.contains(Signal::TERM) && !polite.contains(Signal::KILL));
/// assert_eq!((polite | Signal::HUP.into()).to_string(), "SIGHUP, SIGINT, SIGTERM");
/// ```
#[doc(alias = "sigset_t")]
#[doc(alias = "sigemptyset")]
#[doc(alias = "sigfillset")]
#[doc(alias = "sigaddset")]
#[doc(alias = "sigdelset")]
#[doc(alias = "sigismember")]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SignalSet(u64);

impl SignalSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// Every signal from 1 to 64.
    pub const ALL: Self = Self(u64::MAX);

    /// The set of the kernel's bits: bit 0 is signal 1, as in the `SigBlk` line of `/proc/PID/status`.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The kernel's bits: bit 0 is signal 1.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether `signal` is in it.
    #[must_use]
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & bit(signal) != 0
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn contains_all(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Puts `signal` in.
    pub const fn insert(&mut self, signal: Signal) {
        self.0 |= bit(signal);
    }

    /// Takes `signal` out.
    pub const fn remove(&mut self, signal: Signal) {
        self.0 &= !bit(signal);
    }

    /// How many signals are in it.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether none is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its signals, lowest number first.
    #[must_use]
    pub const fn iter(self) -> Signals {
        Signals(self.0)
    }
}

const fn bit(signal: Signal) -> u64 {
    1 << (signal.number() - 1)
}

/// The signals of a [`SignalSet`], lowest number first.
#[derive(Clone, Debug)]
pub struct Signals(u64);

impl Iterator for Signals {
    type Item = Signal;

    fn next(&mut self) -> Option<Signal> {
        let number = self.0.trailing_zeros().cast_signed() + 1;
        if number > HIGHEST {
            return None;
        }
        self.0 &= self.0 - 1;
        Signal::new(number)
    }
}

impl IntoIterator for SignalSet {
    type Item = Signal;
    type IntoIter = Signals;

    fn into_iter(self) -> Signals {
        self.iter()
    }
}

impl From<Signal> for SignalSet {
    fn from(signal: Signal) -> Self {
        Self(bit(signal))
    }
}

impl<const N: usize> From<[Signal; N]> for SignalSet {
    fn from(signals: [Signal; N]) -> Self {
        signals.into_iter().collect()
    }
}

impl FromIterator<Signal> for SignalSet {
    fn from_iter<I: IntoIterator<Item = Signal>>(signals: I) -> Self {
        let mut set = Self::EMPTY;
        set.extend(signals);
        set
    }
}

impl Extend<Signal> for SignalSet {
    fn extend<I: IntoIterator<Item = Signal>>(&mut self, signals: I) {
        signals.into_iter().for_each(|signal| self.insert(signal));
    }
}

impl BitOr for SignalSet {
    type Output = Self;

    /// What is in either.
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Sub for SignalSet {
    type Output = Self;

    /// What is in the first and not in the second.
    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl fmt::Display for SignalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, signal) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{signal}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut set = SignalSet::from(Signal::HUP);
        let last = Signal::new(HIGHEST).unwrap();
        set.insert(last);
        assert_eq!(set.bits(), 1 << 63 | 1);
        assert_eq!(set.iter().collect::<Vec<_>>(), [Signal::HUP, last]);
        set.remove(Signal::HUP);
        assert_eq!(set, last.into());
        assert_eq!((set.len(), set.is_empty()), (1, false));
        assert!(SignalSet::ALL.contains_all(set) && set.contains_all(SignalSet::EMPTY));
        assert!(!set.contains_all(Signal::HUP.into()));
        assert_eq!(SignalSet::ALL.iter().count(), 64);
        assert_eq!((SignalSet::ALL - set).len(), 63);
    }
}
