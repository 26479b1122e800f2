#![no_main]
#![doc = "See `tieline_fuzz::recording`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::recording(data));
