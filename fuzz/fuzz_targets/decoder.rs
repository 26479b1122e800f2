#![no_main]
#![doc = "See `tieline_fuzz::decoder`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::decoder(data));
