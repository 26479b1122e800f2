//! POSIX names: message queues of every IPC namespace, shared memory and named semaphores of every `/dev/shm`.

mod queues;
mod shm;

use super::remembered::Memory;
use crate::model::Builder;

pub(crate) fn look(builder: &mut Builder) {
    queues::look(builder, &Memory::now());
    shm::look(builder);
}
