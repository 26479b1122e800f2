//! POSIX named objects: message queues, semaphores, shared memory.
//!
//! Their names look like `/name`: one leading slash, no other, at most 255 bytes. They live outside the file tree, are
//! kept until somebody unlinks them or the machine restarts, and belong to the user who made them. So the invariant to
//! keep in mind: dropping a handle frees the handle, never the object. Names are checked before the kernel is asked.
//!
//! | | [`mq`] | [`sem`] | [`shm`] |
//! |---|---|---|---|
//! | carries | messages with priorities | a count | bytes |
//! | on Linux it is | a kernel object, a pollable descriptor | a file `/dev/shm/sem.name` | a file `/dev/shm/name` |
//! | survives its users | yes | yes | yes |
//! | a holder dies | messages stay | the count stays taken | bytes stay as they are |
//! | separate per | IPC namespace | mount of `/dev/shm` | mount of `/dev/shm` |
//!
//! # Or System V?
//! The [older family](crate::sysv) does the same three things. Take this one unless a line below speaks for the other,
//! or a program you talk to uses it.
//!
//! | | here | [`sysv`](crate::sysv) |
//! |---|---|---|
//! | found by | a name | a number, which strangers may use too |
//! | a queue gives | the most urgent message | the oldest, or one of a type |
//! | a queue is waited for | with other descriptors, or with a deadline | alone; a deadline costs system calls |
//! | a queue is bounded by | messages, usually 10 | bytes, usually 16 KiB |
//! | a semaphore costs | no system call unless somebody waits | a system call each time |
//! | a semaphore can | count one thing | change several at once, wait for zero, take back what a dead process did |
//! | memory can be cut under its users | yes | no |
//! | memory can be removed so that it ends with its last user | no | yes |

pub mod mq;
mod name;
pub mod sem;
pub mod shm;

pub use name::Listed;
