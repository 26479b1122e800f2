//! Framings of byte streams: however a stream is chopped, the same messages come out, within the limits.

use tieline_transport::frame::{ByteOrder, Decoder, Encoder, FrameErrorKind, Framing, Marks, Width};

use crate::Choices;

/// What the decoder may hold above one message: its read-ahead.
const READ_AHEAD: usize = 64 << 10;

/// A hostile stream in hostile pieces. The input is a framing (4 bytes), a way of chopping (3 bytes), and the stream.
pub fn decoder(data: &[u8]) {
    let mut choices = Choices(data);
    let framing = framing(&mut choices);
    let chopping = Chopping::new(&mut choices);
    let stream = choices.0;
    let (messages, end) = decode(framing, stream, chopping);
    match framing.marks() {
        Marks::None => {
            assert_eq!(end, None);
            assert!(messages.iter().all(|message| (1..=framing.max_len()).contains(&message.len())));
            assert_eq!(messages.concat(), stream);
        }
        Marks::Delimiter(delimiter) => {
            let (expected, failed) = split(stream, delimiter, framing.max_len());
            assert_eq!(messages, expected);
            match end {
                None => assert!(!failed),
                Some(FrameErrorKind::TooLong { len, limit }) => {
                    assert!(failed && limit == framing.max_len() && len > limit as u64);
                }
                other => panic!("{other:?}"),
            }
        }
        Marks::Length(width, order) => {
            let (expected, failure) = measure(stream, width, order, framing.max_len());
            assert_eq!(messages, expected);
            assert_eq!(end, failure);
        }
        Marks::Whole => whole(stream, framing.max_len(), &messages, end),
    }
}

/// Messages through the encoder and back. The input is a framing, a way of chopping, and messages after their lengths.
pub fn encoder(data: &[u8]) {
    let mut choices = Choices(data);
    let framing = framing(&mut choices);
    let chopping = Chopping::new(&mut choices);
    // Only text lets line feeds through, and then they count as ends.
    let lax = framing.to_string().starts_with("text");
    let (mut encoder, mut stream, mut sent) = (Encoder::new(framing), Vec::new(), Vec::new());
    while !choices.is_empty() {
        let len = usize::from(choices.word());
        let message = choices.take(len);
        let refusal = match framing.marks() {
            Marks::None | Marks::Whole => false,
            _ if message.len() > framing.max_len() => true,
            Marks::Delimiter(delimiter) => !lax && message.contains(&delimiter),
            _ => false,
        };
        let before = stream.len();
        match encoder.encode(message) {
            Ok(encoded) => {
                assert!(!refusal, "{framing} took {message:?}");
                encoded.append_to(&mut stream);
                assert_eq!(stream.len() - before, encoded.len());
                assert_eq!(stream[before..], encoded.parts().concat());
                sent.push(message.to_vec());
            }
            Err(error) => {
                assert!(refusal, "{framing} refused {message:?}: {error}");
                assert_eq!(error.message(), sent.len() as u64 + 1);
            }
        }
        assert_eq!(encoder.count(), sent.len() as u64);
    }
    let (came, end) = decode(framing, &stream, chopping);
    if framing.marks() == Marks::Whole {
        // Nothing stands between the messages, and only who reads them together finds them too long.
        return whole(&sent.concat(), framing.max_len(), &came, end);
    }
    assert_eq!(end, None);
    if framing.marks() == Marks::None {
        assert_eq!(came.concat(), sent.concat());
    } else if lax {
        // A message that ends with a line feed is not given another one.
        let lines =
            sent.iter().flat_map(|message| message.strip_suffix(b"\n").unwrap_or(message).split(|byte| *byte == b'\n'));
        assert_eq!(came, lines.collect::<Vec<_>>());
    } else {
        assert_eq!(came, sent);
    }
}

/// Feeds the stream piece by piece, takes out what there is after each, and watches the memory.
fn decode(framing: Framing, stream: &[u8], mut chopping: Chopping) -> (Vec<Vec<u8>>, Option<FrameErrorKind>) {
    let mut decoder = Decoder::new(framing);
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let marks = match framing.marks() {
        Marks::None | Marks::Whole => 0,
        Marks::Delimiter(_) => 1,
        Marks::Length(width, _) => width.len_bytes(),
    };
    let bound = framing.max_len().saturating_add(marks).saturating_add(READ_AHEAD);
    let mut rest = stream;
    loop {
        let piece = &rest[..chopping.next().min(rest.len())];
        let taken = if chopping.in_place {
            let space = decoder.space();
            assert!(!space.is_empty(), "there is no space although every message was taken out");
            let len = piece.len().min(space.len());
            space[..len].copy_from_slice(&piece[..len]);
            decoder.filled(len);
            len
        } else {
            decoder.push(piece)
        };
        assert!(taken > 0 || piece.is_empty(), "nothing goes in although every message was taken out");
        assert_eq!(decoder.rest().len(), decoder.pending());
        assert!(decoder.pending() <= bound, "{} bytes are held and {bound} is the limit", decoder.pending());
        rest = &rest[taken..];
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => messages.push(message.to_vec()),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(error.message(), messages.len() as u64 + 1);
                    stays_failed(decoder, &error.kind());
                    return (messages, Some(error.kind()));
                }
            }
            assert_eq!(decoder.count(), messages.len() as u64);
        }
        let pending = decoder.pending();
        assert!(pending + decoder.space().len() <= bound, "more space than the limit allows");
        if rest.is_empty() {
            break;
        }
    }
    match decoder.finish() {
        Ok(last) => {
            messages.extend(last.map(<[u8]>::to_vec));
            assert_eq!(decoder.pending(), 0);
            assert_eq!(decoder.finish(), Ok(None));
            (messages, None)
        }
        Err(error) => {
            assert_eq!(error.message(), messages.len() as u64 + 1);
            stays_failed(decoder, &error.kind());
            (messages, Some(error.kind()))
        }
    }
}

