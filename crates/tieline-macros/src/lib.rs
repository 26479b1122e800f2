//! The derives of Tieline. Use them through the crate `tieline`, which exports each beside its trait.

#![forbid(unsafe_code)]
