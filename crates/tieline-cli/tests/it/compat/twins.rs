//! Shell scripts in which `ipcs`, `ipcmk` and `ipcrm` are theirs, or ours.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use super::Reference;
use crate::support::{Place, TIELINE};

/// Before a command: it runs as somebody who may not touch what we make.
pub(crate) const AS_NOBODY: &str = "setpriv --reuid=65534 --clear-groups ";

/// A folder of links for each side.
pub(crate) struct Twins<'a> {
    place: Place,
    reference: &'a Reference,
    /// Whether [`AS_NOBODY`] works here.
    pub(crate) other_user: bool,
}

impl<'a> Twins<'a> {
    pub(crate) fn new(reference: &'a Reference) -> Self {
        let place = Place::new();
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(place.path("."), everybody).expect("ours");
        for side in ["theirs", "ours"] {
            std::fs::create_dir(place.path(side)).expect("a new folder");
            for tool in ["ipcmk", "ipcrm", "ipcs"] {
                let target = if side == "ours" { PathBuf::from(TIELINE) } else { reference.program(tool) };
                symlink(target, place.path(side).join(tool)).expect("a new link");
            }
        }
        let probe = format!("{AS_NOBODY} {} -V", place.path("ours").join("ipcrm").display());
        let other_user = Command::new("sh").args(["-c", &probe]).output().is_ok_and(|output| output.status.success());
        if !other_user {
            eprintln!("nothing is run as another user, because that is not possible here");
        }
        Self { place, reference, other_user }
    }

    /// Runs the script in this process's namespaces with the tools of each side, and compares everything said.
    #[track_caller]
    pub(crate) fn compare(&self, script: &str) {
        self.compare_under(|| Command::new("sh"), script);
    }

    /// The same, each side in new IPC and mount namespaces of its own.
    #[track_caller]
    pub(crate) fn compare_in_namespaces(&self, script: &str) {
        let unshare = || {
            let mut unshare = Command::new("unshare");
            unshare.args(["--ipc", "--mount", "sh"]);
            unshare
        };
        self.compare_under(unshare, script);
    }

    #[track_caller]
    fn compare_under(&self, shell: impl Fn() -> Command, script: &str) {
        let [theirs, ours] = ["theirs", "ours"].map(|side| {
            let path = format!("{}:{}", self.place.path(side).display(), std::env::var("PATH").unwrap_or_default());
            let mut shell = shell();
            shell.args(["-c", script]).env("PATH", path).env("LC_ALL", "C");
            shell.env("TIELINE_COMPAT", self.reference.compat).env_remove("POSIXLY_CORRECT");
            let output = shell.output().expect("there is a shell");
            let text = |bytes: &[u8]| String::from_utf8_lossy(&self.reference.released(bytes)).into_owned();
            format!("{}--- standard error\n{}", text(&output.stdout), text(&output.stderr))
        });
        let difference = theirs.lines().zip(ours.lines()).find(|(theirs, ours)| theirs != ours);
        let version = &self.reference.version;
        assert!(theirs == ours, "{difference:?}\n--- {version}\n{theirs}\n--- ours\n{ours}");
    }
}
