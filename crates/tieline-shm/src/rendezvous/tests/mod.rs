//! Processes that meet: real ones, killed and stopped at bad moments.
//!
//! A peer process plays one of the roles of [`actor`], which all tests share: it joins a name as told by its
//! environment, says what happens to it, and does what it hears on its standard input.

mod access;
mod actor;
mod anonymous;
mod bad_input;
mod channel;
mod death;
mod directories;
mod election;
mod fork;
mod hostile;
mod impostors;
mod join;
mod measure;
mod members;
mod namespaces;
mod numbers;
