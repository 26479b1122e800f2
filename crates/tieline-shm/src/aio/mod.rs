//! Channels for tasks, under tokio.
//!
//! Each module has the twins of one channel's handles, under the same names and with the same promises; each is made
//! [`From`] its blocking twin. A call that would block there is a future here.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # // SAFETY: one thread.
//! # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
//! use std::time::Duration;
//! use tieline_shm::{aio, queue::Queue, topic::Topic};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! let prices = Topic::<u64>::open_or_create("prices")?;
//! let publisher = prices.publisher()?; // in another process, as a rule
//! let mut prices = aio::topic::Subscriber::from(prices.subscriber()?);
//! let orders = aio::queue::Queue::from(Queue::<u64>::open_or_create("orders")?);
//!
//! publisher.publish(&101)?;
//! tokio::select! {
//!     price = prices.recv() => assert_eq!(*price?, 101),
//!     order = orders.recv() => println!("order {}", *order?),
//!     () = tokio::time::sleep(Duration::from_secs(1)) => println!("nothing happens"),
//! }
//! # Ok::<(), tieline_shm::Error>(())
//! # }).unwrap();
//! ```
//!
//! # What is promised
//! * Every future may be dropped at any moment, by `select!` or a timeout, and nothing is lost: a message is taken in
//!   the same call of `poll` that returns it. A send that was dropped has sent nothing. What stays behind is an
//!   announcement in shared memory, which costs the next notifier one ring in vain.
//! * Nothing is polled by the clock, and nobody wakes while nothing happens: a thousand idle channels cost their
//!   memory and descriptors.
//! * The death of a peer ends the waits that the blocking call would end, within milliseconds.
//! * A channel that always has something lets other tasks run: each call counts against tokio's budget.
//!
//! # What is cheap, and what is not
//! * *Something is there already*: as cheap as `try_recv`; no system call, and no descriptor before the first wait.
//! * *It comes soon, from another processor*: looked for in the first `poll`, for as long as has been worth it lately and
//!   a tenth of a millisecond at most. Meanwhile the runtime's thread does nothing else. Where that is wrong, because
//!   many tasks share the thread, make the blocking twin with [`Waiting::Block`](crate::Waiting::Block).
//! * *It takes a while*: the task sleeps in the runtime's `epoll`, and the peer wakes it with one write to an event
//!   counter, of which it was given a copy at the first wait. That is how a topic's subscriber, both halves of a stream,
//!   a server and a client are woken by peers of the same user.
//! * *Whoever notifies has no copy*: users of a queue, an event or a latest value, who never met; peers of another user,
//!   whose descriptors we do not touch; publishers and callers that wait for room. For these one thread of the process,
//!   the relay, sleeps for up to 127 channels, so a wake-up is two. It needs Linux 5.16.
//! * *Many tasks at one handle*: all are woken, and all but one sleep again. Let one receive and hand on.
//! * *A handle in a second runtime*: each handle is bound to the runtime in which it first slept. Make another.
//!
//! Sending to a topic without blocking subscribers, notifying an event and writing a latest value never wait; their
//! blocking forms are right in a task as well. Opening and connecting wait for another process, some 200 µs: do it before,
//! or in `spawn_blocking`.
//!
//! # What has no twin
//! A [`WaitSet`](crate::WaitSet), because `select!` waits for several futures, descriptors and clocks at once. Locks and
//! arenas, because who holds one should not sleep: take them for a few instructions with
//! [`try_lock`](crate::sync::Mutex::try_lock), or in `spawn_blocking`. Loans: a task waits for
//! [room](topic::Publisher::room), then takes one without waiting.

mod parker;

pub mod event;
pub mod latest;
pub mod queue;
pub mod reqres;
pub mod stream;
pub mod topic;

pub(crate) use parker::{Nap, Parker};
