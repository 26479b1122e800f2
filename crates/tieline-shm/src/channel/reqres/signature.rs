//! The types of requests and responses, as both sides must agree on them when they meet at the name, and as the memory of
//! a connection tells them to whoever looks.

use crate::channel::payload::{self, Payload};
use crate::layout::ShmSafe;
use crate::rendezvous::{Access, Offer, Role};
use crate::segment::{Expected, Kind};

/// What is asked and answered, for those who do not have the types.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    pub(super) hash: u64,
    /// What a request consists of.
    pub(super) request_name: &'static str,
    /// The layouts of both in words, the request's first.
    pub(super) text: String,
}

impl Signature {
    pub(super) fn of<Q: Payload + ?Sized, R: Payload + ?Sized>() -> Self {
        Self {
            // Not symmetric: who asks what is part of the layout.
            hash: payload::hash::<Q>().rotate_left(1) ^ payload::hash::<R>(),
            request_name: <Q::Item as ShmSafe>::LAYOUT.name,
            text: format!("request:\n{}\nresponse:\n{}", payload::text::<Q>(), payload::text::<R>()),
        }
    }

    /// What both sides say they are for.
    pub(super) fn offer<'a>(&self, role: Role, access: Access, members: u32) -> Offer<'a> {
        Offer {
            kind: Kind::Calls,
            role,
            layout_hash: self.hash,
            layout_text: self.text.clone(),
            config: Vec::new(),
            access,
            members_max: members,
            core: None,
        }
    }

    /// What the memory of a connection should say of itself.
    pub(super) fn expected(&self) -> Expected {
        Expected::from((self.hash, self.text.clone()))
    }
}
