//! Locks in shared memory that survive the death of any who use them.
