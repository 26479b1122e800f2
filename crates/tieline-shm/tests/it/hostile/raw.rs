//! Attackers that speak for themselves, without our library: over the socket of a name, in any role, with memory of their
//! own making. The bytes are those of `docs/formats/shm-rendezvous.md` and of the channels' pages there.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags};
use tieline_os::unix::{Address, RecvOptions, SendOptions, SeqPacket, SeqPacketListener};

use super::attack::mappings;

const MAGIC: [u8; 4] = *b"TLm\x01";
/// The first bytes of large segments tell what they are; the rest may be holes.
const COPIED: usize = 256 << 10;

/// A socket for a name, connected.
pub(super) fn stranger(name: &str) -> Option<SeqPacket> {
    SeqPacket::connect_timeout(&Address::path(socket_of(name)).ok()?, Duration::from_millis(100)).ok()
}

fn socket_of(name: &str) -> PathBuf {
    PathBuf::from(format!("{}.sock", name.split('?').next().unwrap_or(name)))
}

/// Connects as often as it can: most of the time without a word, else with nonsense or half a hello; and keeps some.
pub(super) fn flood(name: &str) {
    let mut kept = VecDeque::new();
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

/// Joins in every role, several times, and says no more; on some lines it closes one direction.
pub(super) fn linger(name: &str) -> impl Sized {
    use std::net::Shutdown::{Read, Write};
    let pretenders: Vec<_> = (0..24).filter_map(|count| Pretender::join(name, 1 + count % 4)).collect();
    let strangers: Vec<_> = (0..6).filter_map(|_| stranger(name)).collect();
    let sockets = pretenders.iter().flat_map(|pretender| pretender.lines.iter().chain([&pretender.joined]));
    for (count, socket) in sockets.chain(&strangers).enumerate() {
        let half = [None, Some(Read), Some(Write)][count % 3];
        half.map(|half| socket.shutdown(half));
    }
    (pretenders, strangers)
}

/// Joins in every role in turn, as whatever there is to join, and tells each counterpart lies, first of all that memory
/// is what it is not.
pub(super) fn forge(name: &str) {
    let forged = Forged::of_mappings();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    if let Some(listener) = usurp(name) {
        return host(&listener, &forged, &mut seed);
    }
    let mut pretenders = VecDeque::new();
    for role in (1..=4).cycle() {
        // Refused, or closed: the next one.
        pretenders.extend(Pretender::join(name, role));
        pretenders.retain_mut(|pretender| pretender.serve(&forged, &mut seed).is_some());
        if pretenders.len() > 8 {
            pretenders.pop_front();
        }
    }
}

/// Takes the place of the host, if the name lies in a directory of the attacker's own.
fn usurp(name: &str) -> Option<SeqPacketListener> {
    let path = socket_of(name);
    let owner = std::fs::metadata(path.parent()?).ok()?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        return None;
    }
    let fresh = path.with_extension("false");
    let listener = SeqPacketListener::bind(&Address::path(&fresh).ok()?).ok()?;
    std::fs::rename(fresh, path).ok()?;
    Some(listener)
}

