//! Which types may go to another thread (`Send`) or be used by several at once (`Sync`), pinned: a change here is a
//! change of what the crate promises.

use tieline_os::{
    epoll, eventfd, fork, futex, inotify, lock, mapping, memfd, namespace, pidfd, pipe, posix, process, process_memory,
    pthread, signal, signalfd, sock_diag, spare, sysv, tcp, timerfd, transfer, udp, unix, vsock,
};

/// Answers at compile time whether a type has a trait: the inherent constant is preferred, and exists only if it has.
macro_rules! has {
    ($type:ty: $trait:ident) => {{
        #[allow(dead_code, reason = "each is the answer to one of the two questions")]
        trait No {
            const HAS: bool = false;
        }
        struct Probe<T: ?Sized>(std::marker::PhantomData<T>);
        impl<T: ?Sized> No for Probe<T> {}
        #[allow(dead_code, reason = "each is the answer to one of the two questions")]
        impl<T: ?Sized + $trait> Probe<T> {
            const HAS: bool = true;
        }
        <Probe<$type>>::HAS
    }};
}

macro_rules! pinned {
    ($($type:ty: $send:literal $sync:literal;)*) => {
        $(
            assert_eq!((has!($type: Send), has!($type: Sync)), ($send, $sync), stringify!($type));
        )*
    };
}

/// Descriptors, memory and handles: any thread may use them, several at once too.
#[test]
fn what_any_thread_may_use() {
    pinned! {
        tieline_os::Error: true true;
        tieline_os::Region: true true;
        epoll::Epoll: true true;
        epoll::Events: true true;
        epoll::Registration<&'static epoll::Epoll, eventfd::EventFd>: true true;
        eventfd::EventFd: true true;
        fork::Child: true true;
        futex::Futex<'static>: true true;
        futex::PiFutex<'static>: true true;
        futex::WaitOnly<'static>: true true;
        inotify::Inotify: true true;
        lock::FileLock<std::fs::File>: true true;
        lock::RangeLock<std::fs::File>: true true;
        mapping::Mapping: true true;
        memfd::Memfd: true true;
        memfd::SecretMemfd: true true;
        namespace::Namespace: true true;
        pidfd::PidFd: true true;
        pipe::PipeReader: true true;
        pipe::PipeWriter: true true;
        posix::mq::MessageQueue: true true;
        posix::sem::NamedSemaphore: true true;
        posix::sem::UnnamedSemaphore<'static>: true true;
        posix::shm::SharedMemory: true true;
        process::Pid: true true;
        process_memory::ProcessMemory: true true;
        pthread::Barrier<'static>: true true;
        pthread::Condvar<'static>: true true;
        pthread::Mutex<'static>: true true;
        pthread::Place<'static>: true true;
        pthread::RwLock<'static>: true true;
        signal::Flag: true true;
        signal::Pipe: true true;
        signalfd::SignalFd: true true;
        sock_diag::InetDump: true true;
        sock_diag::Monitor: true true;
        sock_diag::UnixDump: true true;
        sock_diag::VsockDump: true true;
        spare::SpareDescriptor: true true;
        sysv::msg::MessageQueue: true true;
        sysv::RemoveOnDrop<sysv::sem::SemaphoreSet>: true true;
        sysv::sem::SemaphoreSet: true true;
        sysv::shm::Attachment: true true;
        sysv::shm::Segment: true true;
        tcp::Listener: true true;
        tcp::Stream: true true;
        timerfd::TimerFd: true true;
        transfer::Copier<std::fs::File, std::fs::File>: true true;
        transfer::Gift: true true;
        transfer::Pages: true true;
        udp::Socket: true true;
        unix::Datagram: true true;
        unix::SeqPacket: true true;
        unix::SeqPacketListener: true true;
        unix::Stream: true true;
        unix::StreamListener: true true;
        vsock::Stream: true true;
    }
}

#[cfg(feature = "io-uring")]
#[test]
fn a_ring_may_move_and_its_operations_too() {
    use tieline_os::ring;
    pinned! {
        ring::Ring: true true;
        ring::Operation: true true;
        ring::Completion: true true;
        ring::Ticket: true true;
    }
}

/// What belongs to one thread: the owner of a lock of the C library, and the mask of blocked signals.
#[test]
fn what_stays_on_its_thread() {
    pinned! {
        pthread::InheritedGuard<'static>: false false;
        pthread::Locked<'static>: false false;
        pthread::MutexGuard<'static>: false false;
        pthread::ReadGuard<'static>: false false;
        pthread::Waited<'static>: false false;
        pthread::WriteGuard<'static>: false false;
        signal::Blocked: false false;
    }
}

/// The question itself can answer no.
#[test]
fn the_probe_tells_both_answers() {
    pinned! {
        std::cell::Cell<u8>: true false;
        std::rc::Rc<u8>: false false;
        std::sync::MutexGuard<'static, u8>: false true;
        u8: true true;
    }
}
