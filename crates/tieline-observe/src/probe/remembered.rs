//! Process ids that the kernel remembers in an object, and whether they still mean the process that was meant.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::model::{Builder, How, ObjectRef, Role};

/// The kernel keeps these times in whole seconds, rounded down: what happened at one happened up to this much later.
const RESOLUTION: Duration = Duration::from_secs(1);

/// What is needed to tell whether a process began before something happened.
pub(super) struct Memory {
    /// When the machine started, by today's clock. `None` if `/proc` numbers processes in another way than the kernel
    /// does for us: then no remembered pid can be looked up in it.
    boot: Option<SystemTime>,
    ticks_per_second: u64,
}

impl Memory {
    /// As of now, for the calling process.
    pub(super) fn now() -> Self {
        let clock = clock_gettime(ClockId::Boottime);
        let since_boot = Duration::new(
            u64::try_from(clock.tv_sec).unwrap_or_default(),
            u32::try_from(clock.tv_nsec).unwrap_or_default(),
        );
        let boot = SystemTime::now().checked_sub(since_boot).filter(|_| proc_numbers_as_we_do());
        Self { boot, ticks_per_second: rustix::param::clock_ticks_per_second().max(1) }
    }

    /// Ties the object to the process that the kernel remembers, if that process is still there. One that began after
    /// the `event` got the pid of one that has gone, and has nothing to do with it.
    pub(super) fn tie(
        &self,
        builder: &mut Builder,
        object: ObjectRef,
        role: Role,
        pid: Option<u32>,
        event: Option<SystemTime>,
    ) {
        let (Some(boot), Some(pid), Some(event)) = (self.boot, pid, event) else { return };
        let Some(process) = builder.process_with_pid(pid) else { return };
        let ticks = builder.processes()[process.index()].start_ticks;
        if self.started(boot, ticks).is_some_and(|started| started < event + RESOLUTION) {
            builder.hold(process, object, How::Remembered(role));
        }
    }

    /// Ties the object to a process that the kernel knows to be alive.
    pub(super) fn tie_living(&self, builder: &mut Builder, object: ObjectRef, pid: u32, how: How) {
        if let Some(process) = self.boot.and_then(|_| builder.process_with_pid(pid)) {
            builder.hold(process, object, how);
        }
    }

    fn started(&self, boot: SystemTime, ticks: u64) -> Option<SystemTime> {
        let nanoseconds = u128::from(ticks) * 1_000_000_000 / u128::from(self.ticks_per_second);
        boot.checked_add(Duration::from_nanos(u64::try_from(nanoseconds).ok()?))
    }
}

/// Whether `/proc` belongs to our pid namespace: it may be that of the namespace around a new one.
fn proc_numbers_as_we_do() -> bool {
    std::fs::read_link("/proc/self").is_ok_and(|own| own.to_str() == Some(&std::process::id().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Identity, Kind, Namespaces, Process, Viewer};

    fn process(pid: u32, start_ticks: u64) -> Process {
        Process { start_ticks, ..Process::example(pid) }
    }

    #[test]
    fn a_process_that_began_later_is_not_blamed_for_its_pid() {
        let boot = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let memory = Memory { boot: Some(boot), ticks_per_second: 100 };
        let mut builder = Builder::new(Viewer { pid: 1, uid: 0, namespaces: Namespaces::default() });
        builder.process(process(10, 5_000));
        builder.process(process(11, 5_250));
        let object = builder.object(Identity::SystemV { kind: Kind::SysvShm, namespace: 1, id: 2 }, Kind::SysvShm);
        // The kernel rounds down: this happened 51 to 52 seconds after the start.
        let event = Some(boot + Duration::from_secs(51));
        for pid in [10, 11, 12] {
            memory.tie(&mut builder, object, Role::Creator, Some(pid), event);
        }
        let tied: Vec<usize> = builder.holds().iter().map(|hold| hold.process.index()).collect();
        assert_eq!(tied, [0]);
    }

    #[test]
    fn the_calling_process_began_before_now() {
        let memory = Memory::now();
        let boot = memory.boot.expect("this /proc is ours");
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let ticks = stat.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap().parse().unwrap();
        let age = SystemTime::now().duration_since(memory.started(boot, ticks).unwrap()).unwrap();
        assert!(age < Duration::from_secs(3600), "{age:?}");
    }
}
