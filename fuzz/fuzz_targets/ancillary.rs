#![no_main]
#![doc = "See `tieline_fuzz::ancillary`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::ancillary(data));
