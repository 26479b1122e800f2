//! What a user of the crate meets, against real processes and the real kernel.

mod addresses_page;
