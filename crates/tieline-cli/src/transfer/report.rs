//! How a transfer went: a sentence and an exit code, the same as JSON if asked for.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use indicatif::BinaryBytes;
use serde::Serialize;
use tieline_os::signal::Signal;
use tieline_transport::Error as TransportError;
use tieline_transport::addr::{Address, Scheme, Target};
use tieline_transport::relay::{End, Flow, Outcome as Relayed};

use super::{Job, Shape, interrupts};
use crate::exit::{self, Code, Failure, Fault, Outcome};
use crate::flags::Transfer;
use crate::output;

/// What is known when it is over.
pub(super) struct Report<'a> {
    pub(super) job: &'a Job,
    pub(super) took: Duration,
    /// The same from the first byte on, if one came.
    pub(super) flowed: Option<Duration>,
    pub(super) outcome: Relayed,
    pub(super) signal: Option<Signal>,
}

/// The report in `docs/formats/json.md`.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    from: String,
    to: String,
    seconds: f64,
    forward: Direction,
    backward: Option<Direction>,
    exits: Vec<Exit>,
    error: Option<Fault<'a>>,
}

#[derive(Serialize)]
struct Direction {
    bytes: u64,
    messages: u64,
    end: &'static str,
    undelivered_bytes: u64,
    undelivered_messages: u64,
    undelivered_part_bytes: u64,
    divided_messages: u64,
    handed_back: Option<String>,
}

#[derive(Serialize)]
struct Exit {
    address: String,
    code: Option<i32>,
    signal: Option<i32>,
}

/// Where we can be found, in `docs/formats/json.md`.
#[derive(Serialize)]
struct Waiting {
    schema: &'static str,
    address: String,
}

/// Says where a peer finds us, to those who asked, and to everybody if only we know which port it is.
pub(super) fn announce(flags: &Transfer, asked: &Address, at: &Address) {
    let unknown_port = matches!(asked.target(), Target::Tcp(at) | Target::Udp(at) if at.port == 0);
    if !flags.verbose && !unknown_port {
        return;
    }
    if flags.json {
        output::json_to_stderr(&Waiting { schema: "tieline.waiting/1", address: name(at) });
    } else {
        output::say(&format!("waiting at {}", name(at)));
    }
}

/// From the first byte to the end, in seconds: what takes less is one move, and a rate of it would be made up.
const AT_ONCE: f64 = 0.001;

