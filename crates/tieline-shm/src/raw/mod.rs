//! Memory that another process maps: the only way from an address to a typed view of it.
//!
//! The invariant: what is viewed consists of atomics and of nothing else ([`Words`]), so a peer that writes at the
//! wrong moment gives odd values, never undefined behaviour. What a value means, and whether to believe it, is decided
//! above: read once into a local, check, then use the local.

pub(crate) mod alive;
pub(crate) mod atomic;
pub(crate) mod cpu;
pub(crate) mod futex;
pub(crate) mod lock;
pub(crate) mod numa;
mod per_process;
pub(crate) mod private_fd;
pub(crate) mod process;
#[cfg(all(feature = "tokio", not(model)))]
pub(crate) mod reactor;
pub(crate) mod robust;
mod step;
mod view;
pub(crate) mod words;

pub(crate) use per_process::PerProcess;
#[cfg(all(test, model))]
pub(crate) use step::PLANT;
#[cfg(all(feature = "steps", not(model)))]
pub(crate) use step::give_turn;
pub(crate) use step::{planted, step};
pub(crate) use view::{View, Words};
