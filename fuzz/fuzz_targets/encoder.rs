#![no_main]
#![doc = "See `tieline_fuzz::encoder`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::encoder(data));