impl Report<'_> {
    /// Says what must be said and answers what the process shall answer.
    pub(super) fn tell(self) -> Outcome {
        let answer = self.judge();
        if self.job.flags.json {
            let error = answer.as_ref().err().map(Failure::fault);
            output::json_to_stderr(&self.document(error));
            return answer.map_err(|failure| Failure::told(failure.code()));
        }
        let answer = answer.map_err(|failure| self.with_what_came_back(failure));
        self.tell_divided();
        // A failure tells the same in its sentence.
        if self.job.flags.verbose && answer.is_ok() {
            self.summary();
        }
        answer
    }

    /// Lines that are not messages look like them.
    fn tell_divided(&self) {
        let Relayed { forward, backward, .. } = &self.outcome;
        let divided = forward.divided_messages + backward.as_ref().map_or(0, |flow| flow.divided_messages);
        if divided > 0 {
            let (what, are) = if divided == 1 {
                ("1 message holds".to_owned(), "is several lines")
            } else {
                (format!("{divided} messages hold"), "are several lines each")
            };
            output::say(&format!("{what} line feeds and {are} here; --length-prefixed keeps messages apart"));
        }
    }

    /// A message that the other side refused is in no queue any more: it is handed to whoever reads the sentence.
    fn with_what_came_back(&self, failure: Failure) -> Failure {
        self.flows().fold(failure, |failure, (flow, from, _)| match handed_back(flow, from) {
            Some(message) => {
                let from = name(from);
                failure.and(format_args!("the message is no longer in {from}, `printf %b '{message}'` gives it again"))
            }
            None => failure,
        })
    }

    /// Each direction, with where it comes from and where it goes.
    fn flows(&self) -> impl Iterator<Item = (&Flow, &Address, &Address)> {
        let Relayed { forward, backward, .. } = &self.outcome;
        let back = backward.as_ref().map(|flow| (flow, &self.job.to, &self.job.from));
        [(forward, &self.job.from, &self.job.to)].into_iter().chain(back)
    }

    /// Whether it went as it should.
    fn judge(&self) -> Outcome {
        // The direction that failed says more than the one that was ended by it.
        let mut failures: Vec<Failure> =
            self.flows().filter_map(|(flow, from, to)| self.fault(flow, from, to)).collect();
        // Whether the request to stop or the end that the same signal gave a command was seen first is chance.
        if let Some(signal) = self.signal {
            let sentence = format_args!("ended by {signal}: {}", self.moved_and_left());
            let failure = Failure::new(interrupts::code(signal), sentence);
            // What only a queue's sender kept there is lost with it.
            let lost = self.flows().find_map(|(flow, ..)| flow.end.error().filter(|error| error.is_stopped()));
            return Err(match lost {
                Some(error) => failure.and(error),
                None => failure,
            });
        }
        if !failures.is_empty() {
            return Err(failures.remove(0));
        }
        self.judge_commands()
    }

    fn fault(&self, flow: &Flow, from: &Address, to: &Address) -> Option<Failure> {
        let tale = || self.moved_and_left();
        let moved_any = flow.bytes > 0 || flow.messages > 0;
        match &flow.end {
            // Any other end of ours, or told by the other direction.
            End::SourceEnded | End::LimitReached | End::OtherFailed | End::Stopped => None,
            End::SinkGone if to.scheme() == Scheme::Stdio => {
                let lost = flow.undelivered_messages;
                if lost > 0 {
                    let from = name(from);
                    let sentence =
                        format!("standard output was closed; {lost} messages that had been taken from {from} are lost");
                    output::say(&sentence);
                }
                Some(Failure::new(Code::BrokenPipe, "standard output was closed"))
            }
            // In a conversation the one side may stop listening before the other stops talking.
            End::SinkGone if self.job.shape == Shape::BothWays && flow.undelivered.is_empty() => None,
            End::SinkGone => {
                Some(Failure::new(Code::PeerGone, format_args!("nobody reads from {} any more: {}", name(to), tale())))
            }
            End::SourceBroken(error) => {
                let reason = reason_of_copy(error).unwrap_or_else(|| error.to_string());
                Some(Failure::new(Code::PeerGone, format_args!("{} broke off: {reason}: {}", name(from), tale())))
            }
            End::Idle if self.job.flags.idle.is_some() && moved_any && flow.undelivered.is_empty() => None,
            End::Idle | End::TimedOut if self.job.never_waits() && moved_any && flow.undelivered.is_empty() => None,
            End::Idle | End::TimedOut => {
                let code = self.job.gave_up();
                Some(Failure::new(code, self.why_too_late(flow, from, to)))
            }
            End::Failed(error) => {
                let code = exit::code_of_transport(error.kind());
                Some(Failure::new(code, format_args!("{}: {}", in_our_words(error, from, to), tale())))
            }
            other => Some(Failure::new(Code::Failed, format_args!("{other}: {}", tale()))),
        }
    }

    fn why_too_late(&self, flow: &Flow, from: &Address, to: &Address) -> String {
        let what = if !flow.undelivered.is_empty() {
            format!("{} takes nothing more now", sink(to))
        } else if flow.bytes == 0 && flow.messages == 0 {
            format!("nothing came from {}", name(from))
        } else {
            "it was not finished".to_owned()
        };
        let when = if self.job.never_waits() { "and waiting was ruled out" } else { "and the time is up" };
        if self.moved_nothing() {
            format!("{what}, {when}")
        } else {
            format!("{what}, {when}: {}", self.moved_and_left())
        }
    }

    /// Commands that failed make the transfer fail, unless it was we who ended them.
    fn judge_commands(&self) -> Outcome {
        let forward = &self.outcome.forward;
        let cut_short = !matches!(forward.end, End::SourceEnded);
        for (address, status) in &self.outcome.exits {
            let by_us = cut_short && (status.signal().is_some() || status.code().is_some_and(|code| code > 128));
            if !status.success() && !by_us {
                let failure = Failure::new(Code::Failed, format_args!("{} {}", name(address), Ended(*status)));
                let is_unheard =
                    status.signal().or(status.code().map(|code| code - 128)) == Some(Signal::PIPE.number());
                if is_unheard && self.job.shape == Shape::BothWays {
                    let why = "the other side did not read what it wrote";
                    return Err(failure.and(format_args!("{why}, and --one-way lets that go to standard output")));
                }
                return Err(failure);
            }
        }
        Ok(())
    }

    /// How much went, and how much was taken and did not go.
    fn moved_and_left(&self) -> String {
        let Relayed { forward, backward, .. } = &self.outcome;
        let mut tale = format!("{} went to {}", Amount::moved(forward), sink(&self.job.to));
        if let Some(backward) = backward {
            tale += &format!(", {} came back", Amount::moved(backward));
        }
        for flow in [Some(forward), backward.as_ref()].into_iter().flatten() {
            if !flow.undelivered.is_empty() {
                tale += &format!("; {} had been read and did not", left(flow));
            }
        }
        tale
    }

    fn moved_nothing(&self) -> bool {
        let Relayed { forward, backward, .. } = &self.outcome;
        let idle = |flow: &Flow| flow.bytes == 0 && flow.messages == 0 && flow.undelivered.is_empty();
        idle(forward) && backward.as_ref().is_none_or(idle)
    }

    fn summary(&self) {
        let Relayed { forward, backward, .. } = &self.outcome;
        // Waiting for somebody to begin is no part of the pace, and what went at once has none.
        let seconds = self.flowed.unwrap_or(self.took).as_secs_f64();
        let rate = |flow: &Flow| match seconds {
            long if long >= AT_ONCE => format!(" ({}/s)", BinaryBytes((flow.bytes as f64 / long) as u64)),
            _ => String::new(),
        };
        let mut line = format!("{} went in {seconds:.2} s{}", Amount::moved(forward), rate(forward));
        if let Some(backward) = backward {
            line += &format!(", {} came back{}", Amount::moved(backward), rate(backward));
        }
        output::say(&line);
    }

    fn document<'a>(&self, error: Option<Fault<'a>>) -> Document<'a> {
        let exit = |(address, status): &(Address, ExitStatus)| Exit {
            address: address.to_string(),
            code: status.code(),
            signal: status.signal(),
        };
        Document {
            schema: "tieline.transfer/1",
            from: self.job.from.to_string(),
            to: self.job.to.to_string(),
            seconds: self.took.as_secs_f64(),
            forward: direction(&self.outcome.forward, &self.job.from),
            backward: self.outcome.backward.as_ref().map(|flow| direction(flow, &self.job.to)),
            exits: self.outcome.exits.iter().map(exit).collect(),
            error,
        }
    }
}

