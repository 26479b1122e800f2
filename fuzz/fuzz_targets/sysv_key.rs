#![no_main]
#![doc = "See `tieline_fuzz::sysv_key`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::sysv_key(data));
