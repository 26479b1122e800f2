//! Segments between real processes: sent over sockets, kept in files, left behind by the dead.

mod file;
mod look;
mod pages;
mod resize;