/// A failed decoder gives the same answer for ever and takes only so much more.
fn stays_failed(mut decoder: Decoder, kind: &FrameErrorKind) {
    for _ in 0..3 {
        decoder.push(&[0; 100]);
        assert_eq!(decoder.next_message().map_err(|error| error.kind()), Err(*kind));
        assert_eq!(decoder.finish().map_err(|error| error.kind()), Err(*kind));
    }
}

/// The messages of a delimited stream, seen whole; and whether one was too long.
fn split(stream: &[u8], delimiter: u8, limit: usize) -> (Vec<Vec<u8>>, bool) {
    let mut messages: Vec<Vec<u8>> = stream.split(|byte| *byte == delimiter).map(<[u8]>::to_vec).collect();
    // Behind the last delimiter there is a message only if there is something.
    messages.pop_if(|last| last.is_empty());
    match messages.iter().position(|message| message.len() > limit) {
        Some(index) => {
            messages.truncate(index);
            (messages, true)
        }
        None => (messages, false),
    }
}

/// A stream that is one message: it comes out as it is, or as soon as it is too long, not at all.
fn whole(stream: &[u8], limit: usize, messages: &[Vec<u8>], end: Option<FrameErrorKind>) {
    if stream.len() > limit {
        assert!(messages.is_empty());
        match end {
            // It did not wait for the end to see it.
            Some(FrameErrorKind::TooLong { len, limit: said }) => {
                assert!(said == limit && (limit as u64 + 1..=stream.len() as u64).contains(&len));
            }
            other => panic!("{other:?}"),
        }
    } else {
        assert_eq!(end, None);
        // An empty stream is no message.
        assert_eq!(messages, if stream.is_empty() { &[][..] } else { std::slice::from_ref(&stream) });
    }
}

/// The messages of a stream of lengths, seen whole; and how it ends.
fn measure(stream: &[u8], width: Width, order: ByteOrder, limit: usize) -> (Vec<Vec<u8>>, Option<FrameErrorKind>) {
    let mut messages = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let Some((head, body)) = rest.split_at_checked(width.len_bytes()) else {
            return (messages, Some(FrameErrorKind::Truncated { have: rest.len(), expected: None }));
        };
        let mut bytes = [0; 8];
        let len = match order {
            ByteOrder::Big => {
                bytes[8 - head.len()..].copy_from_slice(head);
                u64::from_be_bytes(bytes)
            }
            ByteOrder::Little => {
                bytes[..head.len()].copy_from_slice(head);
                u64::from_le_bytes(bytes)
            }
        };
        if len > limit as u64 {
            return (messages, Some(FrameErrorKind::TooLong { len, limit }));
        }
        let Some((message, after)) = body.split_at_checked(len as usize) else {
            let (have, expected) = (body.len(), Some(len as usize));
            return (messages, Some(FrameErrorKind::Truncated { have, expected }));
        };
        messages.push(message.to_vec());
        rest = after;
    }
    (messages, None)
}

/// Four bytes: the marks, the delimiter, the limit.
fn framing(choices: &mut Choices<'_>) -> Framing {
    let (marks, delimiter, limit) = (choices.byte(), choices.byte(), choices.word());
    let framing = match marks % 13 {
        0 => Framing::raw(),
        1 => Framing::line(),
        2 => Framing::delimited(delimiter),
        3 => Framing::length(Width::U8, ByteOrder::Big),
        4 => Framing::length(Width::U8, ByteOrder::Little),
        5 => Framing::length(Width::U16, ByteOrder::Big),
        6 => Framing::length(Width::U16, ByteOrder::Little),
        7 => Framing::length(Width::U32, ByteOrder::Big),
        8 => Framing::length(Width::U32, ByteOrder::Little),
        9 => Framing::length(Width::U64, ByteOrder::Big),
        10 => Framing::length(Width::U64, ByteOrder::Little),
        11 => Framing::text(),
        _ => Framing::whole(),
    };
    // The highest limit stands for none.
    if limit == u16::MAX { framing } else { framing.with_max_len(limit.into()) }
}

/// How a stream arrives in pieces: sizes from a small generator, and by which of the decoder's two doors.
struct Chopping {
    state: u32,
    most: usize,
    in_place: bool,
}

impl Chopping {
    fn new(choices: &mut Choices<'_>) -> Self {
        let (seed, style) = (choices.word(), choices.byte());
        let most = 1_usize << ((style >> 1) % 18);
        Self { state: u32::from(seed) | 1 << 16, most, in_place: style & 1 == 1 }
    }

    fn next(&mut self) -> usize {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        1 + (self.state >> 8) as usize % self.most
    }
}
