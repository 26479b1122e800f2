#![no_main]
#![doc = "See `tieline_fuzz::unix_name`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::unix_name(data));
