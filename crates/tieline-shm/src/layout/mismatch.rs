//! Layouts for people: one alone, and two that should be the same side by side.

use std::fmt;

use super::{Layout, Shape};

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        list(self, 0, "", 0, &mut lines);
        for (index, line) in lines.iter().enumerate() {
            let end = if index + 1 == lines.len() { "" } else { "\n" };
            write!(f, "{line}{end}")?;
        }
        Ok(())
    }
}

/// Two layouts side by side, the lines that differ marked with `!`.
///
/// Each side is a layout's own text ([`Layout`]'s `Display`), because a peer can send no more than that. The texts of
/// two different layouts differ in some line, except for names of types, which do not count.
///
/// ```
/// use tieline_shm::{Mismatch, ShmSafe};
///
/// let text = Mismatch::new(&<[u32; 3]>::LAYOUT.to_string(), &<[u32; 4]>::LAYOUT.to_string()).to_string();
/// assert!(text.contains("! 0: [u32; 3]"), "{text}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    rows: Vec<(String, String)>,
}

/// What a peer's text may have, at most: more is cut.
const LINES_MAX: usize = 200;
const LINE_MAX_CHARS: usize = 100;

impl Mismatch {
    /// `ours` beside `theirs`, whatever they are: both are cut to 200 lines of 100 characters, and what could disturb a
    /// terminal is replaced.
    #[must_use]
    pub fn new(ours: &str, theirs: &str) -> Self {
        let (ours, theirs) = (tidy(ours), tidy(theirs));
        let count = ours.len().max(theirs.len());
        let line = |side: &[String], index: usize| side.get(index).cloned().unwrap_or_default();
        Self { rows: (0..count).map(|index| (line(&ours, index), line(&theirs, index))).collect() }
    }
}

fn tidy(text: &str) -> Vec<String> {
    let clean = |char: char| if char.is_control() { '\u{fffd}' } else { char };
    text.lines().take(LINES_MAX).map(|line| line.chars().take(LINE_MAX_CHARS).map(clean).collect()).collect()
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|(ours, _)| ours.chars().count()).max().unwrap_or(0).max("here".len());
        write!(f, "  {:width$} | there", "here")?;
        for (ours, theirs) in &self.rows {
            let mark = if same(ours, theirs) { ' ' } else { '!' };
            write!(f, "\n{mark} {ours:width$} | {theirs}")?;
        }
        Ok(())
    }
}

/// Whether two lines say the same of the memory: the name of a struct or enum, which stands before its brace, does not
/// count.
fn same(ours: &str, theirs: &str) -> bool {
    let unnamed = |line: &str| match (line.rfind(": "), line.rfind(" {")) {
        (Some(name), Some(brace)) if name < brace => format!("{}{}", &line[..name], &line[brace..]),
        _ => line.to_owned(),
    };
    ours == theirs || unnamed(ours) == unnamed(theirs)
}

/// Adds the lines of one field, or of a whole type if it has no `name`, at `offset` bytes from the start of the whole.
fn list(layout: &Layout, depth: usize, name: &str, offset: usize, lines: &mut Vec<String>) {
    let indent = "    ".repeat(depth);
    let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
    let head = format!("{indent}{offset}: {name}");
    let sizes = format!("size {}, align {}", layout.size, layout.align);
    // The element's own structure follows, so that a difference deep inside of an array is seen.
    let inner = innermost(layout);
    match inner.shape {
        Shape::Struct(fields) => {
            lines.push(format!("{head}{} {{ {sizes}", title(layout)));
            for field in fields {
                list(field.layout, depth + 1, field.name, offset + field.offset, lines);
            }
            lines.push(format!("{indent}}}"));
        }
        Shape::Enum { number, variants } => {
            lines.push(format!("{head}{} {{ {}", title(layout), number.name));
            for variant in variants {
                lines.push(format!("{indent}    {} = {}", variant.name, variant.number));
            }
            lines.push(format!("{indent}}}"));
        }
        Shape::Primitive | Shape::Array { .. } => lines.push(format!("{head}{}", title(layout))),
    }
}

fn innermost(layout: &Layout) -> &Layout {
    match layout.shape {
        Shape::Array { element, .. } => innermost(element),
        _ => layout,
    }
}

/// The type as it is written, with arrays in brackets.
fn title(layout: &Layout) -> String {
    match layout.shape {
        Shape::Array { element, count } => format!("[{}; {count}]", title(element)),
        _ => layout.name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_text_disturbs_nobody() {
        let text =
            Mismatch::new("0: u32", &format!("\x1b[2J{}\n{}", "x".repeat(10_000), "\n".repeat(10_000))).to_string();
        assert!(text.len() < 10_000 && !text.contains('\x1b'), "{text}");
    }

    #[test]
    fn the_name_of_a_type_does_not_count() {
        assert!(same("0: a: Old { size 4, align 4", "0: a: New { size 4, align 4"));
        assert!(!same("0: a: Old { size 4, align 4", "0: b: Old { size 4, align 4"));
        assert!(!same("0: a: Old { size 4, align 4", "0: a: Old { size 8, align 4"));
    }
}
