//! What attackers do, whatever they have joined.

use std::any::Any;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::SealFlags;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tieline_testkit::{Role, data};

use super::raw;

/// All kinds. The last one comes last, because what its victims share with it may be of no use afterwards.
pub(super) const ALL: [&str; 8] = ["keep", "linger", "flood", "seize", "lie", "forge", "brand", "flip"];

pub(super) fn run(attack: &str, me: &Role, name: &str, join: fn(&str) -> tieline_shm::Result<Box<dyn Any>>) {
    match attack {
        "keep" => {
            let _kept = let_in(name, join);
            me.say("ready");
            // Never reads, never gives back, and joins as often as it is let.
            let _more: Vec<_> = (0..20).map_while(|_| join(name).ok()).collect();
            loop {
                std::thread::park();
            }
        }
        "linger" => {
            let _kept = let_in(name, join);
            let _lines = raw::linger(name);
            me.say("ready");
            loop {
                std::thread::park();
            }
        }
        "flood" => {
            let _kept = let_in(name, join);
            me.say("ready");
            raw::flood(name);
        }
        "forge" => {
            let _kept = let_in(name, join);
            me.say("ready");
            raw::forge(name);
        }
        "brand" => {
            let _kept = let_in(name, join);
            brand();
            me.say("ready");
            loop {
                brand();
            }
        }
        "seize" => {
            let _kept = let_in(name, join);
            seize();
            me.say("ready");
            loop {
                seize();
            }
        }
        "lie" => {
            let mut seed = 1;
            let mut is_first = true;
            loop {
                let Ok(kept) = join(name) else { continue };
                if std::mem::take(&mut is_first) {
                    me.say("ready");
                }
                lie(&mut seed);
                drop(kept);
            }
        }
        _ => {
            let _kept = let_in(name, join);
            me.say("ready");
            flip();
        }
    }
}

/// It may take a moment until the name has somebody who answers for it.
fn let_in(name: &str, join: fn(&str) -> tieline_shm::Result<Box<dyn Any>>) -> Box<dyn Any> {
    tieline_testkit::until("it is let in", || join(name).ok())
}

/// Where this process has memory mapped that others have, too.
pub(super) struct Mapped {
    pub(super) start: u64,
    pub(super) end: u64,
    is_writable: bool,
    /// How many bytes of the segment lie before it.
    offset: u64,
    /// What its name says it is.
    pub(super) kind: String,
}

pub(super) fn mappings() -> Vec<Mapped> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("our mappings");
    let number = |text: &str| u64::from_str_radix(text, 16).expect("an address");
    maps.lines()
        .filter(|line| line.contains("/memfd:"))
        .filter_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let (rights, rest) = rest.split_once(' ')?;
            Some(Mapped {
                start: number(start),
                end: number(end),
                is_writable: rights.starts_with("rw"),
                offset: number(rest.split_once(' ')?.0),
                kind: rest.split("tieline:").nth(1)?.split(':').next()?.to_owned(),
            })
        })
        .collect()
}

/// Writes over what segments say of themselves, in their first page and in the first line after it.
fn brand() {
    let memory = OpenOptions::new().read(true).write(true).open("/proc/self/mem").expect("our memory");
    for mapping in mappings().into_iter().filter(|mapping| mapping.is_writable && mapping.offset == 0) {
        for at in (mapping.start..mapping.end.min(mapping.start + 4096 + 64)).step_by(8) {
            let _ = memory.write_at(&0xdead_beef_ffff_0001_u64.to_le_bytes(), at);
        }
    }
}

/// Flips every byte it may write, of every segment, in many ways, for ever.
fn flip() {
    let memory = OpenOptions::new().read(true).write(true).open("/proc/self/mem").expect("our memory");
    let mut seed = 0x1234_5678_u64;
    loop {
        for Mapped { start, end, .. } in mappings().into_iter().filter(|mapping| mapping.is_writable) {
            // The control words lie at the start; of long payloads a part will do.
            for at in (start..end.min(start + 0x4000)).chain((start + 0x4000..end).step_by(509)) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let bits = [0xff, 0x01, 0x80, (seed >> 33) as u8][(seed >> 62) as usize];
                let mut byte = [0];
                if memory.read_exact_at(&mut byte, at).is_ok() {
                    // What the mapping does not allow, the kernel refuses even here.
                    let _ = memory.write_at(&[byte[0] ^ bits], at);
                }
                if seed.is_multiple_of(64) {
                    // A whole word of it.
                    let words = [0_u64, u64::MAX, seed, 1 << 62, 1 << 31];
                    let _ = memory.write_at(&words[(seed >> 40) as usize % words.len()].to_le_bytes(), at & !7);
                }
            }
        }
    }
}

