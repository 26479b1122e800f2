//! What a user of the crate meets, against real processes and the real kernel.

mod addresses_page;
mod endpoint;
mod exec;
mod relay;
mod relay_ends;
mod relay_messages;
mod relay_patience;
mod strangers;
mod support;
