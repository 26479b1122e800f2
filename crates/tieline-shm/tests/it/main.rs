//! What the crate promises, between real processes.

mod layout;
mod segment;
mod topic;
