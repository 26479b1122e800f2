//! Tables whose layout was worked out by hand from the rules. That the rules are those of libsmartcols, a comparison
//! with `column` shows at the end, and the differential test of `lsipc`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use tieline_testkit::skip;

use super::*;

/// Wide from CJK on, nothing for combining marks, no control characters: enough of a terminal.
struct Terminal;

impl Alphabet for Terminal {
    fn cells(&self, letter: char) -> Option<usize> {
        match letter {
            '\u{300}'..='\u{36f}' => Some(0),
            '\u{2e80}'.. => Some(2),
            _ if letter.is_control() => None,
            _ => Some(1),
        }
    }
}

fn table(columns: &[Column], rows: &[&[&str]]) -> Table {
    let mut table = Table::new("things");
    table.columns = columns.to_vec();
    let cell = |text: &&str| (*text != "-").then(|| text.as_bytes().to_vec());
    table.rows = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    table
}

#[track_caller]
fn shows(table: &Table, terminal: Option<usize>, lines: &[&str]) {
    let text = String::from_utf8(table.format(terminal, &Terminal)).unwrap();
    assert_eq!(text.lines().collect::<Vec<_>>(), lines, "{text}");
    assert!(text.is_empty() || text.ends_with('\n'));
}

fn cut(name: &'static str) -> Column {
    Column { truncate: true, ..Column::new(name) }
}

fn with(table: Table, reduction: Reduction) -> Table {
    Table { reduction, ..table }
}

const BOTH: [Reduction; 2] = [Reduction::Average, Reduction::Deviation];

#[test]
fn a_column_is_as_wide_as_its_widest_cell_and_the_last_one_is_not_filled() {
    let columns = [Column::new("NAME"), Column::new("COUNT").right(), Column::new("REST")];
    let rows: &[&[&str]] = &[&["a", "1", "x"], &["longer", "1000000", "-"], &["-", "-", "yz"]];
    for reduction in BOTH {
        let table = with(table(&columns, rows), reduction);
        shows(&table, None, &["NAME     COUNT REST", "a            1 x", "longer 1000000 ", "               yz"]);
        shows(&Table { headings: false, ..table }, None, &["a            1 x", "longer 1000000 ", "               yz"]);
    }
}

#[test]
fn a_last_column_on_the_right_is_aligned_where_it_has_something() {
    let columns = [Column::new("A"), Column::new("B").right()];
    shows(&table(&columns, &[&["1", "1"], &["2", "123"], &["3", "-"]]), Some(80), &["A   B", "1   1", "2 123", "3 "]);
}

#[test]
fn cells_are_counted_as_the_terminal_shows_them() {
    let columns = [Column::new("N"), Column::new("M")];
    let rows: &[&[&str]] = &[&["語言", "1"], &["e\u{301}", "2"], &["a\tb\\x", "3"]];
    let mut table = table(&columns, rows);
    shows(&table, None, &["N           M", "語言        1", "e\u{301}           2", "a\\x09b\\x5cx 3"]);
    table.rows = vec![vec![Some(b"\xff\xc3(".to_vec()), None]];
    shows(&table, None, &["N         M", "\\xff\\xc3( "]);
}

#[test]
fn a_table_without_rows_is_nothing_except_in_json() {
    let mut table = table(&[Column::new("A")], &[]);
    for format in [Format::Columns, Format::Raw, Format::Pairs] {
        table.format = format;
        shows(&table, Some(80), &[]);
    }
    table.format = Format::Json;
    shows(&table, None, &["{", "   \"things\": [", "", "   ]", "}"]);
}

#[test]
fn columns_that_may_be_cut_give_way_down_to_their_headings() {
    let columns = [Column::new("ID"), cut("COMMAND")];
    let table = table(&columns, &[&["100", "a long command line"]]);
    for reduction in BOTH {
        let table = with(self::table(&columns, &[&["100", "a long command line"]]), reduction);
        shows(&table, Some(80), &["ID  COMMAND", "100 a long command line"]);
        shows(&table, Some(14), &["ID  COMMAND", "100 a long com"]);
        shows(&table, Some(5), &["ID  COMMAND", "100 a long "]);
        shows(&table, None, &["ID  COMMAND", "100 a long command line"]);
    }
    let uncut = Table { columns: vec![Column::new("ID"), Column::new("COMMAND")], ..table };
    shows(&uncut, Some(14), &["ID  COMMAND", "100 a long command line"]);
}

#[test]
fn a_wide_character_is_not_cut_in_two() {
    let columns = [cut("A"), Column::new("B")];
    let table = table(&columns, &[&["語語語", "b"]]);
    shows(&table, Some(7), &["A     B", "語語  b"]);
}

#[test]
fn what_is_too_wide_and_may_not_be_cut_sends_the_next_cell_below() {
    let shell = Table { shell_names: true, ..table(&[Column::new("U%"), Column::new("B")], &[&["1", "2"]]) };
    shows(&shell, None, &["U_PCT", "   B", "1  2"]);
}

