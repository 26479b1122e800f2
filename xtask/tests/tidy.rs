//! The repository is tidy.

#[test]
fn the_repository_is_tidy() {
    let findings = xtask::tidy::findings().expect("the repository can be read");
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}
