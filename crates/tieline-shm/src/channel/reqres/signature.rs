//! The types of requests and responses, as both sides must agree on them when they meet at the name.

use crate::channel::payload::{self, Payload};
use crate::rendezvous::{Access, Offer, Role};
use crate::segment::Kind;

/// What both sides say they are for.
pub(super) fn offer<'a, Q: Payload + ?Sized, R: Payload + ?Sized>(
    role: Role,
    access: Access,
    members: u32,
) -> Offer<'a> {
    Offer {
        kind: Kind::Calls,
        role,
        // Not symmetric: who asks what is part of the layout.
        layout_hash: payload::hash::<Q>().rotate_left(1) ^ payload::hash::<R>(),
        layout_text: format!("request:\n{}\nresponse:\n{}", payload::text::<Q>(), payload::text::<R>()),
        config: Vec::new(),
        access,
        members_max: members,
        core: None,
    }
}
