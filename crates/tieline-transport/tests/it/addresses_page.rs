//! The page about addresses says what the parser does.

use std::path::Path;

use tieline_transport::addr::{Key, Scheme};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats/addresses.md");
    std::fs::read_to_string(path).expect("the page of the address grammar")
}

#[test]
fn every_scheme_is_on_the_page() {
    let page = page();
    for scheme in Scheme::all() {
        let later = if scheme.is_available() { "" } else { " (later)" };
        let row = format!("| {scheme}{later} | `{}` | `{}` |", scheme.form(), scheme.example());
        assert!(page.contains(&row), "the page lacks the row {row}");
    }
}

#[test]
fn every_option_is_on_the_page_with_its_schemes() {
    let page = page();
    for key in Key::ALL {
        let row = page.lines().find(|line| line.starts_with(&format!("| {key} | `{key}={}`", key.example())));
        let row = row.unwrap_or_else(|| panic!("the page lacks {key} with its example"));
        let schemes: Vec<_> =
            Scheme::all().filter(|scheme| scheme.options().contains(&key)).map(Scheme::name).collect();
        assert!(row.ends_with(&format!("| {} |", schemes.join(" "))), "{key} fits {schemes:?}, the page says: {row}");
    }
}
