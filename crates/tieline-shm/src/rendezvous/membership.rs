//! What a channel holds of the meeting place.

use std::fmt;
use std::sync::Arc;

use super::station::{Station, check_fork};
use super::{Link, Members, Participant, PeerId};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::process;
use crate::segment::Segment;

/// A place at a name that was just taken; nothing is told about counterparts before [`start`](Self::start), and if it was
/// created here, whoever joins waits until then. Dropping it leaves.
#[derive(Debug)]
#[must_use = "dropping it leaves"]
pub(crate) struct Joined {
    pub(super) membership: Membership,
    /// The counterparts that were introduced with the welcome.
    pub(super) links: Vec<Link>,
    #[cfg_attr(not(test), expect(dead_code, reason = "what only tests ask"))]
    pub(super) created: bool,
}

impl Joined {
    /// The object's configuration, as its creator gave it. Input from a peer, unless this created the object.
    pub(crate) fn config(&self) -> &[u8] {
        &self.membership.station.about.config
    }

    /// The object's core segment, if it has one; mapped read-only for a reader.
    pub(crate) fn core(&self) -> Option<&Arc<Segment>> {
        self.membership.station.about.core.as_ref()
    }

    /// The table of members of the core segment.
    pub(crate) fn members(&self) -> Option<&Members> {
        self.membership.members()
    }

    /// Our own number in it; readers have none.
    pub(crate) fn member(&self) -> Option<u32> {
        self.membership.member()
    }

    /// The user who created the object, as the host says.
    pub(crate) fn owner(&self) -> u32 {
        self.membership.station.about.owner
    }

    /// Whether this call created the object.
    #[cfg(test)]
    pub(crate) fn is_created(&self) -> bool {
        self.created
    }

    /// How many counterparts will be [`connected`](Participant::connected) before [`start`](Self::start) returns.
    #[cfg(test)]
    pub(crate) fn counterparts(&self) -> usize {
        self.links.len()
    }

    /// Begins to tell `participant` of its counterparts; of those that are there already, and of what they have sent,
    /// on this thread before it returns.
    ///
    /// # Errors
    /// `LimitReached` if the keeper cannot watch another descriptor; then the name is left.
    pub(crate) fn start(self, participant: Arc<dyn Participant>) -> Result<Membership> {
        self.membership.check()?;
        self.membership.station.start(participant, self.links)?;
        Ok(self.membership)
    }
}

/// A place at a name, or at one end of an anonymous line, kept until it is dropped: then this process leaves, and its
/// counterparts are told. Killing the process has the same effect for them.
pub(crate) struct Membership {
    pub(super) station: Arc<Station>,
    generation: u32,
}

impl Membership {
    pub(super) fn new(station: Arc<Station>) -> Self {
        Self { station, generation: process::generation() }
    }

    /// Refuses in a forked child: one comparison, for a channel to begin its calls with.
    ///
    /// # Errors
    /// `Forked`.
    pub(crate) fn check(&self) -> Result<()> {
        check_fork(self.generation, "use the membership")
    }

    /// Adds to an error that says `Corrupted` which object it is, and who may write its core segment. Others stay as
    /// they are.
    pub(crate) fn blame(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::Corrupted {
            return error;
        }
        let about = &self.station.about;
        let error = error.also(format_args!("{} may write its memory", about.access.sharers(about.owner)));
        match &self.station.site {
            Some(site) => error.on(&site.name),
            None => error,
        }
    }

    /// Who we are to our counterparts.
    pub(crate) fn id(&self) -> PeerId {
        self.station.id()
    }

    /// Our number in the table of members.
    pub(crate) fn member(&self) -> Option<u32> {
        self.station.member_number()
    }

    /// Who else shares the core segment.
    pub(crate) fn members(&self) -> Option<&Members> {
        self.station.about.members.as_ref()
    }

    /// The lines to all counterparts there are now.
    #[cfg(test)]
    pub(crate) fn links(&self) -> Vec<Link> {
        self.station.links()
    }

    /// Whether this process answers for the name at the moment.
    pub(crate) fn is_host(&self) -> bool {
        self.station.is_host()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let keeper = &self.station.keeper;
        if !keeper.is_of_this_process() {
            // A forked child: nothing of it is the child's.
        } else if keeper.is_this_thread() {
            keeper.leave_later(Arc::clone(&self.station));
        } else {
            self.station.leave();
        }
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("id", &self.id()).field("is_host", &self.is_host()).finish_non_exhaustive()
    }
}
