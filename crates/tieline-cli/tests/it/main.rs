//! What a user of the command meets: the real binary, against the kernel and against programs made by others.

mod bench;
mod commands;
mod compat;
mod ends;
mod errors;
mod json;
mod messages;
mod objects;
mod queues;
mod recordings;
mod seeing;
mod segments;
mod signals;
mod streams;
mod support;
mod terminal;
mod texts;
mod topics;
