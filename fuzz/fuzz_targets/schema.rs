#![no_main]
#![doc = "See `tieline_fuzz::schema`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::schema(data));