#[test]
fn extremes_do_not_make_a_column_wide_where_there_is_no_room() {
    let state = Column { no_extremes: true, ..Column::new("S") };
    let rows: &[&[&str]] = &[&["aa", "x"], &["aa", "x"], &["aa", "x"], &["aaaaaaaaaa", "x"], &["aa", "x"]];
    let table = with(table(&[state, Column::new("B")], rows), Reduction::Average);
    shows(
        &table,
        None,
        &["S          B", "aa         x", "aa         x", "aa         x", "aaaaaaaaaa x", "aa         x"],
    );
    let narrow = ["S  B", "aa x", "aa x", "aa x", "aaaaaaaaaa", "   x", "aa x"];
    // Two of the cells that were won go back to the column, as the terminal has room for them.
    shows(&table, Some(6), &["S    B", "aa   x", "aa   x", "aa   x", "aaaaaaaaaa", "     x", "aa   x"]);
    shows(&table, Some(4), &narrow);
}

#[test]
fn of_two_columns_the_one_whose_widths_deviate_gives_way_first() {
    let rows: &[&[&str]] = &[&["steady text", "x"], &["steady text", "x"], &["steady text", "one very long text"]];
    let table = table(&[cut("A"), cut("B")], rows);
    shows(&table, Some(22), &["A           B", "steady text x", "steady text x", "steady text one very l"]);
    shows(
        &with(table, Reduction::Average),
        Some(22),
        &["A       B", "steady  x", "steady  x", "steady  one very long "],
    );
}

#[test]
fn a_wish_for_cells_is_granted_where_there_is_room() {
    let wide = [Column::new("A").hint(Hint::Cells(5)), Column::new("B")];
    for reduction in BOTH {
        shows(&with(table(&wide, &[&["1", "2"]]), reduction), Some(80), &["A     B", "1     2"]);
    }
}

#[test]
fn raw_words_have_no_blanks_inside() {
    let mut table = table(&[Column::new("A"), Column::new("B%"), Column::new("C")], &[&["a b\\", "-", "ö\n\"$"]]);
    table.format = Format::Raw;
    shows(&table, Some(3), &["A B% C", "a\\x20b\\x5c  \\xc3\\xb6\\x0a\"$"]);
    table.shell_names = true;
    table.headings = false;
    shows(&table, None, &["a\\x20b\\x5c  \\xc3\\xb6\\x0a\"$"]);
}

