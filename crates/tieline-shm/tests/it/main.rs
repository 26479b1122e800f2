//! What the crate promises, between real processes.

mod arena;
mod layout;
mod segment;
