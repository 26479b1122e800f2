//! How messages of a topic look outside of it: as JSON by the topic's layout, or as bytes with marks between them.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::Value;
use tieline_os::poll::{Interest, PollSet};
use tieline_shm::untyped::{Carried, Contents, Unfit};
use tieline_transport::endpoint::{Direction, Endpoint, Receiver, Source};
use tieline_transport::frame::{ByteOrder, Encoder, Framing, Width};

use super::{Until, messages};
use crate::exit::{Code, Failure, Outcome};
use crate::flags::MessageForm;
use crate::output;

/// How messages look outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    Json,
    Framed(Framing),
}

impl Form {
    /// What the flags ask for; without any, lines for bytes and JSON for a type.
    pub(crate) fn of(flags: &MessageForm, contents: &Contents, max_message: usize) -> Self {
        let framing = match flags.frame {
            Some(framing) => framing,
            None if flags.length_prefixed => Framing::length(Width::U32, ByteOrder::Big),
            None if flags.raw => Framing::raw(),
            None if flags.whole => Framing::whole(),
            None if flags.lines => Framing::text(),
            None if flags.json || *contents != Contents::Bytes => return Self::Json,
            None => Framing::text(),
        };
        Self::Framed(framing.or_max_len(max_message))
    }
}

/// What the topic's messages are; a layout that we do not understand can be shown as bytes only.
pub(crate) fn contents(name: &str, carried: &Carried, flags: &MessageForm, speaks: bool) -> Outcome<Contents> {
    let as_bytes = flags.lines || flags.length_prefixed || flags.raw || flags.whole || flags.frame.is_some();
    match carried.contents() {
        Ok(contents) => Ok(contents),
        Err(_) if as_bytes && !speaks => Ok(Contents::Bytes),
        Err(error) => {
            let how = if speaks { "" } else { "; --raw shows the bytes" };
            let sentence = format_args!("the layout of {name} is not understood: {error}{how}");
            Err(Failure::new(Code::Unsupported, sentence))
        }
    }
}

/// Messages from standard input.
pub(crate) struct Inward {
    lines: Receiver,
    form: Form,
    contents: Contents,
    /// How many were read.
    count: u64,
}

/// What standard input brings.
pub(crate) enum Read {
    Message(Vec<u8>),
    End,
    Over(super::Reason),
}

impl Inward {
    pub(crate) fn new(form: Form, contents: Contents, max_message: usize) -> Outcome<Self> {
        let framing = match form {
            Form::Json => Framing::text().with_max_len(max_message),
            Form::Framed(framing) => framing,
        };
        let mut stdin = Endpoint::open(&"stdio:".parse()?, Direction::Receive)?;
        let Some(source @ Source::Bytes(_)) = stdin.take_source() else {
            return Err(Failure::new(Code::Failed, "standard input cannot be read"));
        };
        Ok(Self { lines: Receiver::new(source, framing), form, contents, count: 0 })
    }

    /// The next message, made or checked by the topic's layout.
    pub(crate) fn next(&mut self, until: &Until<'_>) -> Outcome<Read> {
        loop {
            if let Some(reason) = until.is_over() {
                return Ok(Read::Over(reason));
            }
            let message = match self.lines.recv_until(until.stop(), until.left()) {
                Err(error) if error.is_timeout() || error.is_stopped() => continue,
                Err(error) => return Err(error.into()),
                Ok(None) => return Ok(Read::End),
                Ok(Some(message)) => message,
            };
            self.count += 1;
            match self.form {
                // An empty line between values is nobody's value.
                Form::Json if message.trim_ascii().is_empty() => {}
                Form::Json => return value(message, &self.contents, self.count).map(Read::Message),
                Form::Framed(_) => {
                    let number = self.count;
                    self.contents.check(message).map_err(|unfit| misfit(number, &unfit))?;
                    return Ok(Read::Message(message.to_vec()));
                }
            }
        }
    }
}

fn misfit(number: u64, why: &Unfit) -> Failure {
    let sentence = format_args!("message {number} is none of the topic's type: {why}");
    Failure::new(Code::Failed, sentence).and("--json makes values of JSON")
}

fn value(line: &[u8], contents: &Contents, number: u64) -> Outcome<Vec<u8>> {
    let json: Value = serde_json::from_slice(line).map_err(|error| {
        let text = error.to_string();
        // The parser's own line is always the first.
        let text = text.replace(" at line 1 column ", " at column ");
        Failure::new(Code::Failed, format_args!("line {number} is no JSON: {text}"))
    })?;
    contents.from_json(&json).map_err(|error| Failure::new(Code::Failed, format_args!("line {number}: {error}")))
}

/// Messages to standard output, several of them at once.
pub(crate) struct Outward {
    form: Form,
    contents: Contents,
    encoder: Encoder,
    waiting: Vec<u8>,
}

/// From so many bytes on, what waits is written before more is taken.
const ENOUGH: usize = 64 << 10;

impl Outward {
    pub(crate) fn new(form: Form, contents: Contents) -> Outcome<Self> {
        output::check()?;
        let framing = match form {
            Form::Json => Framing::text(),
            Form::Framed(framing) => framing,
        };
        Ok(Self { form, contents, encoder: Encoder::new(framing), waiting: Vec::new() })
    }

    pub(crate) fn push(&mut self, message: &[u8]) -> Outcome {
        match self.form {
            Form::Json => {
                // The publisher's claim of its type; a message of another length is no value of it.
                if self.contents.len_bytes().is_some_and(|len| len != message.len()) {
                    let sentence = format_args!(
                        "a message of {} bytes came, which is no value of the topic's type",
                        message.len()
                    );
                    return Err(Failure::new(Code::Failed, sentence));
                }
                let text = self.contents.to_json(message).to_string();
                self.waiting.extend(output::ascii_controls(&text).as_bytes());
                self.waiting.push(b'\n');
            }
            Form::Framed(_) => {
                let encoded = self.encoder.encode(message).map_err(tieline_transport::Error::from)?;
                encoded.append_to(&mut self.waiting);
            }
        }
        if self.waiting.len() >= ENOUGH { self.flush() } else { Ok(()) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn flush(&mut self) -> Outcome {
        let mut out = io::stdout().lock();
        out.write_all(&self.waiting)?;
        out.flush()?;
        self.waiting.clear();
        Ok(())
    }

    /// Ends if nobody reads any more, while there is nothing to write.
    pub(crate) fn check_reader(&self) -> Outcome {
        let out = io::stdout();
        let mut set = PollSet::new();
        set.add(&out, Interest::empty());
        match set.wait_timeout(Duration::ZERO) {
            Err(error) if error.is_timeout() => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Err(Failure::new(Code::BrokenPipe, "standard output was closed")),
        }
    }

    /// Says how many messages are several lines now.
    pub(crate) fn tell_divided(&self) {
        let divided = self.encoder.divided();
        if divided > 0 {
            let text = messages(divided);
            output::say(&format!(
                "{text} with line feeds inside look like several; --length-prefixed keeps messages apart"
            ));
        }
    }
}
