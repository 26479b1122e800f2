//! A Unix socket under tokio: how programs that await talk today.

use tieline_measure::shm::{Contestant, Exchange, Figure, Message, Part, Rank, Stage, Subject, Wait, round_trips};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};

use crate::Outcome;

pub(super) struct Socket;

pub(super) static SOCKET: Socket = Socket;

impl Contestant for Socket {
    fn name(&self) -> &'static str {
        "tokio Unix socket"
    }

    fn rank(&self) -> Rank {
        Rank::Peer
    }

    fn takes(&self, subject: Subject) -> bool {
        matches!(subject, Subject::RoundTrip { wait: Wait::Await, .. })
    }

    fn play(&self, _: Subject, stage: &Stage<'_>) -> Outcome<Option<Figure>> {
        let runtime = Builder::new_current_thread().enable_io().build().map_err(sentence)?;
        let path = stage.folder().join("socket");
        let stream = runtime.block_on(async {
            if stage.part() == Part::First {
                let listener = UnixListener::bind(path).map_err(sentence)?;
                stage.meet()?;
                listener.accept().await.map(|(stream, _)| stream).map_err(sentence)
            } else {
                stage.meet()?;
                UnixStream::connect(path).await.map_err(sentence)
            }
        })?;
        round_trips(stage, Ends { runtime, stream })
    }
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}

struct Ends {
    runtime: Runtime,
    stream: UnixStream,
}

impl Exchange for Ends {
    fn send(&mut self, number: u64) -> Outcome<()> {
        let message = Message::<64>::numbered(number);
        self.runtime.block_on(self.stream.write_all(&message.0)).map_err(sentence)
    }

    fn receive(&mut self) -> Outcome<u64> {
        let mut message = Message([0; 64]);
        self.runtime.block_on(self.stream.read_exact(&mut message.0)).map_err(sentence)?;
        Ok(message.number())
    }
}