#[test]
fn pairs_can_be_read_by_a_shell() {
    let mut table = table(&[Column::new("A"), Column::new("USE%"), Column::new("2ND")], &[&["a b", "-", "\"`$\\ö"]]);
    table.format = Format::Pairs;
    shows(&table, None, &[r#"A="a b" USE%="" 2ND="\x22\x60\x24\x5c\xc3\xb6""#]);
    table.shell_names = true;
    table.separator = "\n";
    shows(&table, None, &["A=\"a b\"", "USE_PCT=\"\"", r#"_2ND="\x22\x60\x24\x5c\xc3\xb6""#]);
}

#[test]
fn json_holds_what_it_is_told() {
    let mut table = table(&[Column::new("T"), Column::new("USE%")], &[&["\"\\/\u{1}\n\u{7f}ö", "12"], &["", "-"]]);
    table.rows.push(vec![Some(b"\xff".to_vec()), None]);
    table.format = Format::Json;
    let text = String::from_utf8(table.format(None, &Terminal)).unwrap();
    let first =
        "{\n   \"things\": [\n      {\n         \"t\": \"\\\"\\\\/\\u0001\\n\u{7f}ö\",\n         \"use%\": \"12\"\n";
    assert!(text.starts_with(first), "{text}");
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        document["things"],
        serde_json::json!([
            { "t": "\"\\/\u{1}\n\u{7f}ö", "use%": "12" },
            { "t": null, "use%": null },
            { "t": "\u{fffd}", "use%": null },
        ])
    );
}

/// Random numbers: xorshift (Marsaglia 2003).
fn chance(seed: u32) -> impl FnMut() -> u32 {
    let mut number = seed;
    move || {
        number ^= number << 13;
        number ^= number >> 17;
        number ^= number << 5;
        number
    }
}

/// The names of processes are anybody's; whatever they hold, a table neither panics nor lets a control character by.
#[test]
fn no_text_reaches_the_terminal_as_a_command() {
    let mut random = chance(1);
    for _ in 0..2000 {
        let mut columns = [Column::new("A"), Column::new("LONGER"), Column::new("C")];
        for column in &mut columns {
            let bits = random();
            column.right = bits & 1 == 0;
            column.truncate = bits & 2 == 0;
            column.no_extremes = bits & 8 == 0;
            column.hint = [Hint::Free, Hint::Cells(random() as usize % 9)][random() as usize % 2];
        }
        let mut table = table(&columns, &[]);
        for _ in 0..random() % 5 {
            let cell =
                |len: u32| (0..len).map(|_| b"\x1b\n\x00a \\x\xe8\xaa\x9e\xff\x7f"[random() as usize % 12]).collect();
            let cells = [3, 20, 1].map(cell);
            table.rows.push(cells.map(Some).into());
        }
        for reduction in BOTH {
            table.reduction = reduction;
            for terminal in [None, Some(1), Some(7), Some(30), Some(200)] {
                let text = String::from_utf8(table.format(terminal, &Terminal)).unwrap();
                assert!(!text.chars().any(|letter| letter.is_control() && letter != '\n'), "{text:?}");
            }
        }
    }
}

/// `column` prints its tables with libsmartcols. `TIELINE_TABLE_SEED` repeats a run, `TIELINE_TABLE_ROUNDS` makes it longer.
#[test]
fn tables_are_those_of_column() {
    if !version_of("column").contains("util-linux 2.38") {
        skip!("the installed column is not of util-linux 2.38: {:?}", version_of("column"));
    }
    compare_with("column", Reduction::Average);
}

/// That of the coming version, in the directory that `TIELINE_UTIL_LINUX_NEW` names.
#[test]
fn tables_are_those_of_a_newer_column() {
    let Some(directory) = std::env::var_os("TIELINE_UTIL_LINUX_NEW") else {
        skip!("TIELINE_UTIL_LINUX_NEW names no directory with the tools of util-linux 2.43");
    };
    let column = std::path::Path::new(&directory).join("column").display().to_string();
    if !version_of(&column).contains("util-linux 2.43") {
        skip!("{column} is not of util-linux 2.43: {:?}", version_of(&column));
    }
    compare_with(&column, Reduction::Deviation);
}

fn version_of(column: &str) -> String {
    let version = Command::new(column).arg("--version").output();
    version.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default()
}

/// Compares random tables with those of this `column`.
fn compare_with(column: &str, reduction: Reduction) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u32>().expect("a number"));
    let seed = number("TIELINE_TABLE_SEED").unwrap_or_else(std::process::id);
    let mut random = chance(seed);
    for round in 0..number("TIELINE_TABLE_ROUNDS").unwrap_or(600) {
        let names = ["A", "LONGER", "B%", "A VERY LONG ONE", "E"];
        let mut columns: Vec<Column> =
            names[..1 + random() as usize % 5].iter().map(|name| Column::new(name)).collect();
        let any = random();
        for column in &mut columns {
            let bits = random() & any;
            (column.right, column.truncate) = (bits & 1 != 0, bits & 2 != 0);
            column.no_extremes = bits & 8 != 0;
        }
        // The original does it to the last one if it is told of none.
        if !columns.iter().any(|column| column.no_extremes)
            && let Some(last) = columns.last_mut()
        {
            last.no_extremes = true;
        }
        let mut table = with(table(&columns, &[]), reduction);
        table.headings = any & 0xc0 != 0;
        // Often so short that the headings are wider.
        let longest = 1 + random() % if any & 0x100 == 0 { 3 } else { 12 };
        let extreme = if any & 0x200 == 0 { 6 } else { 40 };
        let letters = ["a", "b", "語", "é", "e\u{301}"];
        for _ in 0..=random() % 8 {
            let cells = columns.iter().enumerate().map(|(place, _)| {
                let len = if random().is_multiple_of(6) { random() % extreme } else { random() % longest };
                let text: String =
                    (0..len.max(u32::from(place == 0))).map(|_| letters[random() as usize % letters.len()]).collect();
                Some(text.into_bytes())
            });
            table.rows.push(cells.collect());
        }
        let width = 1 + random() as usize % 70;
        let ours = table.format(Some(width), &Terminal);
        let theirs = by_column(column, &table, width);
        assert!(
            ours == theirs,
            "TIELINE_TABLE_SEED={seed}, round {round}, {width} cells, {columns:?}\nours:\n{}\ntheirs:\n{}",
            String::from_utf8_lossy(&ours),
            String::from_utf8_lossy(&theirs)
        );
    }
}

/// Whether a column has a property.
type Has = fn(&Column) -> bool;

/// What `column` makes of a table on a terminal of this width.
fn by_column(column: &str, table: &Table, width: usize) -> Vec<u8> {
    let mut command = Command::new("timeout");
    command.args([
        "10",
        column,
        "--table",
        "--separator",
        "|",
        "--output-separator",
        " ",
        "--output-width",
        &width.to_string(),
    ]);
    let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    command.args(["--table-columns", &names.join(",")]);
    if !table.headings {
        command.arg("--table-noheadings");
    }
    let flags: [(&str, Has); 3] = [
        ("--table-right", |column| column.right),
        ("--table-truncate", |column| column.truncate),
        ("--table-noextreme", |column| column.no_extremes),
    ];
    for (option, has) in flags {
        let list: Vec<&str> = table.columns.iter().filter(|column| has(column)).map(|column| column.name).collect();
        if !list.is_empty() {
            command.args([option, &list.join(",")]);
        }
    }
    let lines: Vec<Vec<u8>> =
        table.rows.iter().map(|row| row.iter().flatten().cloned().collect::<Vec<_>>().join(&b'|')).collect();
    let mut child = command.env("LC_ALL", "C.UTF-8").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&[lines.join(&b'\n'), b"\n".to_vec()].concat()).unwrap();
    child.wait_with_output().unwrap().stdout
}
