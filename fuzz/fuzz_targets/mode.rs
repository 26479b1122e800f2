#![no_main]
#![doc = "See `tieline_fuzz::mode`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::mode(data));
