//! The only place of this crate that talks to the kernel in unsafe code: one folder per system, one file per facility.
//!
//! Functions here are safe wherever their arguments can make them so, return a bare [`Errno`](rustix::io::Errno), and
//! neither retry nor interpret; meaning is added by the facility one level up. A second system gets a folder with the
//! same file names; the table of what it lacks is `docs/platforms.md`.

pub(crate) mod bytes;
#[cfg(target_os = "linux")]
mod linux;
mod promise;

#[cfg(target_os = "linux")]
pub(crate) use linux::*;

#[cfg(not(target_os = "linux"))]
compile_error!("tieline-os has no implementation for this system yet; docs/platforms.md lists what exists");
#[cfg(not(target_pointer_width = "64"))]
compile_error!("tieline-os is for 64-bit processors; docs/platforms.md says why");
