//! Shared memory between processes: channels without copies, locks that survive a crash.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # // SAFETY: one thread.
//! # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
//! use tieline_shm::topic::Topic;
//!
//! let mut readings = Topic::<f64>::open_or_create("temperature")?.subscriber()?; // in one process
//! let sensor = Topic::<f64>::open_or_create("temperature")?.publisher()?; // in another
//! sensor.publish(&21.5)?;
//! assert_eq!(*readings.recv()?, 21.5);
//! # Ok::<(), tieline_shm::Error>(())
//! ```
//!
//! Processes meet at a name, and from then on talk through memory that both map: while both are busy, no message costs a
//! system call. What makes this crate different from a piece of mapped memory is what happens when something goes
//! wrong. A process may be killed at any instruction, be stopped and go on an hour later, fill what it can fill, or
//! write nonsense: the others get an answer, and go on.
//!
//! # Which one do I want?
//!
//! Start with what the data is.
//!
//! | I have | and want | take | if one of us dies |
//! |---|---|---|---|
//! | messages | each to go to everybody who listens | [`topic`] | what it had published arrives; who only listened is not waited for |
//! | messages | each to go to one of several workers | [`queue`] | what a dead worker had taken goes to another |
//! | bytes | a connection, as a Unix socket gives | [`stream`] | what it had written is read, then the read fails |
//! | questions | answers | [`reqres`] | the call fails within milliseconds |
//! | a state | its newest value, whenever I look | [`latest`] | the value stays; another may go on writing |
//! | nothing to say | others to know that something happened | [`event`] | nothing |
//! | a value | several to change it, one at a time | [`sync::Mutex`] | the next who locks is told, and repairs |
//! | a value | many to read it, few to change it | [`sync::RwLock`] | of a reader: nothing; of a writer: as for a mutex |
//! | a table, a list, a text, a tree of them | several to read and change it | [`SharedArena`] | its unfinished change is taken back |
//! | bytes of my own layout | to map them, and all else myself | [`Segment`] | what it had stored is there |
//!
//! A topic or a [`latest`] value? If a reader that looks twice a second should see two values, `latest`; if it should see
//! all that came between, a topic. A topic or a queue? If a second receiver should see the same messages, a topic; if it
//! should take work off the first, a queue. A channel or a lock? A channel, where either would do: who is told
//! something cannot be stopped by whoever told it, while everybody waits for who holds a lock.
//!
//! To wait for others, rather than to hand them something:
//!
//! | to | take | if one of us dies |
//! |---|---|---|
//! | let so many in at a time | [`sync::Semaphore`] | its permits come back |
//! | count what is ready, posted by one and taken by another | [`sync::Tokens`] | what it posted stays, what it took is taken |
//! | wait inside a lock for a condition | [`sync::Condvar`], or [`sync::Monitor`], which is lock and conditions in one | a signal that it swallowed goes to another |
//! | let all finish a step before any begins the next | [`sync::Barrier`] | the others are told, and may go on with fewer |
//! | do something once among all | [`sync::Once`], [`sync::OnceCell`] | the next who asks does it |
//! | lock something that lies elsewhere, recursively perhaps | [`sync::RawMutex`] | the next who locks is told |
//!
//! [`WaitSet`] waits for several channels and descriptors in one thread; `aio` (feature `tokio`) has the twins of the
//! channels for tasks.
//!
//! # Names
//! A [`Name`] is a word (`camera`), and lies in the user's own runtime directory: `$TIELINE_RUNTIME_DIR`, else
//! `$XDG_RUNTIME_DIR/tieline`, else `/run/tieline` for root, else `/tmp/tieline-UID`. Or it is a path
//! (`/srv/app/camera`): so users share, and so do containers, which need nothing in common but that directory; neither
//! their process numbers nor their IPC namespaces matter.
//!
//! `create` makes what must not be there, `open` finds what must be there, `open_or_create` is for programs that start
//! in any order. Whoever opens finds a whole object or none. An object lives while any process has it open, and nothing
//! of it is left after that: no file in `/dev/shm`, nothing to clean up after a crash. What shall outlive its users lies in
//! a file: [`PersistentSegment`], [`ArenaOptions::open_or_create_file`].
//!
//! Without a name: locks, arenas and segments can be made `anonymous` and handed to others by descriptor; a stream has
//! [two ends](stream::Stream::ends) to hand out.
//!
//! # What may lie there
//! Values of a [`ShmSafe`] type: `repr(C)`, without pointers, `usize` and padding. The derive says what is wrong and
//! how to mend it. All who meet at a name must agree on the layout to the byte; who does not is refused with both
//! layouts in the error. Bytes and slices travel too (`Topic<[u8]>`), and text and tables lie in an [`Arena`].
//!
//! # Death
//! It is noticed by the kernel, not by the clock, so a process that is merely slow, or stopped, is never taken for dead.
//! Who waits for the dead is woken within milliseconds. Each module says what its survivors see.
//!
//! ```text
//! a lock in plain shared memory        here
//! P: lock                              P: lock
//! P: balance -= 30                     P: balance -= 30
//! P: killed                            P: killed
//! Q: lock ... waits for ever           Q: lock -> OwnerDied, with the guard: look, repair, go on
//! ```
//!
//! A process that is stopped (`SIGSTOP`, a debugger, an image of a virtual machine) is alive: what it holds, it holds.
//! Where that is not good enough, use the forms with a deadline, or what makes nobody wait: a topic with a policy that
//! does not block, [`latest`], [`event`].
//!
//! # Trust
//! Processes of one user are trusted as far as that user trusts itself: each could attach a debugger to the others. Between
//! users, channels hold: a peer can map read-only what it has no business to write, what it did write is copied and
//! checked, and one that breaks the rules loses its own conversation and no other. [`Access`] says who may publish and
//! who may subscribe; the kernel says who somebody is.
//!
//! | of | another user, if let in, can | and cannot |
//! |---|---|---|
//! | [`topic`] | publish and receive as itself | hold up a publisher that did not [say so](topic::PublisherOptions::waits_for), or write another's messages |
//! | [`stream`], [`reqres`] | spoil its own connection | touch another's, or hold up the other side beyond its deadlines |
//! | [`latest`] | read; if it may publish too, write any value | as a reader: disturb anybody |
//! | [`queue`], [`event`] | lose, forge and repeat what is in it; spoil it for all, who get [`Corrupted`](ErrorKind::Corrupted), until its last member leaves; keep others out while it lives | have anybody read or write wrong memory, or wait beyond a deadline |
//! | locks, arenas, segments | everything, if handed a descriptor: they are plain memory | find them by name |
//!
//! What members share says nothing to who joins: kind, layout, sizes and rule come from the host. Where several could have
//! written nonsense, the error names the object and all who may write there.
//!
//! # Waiting
//! A call has three forms: `try_x` never waits, `x` waits as long as it takes, `x_timeout` at most so long. A handle
//! that waits looks for a short while first where its peer runs on another processor and has been quick lately, and then
//! sleeps; [`Waiting`] chooses otherwise. Nobody who sleeps costs those who send more than one system call to wake it,
//! and nobody who is idle wakes up now and then.
//!
//! # Threads and signals
//! A handle that takes `&self` may be used by many threads at once, one that takes `&mut self` by one at a time; guards of
//! locks stay with their thread. A signal that is handled ends no wait: use a deadline, or a [`WaitSet`] with a descriptor
//! that the handler writes to. No call of this crate may be made in a signal handler.
//!
//! # Fork and exec
//! After a `fork` the channels of the parent are the parent's: in the child they answer
//! [`Forked`](ErrorKind::Forked); open the name again there. A lock's handle works in the child, but a guard does not come
//! along, and neither does the place at the name: let the child open it too if it may outlive the parent. What the parent
//! holds while it forks (guards, items, samples, loans) it goes on holding: the child's copies do nothing when dropped,
//! and what they show may change as soon as the parent lets go, so do not look through them. After `exec`
//! nothing is left open. Threads may be started at any time; each process that has a name open runs one thread of this
//! crate, which sleeps.
//!
//! # What is cheap, and what is not
//! * Sending, receiving, locking, unlocking while nobody has to be woken: no system call.
//! * Waking a sleeper: one system call, and the time the kernel takes. Batches
//!   ([`publish_many`](topic::Publisher::publish_many), [`try_send_many`](queue::Queue::try_send_many)) wake once.
//! * Large messages: write them where they will be read ([`loan`](topic::Publisher::loan),
//!   [`reserve`](queue::Queue::reserve)), and nothing is copied at any size.
//! * Publishing costs the same for one subscriber and for hundreds. Each subscriber that is behind keeps memory in use.
//! * Meeting at a name: a conversation over a socket. Do it once, not for each message.
//! * Memory is taken when an object is made, so that its lack is an error there ([`OutOfMemory`](ErrorKind::OutOfMemory))
//!   and not a signal later; a topic's large messages take it as they are published first.
//!
//! `tieline bench shm` measures all this on a machine of yours, beside the bare forms of the same.
//!
//! # Limits
//!
//! | of | at most |
//! |---|---|
//! | a name | 64 bytes, without its directory |
//! | objects with a name, open in one process | 2,048, less what other robust locks it holds need |
//! | publishers and subscribers of a topic | 1,024; 256 unless told otherwise |
//! | processes at a queue | 1,023; 64 unless told otherwise |
//! | writers and readers of a latest value | 1,024; 256 unless told otherwise |
//! | processes at an event | 1,024; 256 unless told otherwise |
//! | clients of a server | 1,023; 256 unless told otherwise |
//! | handles of a lock or arena with a name | 256 |
//! | locks that a thread holds | 1,024 |
//! | an item, a call, one direction of a stream | 2^30 bytes |
//!
//! One more than the limit is an error, [`LimitReached`](ErrorKind::LimitReached) or
//! [`TooLarge`](ErrorKind::TooLarge), which says which.
//!
//! # Platforms
//! Linux on 64-bit processors. Locks need the robust lists of the C library (glibc; with others they answer
//! `Unsupported`). What an older kernel, or a sandbox, does not have is done without, or named in the error:
//!
//! | without | |
//! |---|---|
//! | `futex_waitv` (Linux 5.16) | condition variables, and channels in a wait set or a task whose users have not met (queues, events, latest values, peers of other users), answer [`Unsupported`](ErrorKind::Unsupported); a server with several clients, when it sleeps, looks at all but the first every 2 ms; who waits at a semaphore or a barrier notices a death up to 20 ms later |
//! | `MADV_POPULATE_WRITE` (5.14) | the first touch of each page of an object costs more |
//! | the seal `F_SEAL_FUTURE_WRITE` (5.1) | no publishers, and no segments that only their creator may write: `Unsupported` |
//! | `membarrier` | those who send pay for a fence; who falls asleep first sleeps a millisecond |
//! | `set_robust_list` | no locks, and no objects whose users share one segment (queues, events, latest values): `Unsupported`; topics, streams and calls work |

