//! Pipes, FIFOs, and descriptors given by number.

use std::path::Path;
use std::sync::Arc;

use tieline_os::fifo;

use super::{Opened, one_way};
use crate::addr::{Address, Create, Options};
use crate::endpoint::bytes::{ByteSink, ByteSource, Input, Output};
use crate::endpoint::{Capabilities, Direction, Sink, Source, inherited, owner};
use crate::error::{Error, ErrorKind, Result};
use crate::stop::Patience;

pub(super) fn anonymous(options: &Options, direction: Direction, name: &Arc<str>) -> Result<Opened> {
    if direction != Direction::Both {
        let text = "cannot open pipe: for one direction: nobody else has the other end of a new pipe";
        return Err(Error::new(ErrorKind::InvalidInput, text).hint("open it for both"));
    }
    let (reader, writer) = tieline_os::pipe::pipe()?;
    if let Some(bytes) = options.capacity {
        writer.set_capacity(usize::try_from(bytes).unwrap_or(usize::MAX))?;
    }
    Ok(Opened {
        source: Some(Source::Bytes(ByteSource::new(Input::Pipe(reader), name))),
        sink: Some(Sink::Bytes(ByteSink::new(Output::Pipe(writer), name))),
        capabilities: Capabilities { ordered: true, reliable: true, ..Capabilities::default() },
        ..Opened::default()
    })
}

pub(super) fn by_number(
    read: u32,
    write: Option<u32>,
    options: &Options,
    direction: Direction,
    name: &Arc<str>,
) -> Result<Opened> {
    let source = direction.receives().then(|| inherited::source(inherited::duplicate(read)?, name, options));
    let written = write.unwrap_or(read);
    let sink = direction.sends().then(|| inherited::sink(inherited::duplicate(written)?, name, options));
    Ok(of_halves(source.transpose()?, sink.transpose()?))
}

/// Standard input and output.
pub(super) fn standard(options: &Options, direction: Direction, name: &Arc<str>) -> Result<Opened> {
    let source = direction.receives().then(|| inherited::source(inherited::stdin()?, name, options));
    let sink = direction.sends().then(|| inherited::sink(inherited::stdout()?, name, options));
    Ok(of_halves(source.transpose()?, sink.transpose()?))
}

/// What descriptors of any sort can do together.
fn of_halves(source: Option<Source>, sink: Option<Sink>) -> Opened {
    let messages = matches!(source, Some(Source::Messages(_))) || matches!(sink, Some(Sink::Messages(_)));
    let max_message = match &sink {
        Some(Sink::Messages(sink)) => sink.max_message(),
        _ => None,
    };
    let length = match &source {
        Some(Source::Bytes(source)) => source.remaining(),
        _ => None,
    };
    let capabilities = Capabilities {
        duplex: true,
        boundaries: messages,
        ordered: true,
        reliable: true,
        max_message,
        length,
        ..Capabilities::default()
    };
    Opened { source, sink, capabilities, ..Opened::default() }
}

pub(super) fn named(
    address: &Address,
    path: &Path,
    direction: Direction,
    patience: Patience<'_>,
    name: &Arc<str>,
) -> Result<Opened> {
    let options = address.options();
    let mode = options.mode.unwrap_or_default();
    let made = match options.create {
        Some(Create::New) => fifo::create(path, mode).map(|()| true)?,
        Some(Create::Yes) => fifo::create_if_absent(path, mode)?,
        Some(Create::No) | None => false,
    };
    if made {
        owner::give_path(address, path)?;
    }
    let capacity = |set: &dyn Fn(usize) -> tieline_os::Result<usize>| match options.capacity {
        Some(bytes) => set(usize::try_from(bytes).unwrap_or(usize::MAX)).map(drop).map_err(Error::from),
        None => Ok(()),
    };
    let what = format!("open {name}");
    let capabilities = Capabilities { ordered: true, reliable: true, ..Capabilities::default() };
    match direction {
        Direction::Both => Err(one_way(address)),
        Direction::Receive => {
            // Open throughout the wait, so that nothing is lost of a writer who comes and goes between two looks.
            let held = fifo::try_open_reader(path)?;
            let reader = patience.in_slices(&what, |slice| fifo::open_reader_timeout(path, slice))?;
            drop(held);
            capacity(&|bytes| reader.set_capacity(bytes))?;
            let source = Some(Source::Bytes(ByteSource::new(Input::Pipe(reader), name)));
            Ok(Opened { source, capabilities, ..Opened::default() })
        }
        Direction::Send => {
            let writer = patience.in_slices(&what, |slice| fifo::open_writer_timeout(path, slice))?;
            capacity(&|bytes| writer.set_capacity(bytes))?;
            let sink = Some(Sink::Bytes(ByteSink::new(Output::Pipe(writer), name)));
            Ok(Opened { sink, capabilities, ..Opened::default() })
        }
    }
}
