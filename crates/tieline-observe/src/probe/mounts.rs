//! The viewer's table of mounts, and which file systems answer at once.
//!
//! A file system of a user's own program (FUSE) or of another machine may never answer: whoever asks it for a name, or
//! touches memory that is mapped from it, sleeps for as long as its server likes, and cannot even be killed. Anybody may
//! mount such a one, in a namespace of their own too. So only those are relied on that stand in the viewer's own table of
//! mounts with a type that the kernel serves by itself from memory or a disk; all others, and those that are not
//! there, are left alone.

use std::collections::HashMap;

use rustix::fs::makedev;

/// Types that need nobody else to answer. A union (`overlay`) is as quick as its layers, which whoever set up the viewer's
/// own mounts has chosen.
const QUICK: [&[u8]; 22] = [
    b"bcachefs",
    b"btrfs",
    b"devtmpfs",
    b"erofs",
    b"exfat",
    b"ext2",
    b"ext3",
    b"ext4",
    b"f2fs",
    b"hugetlbfs",
    b"iso9660",
    b"jfs",
    b"ntfs3",
    b"overlay",
    b"ramfs",
    b"reiserfs",
    b"rootfs",
    b"squashfs",
    b"tmpfs",
    b"vfat",
    b"xfs",
    b"zfs",
];

/// The viewer's table of mounts.
pub(super) struct Mounts {
    /// Whether all mounts of a device are of such a type.
    quick: HashMap<u64, bool>,
}

impl Mounts {
    /// As of now. Without a `/proc` nothing is relied on.
    pub(super) fn own() -> Self {
        Self::parse(&own_table())
    }

    fn parse(mountinfo: &[u8]) -> Self {
        let mut quick = HashMap::new();
        for Mount { device, kind, .. } in table(mountinfo) {
            *quick.entry(device).or_insert(true) &= QUICK.contains(&kind);
        }
        Self { quick }
    }

    /// Whether the file system of that number, as `mountinfo` and `/proc/PID/maps` write it, answers at once.
    pub(super) fn is_quick(&self, device: u64) -> bool {
        self.quick.get(&device).copied().unwrap_or(false)
    }
}

/// The text of the viewer's own table; empty without a `/proc`.
pub(super) fn own_table() -> Vec<u8> {
    std::fs::read("/proc/self/mountinfo").unwrap_or_default()
}

/// The lines of a table of mounts; what is none is left out.
pub(super) fn table(mountinfo: &[u8]) -> impl Iterator<Item = Mount<'_>> {
    mountinfo.split(|&byte| byte == b'\n').filter_map(Mount::parse)
}

/// One line of a table of mounts.
pub(super) struct Mount<'t> {
    /// As `mountinfo` and `/proc/PID/maps` write it.
    pub(super) device: u64,
    /// Where it is mounted, blanks being escaped.
    pub(super) point: &'t [u8],
    pub(super) kind: &'t [u8],
    /// The options of the file system, not of the mount.
    pub(super) options: &'t [u8],
}

impl<'t> Mount<'t> {
    /// Reads `36 35 98:0 /root /mount/point options optional… - type source options`.
    fn parse(line: &'t [u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let (major, minor) = std::str::from_utf8(fields.nth(2)?).ok()?.split_once(':')?;
        let point = fields.nth(1)?;
        let mut fields = fields.skip_while(|&field| field != b"-").skip(1);
        let (kind, _source) = (fields.next()?, fields.next());
        let device = makedev(major.parse().ok()?, minor.parse().ok()?);
        Some(Self { device, point, kind, options: fields.next().unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_kernel_serves_itself_is_quick() {
        let mounts = Mounts::parse(
            b"22 1 8:1 / / rw shared:1 - ext4 /dev/vda rw\n\
              23 22 0:22 / /run rw shared:3 master:2 - tmpfs tmpfs rw\n\
              24 23 0:40 / /run/user/1000/gvfs rw - fuse.gvfsd-fuse gvfsd-fuse rw\n\
              25 22 0:41 / /srv rw - nfs4 host:/ rw\n\
              26 22 8:2 / /usb rw - fuseblk /dev/sda2 rw\nodd line\n",
        );
        let quick = |major, minor| mounts.is_quick(makedev(major, minor));
        assert!(quick(8, 1) && quick(0, 22));
        assert!(!quick(0, 40) && !quick(0, 41) && !quick(8, 2) && !quick(0, 99));
    }

    #[test]
    fn the_file_system_of_our_own_proc_is_read() {
        assert!(!Mounts::own().quick.is_empty());
    }
}
