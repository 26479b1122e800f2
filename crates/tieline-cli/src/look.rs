//! What the verbs that look at the machine have in common: the scan, the names of users, what could not be seen.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;

use tieline_observe::model::{Kind, Scope, Text};
use tieline_observe::view::{Group, Query, Users, View};
use tieline_observe::{Error, Scan, Snapshot};
use tieline_os::account;

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

/// The names of the users that the snapshot speaks of. A number does where no database knows or tells a name.
pub(crate) fn users(snapshot: &Snapshot) -> Users {
    let of_processes = snapshot.processes().iter().filter_map(|process| process.uid);
    let of_objects = snapshot.objects().iter().filter_map(|object| object.owner).map(|owner| owner.uid);
    let of_limits = snapshot.limits().iter().filter_map(|limit| match limit.scope {
        Scope::User(uid) => Some(uid),
        _ => None,
    });
    let uids: BTreeSet<u32> = of_processes.chain(of_objects).chain(of_limits).collect();
    let name = |uid: u32| Some((uid, Text::from(account::user_name(uid).ok()??.as_bytes()).to_string()));
    uids.into_iter().filter_map(name).collect()
}

/// The kinds that words of the command line mean; the parser has let pass none that means nothing.
pub(crate) fn kinds(words: &[String]) -> Vec<Kind> {
    words.iter().filter_map(|word| Group::kinds_of(word)).flatten().collect()
}

/// What a question means, and which file its path leads to.
pub(crate) fn query(text: &std::ffi::OsStr) -> Outcome<Query> {
    use std::os::unix::fs::MetadataExt;
    let query = Query::parse(text.as_bytes()).map_err(Failure::usage)?;
    let Some(path) = query.path() else { return Ok(query) };
    // Looked at, never opened: opening a FIFO would change what its other end sees.
    match std::fs::metadata(std::ffi::OsStr::from_bytes(path.as_bytes())) {
        Ok(found) => Ok(query.located(found.dev(), found.ino())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(query.missing()),
        // It may be there, where the caller may not look.
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
