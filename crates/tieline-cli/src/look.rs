//! What the verbs that look at the machine have in common: the scan, the names of users, what could not be seen.

use std::io::Read;

use tieline_observe::model::Kind;
use tieline_observe::view::{Group, Query, Users, View};
use tieline_observe::{Error, Scan, Snapshot};

use crate::exit::{self, Code, Failure, Outcome};
use crate::grid::Page;
use crate::output;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::UnknownEngine(_) => Code::Usage,
            Error::NoProc(_) => Code::Unsupported,
            Error::Os(error) => exit::code_of(error.kind()),
            _ => Code::Failed,
        };
        Self::new(code, error)
    }
}

pub(crate) fn take(scan: &Scan) -> Outcome<Snapshot> {
    Ok(scan.take()?)
}

/// The names of users in the user database of files; none if it cannot be read, where numbers do as well.
pub(crate) fn users() -> Users {
    const MOST: u64 = 4 << 20;
    let mut text = Vec::new();
    let opened = std::fs::File::open("/etc/passwd");
    if opened.and_then(|file| file.take(MOST).read_to_end(&mut text)).is_err() {
        return Users::default();
    }
    let line = |line: &[u8]| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?;
        let uid = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
        Some((uid, output::plain(&String::from_utf8_lossy(name)).into_owned()))
    };
    text.split(|&byte| byte == b'\n').filter_map(line).collect()
}

/// The kinds that words of the command line mean; the parser has let pass none that means nothing.
pub(crate) fn kinds(words: &[String]) -> Vec<Kind> {
    words.iter().filter_map(|word| Group::kinds_of(word)).flatten().collect()
}

/// What a question means, and which file its path leads to.
pub(crate) fn query(text: &std::ffi::OsStr) -> Outcome<Query> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    let query = Query::parse(text.as_bytes()).map_err(Failure::usage)?;
    let Some(path) = query.path() else { return Ok(query) };
    // Looked at, never opened: opening a FIFO would change what its other end sees.
    match std::fs::metadata(std::ffi::OsStr::from_bytes(path.as_bytes())) {
        Ok(found) => Ok(query.located(found.dev(), found.ino())),
        Err(_) => Ok(query),
    }
}

/// Adds what could not be seen.
pub(crate) fn caveats(page: &mut Page, view: &View<'_>) {
    for sentence in view.unseen() {
        page.remark(&format!("{}.", capital(&sentence)));
    }
}

/// Says what could not be seen where standard output holds nothing but rows.
pub(crate) fn warn(view: &View<'_>) {
    view.unseen().iter().for_each(|sentence| output::say(sentence));
}

pub(crate) fn capital(sentence: &str) -> String {
    let mut letters = sentence.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
