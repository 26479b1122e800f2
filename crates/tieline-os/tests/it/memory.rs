//! Memory that a test and its peers map from one file.

use std::fs::File;
use std::path::{Path, PathBuf};

use tieline_os::Region;
use tieline_os::mapping::{MapOptions, Mapping};
use tieline_os::pthread::Place;
use tieline_testkit::{Peer, PeerBuilder, Role};

const FILE: &str = "TIELINE_TEST_MEMORY";
pub(crate) const LEN: usize = 8192;

/// A file of its own, zeroed, mapped here and by every peer it is given to.
pub(crate) struct Memory {
    pub(crate) mapping: Mapping,
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Memory {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let path = directory.path().join("memory");
        let file = File::create_new(&path).expect("a new file");
        file.set_len(LEN as u64).expect("its length");
        Self { mapping: map(&path), _directory: directory, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A peer of this test, in a role, that can map the memory.
    pub(crate) fn peer(&self, test: &str, role: &str) -> PeerBuilder {
        Peer::of(test).role(role).env(FILE, self.path())
    }
}

/// Where a test puts a lock of the C library.
pub(crate) fn place_at(region: &Region, offset: usize) -> Place<'_> {
    // SAFETY: the tests share their memory with nobody but their own peers, lay out their locks without overlap, and
    // write over a lock only where no object is used any more or that is what the test refuses.
    unsafe { Place::trusting(region, offset) }
}

/// Makes the peer run its test in the process's first thread and start no other.
///
/// The runner wants a thread for each test and falls back to its own if none can be had; nobody can have one with a
/// stack larger than the address space.
pub(crate) fn in_the_only_thread(peer: PeerBuilder) -> PeerBuilder {
    peer.env("RUST_MIN_STACK", "281474976710656")
}

/// Checks that [`in_the_only_thread`] has worked.
pub(crate) fn assert_only_thread() {
    assert_eq!(rustix::thread::gettid(), rustix::process::getpid(), "the runner has changed its ways");
}

/// The memory the parent gave to this peer.
pub(crate) fn of(role: &Role) -> Mapping {
    map(Path::new(&role.env(FILE)))
}

fn map(path: &Path) -> Mapping {
    let file = File::options().read(true).write(true).open(path).expect("the shared file");
    Mapping::of(file, &MapOptions::new()).expect("mapped")
}
