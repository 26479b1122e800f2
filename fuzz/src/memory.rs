//! What strangers say of shared memory: layouts, recordings of topics, segments, and what processes say when they meet.

use tieline_shm::Description;
use tieline_shm::inspect;
use tieline_shm::recording::{Ending, Message, Reader, Writer};
use tieline_shm::testing::{reread_meeting, reread_topic_line};
use tieline_shm::untyped::{Carried, Contents};

/// A recording by anybody.
pub fn recording(data: &[u8]) {
    let Ok(mut reader) = Reader::new(data) else { return };
    let mut again = Writer::new(Vec::new(), reader.header()).expect("memory takes all");
    let mut messages = Vec::new();
    let mut last = 0;
    while let Some(message) = reader.next().expect("memory can be read") {
        assert!(message.at_ns >= last, "time does not run backwards");
        last = message.at_ns;
        assert!(message.payload.len() < data.len());
        again.write(&message).expect("memory takes all");
        messages.push((message.publisher, message.sequence, message.at_ns, message.payload.to_vec()));
    }
    match reader.ending().expect("an end") {
        Ending::Torn { at } | Ending::Damaged { at } => assert!(at <= data.len() as u64),
        _ => {}
    }
    let bytes = again.finish(0, false).expect("memory takes all");
    let mut reader = Reader::new(&*bytes).expect("what we write is a recording");
    for (publisher, sequence, at_ns, payload) in &messages {
        let (publisher, sequence, at_ns) = (*publisher, *sequence, *at_ns);
        let expected = Message { publisher, sequence, at_ns, payload };
        assert_eq!(reader.next().expect("readable"), Some(expected));
    }
    assert_eq!(reader.next().expect("readable"), None);
    assert_eq!(reader.ending(), Some(Ending::Complete { lost: 0, continues: false }));
}

/// The most of a value that is worth showing here: a layout may claim a type of a gigabyte.
const VALUE_MAX: usize = 64 << 10;

/// A layout, a zero byte, and bytes that should be a value.
pub fn schema(data: &[u8]) {
    let place = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (text, bytes) = (String::from_utf8_lossy(&data[..place]), data.get(place + 1..).unwrap_or_default());
    let Ok(contents) = Carried::new(1, text).contents() else { return };
    let (Contents::One(schema) | Contents::Many(schema)) = &contents else { return };
    if schema.size > VALUE_MAX {
        return;
    }
    let mut value = bytes.to_vec();
    value.resize(schema.size, 0);
    let shown = schema.to_json(&value);
    // NaN has many patterns and one name, so that it is text that is compared.
    if schema.check(&value).is_ok() && schema.size > 0 {
        match schema.from_json(&shown) {
            Ok(made) => {
                assert_eq!(schema.check(&made), Ok(()));
                assert_eq!(schema.to_json(&made).to_string(), shown.to_string());
            }
            // Two fields or variants of one name are one in JSON.
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    let _ = contents.check(bytes);
}

/// A packet of the meeting place.
pub fn meeting(data: &[u8]) {
    // Texts are cut and made fit to be shown, at most three bytes for one.
    let Some(shown) = reread_meeting(data) else { return };
    assert!(shown.len() <= 3 * data.len());
    let Some(again) = reread_meeting(&shown) else { panic!("what we write means something") };
    assert_eq!(reread_meeting(&again), Some(again.clone()), "and the same each time");
}

/// A message between publisher and subscriber.
pub fn topic_line(data: &[u8]) {
    let Some(again) = reread_topic_line(data) else { return };
    assert_eq!(data.len(), again.len());
    let meaningful = |bytes: &[u8]| [&bytes[..2], &bytes[4..]].concat();
    assert_eq!(meaningful(&again), meaningful(data), "nothing is read into it");
}

/// A segment of somebody else, as lookers see it. Its first bytes are made right, so that the rest is looked at.
pub fn segment(data: &[u8]) {
    const PAGE: usize = Description::LEN_BYTES;
    let mut memory = data.to_vec();
    memory.resize(data.len().max(PAGE), 0);
    memory[..8].copy_from_slice(b"TIELINE\x01");
    memory[8..12].copy_from_slice(&1_u32.to_ne_bytes());
    let Ok(state) = inspect::describe(&memory[..]) else { return };
    let told = &state.description;
    assert!(told.len_bytes >= PAGE as u64 && told.committed_bytes <= told.len_bytes - PAGE as u64);
    let read: usize = state.facts.iter().map(|values| values.values.len()).sum();
    assert!(read * 4 <= memory.len() * 20, "each of twenty facts reads the memory once at most");
    assert!(state.members.len() <= memory.len() / 4);
    for offset in [0, PAGE as u64, u64::MAX] {
        let _ = state.waits_for(offset);
    }
}
