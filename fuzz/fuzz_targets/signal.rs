#![no_main]
#![doc = "See `tieline_fuzz::signal`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::signal(data));