/// Welcomes everyone, introduces a counterpart to them, and lies as that one.
fn host(listener: &SeqPacketListener, forged: &Forged, seed: &mut u64) {
    let mut lines = VecDeque::new();
    loop {
        let Ok(joining) = listener.accept_timeout(Duration::from_millis(100)) else { continue };
        let Some((hello, _)) = hear(&joining) else { continue };
        let Some((kind, hash)) = hello.get(5..9).zip(hello.get(10..18)) else { continue };
        let kind = u32::from_le_bytes(kind.try_into().expect("four bytes"));
        let Ok((here, there)) = SeqPacket::pair() else { continue };
        let own = rustix::process::geteuid().as_raw();
        let mut welcome = [&MAGIC[..], &[2]].concat();
        welcome.extend([7_u64, 8].map(u64::to_le_bytes).concat());
        welcome.extend([own, 8].map(u32::to_le_bytes).concat());
        welcome.extend(hash);
        // One introduction, no core, for its owner alone, without a configuration.
        welcome.extend([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut introduction = [&MAGIC[..], &[3]].concat();
        introduction.extend(9_u64.to_le_bytes());
        // Perhaps as somebody who is trusted.
        let who = [own, own, own, 0][next(seed) % 4];
        introduction.extend([who, 0, 1].map(u32::to_le_bytes).concat());
        if next(seed).is_multiple_of(8) {
            let at = next(seed) % welcome.len();
            welcome[at] ^= 0xff;
        }
        let fds = [there.as_fd()];
        let _ = joining.try_send(&welcome);
        let _ = joining.try_send_with(&[IoSlice::new(&introduction)], SendOptions::new().fds(&fds));
        for _ in 0..1 + next(seed) % 3 {
            tell(&here, lie(kind, forged, seed), None);
        }
        lines.push_back((joining, here));
        if lines.len() > 8 {
            lines.pop_front();
        }
    }
}

fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize
}

/// A member in a role of its choice.
struct Pretender {
    kind: u32,
    joined: SeqPacket,
    /// What it was given to share, if anything.
    core: Option<OwnedFd>,
    lines: Vec<SeqPacket>,
}

impl Pretender {
    fn join(name: &str, role: u8) -> Option<Self> {
        let asking = stranger(name)?;
        asking.try_send(&[&MAGIC[..], &[6]].concat()).ok()?;
        let (answer, _) = hear(&asking)?;
        let fields = answer.strip_prefix(&[&MAGIC[..], &[7]].concat()[..])?;
        let kind = u32::from_le_bytes(*fields.first_chunk()?);
        let hash = u64::from_le_bytes(*fields.get(16..)?.first_chunk()?);
        let joined = stranger(name)?;
        joined.try_send(&hello(kind as usize, role, hash)).ok()?;
        let (welcome, fds) = hear(&joined)?;
        (welcome.get(4) == Some(&2)).then_some(())?;
        let mut pretender = Self { kind, joined, core: fds.into_iter().next(), lines: Vec::new() };
        pretender.meet()?;
        Some(pretender)
    }

    /// Takes the lines to those it was introduced to.
    fn meet(&mut self) -> Option<()> {
        loop {
            let mut buffer = [0; 64];
            let options = RecvOptions::new().max_fds(8);
            match self.joined.try_recv_with(&mut [IoSliceMut::new(&mut buffer)], options) {
                Ok(came) => self.lines.extend(came?.fds.into_iter().filter_map(|fd| SeqPacket::from_fd(fd).ok())),
                Err(error) if error.is_would_block() => return Some(()),
                Err(_) => return None,
            }
        }
    }

    /// Lies to everyone it is introduced to, until its host has enough of it.
    fn serve(&mut self, forged: &Forged, seed: &mut u64) -> Option<()> {
        self.meet()?;
        for line in &self.lines {
            let core = self.core.as_ref().filter(|_| next(seed).is_multiple_of(4));
            tell(line, lie(self.kind, forged, seed), core);
        }
        if next(seed).is_multiple_of(4) {
            self.lines.clear();
        }
        Some(())
    }
}

/// Says it, and takes the memory away again where the kernel lets it.
fn tell(line: &SeqPacket, (bytes, memory): (Vec<u8>, Vec<&Made>), another: Option<&OwnedFd>) {
    let fds: Vec<_> = memory.iter().map(|made| made.fd.as_fd()).chain(another.map(AsFd::as_fd)).collect();
    memory.iter().for_each(|made| made.restore());
    let _ = line.try_send_with(&[IoSlice::new(&bytes)], SendOptions::new().fds(&fds));
    if memory.iter().any(|made| made.open_end.is_some()) {
        tieline_testkit::pause(Duration::from_millis(3));
        memory.iter().for_each(|made| made.take_away());
    }
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

/// What somebody might say first on a line, most of the time of a channel of this kind, and the memory that goes with it.
fn lie<'a>(kind: u32, forged: &'a Forged, seed: &mut u64) -> (Vec<u8>, Vec<&'a Made>) {
    let some = [0, 1, 2, 16, 4096, 1 << 20, u64::from(u32::MAX), 1 << 40, u64::MAX];
    let number = |seed: &mut u64| some[next(seed) % some.len()];
    let memory = |kinds: &[&str], seed: &mut u64| kinds.iter().filter_map(|kind| forged.some(kind, seed)).collect();
    let fitting = match kind {
        1 => 0,
        4 => 3,
        5 => 4,
        _ => 6,
    };
    match if next(seed).is_multiple_of(2) { fitting } else { next(seed) % 7 } {
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
    fd: File,
    len: u64,
    /// What it begins with, if it is not sealed.
    open_end: Option<Vec<u8>>,
}

impl Made {
    /// Where there was memory, there is none.
    fn take_away(&self) {
        if self.open_end.is_some() {
            let _ = self.fd.set_len(0);
        }
    }

    fn restore(&self) {
        if let Some(bytes) = &self.open_end {
            let _ = self.fd.set_len(self.len);
            let _ = self.fd.write_all_at(bytes, 0);
        }
    }
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
            // A mapping ends with a page, a segment where its header says.
            let told = bytes.get(16..).and_then(<[u8]>::first_chunk).map_or(0, |told| u64::from_le_bytes(*told));
            let len = if (len as u64).wrapping_sub(told) < 4096 { told } else { len as u64 };
            bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
            let mut seed = mapping.start;
            for variant in 0..6 {
                let mut copy = bytes.clone();
                for _ in 0..[0, 0, 4, 64, 1000, 0][variant] {
                    // Past the first page, which only has to look right; and some within it.
                    let from = if variant == 4 { 0 } else { 4096 };
                    let at = (from + next(&mut seed) % 1024).min(copy.len() - 1);
                    copy[at] ^= [0xff, 0x80, 1][next(&mut seed) % 3];
                }
                made.extend(make(&copy, len, variant != 1).map(|made| (mapping.kind.clone(), made)));
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
    Some(Made { fd: file, len, open_end: (!is_sealed).then(|| bytes.to_vec()) })
}
