//! Recordings as files: one, or numbered ones of a limited size.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::writer::failed;
use super::{END_BYTES, Ending, Header, Message, Reader, Writer};
use crate::error::{Error, ErrorKind, Result};
use crate::rendezvous::random;
use crate::untyped::Carried;

const CREATE: &str = "create the recording";
const OPEN: &str = "open the recording";

/// What is written or read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// The file of a part: `name.rec.0001` for the first of `name.rec`.
#[must_use]
pub fn part_path(recording: &Path, part: u32) -> PathBuf {
    let mut path = OsString::from(recording);
    path.push(format!(".{part:04}"));
    path.into()
}

/// How to record.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecorderOptions {
    rotate_bytes: Option<u64>,
    overwrite: bool,
}

impl RecorderOptions {
    /// Numbered files instead of one, each of at most so many bytes (but with one message at least).
    #[must_use]
    pub fn rotate(mut self, bytes: u64) -> Self {
        self.rotate_bytes = Some(bytes);
        self
    }

    /// Writes over files that are there; otherwise they are an error.
    #[must_use]
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }
}

/// Records into files. Dropping it leaves a recording without an end, as its process's death does.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    header: Header,
    options: RecorderOptions,
    started: Instant,
    /// `None` once a part could not be begun or ended.
    writer: Option<Writer<BufWriter<File>>>,
    /// Of the parts before.
    earlier: Written,
}

#[derive(Clone, Copy, Debug, Default)]
struct Written {
    messages: u64,
    bytes: u64,
}

impl Recorder {
    /// Begins a recording of the topic `topic` in the file `path`, or in numbered ones beside it.
    ///
    /// # Errors
    /// `AlreadyExists` if the file is there; `NotFound`, `PermissionDenied`, `System`: of creating and writing it.
    pub fn create(path: &Path, topic: &str, carried: &Carried, options: RecorderOptions) -> Result<Self> {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let header = Header {
            id: random(),
            part: u32::from(options.rotate_bytes.is_some()),
            started_ns: u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX),
            topic: topic.to_owned(),
            carried: carried.clone(),
        };
        let mut recorder = Self {
            path: path.to_owned(),
            header,
            options,
            started: Instant::now(),
            writer: None,
            earlier: Written::default(),
        };
        recorder.begin()?;
        Ok(recorder)
    }

    /// Writes a message that came now.
    ///
    /// # Errors
    /// `TooLarge`; `System` (a full disk, for instance): what was written before stays, and nothing can follow.
    pub fn write(&mut self, publisher: u64, sequence: u64, payload: &[u8]) -> Result<()> {
        let at_ns = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if let (Some(most), Some(writer)) = (self.options.rotate_bytes, &self.writer) {
            let len = writer.len_bytes() + Writer::<File>::message_len_bytes(payload.len()) + END_BYTES;
            if len > most && writer.messages() > 0 {
                self.end(0, true)?;
                self.header.part += 1;
                self.begin()?;
            }
        }
        self.writer()?.write(&Message { publisher, sequence, at_ns, payload })
    }

    /// How many messages were written.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.earlier.messages + self.writer.as_ref().map_or(0, Writer::messages)
    }

    /// How many bytes were written, in all parts; [`END_BYTES`] more once it is finished.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.earlier.bytes + self.writer.as_ref().map_or(0, Writer::len_bytes)
    }

    /// How many files there are.
    #[must_use]
    pub fn parts(&self) -> u32 {
        self.header.part.max(1)
    }

    /// How long it has been recording.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Hands what was written to the system: from then on it survives this process.
    ///
    /// # Errors
    /// `System`: of writing.
    pub fn flush(&mut self) -> Result<()> {
        self.writer()?.flush()
    }

    /// Ends the recording, and waits until it is on the disk. `lost` says how many messages it lacks.
    ///
    /// # Errors
    /// `System`: of writing.
    pub fn finish(mut self, lost: u64) -> Result<()> {
        self.end(lost, false)
    }

    fn begin(&mut self) -> Result<()> {
        let path = match self.header.part {
            0 => self.path.clone(),
            part => part_path(&self.path, part),
        };
        let mut options = OpenOptions::new();
        options.write(true);
        if self.options.overwrite {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        let file = options.open(&path).map_err(|error| failed(CREATE, &error).on(path.display()))?;
        self.writer = Some(Writer::new(BufWriter::with_capacity(BUFFER_BYTES, file), &self.header)?);
        Ok(())
    }

    fn end(&mut self, lost: u64, continues: bool) -> Result<()> {
        let Some(writer) = self.writer.take() else { return Err(ended()) };
        let (messages, bytes) = (writer.messages(), writer.len_bytes());
        let file = writer.finish(lost, continues)?;
        // What cannot be synchronised, such as a pipe, was written all the same.
        let _ = file.get_ref().sync_data();
        self.earlier.messages += messages;
        self.earlier.bytes += bytes + END_BYTES;
        Ok(())
    }

    fn writer(&mut self) -> Result<&mut Writer<BufWriter<File>>> {
        self.writer.as_mut().ok_or_else(ended)
    }
}

fn ended() -> Error {
    Error::new("write the recording", ErrorKind::System).because("writing failed before")
}

/// Reads a recording from its file, or from its numbered files one after the other.
#[derive(Debug)]
pub struct Player {
    path: PathBuf,
    header: Header,
    reader: Reader<BufReader<File>>,
    /// Parts follow by their numbers; not if one of them was named itself.
    is_whole: bool,
    parts: u32,
    ending: Option<Ending>,
}

