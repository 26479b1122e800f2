//! Attackers that speak for themselves, without our library: over the socket of a name, in any role, with memory of their
//! own making. The bytes are those of `docs/formats/shm-rendezvous.md` and of the channels' pages there.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags};
use tieline_os::unix::{Address, RecvOptions, SendOptions, SeqPacket};

use super::attack::mappings;

const MAGIC: [u8; 4] = *b"TLm\x01";
/// The first bytes of large segments tell what they are; the rest may be holes.
const COPIED: usize = 256 << 10;

/// A socket for a name, connected.
pub(super) fn stranger(name: &str) -> Option<SeqPacket> {
    let path = PathBuf::from(format!("{}.sock", name.split('?').next().unwrap_or(name)));
    SeqPacket::connect_timeout(&Address::path(path).ok()?, Duration::from_millis(100)).ok()
}

/// Connects as often as it can: most of the time without a word, else with nonsense or half a hello; and keeps some.
pub(super) fn flood(name: &str) {
    let mut kept = std::collections::VecDeque::new();
    for count in 0_usize.. {
        let Some(line) = stranger(name) else { continue };
        match count % 8 {
            0 => drop(line.try_send(&tieline_testkit::data(1 + count * 7 % 3000))),
            1 => drop(line.try_send(&hello(count, 2, 0)[..5 + count % 12])),
            2 => drop(line.try_send(&hello(count, 1 + (count % 4) as u8, count as u64))),
            3 => drop(line.try_send(&[&MAGIC[..], &[6]].concat())),
            _ => {}
        }
        kept.push_back(line);
        if kept.len() > 200 {
            kept.pop_front();
        }
    }
}

/// Joins in every role in turn, as whatever there is to join, and tells each counterpart lies, first of all that memory
/// is what it is not.
pub(super) fn forge(name: &str) {
    let forged = Forged::of_mappings();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    loop {
        for role in 1..=4 {
            // Refused, or closed: the next one.
            let _ = pretend(name, role, &forged, &mut seed);
        }
    }
}

fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize
}

fn pretend(name: &str, role: u8, forged: &Forged, seed: &mut u64) -> Option<()> {
    let asking = stranger(name)?;
    asking.try_send(&[&MAGIC[..], &[6]].concat()).ok()?;
    let (answer, _) = hear(&asking)?;
    let fields = answer.strip_prefix(&[&MAGIC[..], &[7]].concat()[..])?;
    let kind = u32::from_le_bytes(*fields.first_chunk()?);
    let hash = u64::from_le_bytes(*fields.get(16..)?.first_chunk()?);
    let joining = stranger(name)?;
    joining.try_send(&hello(kind as usize, role, hash)).ok()?;
    let mut lines = Vec::new();
    let mut own = Vec::new();
    // A welcome, then introductions.
    while let Some((bytes, fds)) = hear(&joining) {
        match bytes.get(4) {
            Some(2) => own.extend(fds),
            Some(3) => lines.extend(fds.into_iter().filter_map(|fd| SeqPacket::from_fd(fd).ok())),
            _ => break,
        }
    }
    for line in &lines {
        for _ in 0..1 + next(seed) % 3 {
            let (bytes, memory) = lie(forged, seed);
            let fds: Vec<BorrowedFd<'_>> = memory.iter().map(|made| made.fd.as_fd()).chain(own.first().map(AsFd::as_fd)).collect();
            let fds = if next(seed).is_multiple_of(4) { &fds[..] } else { &fds[..memory.len()] };
            let _ = line.try_send_with(&[IoSlice::new(&bytes)], SendOptions::new().fds(fds));
            for made in memory.iter().filter(|made| !made.is_sealed) {
                // Away, where the kernel lets it.
                let _ = rustix::fs::ftruncate(&made.fd, 0);
                let _ = rustix::fs::ftruncate(&made.fd, made.len);
            }
        }
        // What the other side says, it may say.
        let _ = hear(line);
    }
    Some(())
}

fn hello(kind: usize, role: u8, hash: u64) -> Vec<u8> {
    let text = b"what you like";
    let mut bytes = MAGIC.to_vec();
    bytes.push(1);
    bytes.extend((kind as u32).to_le_bytes());
    bytes.push(role);
    bytes.extend(hash.to_le_bytes());
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text);
    bytes.push(0);
    bytes
}

fn hear(line: &SeqPacket) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
    let mut buffer = vec![0; 32 * 1024];
    let options = RecvOptions::new().max_fds(8);
    let came = line.recv_with_timeout(&mut [IoSliceMut::new(&mut buffer)], options, Duration::from_millis(20));
    let came = came.ok().flatten()?;
    buffer.truncate(came.len);
    Some((buffer, came.fds))
}

