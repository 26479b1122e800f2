//! What `send`, `recv` and `connect` have in common: two addresses, opened and joined by the relay, and told about.

pub(crate) mod interrupts;
mod progress;
mod report;

use std::time::{Duration, Instant};

use tieline_transport::Error;
use tieline_transport::addr::{Address, Key, Options, Scheme};
use tieline_transport::endpoint::{Direction, Endpoint, check_inherited};
use tieline_transport::frame::{ByteOrder, Framing, Marks, Width};
use tieline_transport::relay::Relay;

use self::interrupts::Interrupts;
use self::progress::Show;
use self::report::Report;
use crate::exit::{self, Code, Failure, Outcome};
use crate::flags::Transfer;
use crate::name::Named;

/// Which way things go, and which side is our own standard input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Standard input to an address.
    Send,
    /// An address to standard output.
    Receive,
    /// One address to another.
    OneWay,
    /// Both ways between two addresses.
    BothWays,
}

/// A transfer that was asked for.
pub(crate) struct Job {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) shape: Shape,
    pub(crate) flags: Transfer,
}

/// The schemes that can be sent to and received from. A new pipe has no end that anybody else could hold.
pub(crate) fn openable() -> impl Iterator<Item = Scheme> {
    Scheme::all().filter(|scheme| scheme.is_available() && *scheme != Scheme::Pipe)
}

/// Reads an address; `-` is standard input and output, as for other commands.
pub(crate) fn address(text: &str) -> Outcome<Address> {
    let address: Address = if text == "-" { "stdio:" } else { text }.parse()?;
    let scheme = address.scheme();
    if scheme == Scheme::Pipe {
        let why = "a new pipe has no end that anybody else holds";
        let how = "fd:N is one that was inherited, fifo:/path one with a name";
        return Err(Failure::usage(format_args!("cannot use {text}: {why}; {how}")));
    }
    if scheme.is_available() {
        return Ok(address);
    }
    let available: Vec<&str> = openable().map(Scheme::name).collect();
    let has = available.join(", ");
    let sentence = format_args!("cannot open {text}: this build has no transport for {scheme}:; it has {has}");
    Err(Failure::new(Code::Unsupported, sentence))
}

/// The address with an option more.
pub(crate) fn with(address: &Address, key: Key, set: impl FnOnce(&mut Options)) -> Outcome<Address> {
    if !address.scheme().options().contains(&key) {
        let scheme = address.scheme();
        return Err(Failure::usage(format_args!("{key} means nothing for {address}: {scheme}: has no such option")));
    }
    let mut options = address.options().clone();
    set(&mut options);
    Ok(address.with_options(options)?)
}

/// How long what was taken may still be given after a request to stop, or when the time is up.
const GRACE: Duration = Duration::from_secs(1);

impl Job {
    /// Opens both ends, moves everything, and says how it went.
    pub(crate) fn run(self) -> Outcome {
        let interrupts = Interrupts::install()?;
        let begun = Instant::now();
        let (from, to) = self.open(&interrupts, begun)?;
        let mut relay = self.relay(&interrupts, begun, self.framings(&from, &to));
        if self.is_framed(&from, &to) {
            relay = relay.by_message();
        }
        let progress = relay.progress();
        let show = Show::start(&self, &progress, from.capabilities().length);
        let moving = Instant::now();
        let outcome = match self.shape {
            Shape::BothWays => relay.both_ways(from, to),
            Shape::Send | Shape::Receive | Shape::OneWay => relay.one_way(from, to),
        };
        let took = moving.elapsed();
        let flowed = progress.first_moved().map(|first| first.elapsed());
        show.finish();
        let outcome = outcome?;
        let signal = interrupts.signal_of_the_group(outcome.exits.iter().map(|(_, status)| status))?;
        Report { job: &self, took, flowed, outcome, signal }.tell()
    }

    fn open(&self, interrupts: &Interrupts, begun: Instant) -> Outcome<(Endpoint, Endpoint)> {
        let (receive, send) = match self.shape {
            Shape::BothWays => (Direction::Both, Direction::Both),
            Shape::Send | Shape::Receive | Shape::OneWay => (Direction::Receive, Direction::Send),
        };
        // Before anything is waited for, started or taken.
        for (address, direction) in [(&self.from, receive), (&self.to, send)] {
            check_inherited(address, direction)?;
        }
        let open = |address: &Address, direction| {
            let bounded = self.bounded(address, begun)?;
            let announce = |at: &Address| report::announce(&self.flags, address, at);
            Endpoint::open_announced(&bounded, direction, &interrupts.stop, announce)
                .map_err(|error| self.not_opened(address, &bounded, &error, interrupts))
        };
        // The second is opened when the first has a peer: a command is not started, and nobody called, for nothing.
        let from = open(&self.from, receive)?;
        Ok((from, open(&self.to, send)?))
    }

