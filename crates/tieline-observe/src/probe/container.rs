//! Which container a process lives in, by the name of its control group.

use super::procfs;

/// Digits of a container's id that people use: Docker, Podman and the others print and accept these.
const SHORT_ID: usize = 12;

/// The name or id of the container that the content of `/proc/PID/cgroup` tells; an id shortened as the container's own
/// tools do.
pub(super) fn name(groups: &[u8]) -> Option<&[u8]> {
    // `0::/path` is the unified hierarchy, `4:memory:/path` one of the old ones.
    groups.split(|&byte| byte == b'\n').find_map(|line| of_path(line.splitn(3, |&byte| byte == b':').nth(2)?))
}

/// A path is a chain of groups; the innermost container is meant.
fn of_path(path: &[u8]) -> Option<&[u8]> {
    let groups: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
    (0..groups.len()).rev().find_map(|index| {
        let parent = index.checked_sub(1).map_or(b"".as_slice(), |parent| groups[parent]);
        of_group(parent, groups[index])
    })
}

/// What one group says, inside another.
fn of_group<'p>(parent: &[u8], group: &'p [u8]) -> Option<&'p [u8]> {
    // Managed by systemd: `docker-ID.scope`, `cri-containerd-ID.scope`.
    const RUNTIMES: &[&[u8]] =
        &[b"docker-", b"libpod-", b"cri-containerd-", b"crio-", b"nerdctl-", b"containerd-", b"buildkit-"];
    if let Some(scope) = group.strip_suffix(b".scope") {
        if let Some(id) = RUNTIMES.iter().find_map(|runtime| scope.strip_prefix(*runtime)).filter(|id| is_id(id)) {
            return Some(&id[..SHORT_ID]);
        }
        if let Some(name) = scope.strip_prefix(b"machine-").filter(|_| parent == b"machine.slice") {
            return Some(name);
        }
    }
    if let Some(service) = group.strip_suffix(b".service")
        && let Some(name) = service.strip_prefix(b"systemd-nspawn@")
    {
        return Some(name);
    }
    if let Some(name) = group.strip_prefix(b"lxc.payload.").filter(|name| !name.is_empty()) {
        return Some(name);
    }
    if (parent == b"lxc" || parent == b"lxc.payload") && !group.is_empty() {
        return Some(group);
    }
    // Managed by cgroupfs: `/docker/ID`, `/kubepods/…/podUID/ID`, `/system.slice/libpod-ID`, `/default/ID`.
    let id = group.strip_prefix(b"libpod-").unwrap_or(group);
    is_id(id).then(|| &id[..SHORT_ID])
}

/// Sixty-four digits of a hash: nothing else in control groups looks so.
fn is_id(text: &[u8]) -> bool {
    text.len() == 64 && text.chunks(16).all(|part| procfs::parse_base(part, 16).is_some())
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn each_runtime_is_known_by_its_groups() {
        let id = "3f1c0a52e7d94b6688aa00112233445566778899aabbccddeeff001122334455";
        let cases: &[(&str, Option<&str>)] = &[
            ("0::/system.slice/docker-ID.scope\n", Some("3f1c0a52e7d9")),
            ("12:pids:/docker/ID\n11:memory:/docker/ID\n", Some("3f1c0a52e7d9")),
            ("0::/machine.slice/libpod-ID.scope/container\n", Some("3f1c0a52e7d9")),
            ("0::/machine.slice/libpod-conmon-ID.scope\n", None),
            ("0::/kubepods.slice/kubepods-pod12.slice/cri-containerd-ID.scope\n", Some("3f1c0a52e7d9")),
            ("0::/kubepods/burstable/pod0a1b/ID\n", Some("3f1c0a52e7d9")),
            ("0::/kubepods.slice/kubepods-pod12.slice/crio-ID.scope\n", Some("3f1c0a52e7d9")),
            ("0::/default/ID\n", Some("3f1c0a52e7d9")),
            ("0::/lxc.payload.web/system.slice/nginx.service\n", Some("web")),
            ("1:name=systemd:/lxc/web/init.scope\n", Some("web")),
            ("0::/machine.slice/systemd-nspawn@build.service/payload\n", Some("build")),
            ("0::/machine.slice/machine-build.scope\n", Some("build")),
            ("0::/lxc.payload.outer/system.slice/docker-ID.scope\n", Some("3f1c0a52e7d9")),
            ("0::/user.slice/user-1000.slice/session-2.scope\n", None),
            ("0::/system.slice/docker.service\n", None),
            ("0::/system.slice/docker-short.scope\n", None),
            ("0::/\n", None),
            ("", None),
            ("no colon", None),
        ];
        for (groups, expected) in cases {
            let groups = groups.replace("ID", id);
            let found = name(groups.as_bytes()).map(String::from_utf8_lossy);
            assert_eq!(found.as_deref(), *expected, "{groups}");
        }
    }
}
