//! Signals as a program usually finds them.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// What is ignored by whoever is started by `nohup`, or in the background by a shell without job control.
const OFTEN_IGNORED: [libc::c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// Has the command begin with the usual answer to the signals that end a program, also where the tests run under somebody
/// who ignores them, as `nohup` and the background jobs of a script do: programs pass that on to their children.
pub fn usual_signals(command: &mut Command) -> &mut Command {
    if !are_ignored() {
        // A new program is started much more cheaply where nothing is to be done before.
        return command;
    }
    let reset = || {
        for signal in OFTEN_IGNORED {
            // SAFETY: async-signal-safe, and touches no memory.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: what runs between fork and exec calls nothing that is not allowed there.
    unsafe { command.pre_exec(reset) }
}

/// Whether this process ignores any of them.
fn are_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0);
    OFTEN_IGNORED.iter().any(|signal| ignored & (1 << (signal - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell that ignores them starts this test again, whose child does not ignore them.
    #[test]
    fn a_child_does_not_inherit_what_is_ignored() {
        const INSIDE: &str = "TIELINE_TEST_IGNORING";
        let ignored = |command: &mut Command| {
            let said =
                command.args(["-c", "sed -n 's/^SigIgn:.*\\(....\\)$/\\1/p' /proc/self/status"]).output().unwrap();
            u32::from_str_radix(String::from_utf8_lossy(&said.stdout).trim(), 16).unwrap() & 0b110
        };
        if std::env::var_os(INSIDE).is_some() {
            assert_eq!(ignored(&mut Command::new("sh")), 0b110, "interrupt and quit");
            assert_eq!(ignored(usual_signals(&mut Command::new("sh"))), 0);
            return;
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' INT QUIT; \"$@\"", "sh"]).arg(std::env::current_exe().unwrap());
        shell.args([&crate::test_name!(), "--exact", "--nocapture"]).env(INSIDE, "yes");
        assert!(shell.stdout(std::process::Stdio::null()).status().unwrap().success());
    }
}