/// Writes to, resizes and seals whatever it has a descriptor or a mapping of; asserts that the kernel refuses.
fn seize() {
    let memory = OpenOptions::new().read(true).write(true).open("/proc/self/mem").expect("our memory");
    for Mapped { start, .. } in mappings().into_iter().filter(|mapping| !mapping.is_writable) {
        let refused = memory.write_at(&[0xff], start).expect_err("memory of others that may only be read");
        let expected = [Errno::IO, Errno::FAULT, Errno::PERM, Errno::ACCESS].map(Errno::raw_os_error);
        assert!(refused.raw_os_error().is_some_and(|errno| expected.contains(&errno)), "{refused}");
    }
    for entry in std::fs::read_dir("/proc/self/fd").expect("our descriptors").flatten() {
        let is_memory = std::fs::read_link(entry.path()).is_ok_and(|path| path.to_string_lossy().contains("/memfd:"));
        if !is_memory {
            continue;
        }
        if let Ok(file) = OpenOptions::new().read(true).write(true).open(entry.path()) {
            refuses_resizing(&file);
        }
        if let Ok(file) = File::open(entry.path()) {
            let len = file.metadata().expect("a length").len();
            assert!(file.set_len(0).is_err() && file.set_len(len * 2).is_err(), "a read-only one");
        }
    }
}

fn refuses_resizing(file: &File) {
    let seals = rustix::fs::fcntl_get_seals(file).expect("it is a memfd");
    let len = file.metadata().expect("a length").len();
    if !seals.contains(SealFlags::SHRINK | SealFlags::GROW) {
        // Its own, which it is just making: cutting that would be the attacker's end.
        return;
    }
    for other in [0, len / 2, len + 1, len * 4] {
        let refused = file.set_len(other).expect_err("its length is sealed");
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{refused}");
    }
    if seals.contains(SealFlags::SEAL) {
        assert_eq!(rustix::fs::fcntl_add_seals(file, SealFlags::WRITE), Err(Errno::PERM));
    }
    if seals.contains(SealFlags::FUTURE_WRITE) {
        let refused = file.write_at(&[0], 0).expect_err("only its maker may write");
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{refused}");
    }
}

/// Says over each of its sockets what no honest peer says, with descriptors that nobody wants, without reading.
fn lie(seed: &mut usize) {
    for socket in sockets() {
        for _ in 0..20 {
            *seed += 1;
            let mut bytes = data(1 + *seed * 7 % 200);
            match *seed % 4 {
                // As long as a channel's own messages, with a plausible beginning.
                0 => bytes = plausible(*seed, 24),
                1 => bytes = plausible(*seed, 13),
                2 => bytes = plausible(*seed, 1 + *seed % 64),
                _ => {}
            }
            let null = File::open("/dev/null").expect("it is there");
            let own = rustix::fs::memfd_create("lie", rustix::fs::MemfdFlags::ALLOW_SEALING).expect("memory");
            let others = others();
            let mut fds: Vec<BorrowedFd<'_>> = vec![null.as_fd(), own.as_fd()];
            fds.extend(others.iter().map(AsFd::as_fd));
            fds.truncate(*seed % 5);
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() {
                assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)), "room for eight");
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let _ = rustix::net::sendmsg(&socket, &[std::io::IoSlice::new(&bytes)], &mut ancillary, flags);
        }
    }
}

fn plausible(seed: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    bytes[0] = (seed / 4 % 7) as u8;
    // One field beyond reason.
    let at = seed / 28 % len;
    bytes[at] = [1, 0x7f, 0x80, 0xff][seed % 4];
    bytes
}

fn sockets() -> Vec<OwnedFd> {
    numbers("socket:")
}

/// Segments it was given.
fn others() -> Vec<OwnedFd> {
    numbers("/memfd:")
}

fn numbers(sort: &str) -> Vec<OwnedFd> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").expect("our descriptors").flatten() {
        let is_wanted = std::fs::read_link(entry.path()).is_ok_and(|path| path.to_string_lossy().starts_with(sort));
        let number = entry.file_name().to_string_lossy().parse::<i32>().ok().filter(|number| *number > 2);
        if let (true, Some(number)) = (is_wanted, number) {
            // SAFETY: it was open a moment ago; if another thread has closed it, the copy fails or is of another
            // file, which is all the same to an attacker.
            let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
            found.extend(borrowed.try_clone_to_owned());
        }
    }
    found
}
