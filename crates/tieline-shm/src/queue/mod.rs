//! The structures in shared memory, without names, sockets or threads: layouts and algorithms over views.
