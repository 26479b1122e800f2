//! Messages that are written where subscribers will read them.

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use tieline_os::futex::Deadline;

use super::{Payload, Publisher};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::structure::items::{Loaned, LoanedItems};
use crate::wait::Until;

impl<T: ShmSafe> Publisher<T> {
    /// A place in shared memory to write a message into, which [`Loan::send`] publishes without a copy. What lies there
    /// is a value of the type, but any: zeros or an earlier message.
    ///
    /// Waits while subscribers hold, or have yet to read, all memory there is for messages.
    ///
    /// # Errors
    /// * `LimitReached`: as many loans are out as may be.
    /// * `InvalidInput`: zeros are no value of this type; use [`loan_uninit`](Self::loan_uninit).
    /// * `OutOfMemory`; `Full` if nobody could make room; `Forked`.
    pub fn loan(&self) -> Result<Loan<'_, T>> {
        self.loan_items(1, Until::Forever)
    }

    /// [`loan`](Self::loan), without waiting.
    ///
    /// # Errors
    /// As [`loan`](Self::loan), and `Full` where that would wait.
    pub fn try_loan(&self) -> Result<Loan<'_, T>> {
        self.loan_items(1, Until::Now)
    }

    /// [`loan`](Self::loan), waiting at most so long.
    ///
    /// # Errors
    /// As [`loan`](Self::loan), and `TimedOut`.
    pub fn loan_timeout(&self, timeout: Duration) -> Result<Loan<'_, T>> {
        self.loan_items(1, Until::At(Deadline::after(timeout)))
    }

    /// [`loan`](Self::loan) without looking at what lies there, for types of which zeros are no value, or which are
    /// written anyway.
    ///
    /// # Errors
    /// As [`loan`](Self::loan) without `InvalidInput`.
    pub fn loan_uninit(&self) -> Result<LoanUninit<'_, T>> {
        self.loan_items_uninit(1, Until::Forever)
    }

    /// [`loan_uninit`](Self::loan_uninit), without waiting.
    ///
    /// # Errors
    /// As [`try_loan`](Self::try_loan) without `InvalidInput`.
    pub fn try_loan_uninit(&self) -> Result<LoanUninit<'_, T>> {
        self.loan_items_uninit(1, Until::Now)
    }
}

impl<T: ShmSafe> Publisher<[T]> {
    /// A place in shared memory for `count` items; see [`loan`](Publisher::loan).
    ///
    /// # Errors
    /// As [`loan`](Publisher::loan), and `TooLarge`.
    pub fn loan_slice(&self, count: usize) -> Result<Loan<'_, [T]>> {
        self.loan_items(count, Until::Forever)
    }

    /// [`loan_slice`](Self::loan_slice), without waiting.
    ///
    /// # Errors
    /// As [`loan_slice`](Self::loan_slice), and `Full` where that would wait.
    pub fn try_loan_slice(&self, count: usize) -> Result<Loan<'_, [T]>> {
        self.loan_items(count, Until::Now)
    }

    /// [`loan_slice`](Self::loan_slice), waiting at most so long.
    ///
    /// # Errors
    /// As [`loan_slice`](Self::loan_slice), and `TimedOut`.
    pub fn loan_slice_timeout(&self, count: usize, timeout: Duration) -> Result<Loan<'_, [T]>> {
        self.loan_items(count, Until::At(Deadline::after(timeout)))
    }

    /// [`loan_slice`](Self::loan_slice) for items that are yet to be written.
    ///
    /// # Errors
    /// As [`loan_slice`](Self::loan_slice) without `InvalidInput`.
    pub fn loan_slice_uninit(&self, count: usize) -> Result<LoanUninit<'_, [T]>> {
        self.loan_items_uninit(count, Until::Forever)
    }

    /// [`loan_slice_uninit`](Self::loan_slice_uninit), without waiting.
    ///
    /// # Errors
    /// As [`try_loan_slice`](Self::try_loan_slice) without `InvalidInput`.
    pub fn try_loan_slice_uninit(&self, count: usize) -> Result<LoanUninit<'_, [T]>> {
        self.loan_items_uninit(count, Until::Now)
    }
}

