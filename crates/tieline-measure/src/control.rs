//! How the conductor talks to its players: orders and answers as JSON datagrams, descriptors beside them.

use std::ffi::OsString;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_os::unix::{RecvOptions, SendOptions, SeqPacket};

use crate::link::End;
use crate::shm::{Figure, Part, Subject};

/// An order or an answer is a few hundred bytes; a player's sentence about a failure may be longer.
const LARGEST_WORD_BYTES: usize = 16 * 1024;
/// The most descriptors a mechanism hands to one end.
const MOST_DESCRIPTORS: usize = 16;

/// The sentence of a player that did not answer; any other sentence of it tells more.
pub(crate) const NO_ANSWER: &str = "no answer in time";

/// What went wrong, as a sentence. It goes into the report or to a person; nobody branches on it.
pub(crate) type Outcome<T> = Result<T, String>;

/// What a row says when its player was killed.
const DIED: &str = "the measuring process died";

/// Turns any error into its sentence.
pub(crate) trait Sentence<T> {
    fn sentence(self) -> Outcome<T>;
}

impl<T, E: std::fmt::Display> Sentence<T> for Result<T, E> {
    fn sentence(self) -> Outcome<T> {
        self.map_err(|error| error.to_string())
    }
}

/// The command that starts a player: an executable that calls [`play`](crate::play).
#[derive(Clone, Debug)]
pub struct PlayerCommand {
    program: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
}

impl PlayerCommand {
    /// The running executable with `arguments`, which must lead it to [`play`](crate::play).
    ///
    /// # Errors
    /// If the system does not tell the executable's path.
    pub fn this_executable<A: Into<OsString>>(arguments: impl IntoIterator<Item = A>) -> std::io::Result<Self> {
        let program = std::env::current_exe()?;
        Ok(Self { program, arguments: arguments.into_iter().map(Into::into).collect(), variables: Vec::new() })
    }

    /// Sets a variable of the player's environment.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((key.into(), value.into()));
        self
    }
}

/// What the conductor asks of a player.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Run on this processor only.
    Pin { cpu: usize },
    /// Take one end of a mechanism; its descriptors come with the order. The answer is [`Answer::Done`].
    Join { mechanism: String, end: End, words: Vec<String>, largest: usize, peer: i32 },
    /// Send back every message of the link until the last one has gone back.
    Echo { link: usize, bytes: usize },
    /// Time round trips over the link.
    RoundTrips { link: usize, bytes: usize, window: Duration },
    /// Send as fast as possible.
    Flood { link: usize, bytes: usize, window: Duration },
    /// Receive what a flood sends.
    Drain { link: usize, bytes: usize },
    /// Hand on every message from one link to another until the last one has been handed on.
    Pass { from: usize, to: usize, bytes: usize },
    /// Time messages sent into one link that come back by another.
    Circulate { to: usize, from: usize, bytes: usize, window: Duration },
    /// Play one of the two parts of a subject; the answer is [`Answer::Figure`], after [`Answer::Here`] for each point at
    /// which both must be.
    Play { contestant: String, subject: Subject, part: Part, folder: PathBuf, window: Duration, cpus: [usize; 2] },
    /// The other is there too.
    GoOn,
}

/// What a player says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The order is carried out.
    Done,
    /// A sentence why it is not.
    Failed(String),
    /// What was timed.
    RoundTrips(crate::report::RoundTrips),
    /// What a drain received: messages, those missing, and the time from the first to the last.
    Drained { messages: u64, lost: u64, elapsed: Duration },
    /// A point is reached at which the other must be too.
    Here,
    /// A part is played; one of the two has a figure.
    Figure(Option<Figure>),
}

/// A player as the conductor sees it. Dropping it kills the process.
pub(crate) struct Player {
    child: Child,
    socket: SeqPacket,
}

impl Player {
    pub(crate) fn start(command: &PlayerCommand) -> Outcome<Self> {
        let (ours, theirs) = SeqPacket::pair().sentence()?;
        let child = Command::new(&command.program)
            .args(&command.arguments)
            .envs(command.variables.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", command.program.display()))?;
        Ok(Self { child, socket: ours })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Gives an order without waiting for its answer.
    pub(crate) fn order(&self, order: &Order, descriptors: &[OwnedFd]) -> Outcome<()> {
        send(&self.socket, order, descriptors).map_err(|_| DIED.to_owned())
    }

    /// Waits for the answer to the oldest unanswered order.
    pub(crate) fn answer(&self, patience: Duration) -> Outcome<Answer> {
        match receive(&self.socket, Some(patience))? {
            Some((Answer::Failed(reason), _)) => Err(reason),
            Some((answer, _)) => Ok(answer),
            None => Err(DIED.to_owned()),
        }
    }

    /// Gives an order that is answered by [`Answer::Done`], and waits for that.
    pub(crate) fn carry_out(&self, order: &Order, descriptors: &[OwnedFd], patience: Duration) -> Outcome<()> {
        self.order(order, descriptors)?;
        self.answer(patience).map(drop)
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends one word with its descriptors.
pub(crate) fn send(socket: &SeqPacket, word: &impl Serialize, descriptors: &[OwnedFd]) -> Outcome<()> {
    let bytes = serde_json::to_vec(word).sentence()?;
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    socket.send_with(&[IoSlice::new(&bytes)], SendOptions::new().fds(&descriptors)).sentence()
}

/// Receives one word; `None` when the other side has closed.
pub(crate) fn receive<T: for<'a> Deserialize<'a>>(
    socket: &SeqPacket,
    patience: Option<Duration>,
) -> Outcome<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; LARGEST_WORD_BYTES];
    let options = RecvOptions::new().max_fds(MOST_DESCRIPTORS);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let received = match patience {
        Some(patience) => socket.recv_with_timeout(&mut slices, options, patience),
        None => socket.recv_with(&mut slices, options),
    };
    let received = match received {
        Ok(Some(received)) => received,
        Ok(None) => return Ok(None),
        Err(error) if error.is_peer_dead() => return Ok(None),
        Err(error) if error.is_timeout() => return Err(NO_ANSWER.to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    if received.truncated || received.control_truncated {
        return Err("an order was longer than orders are".to_owned());
    }
    let word = serde_json::from_slice(&buffer[..received.len]).sentence()?;
    Ok(Some((word, received.fds)))
}
