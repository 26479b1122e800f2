//! What the crate promises, between real processes.

mod layout;
mod queue;
mod reqres;
mod stream;
