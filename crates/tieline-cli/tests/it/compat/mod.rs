//! The tools of util-linux by their own names, beside the originals.

mod lsipc;
