//! `tieline record`: a topic to a file.

use serde::Serialize;
use tieline_shm::recording::{END_BYTES, PAYLOAD_MAX_BYTES, Recorder, RecorderOptions, Writer};

use super::sub::tell_lost;
use crate::exit::{Code, Failure, Fault, Outcome};
use crate::flags::Record;
use crate::output;
use crate::topic::{self, Ear, Heard, Reason, Until};
use crate::transfer::interrupts::Interrupts;

/// The report in `docs/formats/json.md`.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    topic: &'a str,
    file: String,
    files: u32,
    messages: u64,
    bytes: u64,
    lost: u64,
    seconds: f64,
    error: Option<Fault<'a>>,
}

pub(crate) fn run(flags: &Record) -> Outcome {
    let name = topic::name(&flags.topic)?;
    let interrupts = Interrupts::install()?;
    // The time runs from the first moment at which something can come.
    let forever = Until::new(&interrupts, None);
    let found = topic::find(&name, topic::TOPIC, flags.listening.follow, &forever)?;
    let mut ear = Ear::open(&name, &found, &flags.listening, false, &forever)?;
    let mut options = RecorderOptions::default().overwrite(flags.force);
    if let Some(bytes) = flags.rotate {
        options = options.rotate(bytes);
    }
    let short = name.strip_prefix("shm:").unwrap_or(&name);
    let recorder = Recorder::create(&flags.file, short, &found.carried(), options);
    let mut recorder =
        recorder.map_err(|error| Failure::from(error).advised(Code::AlreadyExists, "--force writes over it"))?;
    if flags.verbose && !flags.json {
        output::say(&format!("listening to {name}"));
    }
    let until = Until::new(&interrupts, flags.duration);
    let outcome = record(flags, &name, &mut ear, &mut recorder, &until);
    let lost = ear.counters().lost;
    drop(ear);
    let mut document = Document {
        schema: "tieline.record/1",
        topic: &name,
        file: flags.file.display().to_string(),
        files: recorder.parts(),
        messages: recorder.messages(),
        bytes: recorder.len_bytes() + END_BYTES,
        lost,
        seconds: recorder.elapsed().as_secs_f64(),
        error: None,
    };
    let outcome = match (recorder.finish(lost), outcome) {
        (Err(error), Ok(())) => Err(unwritten(error, flags)),
        (_, outcome) => outcome,
    };
    if flags.json {
        document.error = outcome.as_ref().err().map(Failure::fault);
        output::json_to_stderr(&document);
        return outcome.map_err(|failure| Failure::told(failure.code()));
    }
    tell_lost(lost, &name);
    if flags.verbose && outcome.is_ok() {
        let Document { messages, bytes, seconds, file, .. } = &document;
        let messages = topic::messages(*messages);
        output::say(&format!("{messages} of {name} in {seconds:.2} s made {bytes} bytes in {file}"));
    }
    outcome
}

/// The disk is full, most often: what came before is not lost.
fn unwritten(error: tieline_shm::Error, flags: &Record) -> Failure {
    Failure::from(error).and(format_args!("`tieline replay {}` plays what was written before", flags.file.display()))
}

fn record(flags: &Record, name: &str, ear: &mut Ear, recorder: &mut Recorder, until: &Until<'_>) -> Outcome {
    let mut is_flushed = true;
    while flags.count.is_none_or(|count| recorder.messages() < count) {
        let heard = match ear.next_now(until)? {
            Heard::Nothing if !is_flushed => {
                // While nothing comes, what came survives us.
                recorder.flush().map_err(|error| unwritten(error, flags))?;
                is_flushed = true;
                continue;
            }
            Heard::Nothing => ear.next(until)?,
            heard => heard,
        };
        let tale = || format!("{} of {name} were recorded", topic::messages(recorder.messages()));
        match heard {
            Heard::Message(sample, origin) => {
                let len = Writer::<std::fs::File>::message_len_bytes(sample.len());
                if flags.max_size.is_some_and(|most| recorder.len_bytes() + len + END_BYTES > most) {
                    return Ok(());
                }
                if sample.len() > PAYLOAD_MAX_BYTES {
                    return Err(Failure::new(
                        Code::Limit,
                        format_args!("a message is too large to be recorded: {}", tale()),
                    ));
                }
                let written = recorder.write(origin.publisher, origin.sequence, &sample);
                written.map_err(|error| unwritten(error, flags))?;
                is_flushed = false;
            }
            Heard::Nothing => {}
            Heard::Gone | Heard::Over(Reason::TimedOut) => return Ok(()),
            Heard::Lagged => {
                return Err(Failure::new(Code::Limit, format_args!("this recorder was too slow: {}", tale())));
            }
            Heard::Over(Reason::Stopped) => return Err(until.failure(Reason::Stopped, &tale())),
        }
    }
    Ok(())
}
