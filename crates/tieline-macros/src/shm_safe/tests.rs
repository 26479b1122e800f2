//! What the derive says to people: the text of each refusal, without starting a compiler.

use super::expand;

/// The messages of the compile errors that the derive answers `source` with.
fn refusals(source: &str) -> String {
    let answer = expand(source.parse().expect("tokens"), quote::quote!(::tieline_shm)).to_string();
    assert!(answer.contains("compile_error"), "{source} was accepted");
    answer
}

#[track_caller]
fn refuses(source: &str, words: &[&str]) {
    let text = refusals(source);
    for word in words {
        assert!(text.contains(word), "`{word}` is not said:\n{text}");
    }
}

#[test]
fn each_refusal_says_what_to_write() {
    let cases: &[(&str, &[&str])] = &[
        ("struct A { a: u32 }", &["write #[repr(C)]"]),
        ("#[repr(C)] struct A { a: usize }", &["write u64"]),
        ("#[repr(C)] struct A { a: isize }", &["write i64"]),
        ("#[repr(C)] struct A { a: [usize; 4] }", &["write u64"]),
        ("#[repr(C)] struct A { a: &'static str }", &["a reference may not", "an index"]),
        ("#[repr(C)] struct A { a: *const u8 }", &["a pointer may not", "an offset as u64"]),
        ("#[repr(C)] struct A { a: fn() }", &["a function may not"]),
        ("#[repr(C)] struct A { a: std::boxed::Box<u8> }", &["Box points", "ShmBox"]),
        ("#[repr(C)] struct A { a: String }", &["String points", "ShmString"]),
        ("#[repr(C)] struct A { a: Vec<u8> }", &["Vec points", "ShmVec"]),
        ("#[repr(C)] struct A { a: Option<u8> }", &["Option"]),
        ("#[repr(C)] struct A { a: (u8, u8) }", &["a tuple", "#[repr(C)]"]),
        ("#[repr(C)] struct A { a: [u8] }", &["[T; N]"]),
        ("#[repr(C, packed)] struct A { a: u8 }", &["not aligned"]),
        ("#[repr(C)] union A { a: u8 }", &["union"]),
        ("enum A { B }", &["write #[repr(u8)]"]),
        ("#[repr(u8)] enum A { B(u8) }", &["variant with fields"]),
        ("#[repr(u8)] enum A {}", &["without a variant"]),
        ("#[repr(usize)] enum A { B }", &["u64"]),
        ("#[repr(C)] #[shm(color = red)] struct A { a: u8 }", &["#[shm(crate = path)]"]),
    ];
    for (source, words) in cases {
        refuses(source, words);
    }
}

/// Someone with three wrong fields wants to hear of three.
#[test]
fn all_wrong_fields_are_told_at_once() {
    let text = refusals("#[repr(C)] struct A { a: usize, b: String, c: &'static u8 }");
    assert_eq!(text.matches("compile_error").count(), 3, "{text}");
}

#[test]
fn the_crate_is_where_the_attribute_says() {
    let answer =
        expand("#[repr(C)] #[shm(crate = tieline::shm)] struct A { a: u8 }".parse().expect("tokens")).to_string();
    assert!(answer.contains("tieline :: shm :: ShmSafe") && !answer.contains("tieline_shm"), "{answer}");
}
