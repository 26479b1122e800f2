//! `tieline pub`: standard input to a topic.

use std::time::{Duration, Instant};

use serde::Serialize;
use tieline_shm::Kind;
use tieline_shm::untyped::{Carried, Contents};
use tieline_transport::frame::Framing;

use crate::exit::{Code, Failure, Fault, Outcome};
use crate::flags::Pub;
use crate::output;
use crate::topic::{self, Form, Inward, Read, Reason, Until, Voice, VoiceOptions};
use crate::transfer::interrupts::Interrupts;

/// The report in `docs/formats/json.md`.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    topic: &'a str,
    messages: u64,
    bytes: u64,
    subscribers: usize,
    error: Option<Fault<'a>>,
}

#[derive(Default)]
struct Published {
    messages: u64,
    bytes: u64,
    /// When it ended.
    subscribers: usize,
}

pub(crate) fn run(flags: &Pub) -> Outcome {
    let name = topic::name(&flags.topic)?;
    let interrupts = Interrupts::install()?;
    let until = Until::new(&interrupts, flags.timeout);
    let (kind, carried) = match topic::look(&name)? {
        Some(found) => {
            topic::demand(&name, &found, topic::SPOKEN)?;
            topic::refuse_mode(&name, &flags.offer)?;
            if found.kind() != Kind::Log && (flags.presence.subscribers > 0 || flags.offer.history > 0) {
                let sentence = format_args!("{name} is {}: --subscribers and --history are for topics", found.what());
                return Err(Failure::usage(sentence));
            }
            (found.kind(), found.carried())
        }
        None if flags.form.json => {
            let why = "so no type says what the JSON means; without --json it becomes a topic of bytes";
            return Err(Failure::new(Code::NotFound, format_args!("nobody offers the topic {name}, {why}")));
        }
        None => (Kind::Log, Carried::of::<[u8]>()),
    };
    let contents = match kind {
        // They are told in words.
        Kind::Event => Contents::Bytes,
        _ => topic::contents(&name, &carried, &flags.form, true)?,
    };
    let mut done = Published::default();
    let outcome = publish(flags, &name, (kind, carried), &contents, &until, &mut done);
    report(flags, &name, &done, outcome)
}

fn publish(
    flags: &Pub,
    name: &str,
    (kind, carried): (Kind, Carried),
    contents: &Contents,
    until: &Until<'_>,
    done: &mut Published,
) -> Outcome {
    let form = match (kind, Form::of(&flags.form, contents, flags.max_message)) {
        (Kind::Event, Form::Json) => Form::Framed(Framing::text().with_max_len(flags.max_message)),
        (_, form) => form,
    };
    let mut lines = Inward::new(form, contents.clone(), flags.max_message)?;
    let options = VoiceOptions { offer: &flags.offer, max_message: flags.max_message };
    let mut voice = match kind {
        Kind::Log => Voice::open(name, carried, contents, &options)?,
        kind => Voice::open_other(name, kind, &carried)?,
    };
    let over = |reason: Reason, done: &Published| {
        Err(until.failure(reason, &format!("{} went to {name}", topic::messages(done.messages))))
    };
    if let Some(reason) = voice.await_subscribers(&flags.presence, until) {
        return over(reason, done);
    }
    let begun = Instant::now();
    while flags.count.is_none_or(|count| done.messages < count) {
        let message = match lines.next(until) {
            Ok(Read::Message(message)) => message,
            Ok(Read::End) => break,
            Ok(Read::Over(reason)) => return over(reason, done),
            Err(failure) if done.messages > 0 => {
                let went = if done.messages == 1 { "the message before it was" } else { "the messages before it were" };
                return Err(failure.and(format_args!("{went} published")));
            }
            Err(failure) => return Err(failure),
        };
        if let Some(rate) = flags.rate
            && let Some(due) = begun.checked_add(Duration::from_secs_f64(done.messages as f64 / rate))
            && let Some(reason) = until.pause(Some(due))
        {
            return over(reason, done);
        }
        if let Some(reason) = voice.say(&message, until)? {
            return over(reason, done);
        }
        done.messages += 1;
        done.bytes += message.len() as u64;
        done.subscribers = voice.subscribers();
    }
    // Whoever stops it then stops nothing but the staying.
    let _ = voice.linger(&flags.presence, until);
    done.subscribers = voice.subscribers();
    Ok(())
}

fn report(flags: &Pub, name: &str, done: &Published, outcome: Outcome) -> Outcome {
    let Published { messages, bytes, subscribers } = *done;
    if flags.form.json {
        let error = outcome.as_ref().err().map(Failure::fault);
        let document = Document { schema: "tieline.pub/1", topic: name, messages, bytes, subscribers, error };
        output::json_to_stderr(&document);
        return outcome.map_err(|failure| Failure::told(failure.code()));
    }
    if flags.verbose && outcome.is_ok() {
        let told = topic::messages(messages);
        output::say(&format!("{told} of {bytes} bytes went to {name}, with {subscribers} subscribers at the end"));
    }
    outcome
}
