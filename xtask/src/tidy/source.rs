//! Rules about source files: where unsafe code may be, how much of it, and words that mean "not finished".

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use proc_macro2::{TokenStream, TokenTree};

use crate::root;

/// Where unsafe code may be: the system-call layer, structures and locks in shared memory, the two callers of
/// `pthread::Place::trusting`, a promise that only whoever makes the memory can give, and the floors of measurements,
/// which must not pay for the checks of a library; the derive, which writes promises into the code of others; and the one
/// peer that cannot be used without.
const UNSAFE_ROOMS: &[&str] = &[
    "bench/src/shm/iceoryx.rs",
    "crates/tieline-macros/src/",
    "crates/tieline-os/src/sys/",
    "crates/tieline-os/tests/it/memory.rs",
    "crates/tieline-measure/src/mechanism/memory.rs",
    "crates/tieline-measure/src/shm/floor/locks.rs",
    "crates/tieline-measure/src/shm/memory.rs",
    "crates/tieline-shm/benches/",
    "crates/tieline-shm/src/arena/handle.rs",
    "crates/tieline-shm/src/layout",
    "crates/tieline-shm/src/structure/",
    "crates/tieline-shm/src/raw/",
    "crates/tieline-shm/src/sync/",
    "crates/tieline-shm/tests/it/hostile/attack.rs",
    "crates/tieline-shm/tests/it/sync/robust.rs",
    "crates/tieline-testkit/src/fork.rs",
    "crates/tieline-testkit/src/older_kernel.rs",
    "crates/tieline-testkit/src/signals.rs",
];

/// How many `unsafe` each file has. A change of it shows in review.
const UNSAFE_LIST: &str = "xtask/unsafe-list.txt";

const UNFINISHED: &[&str] = &["todo", "unimplemented", "dbg"];

pub(super) fn check() -> Result<Vec<String>, String> {
    let mut findings = Vec::new();
    let mut counts = BTreeMap::new();
    for file in rust_files(&root())? {
        let source = Source::read(&file)?;
        source.unfinished(&mut findings);
        source.sleeps(&mut findings);
        source.undocumented(&mut findings);
        let count = source.words("unsafe").len();
        if count > 0 {
            if !UNSAFE_ROOMS.iter().any(|room| source.name.starts_with(room)) && source.layouts() < count {
                findings.push(format!("{} has unsafe code; it may be only in {UNSAFE_ROOMS:?}", source.name));
            }
            counts.insert(source.name, count);
        }
    }
    let listed = fs::read_to_string(root().join(UNSAFE_LIST)).unwrap_or_default();
    if listed != list(&counts) {
        findings.push(format!(
            "the unsafe code differs from {UNSAFE_LIST}; if each block has its argument, run cargo xtask tidy --bless"
        ));
    }
    Ok(findings)
}

/// Writes the present counts as the list.
pub(super) fn bless() -> Result<(), String> {
    let mut counts = BTreeMap::new();
    for file in rust_files(&root())? {
        let source = Source::read(&file)?;
        let count = source.words("unsafe").len();
        if count > 0 {
            counts.insert(source.name, count);
        }
    }
    fs::write(root().join(UNSAFE_LIST), list(&counts)).map_err(|error| format!("cannot write {UNSAFE_LIST}: {error}"))
}

fn list(counts: &BTreeMap<String, usize>) -> String {
    let mut text = String::new();
    for (file, count) in counts {
        let _ = writeln!(text, "{count:4} {file}");
    }
    let _ = writeln!(text, "{:4} in all", counts.values().sum::<usize>());
    text
}

struct Source {
    name: String,
    text: String,
    /// Every identifier with its line, and whether `!` follows.
    identifiers: Vec<(String, usize, bool)>,
}

impl Source {
    fn read(file: &Path) -> Result<Self, String> {
        let name = file.strip_prefix(root()).unwrap_or(file).display().to_string();
        let text = fs::read_to_string(file).map_err(|error| format!("cannot read {name}: {error}"))?;
        let tokens = TokenStream::from_str(&text).map_err(|error| format!("cannot parse {name}: {error}"))?;
        let mut identifiers = Vec::new();
        collect(tokens, &mut identifiers);
        Ok(Self { name, text, identifiers })
    }

    fn words(&self, word: &str) -> Vec<usize> {
        self.identifiers.iter().filter(|(identifier, ..)| identifier == word).map(|(_, line, _)| *line).collect()
    }

    /// How many `unsafe` are the promise that a struct consists of atomics, which stands beside the struct.
    fn layouts(&self) -> usize {
        let is_layout = |[(first, ..), (second, ..), (third, ..)]: &&[(String, usize, bool); 3]| {
            (first.as_str(), second.as_str(), third.as_str()) == ("unsafe", "impl", "Words")
        };
        let in_shm = self.name.starts_with("crates/tieline-shm/src/");
        if in_shm { self.identifiers.array_windows().filter(is_layout).count() } else { 0 }
    }

    fn unfinished(&self, findings: &mut Vec<String>) {
        for (identifier, line, called) in &self.identifiers {
            if *called && UNFINISHED.contains(&identifier.as_str()) {
                findings.push(format!("{}:{line}: {identifier}! means unfinished; finish it", self.name));
            }
        }
    }

    fn sleeps(&self, findings: &mut Vec<String>) {
        let is_test = self.name.contains("/tests/") && !self.name.starts_with("crates/tieline-testkit/");
        for [(before, ..), (word, line, _)] in self.identifiers.array_windows().filter(|_| is_test) {
            if before == "thread" && word == "sleep" {
                findings.push(format!(
                    "{}:{line}: a test sleeps; wait for a condition with tieline_testkit::eventually instead",
                    self.name
                ));
            }
        }
    }

    fn undocumented(&self, findings: &mut Vec<String>) {
        let in_crate = self.name.starts_with("crates/") || self.name.starts_with("xtask/src/");
        if in_crate && !self.text.trim_start().starts_with("//!") {
            findings.push(format!("{} does not begin by saying what it is for; add a //! head", self.name));
        }
    }
}

fn collect(tokens: TokenStream, identifiers: &mut Vec<(String, usize, bool)>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => collect(group.stream(), identifiers),
            TokenTree::Ident(identifier) => {
                let called = matches!(tokens.peek(), Some(TokenTree::Punct(next)) if next.as_char() == '!');
                identifiers.push((identifier.to_string(), identifier.span().start().line, called));
            }
            _ => {}
        }
    }
}

/// Every Rust file of the repository, sorted; without what cargo has built or fetched, wherever it was told to keep that,
/// and what goes while we look.
pub(super) fn rust_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries.map_err(|error| format!("cannot list {}: {error}", folder.display()))?,
        };
        if folder.join("CACHEDIR.TAG").exists() {
            continue;
        }
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