#![deny(unsafe_code)]
#![cfg_attr(model, allow(dead_code, unused_imports, reason = "a model is of a structure alone, without what uses it"))]

#[cfg(all(feature = "tokio", not(model)))]
pub mod aio;
mod arena;
#[cfg(not(model))]
mod channel;
mod error;
#[cfg(not(model))]
pub mod inspect;
mod layout;
#[cfg(all(test, model))]
mod model;
#[allow(unsafe_code, reason = "memory that other processes map is reached through pointers, argued there")]
mod raw;
#[cfg(not(model))]
pub mod recording;
#[cfg(not(model))]
mod rendezvous;
mod segment;
#[allow(unsafe_code, reason = "structures in shared memory")]
mod structure;
#[allow(unsafe_code, reason = "locks in shared memory")]
pub mod sync;
#[cfg(all(feature = "steps", not(model)))]
#[doc(hidden)]
pub mod testing;
mod wait;

pub use arena::{
    Arena, ArenaOptions, ArenaUsage, Change, Container, Handle, Recovered, ShmBox, ShmMap, ShmMapIter, ShmString,
    ShmVec,
};
#[cfg(not(model))]
pub use arena::{ArenaReadGuard, ArenaWriteGuard, SharedArena, SharedArenaOptions};
#[cfg(not(model))]
pub use channel::payload::Payload;
#[cfg(not(model))]
pub use channel::{event, latest, queue, reqres, stream, topic, untyped};
pub use error::{Error, ErrorKind, Result};
#[cfg(feature = "json")]
pub use layout::JsonError;
pub use layout::{
    Field, Invalid, Layout, Misfit, Mismatch, Padding, Primitive, Schema, SchemaError, SchemaField, SchemaShape, Shape,
    ShmSafe, Variant,
};
#[cfg(not(model))]
pub use rendezvous::{Access, Allowed, IntoName, Name};
pub use segment::{Description, FactPlace, Kind, Obtained, Opened, Pages, PersistentSegment, Segment, SegmentOptions};
#[cfg(feature = "derive")]
pub use tieline_macros::ShmSafe;
/// The derive for those who know this crate as `tieline::shm`.
#[cfg(feature = "derive")]
#[doc(hidden)]
pub use tieline_macros::ShmSafeOfFacade;
pub use tieline_os::mapping::HugePages;
pub use wait::Waiting;
#[cfg(not(model))]
pub use wait::{Ready, WaitSet, Waitable, Watch};
