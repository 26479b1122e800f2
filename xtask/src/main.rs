//! Tieline's own tasks.
fn main() {}
