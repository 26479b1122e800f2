//! How much memory the machine could still give.
//!
//! Asked for more than there is, the kernel does not refuse: it starts to kill processes, perhaps ours, perhaps a
//! stranger's. So whoever is about to claim much memory at once asks here first. A guess that is out of date at once,
//! it stops the impossible request, not the unlucky one.

use crate::error::{Error, ErrorKind, Result};

/// Below this many bytes asking would cost more than it could save.
const WORTH_ASKING_BYTES: u64 = 16 << 20;

/// The part of the available memory that is left alone, for page tables and for everyone else: one in this many.
const MARGIN: u64 = 16;

/// Refuses to claim `bytes` of new memory if the machine cannot have them.
pub(crate) fn refuse_impossible(operation: &'static str, bytes: u64) -> Result<()> {
    if bytes < WORTH_ASKING_BYTES {
        return Ok(());
    }
    let available = available_bytes();
    if bytes <= available - available / MARGIN {
        return Ok(());
    }
    let why = format!("{bytes} bytes are more than the machine can give ({available} bytes available)");
    Err(Error::of_kind(operation, ErrorKind::OutOfMemory, why))
}

/// What new claims could get without anything being killed.
fn available_bytes() -> u64 {
    std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| parse(&text)).unwrap_or_else(|| {
        // Without /proc: all the memory there is, which still stops what could never work.
        let info = rustix::system::sysinfo();
        let unit = u64::from(info.mem_unit);
        (info.totalram.saturating_add(info.totalswap)).saturating_mul(unit)
    })
}

fn parse(meminfo: &str) -> Option<u64> {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    field("MemAvailable")?.checked_add(field("SwapFree")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_understood() {
        let text = "MemTotal:  100 kB\nMemAvailable:   70 kB\nSwapFree:        2 kB\n";
        assert_eq!(parse(text), Some(72 * 1024));
        assert_eq!(parse("MemTotal: 100 kB\n"), None);
        assert_eq!(parse("MemAvailable: 18446744073709551615 kB\nSwapFree: 0 kB\n"), None);
        assert!(available_bytes() > WORTH_ASKING_BYTES);
    }

    #[test]
    fn only_the_impossible_is_refused() {
        refuse_impossible("test", WORTH_ASKING_BYTES - 1).unwrap();
        for impossible in [1 << 50, u64::MAX] {
            assert_eq!(refuse_impossible("test", impossible).unwrap_err().kind(), ErrorKind::OutOfMemory);
        }
    }
}
