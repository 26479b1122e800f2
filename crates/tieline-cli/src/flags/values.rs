//! Values of flags that several verbs have.

use std::time::Duration;

use tieline_transport::addr::quantity;

/// A size for a flag.
pub(super) fn size(text: &str) -> Result<u64, String> {
    quantity::parse_size(text).map_err(|error| error.to_string())
}

/// A size of something that is held in memory.
pub(super) fn message_size(text: &str) -> Result<usize, String> {
    let size = usize::try_from(size(text)?).map_err(|_| format!("{text} is more than this machine can address"))?;
    if size == 0 { Err("a message has one byte at least".to_owned()) } else { Ok(size) }
}

/// A length of time for a flag; zero needs no unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { quantity::parse_duration(text).map_err(|error| error.to_string()) }
}