    fn not_opened(&self, address: &Address, bounded: &Address, error: &Error, interrupts: &Interrupts) -> Failure {
        let name = report::name(address);
        match interrupts.signal() {
            Some(signal) if error.is_stopped() => {
                let sentence =
                    format_args!("ended by {signal} while waiting for somebody at {name}; nothing was moved");
                Failure::new(interrupts::code(signal), sentence)
            }
            _ if error.is_timeout() && (self.flags.timeout.is_some() || address.options().timeout.is_some()) => {
                let sentence = format_args!("nobody was at {name} in time; nothing was moved");
                Failure::new(self.gave_up(), sentence)
            }
            _ => {
                // The time that is left was never part of what was typed.
                let sentence = error.to_string().replace(&bounded.to_string(), &address.to_string());
                let failure = Failure::new(exit::code_of_transport(error.kind()), sentence);
                let failure = failure.advised(Code::PermissionDenied, "its owner and mode decide who may use it");
                match Named::parse(&address.to_string()) {
                    Ok(named) => failure.advised(Code::NotFound, format_args!("{} makes it", named.making())),
                    Err(_) => failure,
                }
            }
        }
    }

    /// The address with what is left of the time, unless it says itself how long opening may take, and with the largest
    /// message in its framing, likewise.
    fn bounded(&self, address: &Address, begun: Instant) -> Outcome<Address> {
        let fits = address.scheme().options().contains(&Key::Timeout);
        let address = &match address.options().frame {
            Some(frame) => {
                with(address, Key::Frame, |options| options.frame = Some(frame.or_max_len(self.flags.max_message)))?
            }
            None => address.clone(),
        };
        match self.flags.timeout {
            Some(timeout) if fits && address.options().timeout.is_none() => {
                with(address, Key::Timeout, |options| options.timeout = Some(timeout.saturating_sub(begun.elapsed())))
            }
            _ => Ok(address.clone()),
        }
    }

    fn relay(&self, interrupts: &Interrupts, begun: Instant, [first, second]: [Framing; 2]) -> Relay {
        let flags = &self.flags;
        let mut relay = Relay::new().stop_on(&interrupts.stop).framings(first, second);
        relay = match flags.timeout {
            None => relay.grace(GRACE),
            // Standard input may take its time; it is the address that is not waited for.
            Some(Duration::ZERO) if self.shape == Shape::Send => {
                relay.grace(Duration::ZERO).sink_timeout(Duration::ZERO)
            }
            Some(Duration::ZERO) => relay.grace(GRACE).idle_timeout(Duration::ZERO),
            Some(timeout) => relay.grace(GRACE.min(timeout)).timeout(timeout.saturating_sub(begun.elapsed())),
        };
        if let Some(idle) = flags.idle {
            relay = relay.idle_timeout(idle);
        }
        if let Some(bytes) = flags.bytes {
            relay = relay.max_bytes(bytes);
        }
        match flags.count {
            Some(count) => relay.max_messages(count),
            None => relay,
        }
    }

    /// How messages are marked off on the two sides, where an address does not say so itself.
    ///
    /// A flag means the side where it tells something: the address, if that carries plain bytes; otherwise, if the
    /// address keeps messages apart by itself or by its own `frame`, standard input or output. What has no marks at
    /// all goes as it is, so it means both.
    fn framings(&self, from: &Endpoint, to: &Endpoint) -> [Framing; 2] {
        // Nobody asked for lines that can be told apart, so a line feed in a message is not worth losing it.
        let text = Framing::text().with_max_len(self.flags.max_message);
        let Some(asked) = self.asked_framing() else { return [text; 2] };
        let is_plain = |end: &Endpoint| end.framing().is_none() && !end.capabilities().boundaries;
        let marked = !matches!(asked.marks(), Marks::None | Marks::Whole);
        match self.shape {
            Shape::Send if marked && is_plain(to) => [text, asked],
            Shape::Receive if marked && is_plain(from) => [asked, text],
            _ => [asked; 2],
        }
    }

    /// Whether somebody asked for messages: then they are cut, counted and checked, also between two byte streams that
    /// are framed alike.
    fn is_framed(&self, from: &Endpoint, to: &Endpoint) -> bool {
        let asked = [self.asked_framing(), from.framing(), to.framing()];
        asked.into_iter().flatten().any(|framing| framing.marks() != Marks::None)
    }

    /// The framing that a flag asks for.
    fn asked_framing(&self) -> Option<Framing> {
        let flags = &self.flags;
        let framing = match flags.frame {
            Some(framing) => framing,
            None if flags.length_prefixed => Framing::length(Width::U32, ByteOrder::Big),
            None if flags.raw => Framing::raw(),
            None if flags.whole => Framing::whole(),
            // A line feed in a message is not worth losing it: it is written, and told at the end.
            None if flags.lines => Framing::text(),
            None => return None,
        };
        Some(framing.or_max_len(flags.max_message))
    }

    /// Whether waiting was ruled out.
    fn never_waits(&self) -> bool {
        self.flags.timeout == Some(Duration::ZERO)
    }

    fn gave_up(&self) -> Code {
        if self.never_waits() { Code::WouldBlock } else { Code::TimedOut }
    }
}
