//! Locks in shared memory that survive the death of any who use them.

mod barrier;
mod line;
mod rwlock;
mod semaphore;
