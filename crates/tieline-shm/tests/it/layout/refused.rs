//! What the compiler says to somebody whose type may not lie in shared memory: that it says it, where, and how to mend it.
//!
//! The programs are compiled in one go, as examples of a package that is made for it.

use std::path::Path;
use std::process::Command;

/// Each with a name, the program without `main`, and what must be among the compiler's words.
const CASES: &[(&str, &str, &[&str])] = &[
    (
        "padding",
        "#[derive(Clone, Copy, ShmSafe)] #[repr(C)] struct Holes { small: u8, large: u32 }",
        &["Holes has 3 bytes of padding after the field `small`", "put a field `_pad: [u8; 3]` there, or order"],
    ),
    (
        "padding_at_the_end",
        "#[derive(Clone, Copy, ShmSafe)] #[repr(C)] struct Tail { large: u64, small: u16 }",
        &["Tail has 6 bytes of padding after the field `small`", "`_pad: [u8; 6]`"],
    ),
    (
        "number_of_varying_size",
        "#[derive(Clone, Copy, ShmSafe)] #[repr(C)] struct Counts { count: usize }",
        &["usize is not of the same size on every machine: write u64"],
    ),
    (
        "the_same_by_another_name",
        "type Long = usize; #[derive(Clone, Copy, ShmSafe)] #[repr(C)] struct Counts { count: Long }",
        &["`usize` may not lie in shared memory", "write u64 for usize"],
    ),
    (
        "reference",
        "#[derive(Clone, Copy, ShmSafe)] #[repr(C)] struct Named { name: &'static str }",
        &["a reference may not lie in shared memory", "hold the value itself, or an index"],
    ),
    (
        "pointer",
        "#[derive(Clone, Copy, ShmSafe)] #[repr(C)] struct Raw { at: *mut u8 }",
        &["a pointer may not lie in shared memory", "hold an offset as u64"],
    ),
    (
        "foreign_type",
        "#[derive(Clone, Copy)] struct Foreign; \
         #[derive(Clone, Copy, ShmSafe)] #[repr(C)] struct Has { field: Foreign }",
        &["`Foreign` may not lie in shared memory", "types with derive(ShmSafe) may"],
    ),
    ("no_repr", "#[derive(Clone, Copy, ShmSafe)] struct Anyhow { a: u32 }", &["write #[repr(C)] above it"]),
    ("enum_without_a_size", "#[derive(Clone, Copy, ShmSafe)] enum Unit { Raw, Fine }", &["write #[repr(u8)]"]),
    (
        "enum_of_the_size_of_an_int",
        "#[derive(Clone, Copy, ShmSafe)] #[repr(C)] enum Unit { Raw, Fine }",
        &["write #[repr(u8)]"],
    ),
    (
        "enum_with_fields",
        "#[derive(Clone, Copy, ShmSafe)] #[repr(u8)] enum Shape { Dot, Line(u32) }",
        &["use a struct with a number that says what it means"],
    ),
    (
        "something_to_drop",
        "#[derive(ShmSafe)] #[repr(C)] struct Owner { a: u32 }",
        &["the trait `Copy` is not implemented for `Owner`"],
    ),
    (
        "generic_with_padding",
        "#[derive(Clone, Copy, ShmSafe)] #[repr(C)] struct Pair<A, B> { a: A, b: B } \
         pub const USED: &tieline_shm::Layout = <Pair<u8, u32> as ShmSafe>::LAYOUT;",
        &["Pair has 3 bytes of padding after the field `a`"],
    ),
    (
        "generic_with_a_pointer",
        "#[derive(Clone, Copy, ShmSafe)] #[repr(C)] struct Pair<A, B> { a: A, b: B } \
         pub const USED: &tieline_shm::Layout = <Pair<u8, &'static u8> as ShmSafe>::LAYOUT;",
        &["`&'static u8` may not lie in shared memory"],
    ),
    (
        "text_through_a_channel",
        "pub fn open() { let _ = tieline_shm::queue::Queue::<String>::open(\"x\"); }",
        &["`String` may not lie in shared memory"],
    ),
    (
        "texts_through_a_channel",
        "pub fn open() { let _ = tieline_shm::topic::Topic::<[String]>::open(\"x\"); }",
        &["`[String]` cannot be sent through shared memory", "types with derive(ShmSafe)"],
    ),
];

/// What is accepted, so that the above fails for the reason it says.
const ACCEPTED: &str = "#[derive(Clone, Copy, ShmSafe)] #[repr(C)] struct Fine { a: bool, _pad: [u8; 3], b: char } \
    #[derive(Clone, Copy, ShmSafe)] #[repr(C)] struct Pair<A, B> { a: A, b: B } \
    pub const USED: &tieline_shm::Layout = <Pair<Fine, u64> as ShmSafe>::LAYOUT;";

#[test]
fn the_compiler_says_what_is_wrong_and_how_to_mend_it() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| std::fs::write(folder.path().join(path), text).unwrap();
    let manifest = format!(
        "[package]\nname = \"refused\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n\
         [dependencies]\ntieline-shm = {{ path = {crates:?} }}\n",
    );
    for name in ["src", "examples"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    write("Cargo.toml", &manifest);
    write("src/lib.rs", "");
    std::fs::copy(crates.join("../../Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    let program = |text: &str| format!("#[allow(unused_imports)] use tieline_shm::ShmSafe; {text}\nfn main() {{}}\n");
    for (name, text, _) in CASES {
        write(&format!("examples/{name}.rs"), &program(text));
    }
    write("examples/accepted.rs", &program(ACCEPTED));

    let mut cargo = Command::new(env!("CARGO"));
    if !cargo.arg("--version").output().is_ok_and(|output| output.status.success()) {
        tieline_testkit::skip!("this user cannot run the cargo that built the tests");
    }
    let compiled = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--quiet", "--examples", "--keep-going", "--target-dir"])
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("refused"))
        .current_dir(folder.path())
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let said = String::from_utf8(compiled.stderr).unwrap();
    for (name, _, words) in CASES {
        let about = said_about(&said, name);
        for words in *words {
            assert!(about.contains(words), "of {name} the compiler does not say {words:?}, but\n{about}\n---\n{said}");
        }
    }
    assert_eq!(said_about(&said, "accepted"), "");
}

/// The messages that point into the program of that name.
fn said_about(said: &str, name: &str) -> String {
    let program = format!("examples/{name}.rs:");
    said.split("\n\n").filter(|message| message.contains(&program)).collect::<Vec<_>>().join("\n\n")
}
