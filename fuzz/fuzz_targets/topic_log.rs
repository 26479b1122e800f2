#![no_main]
#![doc = "See `tieline_fuzz::topic_log`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::topic_log(data));
