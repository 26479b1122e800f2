//! How a server is made, and what it allows its clients.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tieline_os::unix::Credentials;

use super::super::connection::{MAX_AREA_LEN, MAX_AREAS, MAX_ENTRIES, Sizes};
use super::super::signature::Signature;
use super::Server;
use super::clients::{Shared, State};
use crate::channel::payload::{self, Payload};
use crate::channel::succession;
use crate::error::Result;
use crate::raw::View;
use crate::rendezvous::{Access, IntoName, Joined, MEMBERS_MAX, Participant, Role};
use crate::wait::{EventCount, Waiting};

/// How a [`Server`] is made.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # // SAFETY: one thread.
/// # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
/// use tieline_shm::reqres::{Client, Server};
///
/// let server = Server::<[u8], [f32]>::options().payload_max_bytes(1 << 20).clients(4).bind("fourier")?;
/// let client = Client::<[u8], [f32]>::connect("fourier")?;
/// assert_eq!(client.payload_max_bytes(), 1 << 20);
/// # Ok::<(), tieline_shm::Error>(())
/// ```
pub struct ServerOptions<Q: Payload + ?Sized, R: Payload + ?Sized> {
    sizes: Sizes,
    clients: u32,
    access: Access,
    waiting: Waiting,
    patience: Duration,
    of: PhantomData<fn(&Q, &R)>,
}

const ENTRIES: u32 = 64;
const AREAS: u32 = 4;
const AREA_LEN: u32 = 64 * 1024;
const CLIENTS: u32 = 256;
/// A client that takes no messages is waited for so long.
const PATIENCE: Duration = Duration::from_secs(5);

impl<Q: Payload + ?Sized, R: Payload + ?Sized> ServerOptions<Q, R> {
    pub(super) fn new() -> Self {
        let payload_max = payload::len_bytes::<Q>().max(payload::len_bytes::<R>()).unwrap_or(AREA_LEN as usize);
        let sizes = Sizes { entries: ENTRIES, areas: AREAS, area_len: AREA_LEN };
        let options = Self {
            sizes,
            clients: CLIENTS,
            access: Access::default(),
            waiting: Waiting::default(),
            patience: PATIENCE,
            of: PhantomData,
        };
        options.payload_max_bytes(payload_max.max(AREA_LEN as usize))
    }

    /// How many messages each direction of a connection holds, requests in work not counted: 1 to 65536, rounded up to a
    /// power of two; 64 unless told otherwise.
    #[must_use]
    pub fn capacity(mut self, messages: u32) -> Self {
        self.sizes.entries = messages.min(MAX_ENTRIES).next_power_of_two();
        self
    }

    /// How many large payloads each direction of a connection holds, those that are being written or read included: 1 to
    /// 4096; 4 unless told otherwise.
    #[must_use]
    pub fn areas(mut self, areas: u32) -> Self {
        self.sizes.areas = areas.min(MAX_AREAS);
        self
    }

    /// How many bytes a payload may have: up to 2^30; 64 KiB unless told otherwise, or as the types need.
    #[must_use]
    pub fn payload_max_bytes(mut self, bytes: usize) -> Self {
        let bytes = bytes.clamp(64, MAX_AREA_LEN as usize).next_multiple_of(64);
        self.sizes.area_len = u32::try_from(bytes).unwrap_or(MAX_AREA_LEN);
        self
    }

    /// How many clients may be connected: 1 to 1023; 256 unless told otherwise. Further ones are refused with
    /// `LimitReached`.
    #[must_use]
    pub fn clients(mut self, clients: u32) -> Self {
        self.clients = clients;
        self
    }

    /// Who may call needs the right to subscribe. The server's user unless told otherwise.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// How calls of this handle wait.
    #[must_use]
    pub fn waiting(mut self, waiting: Waiting) -> Self {
        self.waiting = waiting;
        self
    }

    /// How long an answer waits for a client that takes no messages, or keeps all it was sent: five seconds unless told
    /// otherwise. Then the client is disconnected, so that none can hold up the others.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Begins to serve.
    ///
    /// # Errors
    /// `AlreadyExists` if somebody serves there; `InvalidInput` for a name or sizes beyond the limits; `PermissionDenied`
    /// and `NotFound` for the directory of names; `OutOfMemory`.
    pub fn bind(self, name: impl IntoName) -> Result<Server<Q, R>> {
        let name = name.into_name()?;
        self.sizes.check()?;
        let signature = Signature::of::<Q, R>();
        let mut state = State::default();
        // Others come with the first client of another user.
        let own = state.bell_of(Credentials::own().uid, name.as_str())?.1.clone();
        // The server, its clients, and one more, so that it is the server that refuses and says why.
        let members = match self.clients.saturating_add(1) {
            MEMBERS_MAX => MEMBERS_MAX,
            members => members.saturating_add(1),
        };
        let offer = || signature.offer(Role::Producer, self.access.clone(), members);
        let joined = succession::create(&name, offer)?;
        self.start(joined, name.as_str(), signature, state, own)
    }

    fn start(
        self,
        joined: Joined,
        name: &str,
        signature: Signature,
        state: State,
        own: View<EventCount>,
    ) -> Result<Server<Q, R>> {
        let limits = (self.sizes, self.clients as usize);
        let shared = Arc::new(Shared::new(name.to_owned(), signature, limits, state, own));
        let membership = Arc::new(joined.start(Arc::clone(&shared) as Arc<dyn Participant>)?);
        Ok(Server { shared, membership, waiting: self.waiting, patience: self.patience, of: PhantomData })
    }
}
