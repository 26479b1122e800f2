//! Cutting and joining against an oracle, with every way of chopping, and with hostile input.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const DELIMITER: u8 = b'|';

fn framings() -> impl Strategy<Value = Framing> {
    let widths = prop_oneof![Just(Width::U8), Just(Width::U16), Just(Width::U32), Just(Width::U64)];
    let orders = prop_oneof![Just(ByteOrder::Big), Just(ByteOrder::Little)];
    prop_oneof![
        Just(Framing::delimited(DELIMITER)),
        (widths, orders).prop_map(|(width, order)| Framing::length(width, order)),
    ]
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>().prop_map(|byte| if byte == DELIMITER { b'!' } else { byte }), 0..200)
}

fn join(framing: Framing, messages: &[Vec<u8>]) -> Vec<u8> {
    let mut encoder = Encoder::new(framing);
    let mut stream = Vec::new();
    for message in messages {
        encoder.encode(message).unwrap().append_to(&mut stream);
    }
    stream
}

/// Feeds a decoder in chunks of the given sizes (then all the rest) and collects what comes out.
fn cut(framing: Framing, stream: &[u8], chunks: &[usize]) -> (Vec<Vec<u8>>, Result<(), FrameError>) {
    let mut decoder = Decoder::new(framing);
    let mut messages = Vec::new();
    let mut rest = stream;
    let mut sizes = chunks.iter().copied();
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
        let taken = decoder.push(&rest[..size]);
        assert!(taken > 0, "no room though everything was taken out");
        rest = &rest[taken..];
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => messages.push(message.to_vec()),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
    }
    match decoder.finish() {
        Ok(last) => {
            messages.extend(last.map(<[u8]>::to_vec));
            (messages, Ok(()))
        }
        Err(error) => (messages, Err(error)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_joined_is_cut_the_same(
        framing in framings(),
        messages in vec(message(), 0..20),
        chunks in vec(1..300_usize, 0..60),
    ) {
        let stream = join(framing, &messages);
        prop_assert_eq!(cut(framing, &stream, &chunks), (messages, Ok(())));
    }

    /// The oracle is the standard library's own splitting.
    #[test]
    fn lines_are_what_split_says(stream in "[a-c|]{0,300}", chunks in vec(1..20_usize, 0..60)) {
        let mut expected: Vec<Vec<u8>> = stream.split('|').map(|line| line.as_bytes().to_vec()).collect();
        if expected.last().is_some_and(Vec::is_empty) {
            expected.pop();
        }
        prop_assert_eq!(cut(Framing::delimited(DELIMITER), stream.as_bytes(), &chunks), (expected, Ok(())));
    }

    /// Whatever comes: no panic, no message beyond the limit, bounded memory, the same however it is chopped.
    #[test]
    fn hostile_bytes_are_survived(
        framing in framings(),
        limit in 1..300_usize,
        stream in vec(any::<u8>(), 0..2000),
        chunks in vec(1..100_usize, 0..60),
    ) {
        let framing = framing.with_max_len(limit);
        let (messages, end) = cut(framing, &stream, &chunks);
        prop_assert!(messages.iter().all(|message| message.len() <= limit));
        let (again, same_end) = cut(framing, &stream, &[]);
        prop_assert_eq!(messages, again);
        prop_assert_eq!(end.map_err(|error| error.message()), same_end.map_err(|error| error.message()));
    }

    #[test]
    fn raw_loses_and_adds_nothing(stream in vec(any::<u8>(), 0..2000), limit in 1..100_usize) {
        let (messages, end) = cut(Framing::raw().with_max_len(limit), &stream, &[]);
        prop_assert!(messages.iter().all(|message| (1..=limit).contains(&message.len())));
        prop_assert_eq!((messages.concat(), end), (stream, Ok(())));
    }

    #[test]
    fn find_is_position(byte: u8, bytes in vec(0..4_u8, 0..300)) {
        let byte = byte % 8;
        prop_assert_eq!(decoder::find(byte, &bytes), bytes.iter().position(|other| *other == byte));
    }
}

#[test]
fn a_message_of_the_limit_passes_and_one_more_byte_does_not() {
    for framing in [Framing::line(), Framing::default()] {
        let framing = framing.with_max_len(10);
        let mut encoder = Encoder::new(framing);
        let mut stream = Vec::new();
        encoder.encode(&[b'x'; 10]).unwrap().append_to(&mut stream);
        assert_eq!(cut(framing, &stream, &[]), (vec![vec![b'x'; 10]], Ok(())));
        let error = encoder.encode(&[b'x'; 11]).unwrap_err();
        assert_eq!((error.kind(), error.message()), (FrameErrorKind::TooLong { len: 11, limit: 10 }, 2));

        let wide = Encoder::new(framing.with_max_len(20)).encode(&[b'x'; 11]).unwrap().parts().concat();
        let (messages, end) = cut(framing, &[stream, wide].concat(), &[]);
        let error = end.unwrap_err();
        assert_eq!((messages.len(), error.message()), (1, 2), "{error}");
    }
}

/// A promise of 2^64-1 bytes, and one of the limit that is never kept, make no room beyond the read-ahead.
#[test]
fn a_promised_length_takes_no_memory() {
    let mut decoder = Decoder::new(Framing::length(Width::U64, ByteOrder::Big).with_max_len(1 << 40));
    decoder.push(&[0xFF; 8]);
    let error = decoder.next_message().unwrap_err();
    assert_eq!(error.kind(), FrameErrorKind::TooLong { len: u64::MAX, limit: 1 << 40 });
    assert_eq!(decoder.next_message(), Err(error.clone()), "failed once, failed for ever");
    assert_eq!(decoder.finish(), Err(error));

    let mut decoder = Decoder::new(Framing::length(Width::U64, ByteOrder::Big).with_max_len(1 << 40));
    decoder.push(&(1_u64 << 40).to_be_bytes());
    assert_eq!(decoder.next_message(), Ok(None));
    assert!(decoder.space().len() <= 1 << 20);
}

#[test]
fn a_flood_without_a_delimiter_ends_at_the_limit() {
    let mut decoder = Decoder::new(Framing::line().with_max_len(1 << 20));
    let mut sent = 0;
    let error = loop {
        sent += decoder.push(&[b'x'; 4096]);
        match decoder.next_message() {
            Ok(message) => assert_eq!(message, None),
            Err(error) => break error,
        }
    };
    assert!(sent <= (1 << 20) + 4096, "noticed after {sent} bytes");
    assert!(matches!(error.kind(), FrameErrorKind::TooLong { limit: 1_048_576, .. }));
}

#[test]
fn a_stream_cut_short_says_where() {
    let stream = join(Framing::default(), &[b"whole".to_vec(), b"cut".to_vec()]);
    let ends = [(stream.len() - 1, 2, Some(3)), (9 + 3, 3, None)];
    for (len, have, expected) in ends {
        let (messages, end) = cut(Framing::default(), &stream[..len], &[]);
        let error = end.unwrap_err();
        assert_eq!((messages.len(), error.message()), (1, 2));
        assert_eq!(error.kind(), FrameErrorKind::Truncated { have, expected }, "{error}");
    }
    assert_eq!(cut(Framing::default(), &stream[..9], &[]).1, Ok(()), "between messages is no fault");
}

#[test]
fn a_delimiter_inside_is_refused_and_the_stream_goes_on() {
    let mut encoder = Encoder::new(Framing::line());
    let error = encoder.encode(b"two\nlines").unwrap_err();
    assert_eq!(error.kind(), FrameErrorKind::DelimiterInside { delimiter: b'\n', position: 3 });
    assert_eq!(encoder.encode(b"one").unwrap().parts().concat(), b"one\n");
    assert_eq!(encoder.count(), 1);
}

#[test]
fn large_messages_come_through_small_reads() {
    let message: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
    let stream = join(Framing::default(), &[message.clone(), message.clone()]);
    assert_eq!(cut(Framing::default(), &stream, &vec![70_000; 100]), (vec![message.clone(), message], Ok(())));
}

#[test]
fn lengths_stand_in_the_order_they_say() {
    let given: [(Width, ByteOrder, &[u8]); 7] = [
        (Width::U8, ByteOrder::Big, &[3]),
        (Width::U16, ByteOrder::Big, &[0, 3]),
        (Width::U16, ByteOrder::Little, &[3, 0]),
        (Width::U32, ByteOrder::Big, &[0, 0, 0, 3]),
        (Width::U32, ByteOrder::Little, &[3, 0, 0, 0]),
        (Width::U64, ByteOrder::Big, &[0, 0, 0, 0, 0, 0, 0, 3]),
        (Width::U64, ByteOrder::Little, &[3, 0, 0, 0, 0, 0, 0, 0]),
    ];
    for (width, order, head) in given {
        let stream = join(Framing::length(width, order), &[b"abc".to_vec()]);
        assert_eq!(stream, [head, b"abc"].concat());
    }
    assert_eq!(Framing::length(Width::U8, ByteOrder::Big).max_len(), 255);
    assert!(Encoder::new(Framing::length(Width::U8, ByteOrder::Big)).encode(&[0; 256]).is_err());
}

#[test]
fn framings_are_read_and_written() {
    for text in
        ["raw", "whole", "line", "nul", "byte:0x1e", "u8", "u16", "u32", "u64", "u16le", "u32le", "u64le", "line,4K"]
    {
        assert_eq!(text.parse::<Framing>().unwrap().to_string(), text);
    }
    assert_eq!("u32be".parse(), Ok(Framing::default()));
    for wrong in
        ["", "lines", "u24", "u8le", "byte:", "byte:30", "byte:0x", "byte:0x1ff", "byte:0x+1", "line,", "raw,0"]
    {
        assert!(wrong.parse::<Framing>().is_err(), "{wrong:?} was taken");
    }
}

#[test]
fn text_lets_line_feeds_through() {
    let message = b"two\nlines";
    assert!(Encoder::new(Framing::line()).encode(message).is_err());
    let mut stream = Vec::new();
    Encoder::new(Framing::text()).encode(message).unwrap().append_to(&mut stream);
    assert_eq!(stream, b"two\nlines\n");
    // One at the end is not doubled, and does not divide.
    let mut encoder = Encoder::new(Framing::text());
    for (message, written, divided) in [
        (&b"a\n"[..], &b"a\n"[..], 0),
        (b"\n", b"\n", 0),
        (b"", b"\n", 0),
        (b"a\nb\n", b"a\nb\n", 1),
        (b"\n\n", b"\n\n", 2),
    ] {
        let mut stream = Vec::new();
        encoder.encode(message).unwrap().append_to(&mut stream);
        assert_eq!((stream.as_slice(), encoder.divided()), (written, divided), "{message:?}");
    }
    for framing in [Framing::text(), Framing::text().with_max_len(4096)] {
        assert_eq!(framing.to_string().parse(), Ok(framing));
    }
}

#[test]
fn the_whole_stream_is_one_message_up_to_the_limit() {
    let framing = Framing::whole().with_max_len(100_000);
    let mut decoder = Decoder::new(framing);
    let stream = vec![7; 100_000];
    for piece in stream.chunks(999) {
        assert_eq!(decoder.push(piece), piece.len());
        assert_eq!(decoder.next_message(), Ok(None));
    }
    assert_eq!(decoder.finish(), Ok(Some(&stream[..])));
    assert_eq!(decoder.finish(), Ok(None));

    let mut decoder = Decoder::new(framing);
    assert_eq!(Decoder::new(framing).finish(), Ok(None));
    decoder.push(&stream);
    decoder.push(b"x");
    let error = decoder.next_message().unwrap_err();
    assert_eq!(error.kind(), FrameErrorKind::TooLong { len: 100_001, limit: 100_000 });
    assert!(decoder.finish().is_err());
}
