#![no_main]
#![doc = "See `tieline_fuzz::pid`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::pid(data));
