//! The examples, as their users run them.

mod job;
