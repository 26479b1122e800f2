#![no_main]
#![doc = "See `tieline_fuzz::meeting`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::meeting(data));
