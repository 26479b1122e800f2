#![no_main]
#![doc = "See `tieline_fuzz::segment`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::segment(data));
