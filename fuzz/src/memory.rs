//! What strangers say of shared memory: layouts, and recordings of topics.

use tieline_shm::recording::{Ending, Message, Reader, Writer};
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
