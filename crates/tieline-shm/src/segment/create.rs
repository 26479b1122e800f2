//! Making a segment: the order of steps is what keeps `SIGBUS` away.
//!
//! Length first, then the mapping, then the node, then memory for every page, then the header, then the seals: memory
//! is found while creation can still fail, and a segment is sealed before anyone else can see it.

use std::sync::Arc;

use tieline_os::mapping::{Advice, HugePages, MapOptions, Mapping};
use tieline_os::memfd::{Memfd, MemfdOptions, Seals};

use super::header::{GROWABLE, Header, WRITER_ONLY};
use super::options::{Obtained, Pages, SegmentOptions};
use super::{HEADER_BYTES, Purpose, Segment, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::{View, numa};

const CREATE: &str = "create a segment";

/// Where the kernel says whether shared memory may be joined into huge pages.
const TRANSPARENT: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

pub(super) fn create(purpose: &Purpose<'_>, body_len: usize, options: &SegmentOptions) -> Result<Segment> {
    let too_large = || Error::new(CREATE, ErrorKind::TooLarge).on(purpose.name);
    crate::wait::prepare();
    let front = options.front;
    let room = options.max_len.unwrap_or(body_len);
    if body_len > room {
        let why = format!("{body_len} bytes are more than the {room} it may grow to");
        return Err(too_large().because(why));
    }
    let start = HEADER_BYTES.checked_add(front).ok_or_else(too_large)?;
    let len = start.checked_add(room).filter(|len| isize::try_from(*len).is_ok()).ok_or_else(too_large)?;
    let committed = start + body_len;
    let refused = |error| Error::system_refused(CREATE, error).on(purpose.name);
    // A machine may have huge pages but too few, which shows only when memory is looked for.
    let huge = options.huge_pages.and_then(|pages| {
        let len = len.checked_next_multiple_of(pages.size())?;
        Some((back(purpose, len, committed, options, Some(pages)).ok()?, Pages::Huge(pages)))
    });
    let (backed, pages) = match huge {
        Some(huge) => huge,
        None => {
            let backed = back(purpose, len, committed, options, None).map_err(refused)?;
            let pages = transparent(&backed.memory, options);
            (backed, pages)
        }
    };
    let Backed { memfd, memory, numa_node } = backed;
    let (len, memory) = (memory.len(), Arc::new(memory));
    let growable = options.max_len.is_some();
    let mut flags = 0;
    let mut seals = Seals::SHRINK | Seals::GROW;
    if growable {
        flags |= GROWABLE;
    }
    if options.writer_only {
        flags |= WRITER_ONLY;
        seals |= Seals::FUTURE_WRITE;
    }
    let committed_body = if growable { committed } else { len } - HEADER_BYTES;
    View::<Header>::of(&memory, 0)?.fill(
        purpose,
        len as u64,
        committed_body as u64,
        flags,
        u32::try_from(front).map_err(|_| too_large())?,
    );
    memfd.add_seals(seals).map_err(refused)?;
    let obtained = Obtained { pages, numa_node };
    let store = Arc::new(Store::Memfd(memfd));
    Ok(Segment { store, memory, kind: purpose.kind, obtained, growable, front })
}

/// Memory that is there, and mapped.
struct Backed {
    memfd: Memfd,
    memory: Mapping,
    numa_node: Option<u32>,
}

/// Finds memory for the first `committed` of `len` bytes; for all of them, unless it shall grow.
fn back(
    purpose: &Purpose<'_>,
    len: usize,
    committed: usize,
    options: &SegmentOptions,
    huge: Option<HugePages>,
) -> tieline_os::Result<Backed> {
    let kinds = MemfdOptions::new();
    let kinds = if let Some(pages) = huge { kinds.huge_pages(pages) } else { kinds };
    let memfd = Memfd::create(&memfd_name(purpose), &kinds)?;
    memfd.set_len(len as u64)?;
    let memory = memfd.map(&MapOptions::new().no_reserve())?;
    let numa_node = options.numa_node.filter(|node| numa::bind(&memory, *node).is_ok());
    let committed = if options.max_len.is_some() { committed } else { len };
    memfd.reserve_range(0, committed as u64)?;
    // Now there is memory, so this only builds the page tables, and cannot fail for lack of it. Before Linux 5.14 the
    // first touch does.
    match memory.populate(..committed) {
        Err(error) if error.kind() != tieline_os::ErrorKind::Unsupported => return Err(error),
        _ => {}
    }
    Ok(Backed { memfd, memory, numa_node })
}

/// Asks for transparent huge pages where reserved ones were wished for and not to be had.
fn transparent(memory: &Mapping, options: &SegmentOptions) -> Pages {
    let allowed = || {
        let setting = std::fs::read_to_string(TRANSPARENT).unwrap_or_default();
        ["[always]", "[within_size]", "[advise]", "[force]"].iter().any(|word| setting.contains(word))
    };
    let wished = options.huge_pages.is_some();
    if wished && memory.advise(.., Advice::HugePages).is_ok() && allowed() { Pages::Transparent } else { Pages::Usual }
}

/// What shows in `/proc/PID/maps` as `/memfd:tieline:...`.
fn memfd_name(purpose: &Purpose<'_>) -> String {
    /// The kernel takes 249; the rest is for the prefix.
    const NAME_MAX_BYTES: usize = 200;
    let name = &purpose.name[..purpose.name.floor_char_boundary(NAME_MAX_BYTES)];
    let kind = format!("{:?}", purpose.kind).to_lowercase();
    format!("tieline:{kind}:{name}")
}
