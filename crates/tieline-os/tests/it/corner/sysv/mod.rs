//! Lines 37 to 53: System V.

mod families;
mod msg;
mod sem;
mod shm;