impl<T: Payload + ?Sized> Publisher<T> {
    fn loan_items(&self, count: usize, until: Until) -> Result<Loan<'_, T>> {
        let loaned = self.loan_bytes(count, until)?;
        match loaned.into_items() {
            Ok(items) => Ok(Loan { publisher: self, items: Some(items) }),
            Err(loaned) => {
                self.outlet.borrow_mut().give_back(loaned);
                Err(Error::new("loan", ErrorKind::InvalidInput)
                    .because("not every pattern of bits is a value of the type; use loan_uninit"))
            }
        }
    }

    fn loan_items_uninit(&self, count: usize, until: Until) -> Result<LoanUninit<'_, T>> {
        let items = self.loan_bytes(count, until)?.into_uninit();
        Ok(LoanUninit { publisher: self, items: Some(items) })
    }

    fn loan_bytes(&self, count: usize, until: Until) -> Result<Loaned> {
        self.membership.check()?;
        let len = count.saturating_mul(size_of::<T::Item>());
        self.outlet.borrow_mut().loan(len, self.waiting, until)
    }
}

/// A message being written where subscribers will read it. Dropping it publishes nothing.
pub struct Loan<'p, T: Payload + ?Sized> {
    publisher: &'p Publisher<T>,
    /// Until sent.
    items: Option<LoanedItems<T::Item>>,
}

impl<T: Payload + ?Sized> Loan<'_, T> {
    /// Publishes it, without a copy. Waits as [`Publisher::publish`] does.
    ///
    /// # Errors
    /// As [`Publisher::publish`]; the loan is given back then.
    pub fn send(self) -> Result<()> {
        self.send_until(Until::Forever)
    }

    /// [`send`](Self::send), without waiting.
    ///
    /// # Errors
    /// As [`send`](Self::send), and `WouldBlock` where that would wait: what was written is lost then.
    pub fn try_send(self) -> Result<()> {
        self.send_until(Until::Now)
    }

    /// [`send`](Self::send), waiting at most so long.
    ///
    /// # Errors
    /// As [`send`](Self::send), and `TimedOut`: what was written is lost then.
    pub fn send_timeout(self, timeout: Duration) -> Result<()> {
        self.send_until(Until::At(Deadline::after(timeout)))
    }

    fn send_until(mut self, until: Until) -> Result<()> {
        let publisher = self.publisher;
        publisher.membership.check()?;
        let Some(items) = self.items.take() else { return Ok(()) };
        let mut outlet = publisher.outlet.borrow_mut();
        outlet.send(items.into_loaned(), publisher.waiting, until).map_err(|(error, loaned)| {
            outlet.give_back(loaned);
            error
        })
    }
}

impl<T: Payload + ?Sized> Deref for Loan<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        let items = self.items.as_ref().expect("there until it is sent, which consumes the loan");
        T::of_items(items.items())
    }
}

impl<T: Payload + ?Sized> DerefMut for Loan<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        let items = self.items.as_mut().expect("there until it is sent, which consumes the loan");
        T::of_items_mut(items.items_mut())
    }
}

impl<T: Payload + ?Sized> Drop for Loan<'_, T> {
    fn drop(&mut self) {
        if let Some(items) = self.items.take() {
            self.publisher.outlet.borrow_mut().give_back(items.into_loaned());
        }
    }
}

/// A message of which nothing is written yet. Dropping it publishes nothing.
pub struct LoanUninit<'p, T: Payload + ?Sized> {
    publisher: &'p Publisher<T>,
    /// Until written.
    items: Option<LoanedItems<MaybeUninit<T::Item>>>,
}

impl<'p, T: Payload + ?Sized> LoanUninit<'p, T> {
    /// Writes all items, each as `item` says for its index.
    #[must_use = "it is not published before `send`"]
    pub fn fill_with(mut self, item: impl FnMut(usize) -> T::Item) -> Loan<'p, T> {
        let items = self.items.take().expect("there until it is written, which consumes the loan");
        Loan { publisher: self.publisher, items: Some(items.fill_with(item)) }
    }
}

impl<'p, T: ShmSafe> LoanUninit<'p, T> {
    /// Writes the value.
    #[must_use = "it is not published before `send`"]
    pub fn write(self, value: T) -> Loan<'p, T> {
        self.fill_with(|_| value)
    }
}

impl<T: Payload + ?Sized> Drop for LoanUninit<'_, T> {
    fn drop(&mut self) {
        if let Some(items) = self.items.take() {
            self.publisher.outlet.borrow_mut().give_back(items.into_loaned());
        }
    }
}
