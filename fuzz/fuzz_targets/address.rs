#![no_main]
#![doc = "See `tieline_fuzz::address`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::address(data));