fn direction(flow: &Flow, from: &Address) -> Direction {
    let end = match &flow.end {
        End::SourceEnded => "source-ended",
        End::LimitReached => "limit-reached",
        End::SinkGone => "sink-gone",
        End::SourceBroken(_) => "source-broken",
        End::Idle => "idle",
        End::TimedOut => "timed-out",
        End::Stopped => "stopped",
        End::OtherFailed => "other-failed",
        _ => "failed",
    };
    Direction {
        bytes: flow.bytes,
        messages: flow.messages,
        end,
        undelivered_bytes: flow.undelivered_bytes,
        undelivered_messages: flow.undelivered_messages,
        undelivered_part_bytes: flow.undelivered_part,
        divided_messages: flow.divided_messages,
        handed_back: handed_back(flow, from),
    }
}

/// The message that was taken and refused, as `printf %b` reads it, unless it can be read where it came from again.
fn handed_back(flow: &Flow, from: &Address) -> Option<String> {
    let is_lost_otherwise = !matches!(from.scheme(), Scheme::Stdio | Scheme::File);
    let range = flow.at_hand.clone().filter(|_| is_lost_otherwise && matches!(flow.end, End::Failed(_)))?;
    flow.undelivered.get(range).map(output::printable)
}

/// The error, with the names that the two sides have in our other sentences.
fn in_our_words(error: &TransportError, from: &Address, to: &Address) -> String {
    if let Some(reason) = reason_of_copy(error) {
        return format!("cannot copy from {} to {}: {reason}", name(from), sink(to));
    }
    let text = error.to_string();
    let text = text.replacen("cannot write to stdio:", "cannot write to standard output", 1);
    text.replacen("cannot read from stdio:", "cannot read from standard input", 1)
}

/// Why copying between descriptors failed, without the figures, which our sentence has itself.
fn reason_of_copy(error: &TransportError) -> Option<String> {
    let text = error.to_string();
    let reason = text.strip_prefix("cannot copy: ")?;
    let figures = reason.find("; ").filter(|at| reason[*at..].contains(" had arrived"));
    Some(reason[..figures.unwrap_or(reason.len())].to_owned())
}

/// How an address is called in a sentence: without its options.
pub(super) fn name(address: &Address) -> String {
    match address.scheme() {
        Scheme::Stdio => "standard input".to_owned(),
        scheme => format!("{scheme}:{}", address.target()),
    }
}

/// The same of the side that is sent to.
fn sink(address: &Address) -> String {
    if address.scheme() == Scheme::Stdio { "standard output".to_owned() } else { name(address) }
}

/// "12 messages (340 bytes)", or only bytes where messages were not looked at.
struct Amount {
    messages: u64,
    bytes: u64,
}

impl Amount {
    fn moved(flow: &Flow) -> Self {
        Self { messages: flow.messages, bytes: flow.bytes }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        let Self { messages, bytes } = *self;
        match (messages, bytes) {
            (0, 0) => f.write_str("nothing"),
            (0, bytes) if bytes < 10_000 => write!(f, "{bytes} byte{}", plural(bytes)),
            (0, bytes) => write!(f, "{bytes} bytes ({})", BinaryBytes(bytes)),
            (messages, bytes) => write!(f, "{messages} message{} of {bytes} byte{}", plural(messages), plural(bytes)),
        }
    }
}

/// What was read and did not go: whole messages, and what there was of one more.
fn left(flow: &Flow) -> String {
    let whole = Amount { messages: flow.undelivered_messages, bytes: flow.undelivered_bytes };
    match (whole.messages + whole.bytes, flow.undelivered_part) {
        (_, 0) => whole.to_string(),
        (0, part) => format!("{} of an unfinished message", Amount { messages: 0, bytes: part }),
        (_, part) => format!("{whole} and {} of an unfinished one", Amount { messages: 0, bytes: part }),
    }
}

/// How a command ended, in words.
struct Ended(ExitStatus);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.signal().and_then(Signal::new)) {
            (Some(code), _) => write!(f, "ended with exit code {code}"),
            (None, Some(signal)) => write!(f, "was ended by {signal}"),
            (None, None) => f.write_str("ended"),
        }
    }
}
