#![no_main]
#![doc = "See `tieline_fuzz::framing`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::framing(data));
