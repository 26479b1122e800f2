//! What users hold: channels by name, made of a meeting place, segments, a structure and a way to wait.

#[cfg(not(model))]
pub mod topic;
