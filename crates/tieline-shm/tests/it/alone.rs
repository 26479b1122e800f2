//! A test in a process of its own with a runtime directory of its own, which is a matter of the environment.

use std::path::PathBuf;

use tieline_testkit::{Peer, PeerBuilder, role};

/// Runs `body` in a process of its own, with a fresh runtime directory.
pub(crate) fn alone(test: String, body: impl FnOnce(&PathBuf)) {
    match role() {
        Some(me) if me.name() == "alone" => body(&me.env("TIELINE_RUNTIME_DIR").into()),
        Some(_) => unreachable!("roles are played before"),
        None => {
            let directory = tempfile::tempdir().unwrap();
            Peer::of(test).role("alone").env("TIELINE_RUNTIME_DIR", directory.path()).spawn().succeeds();
        }
    }
}

/// A peer in the same runtime directory.
pub(crate) fn peer(test: String, role: &str, directory: &PathBuf) -> PeerBuilder {
    Peer::of(test).role(role).env("TIELINE_RUNTIME_DIR", directory)
}
