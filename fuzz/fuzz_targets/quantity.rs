#![no_main]
#![doc = "See `tieline_fuzz::quantity`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::quantity(data));
