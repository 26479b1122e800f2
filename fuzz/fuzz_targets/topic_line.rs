#![no_main]
#![doc = "See `tieline_fuzz::topic_line`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::topic_line(data));
