//! `tieline sub`: the messages of a topic to standard output.

use serde::Serialize;
use tieline_shm::Kind;
use tieline_shm::untyped::Contents;
use tieline_transport::frame::Framing;

use crate::exit::{Code, Failure, Fault, Outcome};
use crate::flags::Sub;
use crate::output;
use crate::topic::{self, Ear, Form, Heard, Outward, Reason, Until};
use crate::transfer::interrupts::Interrupts;

/// The report in `docs/formats/json.md`.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    topic: &'a str,
    messages: u64,
    bytes: u64,
    lost: u64,
    error: Option<Fault<'a>>,
}

#[derive(Default)]
struct Received {
    messages: u64,
    bytes: u64,
    lost: u64,
}

/// Messages of a topic may be larger than anything that we send.
const UNLIMITED: usize = usize::MAX;

pub(crate) fn run(flags: &Sub) -> Outcome {
    let name = topic::name(&flags.topic)?;
    output::check()?;
    let interrupts = Interrupts::install()?;
    let until = Until::new(&interrupts, flags.timeout);
    let found = topic::find(&name, topic::SPOKEN, flags.listening.follow, &until)?;
    let contents = match found.kind() {
        // They are told in words.
        Kind::Event => Contents::Bytes,
        _ => topic::contents(&name, &found.carried(), &flags.form, false)?,
    };
    let form = match (found.kind(), Form::of(&flags.form, &contents, UNLIMITED)) {
        (Kind::Event, Form::Json) => Form::Framed(Framing::text()),
        (_, form) => form,
    };
    let mut out = Outward::new(form, contents)?;
    let mut ear = Ear::open(&name, &found, &flags.listening, flags.form.json, &until)?;
    ear.mind_the_reader()?;
    if flags.verbose && !flags.form.json {
        output::say(&format!("listening to {name}"));
    }
    let mut done = Received::default();
    let outcome = receive(flags, &name, &mut ear, &mut out, &until, &mut done);
    // What was taken is written whatever ended it.
    let outcome = outcome.and_then(|()| out.flush());
    done.lost = ear.counters().lost;
    report(flags, &name, &done, &out, outcome)
}

fn receive(
    flags: &Sub,
    name: &str,
    ear: &mut Ear,
    out: &mut Outward,
    until: &Until<'_>,
    done: &mut Received,
) -> Outcome {
    while flags.count.is_none_or(|count| done.messages < count) {
        let heard = match ear.next_now(until)? {
            Heard::Nothing if !out.is_empty() => {
                out.flush()?;
                continue;
            }
            Heard::Nothing => {
                out.check_reader()?;
                ear.next(until)?
            }
            heard => heard,
        };
        let tale = || format!("{} came from {name}", topic::messages(done.messages));
        let failure = match heard {
            Heard::Message(message, _) => {
                done.messages += 1;
                done.bytes += message.len() as u64;
                out.push(&message)?;
                continue;
            }
            Heard::Nothing => continue,
            Heard::Gone => match flags.count {
                None => return Ok(()),
                Some(count) => {
                    let sentence = format!("the last publisher has gone: {} of {count}", tale());
                    Failure::new(Code::PeerGone, sentence)
                }
            },
            Heard::Lagged => Failure::new(Code::Limit, format_args!("this subscriber was too slow: {}", tale())),
            Heard::Over(Reason::TimedOut) if until.never_waits && done.messages > 0 => return Ok(()),
            Heard::Over(reason) => until.failure(reason, &tale()),
        };
        out.flush()?;
        return Err(failure);
    }
    Ok(())
}

fn report(flags: &Sub, name: &str, done: &Received, out: &Outward, outcome: Outcome) -> Outcome {
    let Received { messages, bytes, lost } = *done;
    if outcome.as_ref().is_err_and(|failure| failure.code() == Code::BrokenPipe) {
        return outcome;
    }
    if flags.form.json {
        let error = outcome.as_ref().err().map(Failure::fault);
        output::json_to_stderr(&Document { schema: "tieline.sub/1", topic: name, messages, bytes, lost, error });
        return outcome.map_err(|failure| Failure::told(failure.code()));
    }
    out.tell_divided();
    tell_lost(lost, name);
    if flags.verbose && outcome.is_ok() {
        output::say(&format!("{} of {bytes} bytes came from {name}", topic::messages(messages)));
    }
    outcome
}

/// Says how many messages were lost, if any were.
pub(super) fn tell_lost(lost: u64, name: &str) {
    if lost > 0 {
        let (what, were) = (topic::messages(lost), if lost == 1 { "was" } else { "were" });
        output::say(&format!(
            "{what} of {name} {were} lost, as they came too fast; --slow block makes publishers wait"
        ));
    }
}
