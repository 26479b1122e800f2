//! Message queues: in each IPC namespace its own file system, which is looked at without mounting it anywhere.

use std::os::unix::ffi::OsStrExt;

use tieline_os::posix::mq::{Listed, MessageQueue};

use super::super::elsewhere::{Place, places, why};
use super::super::remembered::Memory;
use crate::model::{
    Builder, Detail, Fill, How, Identity, Kind, NamespaceKind, Owner, PosixMq, Text, Unit, UnseenWhat, UnseenWhy,
};

pub(super) fn look(builder: &mut Builder, memory: &Memory) {
    for place in places(builder, NamespaceKind::Ipc) {
        let answer = place.run(NamespaceKind::Ipc, MessageQueue::list_unmounted);
        match answer.and_then(|listed| listed.or_else(|error| mounted(&place, why(&error)))) {
            Ok(listed) => {
                for queue in &listed {
                    add(builder, place.inode, queue, memory);
                }
            }
            Err(reason) => builder.unseen(UnseenWhat::Queues, reason, 1),
        }
    }
}

/// The viewer's own queues, where somebody has mounted them: that takes no privilege.
fn mounted(place: &Place, reason: UnseenWhy) -> Result<Vec<Listed>, UnseenWhy> {
    if !place.is_own {
        return Err(reason);
    }
    MessageQueue::list().map_err(|_| reason)
}

fn add(builder: &mut Builder, namespace: u64, queue: &Listed, memory: &Memory) {
    let identity = Identity::File { device: queue.device, inode: queue.inode };
    let reference = builder.object(identity, Kind::PosixMq);
    let status = queue.status;
    let messages = queue.depth.map(|depth| depth as u64);
    let capacity = queue.attributes.map(|attributes| attributes.capacity as u64);
    let notify = status.and_then(|status| Some((status.notified_pid?, status.notify_signal.unwrap_or_default())));
    let object = builder.object_mut(reference);
    object.name = Some(Text::from(queue.name.as_bytes()));
    object.namespace = Some(namespace);
    object.owner = Some(Owner { uid: queue.uid, gid: queue.gid });
    object.mode = Some(queue.mode.bits().into());
    object.changed = Some(queue.used_at);
    object.fill = messages.map(|used| Fill { used, capacity, unit: Unit::Messages });
    object.detail = Detail::PosixMq(PosixMq {
        bytes: status.map(|status| status.queued_bytes).unwrap_or_default(),
        messages,
        capacity,
        message_size: queue.attributes.map(|attributes| attributes.message_size as u64),
        notify,
    });
    if let Some((pid, _)) = notify {
        memory.tie_living(builder, reference, pid, How::Notified);
    }
}
