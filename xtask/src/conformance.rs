//! `cargo xtask conformance`: suites that other projects wrote, run against ours.
//!
//! They are not part of this repository: what a run needs is fetched by it into `target/conformance/`. A machine where that
//! is not possible skips the suite, and says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Outcome, cargo, root, run as step};

/// A suite: its name, what it is, how it runs.
type Suite = (&'static str, &'static str, fn() -> Result<Verdict, String>);

const SUITES: &[Suite] = &[("ipcs", "util-linux's own tests of ipcs, ipcmk and ipcrm", util_linux_ipcs)];

/// What came of a suite that did not fail.
enum Verdict {
    /// Its last line.
    Passed(String),
    /// Why it could not be run.
    Skipped(String),
}

/// Runs the suite of that name; without one, lists them.
///
/// # Errors
/// If there is no such suite, or it fails.
pub fn run(name: Option<&str>) -> Outcome {
    let Some(name) = name else {
        SUITES.iter().for_each(|(name, about, _)| println!("{name:<8}  {about}"));
        return Ok(());
    };
    let (_, _, suite) =
        SUITES.iter().find(|(known, ..)| *known == name).ok_or_else(|| format!("there is no suite {name}"))?;
    match suite()? {
        Verdict::Passed(line) => println!("conformance {name}: {line}"),
        Verdict::Skipped(reason) => eprintln!("SKIPPED conformance {name}: {reason}"),
    }
    Ok(())
}

fn util_linux_ipcs() -> Result<Verdict, String> {
    let state = root().join("target/conformance/util-linux");
    fs::create_dir_all(&state).map_err(|error| format!("cannot make {}: {error}", state.display()))?;
    let source = match source_of_util_linux(&state) {
        Ok(source) => source,
        Err(reason) => return Ok(Verdict::Skipped(reason)),
    };
    // The one program of theirs that the tests need: it tells the size of a page and of numbers.
    let build = source.join("build");
    fs::create_dir_all(&build).map_err(|error| format!("cannot make {}: {error}", build.display()))?;
    let mut compile = Command::new("cc");
    compile.arg("-o").arg(build.join("test_sysinfo")).arg(source.join("tests/helpers/test_sysinfo.c"));
    if let Err(reason) = step(&mut compile) {
        return Ok(Verdict::Skipped(format!("their helper cannot be built: {reason}")));
    }
    let ours = links_to_ours(&state)?;
    // They change limits and make objects: in a namespace of their own, or not at all.
    let mut unshare = Command::new("unshare");
    unshare.arg("--ipc");
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if !is_root {
        unshare.args(["--user", "--map-root-user"]);
    }
    let mut probe = Command::new("unshare");
    if !probe.args(unshare.get_args()).arg("true").output().is_ok_and(|output| output.status.success()) {
        return Ok(Verdict::Skipped("this machine does not let us make IPC namespaces".to_owned()));
    }
    let path = format!("{}:{}", ours.display(), std::env::var("PATH").unwrap_or_default());
    unshare
        .args(["bash", "tests/run.sh", "--use-system-commands", "--parallel=1", "--show-diff"])
        .args([format!("--srcdir={}", source.display()), format!("--builddir={}", build.display())])
        .arg("ipcs")
        .current_dir(&source)
        .env("PATH", path);
    let output = unshare.output().map_err(|error| format!("unshare cannot be started: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    // The script says in words what its exit code does not: that it ran anything.
    match said.lines().rev().find(|line| line.contains("tests PASSED")) {
        Some(line) if output.status.success() => Ok(Verdict::Passed(line.trim().to_owned())),
        _ => Err(format!("util-linux's tests fail with our tools: {}", output.status)),
    }
}

/// A folder in which the names of the tools are links to our command, as it is now.
fn links_to_ours(state: &Path) -> Result<PathBuf, String> {
    step(&mut cargo(&["build", "--quiet", "-p", "tieline-cli"]))?;
    let ours = state.join("ours");
    let _ = fs::remove_dir_all(&ours);
    let made = fs::create_dir_all(&ours).and_then(|()| {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let command = fs::canonicalize(target.join("debug/tieline"))?;
        ["ipcmk", "ipcrm", "ipcs"].iter().try_for_each(|tool| std::os::unix::fs::symlink(&command, ours.join(tool)))
    });
    made.map_err(|error| format!("cannot link to our command in {}: {error}", ours.display()))?;
    Ok(ours)
}

/// The source of the util-linux that this Debian has, unpacked; fetched once.
fn source_of_util_linux(state: &Path) -> Result<PathBuf, String> {
    let source = state.join("source");
    if source.join("tests/run.sh").exists() {
        return Ok(source);
    }
    let archive = match find_archive(state) {
        Some(archive) => archive,
        None => {
            fetch_by_apt(state)?;
            find_archive(state).ok_or("apt-get source brought no .orig.tar")?
        }
    };
    // Under its name only once it is whole.
    let partial = state.join("source.partial");
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial).map_err(|error| format!("cannot make {}: {error}", partial.display()))?;
    let mut tar = Command::new("tar");
    step(tar.arg("-xf").arg(&archive).args(["--strip-components=1", "-C"]).arg(&partial)).inspect_err(|_| {
        // Perhaps it did not come whole: it is fetched again next time.
        let _ = fs::remove_file(&archive);
    })?;
    fs::rename(&partial, &source).map_err(|error| format!("cannot make {}: {error}", source.display()))?;
    Ok(source)
}

fn find_archive(state: &Path) -> Option<PathBuf> {
    fs::read_dir(state).ok()?.flatten().map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("util-linux_") && name.contains(".orig.tar.") && !name.ends_with(".asc")
    })
}

