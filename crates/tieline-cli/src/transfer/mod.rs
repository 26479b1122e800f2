//! What `send`, `recv` and `connect` have in common: two addresses, opened and joined by the relay, and told about.

mod interrupts;
mod progress;
mod report;

use std::time::{Duration, Instant};

use tieline_transport::Error;
use tieline_transport::addr::{Address, Key, Options, Scheme};
use tieline_transport::endpoint::{Direction, Endpoint};
use tieline_transport::frame::{ByteOrder, Framing, Width};
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

/// Reads an address; `-` is standard input and output, as for other commands.
pub(crate) fn address(text: &str) -> Outcome<Address> {
    let address: Address = if text == "-" { "stdio:" } else { text }.parse()?;
    let scheme = address.scheme();
    if scheme.is_available() {
        return Ok(address);
    }
    let available: Vec<&str> = Scheme::all().filter(|scheme| scheme.is_available()).map(Scheme::name).collect();
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
        let relay = self.relay(&interrupts, begun);
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
        Report { job: &self, took, flowed, outcome: outcome?, signal: interrupts.signal() }.tell()
    }

    fn open(&self, interrupts: &Interrupts, begun: Instant) -> Outcome<(Endpoint, Endpoint)> {
        let (receive, send) = match self.shape {
            Shape::BothWays => (Direction::Both, Direction::Both),
            Shape::Send | Shape::Receive | Shape::OneWay => (Direction::Receive, Direction::Send),
        };
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

    /// The address with what is left of the time, unless it says itself how long opening may take.
    fn bounded(&self, address: &Address, begun: Instant) -> Outcome<Address> {
        let fits = address.scheme().options().contains(&Key::Timeout);
        match self.flags.timeout {
            Some(timeout) if fits && address.options().timeout.is_none() => {
                with(address, Key::Timeout, |options| options.timeout = Some(timeout.saturating_sub(begun.elapsed())))
            }
            _ => Ok(address.clone()),
        }
    }

    fn relay(&self, interrupts: &Interrupts, begun: Instant) -> Relay {
        let flags = &self.flags;
        let framing = self.framing();
        let mut relay = Relay::new().stop_on(&interrupts.stop).framing(framing);
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
        let framings = [&self.from, &self.to].map(|address| address.options().frame.unwrap_or(framing).marks());
        match flags.count {
            Some(count) => relay.max_messages(count),
            // Without a limit bytes would pass as they are, although the two sides mark messages differently.
            None if framings[0] != framings[1] => relay.max_messages(u64::MAX),
            None => relay,
        }
    }

    /// How messages are marked off where an address does not say so itself.
    fn framing(&self) -> Framing {
        let flags = &self.flags;
        let framing = match flags.frame {
            // It may have its own limit.
            Some(framing) if framing.max_len() != Framing::DEFAULT_MAX_LEN => return framing,
            Some(framing) => framing,
            None if flags.length_prefixed => Framing::length(Width::U32, ByteOrder::Big),
            None if flags.raw => Framing::raw(),
            // A line feed in a message is not worth losing it: it is written, and told at the end.
            None => Framing::text(),
        };
        framing.with_max_len(flags.max_message)
    }

    /// Whether waiting was ruled out.
    fn never_waits(&self) -> bool {
        self.flags.timeout == Some(Duration::ZERO)
    }

    fn gave_up(&self) -> Code {
        if self.never_waits() { Code::WouldBlock } else { Code::TimedOut }
    }
}
