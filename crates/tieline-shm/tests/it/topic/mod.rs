//! Topics as their users see them: what arrives, what is refused, what a death leaves.

mod bad_input;
mod basics;
mod crowd;
mod death;
mod footprint;
mod meeting;
mod namespaces;
mod policies_newest;
mod stress;
mod trust;

use tempfile::TempDir;

/// A runtime directory of the test's own. Hold it as long as names in it are used.
pub(crate) fn place() -> (TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let name = format!("{}/topic", directory.path().display());
    (directory, name)
}

/// The word of which a message consists.
fn whole(words: &[u64]) -> u64 {
    assert!(words.iter().all(|word| *word == words[0]), "a torn message: {words:?}");
    words[0]
}
