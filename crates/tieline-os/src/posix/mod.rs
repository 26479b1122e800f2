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

pub mod mq;
mod name;
pub mod sem;
pub mod shm;

pub use name::Listed;