/// What somebody might say first on a line, of whatever channel, and the memory that goes with it.
fn lie<'a>(forged: &'a Forged, seed: &mut u64) -> (Vec<u8>, Vec<&'a Made>) {
    let some = [0, 1, 2, 16, 4096, 1 << 20, u64::from(u32::MAX), 1 << 40, u64::MAX];
    let number = |seed: &mut u64| some[next(seed) % some.len()];
    let memory = |kinds: &[&str], seed: &mut u64| kinds.iter().filter_map(|kind| forged.some(kind, seed)).collect();
    match next(seed) % 7 {
        // Admitted: entry, first message.
        0 | 1 => {
            let entry = (next(seed) % 3) as u32;
            let mut bytes = vec![2, 0, 0, 0];
            bytes.extend(entry.to_le_bytes());
            bytes.extend([1, 1, 5, number(seed)][next(seed) % 4].to_le_bytes());
            bytes.extend(0_u64.to_le_bytes());
            (bytes, memory(&["log", "roster", "log"][..1 + next(seed) % 3], seed))
        }
        // Subscribe: depth, history.
        2 => {
            let mut bytes = vec![1, (next(seed) % 7) as u8, 0, 0, 0, 0, 0, 0];
            bytes.extend(number(seed).to_le_bytes());
            bytes.extend(number(seed).to_le_bytes());
            (bytes, Vec::new())
        }
        // A stream's memory: capacity.
        3 => {
            let mut bytes = vec![1];
            bytes.extend([4096, number(seed)][next(seed) % 2].to_le_bytes());
            (bytes, memory(&["stream"], seed))
        }
        // A connection's of calls: entries, areas, their size.
        4 => {
            let mut bytes = vec![1];
            for honest in [16, 2, 8192] {
                bytes.extend(([honest, number(seed)][usize::from(next(seed).is_multiple_of(4))] as u32).to_le_bytes());
            }
            (bytes, memory(&["calls", "calls"], seed))
        }
        // A bell, or that there is none.
        5 => (vec![0xb0 | (next(seed) % 2) as u8, (next(seed) % 3) as u8], memory(&["log"], seed)),
        // Refused, or ready.
        _ => {
            let mut bytes = vec![0; 24];
            (bytes[0], bytes[8]) = (3 + (next(seed) % 2) as u8, (next(seed) % 5) as u8);
            (bytes, Vec::new())
        }
    }
}

/// Memory that looks like what this process was given or has made, and is not.
struct Forged(Vec<(String, Made)>);

struct Made {
    fd: OwnedFd,
    len: u64,
    is_sealed: bool,
}

impl Forged {
    fn of_mappings() -> Self {
        let memory = File::open("/proc/self/mem").expect("our memory");
        let mut made = Vec::new();
        for mapping in mappings() {
            let len = (mapping.end - mapping.start) as usize;
            let mut bytes = vec![0; len.min(COPIED)];
            if memory.read_exact_at(&mut bytes, mapping.start).is_err() {
                continue;
            }
            let mut seed = mapping.start;
            for variant in 0..6 {
                let mut copy = bytes.clone();
                for _ in 0..[0, 0, 4, 64, 1000, 0][variant] {
                    // Past the first page, which only has to look right; and some within it.
                    let from = if variant == 4 { 0 } else { 4096 };
                    let at = (from + next(&mut seed) % 1024).min(copy.len() - 1);
                    copy[at] ^= [0xff, 0x80, 1][next(&mut seed) % 3];
                }
                made.extend(make(&copy, len as u64, variant != 1).map(|made| (mapping.kind.clone(), made)));
            }
            made.extend(make(&[], 0, true).map(|made| (mapping.kind.clone(), made)));
        }
        Self(made)
    }

    fn some(&self, kind: &str, seed: &mut u64) -> Option<&Made> {
        let fitting: Vec<_> = self.0.iter().filter(|(other, _)| other == kind).collect();
        let all: Vec<_> = self.0.iter().collect();
        let from = if fitting.is_empty() || next(seed).is_multiple_of(8) { all } else { fitting };
        Some(&from.get(next(seed) % from.len().max(1))?.1)
    }
}

fn make(bytes: &[u8], len: u64, is_sealed: bool) -> Option<Made> {
    let fd = rustix::fs::memfd_create("tieline:forged", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).ok()?;
    rustix::fs::ftruncate(&fd, len).ok()?;
    let file = File::from(fd);
    file.write_all_at(bytes, 0).ok()?;
    if is_sealed {
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW).ok()?;
    }
    Some(Made { fd: file.into(), len, is_sealed })
}
