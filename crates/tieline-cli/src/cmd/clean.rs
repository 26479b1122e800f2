//! `tieline clean`: removes what was left behind. Shows it first, asks, and looks again at the moment of removal.

use std::io::{self, IsTerminal, Write};

use tieline_observe::clean::{self, Outcome as Became, Rules, Step};
use tieline_observe::view::{View, words};
use tieline_observe::{Scan, Snapshot};

use crate::exit::{self, Code, Failure, Outcome};
use crate::flags::Clean;
use crate::grid::Page;
use crate::{look, output};

pub(crate) fn run(flags: &Clean) -> Outcome {
    let asks = !flags.yes && !flags.dry_run;
    if asks && (flags.json || !io::stdin().is_terminal()) {
        let sentence = "there is nobody here to be asked: --dry-run only says what would be removed, --yes removes it";
        return Err(Failure::usage(sentence));
    }
    let mut rules = Rules::new();
    rules.minimum_age = flags.older_than.unwrap_or(rules.minimum_age);
    rules.kinds = Some(look::kinds(&flags.kinds)).filter(|kinds| !kinds.is_empty());
    rules.unused = flags.unused;
    if let Some(under) = &flags.under {
        let real = under.canonicalize().map_err(|error| {
            let (code, reason) = exit::reason(&error);
            Failure::new(code, format_args!("cannot look below {}: {reason}", under.display()))
        })?;
        rules.under = Some(real);
    }

    let snapshot = look::take(&Scan::new().waits(true).socket_files(true))?;
    let steps = clean::plan(&snapshot, &rules);
    if flags.json {
        return run_json(flags, &snapshot, &steps);
    }
    let view = View::new(&snapshot, look::users(&snapshot));
    let mut page = Page::new();
    page.table(view.clean_grid(&steps), true);
    page.gap();
    if steps.is_empty() {
        let unused =
            if rules.unused { "" } else { "; `tieline leaks` lists what is merely unused, and --unused takes it in" };
        let older = words::duration(rules.minimum_age);
        page.remark(&match rules.minimum_age.is_zero() {
            true => format!("Nothing to remove{unused}."),
            false => format!("Nothing to remove that is unchanged for {older}{unused}."),
        });
    } else if flags.dry_run {
        let count = words::count(steps.len() as u64, "object", "objects");
        page.remark(&format!("{count} would be removed; nothing was."));
    }
    look::caveats(&mut page, &view);
    page.print()?;
    if steps.is_empty() || flags.dry_run {
        return Ok(());
    }
    if asks && !is_agreed(steps.len())? {
        return output::text("Nothing was removed.\n");
    }
    report(&steps, &clean::perform(&steps)?)
}

/// Says what became of each step that did not end in removal, and how many did.
fn report(steps: &[Step], became: &[Became]) -> Outcome {
    let mut failed = None;
    for (step, became) in steps.iter().zip(became) {
        let what = format!("{} {}", step.kind(), step.name());
        match became {
            Became::Removed => {}
            Became::Gone => output::say(&format!("{what} was gone already")),
            Became::Changed => output::say(&format!("{what} was used or changed meanwhile and stays")),
            Became::Failed(error) => {
                output::say(&format!("{what} stays: {error}"));
                failed.get_or_insert(exit::code_of(error.kind()));
            }
            _ => {}
        }
    }
    let removed = became.iter().filter(|became| matches!(became, Became::Removed)).count();
    output::text(&format!("{} removed.\n", words::count(removed as u64, "object", "objects")))?;
    failed.map_or(Ok(()), |code: Code| Err(Failure::told(code)))
}

fn run_json(flags: &Clean, snapshot: &Snapshot, steps: &[Step]) -> Outcome {
    let view = View::new(snapshot, look::users(snapshot));
    // Nothing is removed of which nobody could read.
    output::check()?;
    let became = if flags.dry_run { None } else { Some(clean::perform(steps)?) };
    let error = |became: &Became| match became {
        Became::Failed(error) => error.to_string(),
        _ => String::new(),
    };
    let errors: Vec<String> = became.iter().flatten().map(error).collect();
    output::json(&view.clean_json(steps, became.as_deref(), &errors))?;
    let failed = became.iter().flatten().find_map(|became| match became {
        Became::Failed(error) => Some(exit::code_of(error.kind())),
        _ => None,
    });
    failed.map_or(Ok(()), |code| Err(Failure::told(code)))
}

fn is_agreed(count: usize) -> Outcome<bool> {
    let mut err = io::stderr().lock();
    let what = words::count(count as u64, "object", "objects");
    // Who cannot be asked cannot agree.
    if write!(err, "Remove {what}? [y/N] ").and_then(|()| err.flush()).is_err() {
        return Ok(false);
    }
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes" | "Yes" | "YES"))
}
