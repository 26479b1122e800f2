//! POSIX and System V message queues.

use std::ffi::OsStr;
use std::sync::Arc;

use tieline_os::Access;
use tieline_os::posix::mq::{Attributes, MessageQueue};
use tieline_os::sysv::Id;
use tieline_os::sysv::msg::{self as sysv_msg, Selector};

use super::sockets::{of_messages, room};
use super::{Opened, no_id_chosen, sysv_key};
use crate::addr::{Address, Create, SysvName};
use crate::endpoint::messages::{self, Queue};
use crate::endpoint::{Direction, owner};
use crate::error::{Error, ErrorKind, Result};

/// A POSIX queue that is created without sizes has those that every user may have.
const QUEUE: Attributes = Attributes { capacity: 10, message_size: 8192 };

pub(super) fn posix(address: &Address, name: &OsStr, direction: Direction) -> Result<Opened> {
    let options = address.options();
    let access = match direction {
        Direction::Receive => Access::ReadOnly,
        Direction::Send => Access::WriteOnly,
        Direction::Both => Access::ReadWrite,
    };
    let size = |given: Option<u64>, usual| given.map_or(usual, |given| usize::try_from(given).unwrap_or(usize::MAX));
    let attributes = Attributes {
        capacity: size(options.capacity, QUEUE.capacity),
        message_size: size(options.message_size, QUEUE.message_size),
    };
    let mode = options.mode.unwrap_or_default();
    let make = || MessageQueue::create(name, attributes, access, mode);
    let open = || MessageQueue::open(name, access);
    let (queue, made) = match options.create {
        Some(Create::New) => (make()?, true),
        Some(Create::Yes) => owner::made_or_opened(make, open)?,
        Some(Create::No) | None => (open()?, false),
    };
    if made {
        owner::give_fd(address, &queue)?;
    }
    let room = queue.message_size();
    let queue = Arc::new(Queue(queue));
    let input = messages::Input::Mq(Arc::clone(&queue));
    let output = messages::Output::Mq(queue, options.priority.unwrap_or(0));
    let mut opened = of_messages(input, output, direction, room);
    // By priority first.
    opened.capabilities.ordered = false;
    Ok(opened)
}

pub(super) fn sysv(address: &Address, name: SysvName, direction: Direction) -> Result<Opened> {
    let options = address.options();
    let mode = options.mode.unwrap_or_default();
    let queue = match (name, options.create) {
        (SysvName::Id(_), Some(Create::Yes | Create::New)) => return Err(no_id_chosen(address)),
        (SysvName::Id(id), _) => sysv_msg::MessageQueue::from_id(Id::new(id)),
        (SysvName::Key(key), Some(Create::New)) => sysv_msg::MessageQueue::create(sysv_key(key), mode)?,
        (SysvName::Key(key), Some(Create::Yes)) => sysv_msg::MessageQueue::open_or_create(sysv_key(key), mode)?,
        (SysvName::Key(key), _) => sysv_msg::MessageQueue::open(sysv_key(key))?,
    };
    // The id may be anybody's word; and a queue that is gone should be noticed here.
    queue.stat()?;
    if let Some(bytes) = options.capacity {
        queue.set_capacity(usize::try_from(bytes).unwrap_or(usize::MAX))?;
    }
    if let Some(ids) = owner::ids(address)? {
        queue.set_owner(ids.user, ids.group)?;
    }
    let kind = options.kind.unwrap_or(0);
    let selector = match kind {
        0 => Selector::Oldest,
        1.. => Selector::Type(kind),
        _ => Selector::UpToType(kind.saturating_neg()),
    };
    if direction.sends() && options.kind.is_some_and(|kind| kind < 1) {
        let text = format!("cannot send to {address}: a message's type must be above zero, not {kind}");
        return Err(Error::new(ErrorKind::InvalidInput, text));
    }
    let room = room(address, sysv_msg::limits()?.message_max_bytes);
    let input = messages::Input::Sysv(queue, selector);
    Ok(of_messages(input, messages::Output::Sysv(queue, kind.max(1)), direction, room))
}
