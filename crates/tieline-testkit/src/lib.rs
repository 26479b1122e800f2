//! What Tieline's tests share: real peer processes, bounded waits, namespaces of their own, loud skips.
//!
//! It uses no other crate of the workspace, so that every one of them can use it. Every wait here has a deadline
//! ([`PATIENCE`]): a test that would hang fails instead.
//!
//! A test that needs a second process re-executes itself:
//!
//! ```no_run
//! use tieline_testkit::{Peer, test_name};
//!
//! // #[test]
//! fn the_reader_sees_what_the_writer_said() {
//!     if let Some(me) = tieline_testkit::role() {
//!         // This is the child process, in the role the parent gave it.
//!         assert_eq!(me.name(), "writer");
//!         me.say("ready");
//!         me.wait_for("go");
//!         return;
//!     }
//!     let mut writer = Peer::of(test_name!()).role("writer").env("ADDRESS", "somewhere").spawn();
//!     writer.wait_for("ready");
//!     writer.say("go");
//!     writer.succeeds();
//! }
//! ```

mod data;
mod fork;
mod limits;
mod namespace;
mod older_kernel;
mod peer;
mod pty;
mod signals;
mod skip;
mod wait;
pub mod zoo;

pub use data::{assert_same, data, directory, unique_number};
pub use fork::Forked;
pub use limits::room_for_descriptors;
pub use namespace::{Isolation, Namespace, alone};
pub use older_kernel::{Missing, pretend_missing};
pub use peer::{Peer, PeerBuilder, Role, can_run_as, role};
pub use pty::Pty;
pub use signals::usual_signals;
pub use skip::{has_command, skipped, tells_true_devices};
pub use wait::{PATIENCE, eventually, pause, sleeps, soon, until};

/// The name of the enclosing test as the test runner knows it, for [`Peer::of`] and [`Namespace::enter`].
#[macro_export]
macro_rules! test_name {
    () => {{
        fn here() {}
        $crate::test_name_of(&here)
    }};
}

/// Ends the test at once, saying loudly why this machine cannot run it.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::skipped(&$crate::test_name!(), &format!($($reason)*));
        return;
    }};
}

/// The path of a function inside its crate without the last segment; used by [`test_name!`].
#[doc(hidden)]
#[must_use]
pub fn test_name_of<T>(_: &T) -> String {
    let path = std::any::type_name::<T>();
    let segments: Vec<&str> = path.split("::").filter(|segment| *segment != "{{closure}}").collect();
    segments[1..segments.len() - 1].join("::")
}
