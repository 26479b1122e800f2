//! Calls between processes: one server, many clients, each request answered once, by a stream of items, or by a failure.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # // SAFETY: one thread.
//! # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
//! use tieline_shm::reqres::{Client, Server};
//!
//! let server = Server::<u64, u64>::bind("squares")?;
//! std::thread::spawn(move || -> tieline_shm::Result<()> {
//!     loop {
//!         let request = server.recv()?;
//!         let answer = *request * *request;
//!         request.respond(&answer)?;
//!     }
//! });
//! let client = Client::<u64, u64>::connect("squares")?;
//! assert_eq!(*client.call(&12)?, 144);
//! # Ok::<(), tieline_shm::Error>(())
//! ```
//!
//! # What is promised
//! * A call ends: with the response, with [`Failed`](crate::ErrorKind::Failed) and the server's text, with
//!   [`PeerGone`](crate::ErrorKind::PeerGone) within milliseconds if the server dies or leaves, or with `TimedOut`. After
//!   `PeerGone` and `TimedOut` it is not known whether the server did what was asked.
//! * A client has as many calls in flight as it likes, from any threads; responses come in any order.
//! * A call that is dropped, or times out, is cancelled: the server sees [`Request::is_cancelled`], and answers to nobody.
//!   So are all calls of a client that dies.
//! * A streamed response runs at most [`WINDOW`] items ahead of who reads it.
//! * Payloads up to 96 bytes travel in the ring's own lines; larger ones in areas, of which each direction of a
//!   connection has a few: written in place by [`Client::loan`] and [`Request::loan`], read where they lie, and used
//!   again when the [`Request`] or [`Response`] is dropped. Who keeps all of them stops the other side from sending more.
//! * A name has one server. A second is refused as long as the first lives, and may bind once it has left or died.
//!   Clients of the first connect again.
//!
//! # A streamed response
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # // SAFETY: one thread.
//! # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
//! # use tieline_shm::reqres::{Client, Server};
//! let server = Server::<[u8], u64>::bind("lengths")?;
//! let serving = std::thread::spawn(move || -> tieline_shm::Result<()> {
//!     let mut request = server.recv()?;
//!     let lengths: Vec<u64> = request.split(|byte| *byte == b' ').map(|word| word.len() as u64).collect();
//!     for length in lengths {
//!         request.item(&length)?;
//!     }
//!     request.end()
//! });
//! let client = Client::<[u8], u64>::connect("lengths")?;
//! let mut sum = 0;
//! for length in client.call_stream(b"to be or not")? {
//!     sum += *length?;
//! }
//! assert_eq!(sum, 9);
//! # serving.join().unwrap()?;
//! # Ok::<(), tieline_shm::Error>(())
//! ```
//!
//! # Threads and limits
//! Any thread may call, and any may receive and answer; a [`Request`] may be answered by another thread than the one that
//! received it. Sizes are the server's choice ([`ServerOptions`]): messages on their way (64 for each direction), large
//! payloads (4 of 64 KiB), clients (256). Whoever waits for room waits for the peer to take something; a client that takes
//! nothing is disconnected when the server's [patience](ServerOptions::patience) is over.
//!
//! The memory is `docs/formats/shm-reqres.md`, to the byte.

mod client;
mod connection;
mod server;
mod signature;
mod waitable;

#[cfg(feature = "tokio")]
pub(crate) use client::Answers;
pub use client::{Client, Items, Pending, Response};
pub use connection::Loan;
#[cfg(feature = "tokio")]
pub(crate) use server::WayOut;
pub use server::{Request, Server, ServerOptions};

/// How many items of a streamed response may be on their way.
pub const WINDOW: u32 = 16;

/// What a message to the server is: a call among the requests, the others among the notes.
mod to_server {
    /// A call; its payload is the request.
    pub(super) const CALL: u8 = 1;
    /// The answer to a call is not wanted any more.
    pub(super) const CANCEL: u8 = 2;
    /// So many items of a streamed response were read.
    pub(super) const CREDIT: u8 = 3;
}

/// What a message to the client is.
mod to_client {
    /// The response; the call is over.
    pub(super) const RESPONSE: u8 = 1;
    /// An item of a streamed response.
    pub(super) const ITEM: u8 = 2;
    /// The end of a streamed response; the call is over.
    pub(super) const END: u8 = 3;
    /// The server failed; the payload is why, in words. The call is over.
    pub(super) const FAILED: u8 = 4;
}