impl Player {
    /// Opens the recording `path`: the file of that name; if there is none, the numbered ones, from the first.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `System`: of the file; `Corrupted` if it is no recording.
    pub fn open(path: &Path) -> Result<Self> {
        let (file, is_whole) = match File::open(path) {
            Ok(file) => (file, false),
            Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => {
                (File::open(part_path(path, 1)).map_err(|_| failed(OPEN, &missing).on(path.display()))?, true)
            }
            Err(error) => return Err(failed(OPEN, &error).on(path.display())),
        };
        let reader = reader(file).map_err(|error| error.on(path.display()))?;
        let header = reader.header().clone();
        Ok(Self { path: path.to_owned(), header, reader, is_whole, parts: 1, ending: None })
    }

    /// What it says of itself; of several parts, the first.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next message; `None` at the [end](Self::ending).
    ///
    /// # Errors
    /// `System`: of reading; `Corrupted`: a further part is missing, is no recording, or is one of another.
    #[expect(clippy::should_implement_trait, reason = "a message borrows from the player")]
    pub fn next(&mut self) -> Result<Option<Message<'_>>> {
        loop {
            if self.ending.is_some() {
                return Ok(None);
            }
            // Asked for again because a message that is returned would be borrowed in all turns of the loop.
            if self.reader.next()?.is_some() {
                return Ok(self.reader.current());
            }
            match self.reader.ending() {
                Some(Ending::Complete { continues: true, .. }) if self.is_whole => self.next_part()?,
                ending => self.ending = ending,
            }
        }
    }

    /// How it ends, once [`next`](Self::next) has answered `None`.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// How many files were read so far.
    #[must_use]
    pub fn parts(&self) -> u32 {
        self.parts
    }

    fn next_part(&mut self) -> Result<()> {
        let number = self.reader.header().part.saturating_add(1);
        let path = part_path(&self.path, number);
        let wrong = |why: &'static str| Error::new(OPEN, ErrorKind::Corrupted).on(path.display()).because(why);
        let file = match File::open(&path) {
            Ok(file) => file,
            // Its recorder died between two parts, or the file was taken away: what there was has been read.
            Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => {
                self.ending = Some(Ending::Torn { at: 0 });
                return Ok(());
            }
            Err(error) => return Err(failed(OPEN, &error).on(path.display())),
        };
        let next = match reader(file) {
            Ok(next) => next,
            // A recorder that died while it began the part.
            Err(error) if error.kind() == ErrorKind::Corrupted => {
                self.ending = Some(Ending::Torn { at: 0 });
                return Ok(());
            }
            Err(error) => return Err(error.on(path.display())),
        };
        if next.header().id != self.header.id || next.header().part != number {
            return Err(wrong("it is a part of another recording"));
        }
        self.reader = next;
        self.parts += 1;
        Ok(())
    }
}

fn reader(file: File) -> Result<Reader<BufReader<File>>> {
    Reader::new(BufReader::with_capacity(BUFFER_BYTES, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(folder: &Path, options: RecorderOptions, count: u64) -> Result<PathBuf> {
        let path = folder.join("a.rec");
        let mut recorder = Recorder::create(&path, "a", &Carried::of::<[u8]>(), options)?;
        for sequence in 0..count {
            recorder.write(9, sequence, &[sequence as u8; 100])?;
        }
        assert_eq!(recorder.messages(), count);
        recorder.finish(0)?;
        Ok(path)
    }

    fn play(path: &Path) -> (Vec<u64>, Player) {
        let mut player = Player::open(path).unwrap();
        let mut sequences = Vec::new();
        while let Some(message) = player.next().unwrap() {
            assert_eq!(message.payload, [message.sequence as u8; 100]);
            sequences.push(message.sequence);
        }
        (sequences, player)
    }

    #[test]
    fn one_file_is_not_written_over_unless_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = record(folder.path(), RecorderOptions::default(), 10).unwrap();
        let again = record(folder.path(), RecorderOptions::default(), 1).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        assert_eq!(play(&path).0, (0..10).collect::<Vec<_>>());
        record(folder.path(), RecorderOptions::default().overwrite(true), 1).unwrap();
        assert_eq!(play(&path).0, [0]);
    }

    #[test]
    fn numbered_files_are_one_recording() {
        let folder = tempfile::tempdir().unwrap();
        let path = record(folder.path(), RecorderOptions::default().rotate(600), 20).unwrap();
        let files = std::fs::read_dir(folder.path()).unwrap().count();
        assert!(files > 4, "{files} files");
        for file in std::fs::read_dir(folder.path()).unwrap() {
            assert!(file.unwrap().metadata().unwrap().len() <= 600);
        }
        let (sequences, player) = play(&path);
        assert_eq!(sequences, (0..20).collect::<Vec<_>>());
        assert_eq!(
            (player.parts() as usize, player.ending()),
            (files, Some(Ending::Complete { lost: 0, continues: false }))
        );
        // One alone is what it holds.
        let (alone, player) = play(&part_path(&path, 2));
        assert!(!alone.is_empty() && alone[0] > 0 && player.header().part == 2);
        std::fs::remove_file(part_path(&path, 3)).unwrap();
        let (sequences, player) = play(&path);
        assert!(sequences.len() < 20 && matches!(player.ending(), Some(Ending::Torn { .. })));
    }
}