/// Fetches the source package with lists of our own: nothing of the machine's apt is changed, only its servers and keys
/// are used.
fn fetch_by_apt(state: &Path) -> Result<(), String> {
    let apt = state.join("apt");
    for folder in ["sources", "lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(apt.join(folder)).map_err(|error| format!("cannot make {}: {error}", apt.display()))?;
    }
    let mut found = 0;
    let folder = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    for path in folder.chain([PathBuf::from("/etc/apt/sources.list")]) {
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        let Some(text) = fs::read_to_string(&path).ok().and_then(|text| asking_for_source(&name, &text)) else {
            continue;
        };
        fs::write(apt.join("sources").join(&name), text).map_err(|error| format!("cannot write {name}: {error}"))?;
        found += 1;
    }
    if found == 0 {
        return Err("this machine has no Debian sources to ask for util-linux".to_owned());
    }
    let apt_get = || {
        // A network that answers, but too slowly to be of use, is as good as none.
        let mut command = Command::new("timeout");
        command.args(["--kill-after=10", "240", "apt-get"]);
        for (option, value) in [
            ("Dir::Etc::sourcelist", PathBuf::from("/dev/null")),
            ("Dir::Etc::sourceparts", apt.join("sources")),
            ("Dir::State::lists", apt.join("lists")),
            ("Dir::Cache", apt.join("cache")),
            // The usual one may not write into our folder.
            ("APT::Sandbox::User", PathBuf::from("root")),
            // Without a network it shall not take long to find that out.
            ("Acquire::http::Timeout", PathBuf::from("20")),
            ("Acquire::Retries", PathBuf::from("0")),
        ] {
            command.arg("-o").arg(format!("{option}={}", value.display()));
        }
        command.arg("-qq").current_dir(state);
        command
    };
    step(apt_get().arg("update"))?;
    let version = Command::new("dpkg-query").args(["-W", "-f", "${source:Version}", "util-linux"]).output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let exact = format!("util-linux={version}");
    // A release may have moved on; the tests of its next version are as good.
    step(apt_get().args(["source", "--download-only", &exact]))
        .or_else(|_| step(apt_get().args(["source", "--download-only", "util-linux"])))
}

/// A list of package servers, asking the same servers for source packages only; `None` if it names none.
fn asking_for_source(name: &str, text: &str) -> Option<String> {
    let lines: Vec<String> = match name.rsplit('.').next() {
        Some("sources") => text
            .lines()
            .map(|line| if line.starts_with("Types:") { "Types: deb-src".to_owned() } else { line.to_owned() })
            .collect(),
        Some("list") => {
            text.lines().filter_map(|line| line.strip_prefix("deb ")).map(|rest| format!("deb-src {rest}")).collect()
        }
        _ => return None,
    };
    let asks = lines.iter().any(|line| line.contains("deb-src"));
    asks.then(|| lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::asking_for_source;

    #[test]
    fn lists_of_both_forms_become_lists_of_source() {
        let line = "# ours\ndeb [signed-by=/k] http://deb.example/debian stable main\ndeb-src http://x y z\n";
        let source = "deb-src [signed-by=/k] http://deb.example/debian stable main\n";
        assert_eq!(asking_for_source("a.list", line).as_deref(), Some(source));
        let stanza = "Types: deb\nURIs: http://deb.example/debian\nSuites: stable\n";
        let source = "Types: deb-src\nURIs: http://deb.example/debian\nSuites: stable\n";
        assert_eq!(asking_for_source("debian.sources", stanza).as_deref(), Some(source));
        assert_eq!(asking_for_source("debian.sources.disabled", stanza), None);
        assert_eq!(asking_for_source("a.list", "# nothing\n"), None);
    }
}
