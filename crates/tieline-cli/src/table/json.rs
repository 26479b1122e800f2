//! A table as a JSON document: one object, in it one list, in it one object for each row.

use super::{Row, Table, cell};

pub(super) fn format(table: &Table) -> Vec<u8> {
    let mut out = format!("{{\n   {}: [\n", quoted(table.name.as_bytes()));
    for (place, row) in table.rows.iter().enumerate() {
        out.push_str(if place == 0 { "      {\n" } else { ",{\n" });
        out.push_str(&object(table, row));
        out.push_str("\n      }");
    }
    out.push_str("\n   ]\n}\n");
    out.into_bytes()
}

fn object(table: &Table, row: &Row) -> String {
    let members: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let value = match cell(row, index) {
                b"" => "null".to_owned(),
                bytes => quoted(bytes),
            };
            let name = table.name_of(column).to_ascii_lowercase();
            format!("         {}: {value}", quoted(name.as_bytes()))
        })
        .collect();
    members.join(",\n")
}

/// A string of JSON. JSON is UTF-8, so what is not becomes U+FFFD.
fn quoted(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for letter in String::from_utf8_lossy(bytes).chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..='\x1f' => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            _ => out.push(letter),
        }
    }
    out.push('"');
    out
}
