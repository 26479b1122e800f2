#![no_main]
#![doc = "See `tieline_fuzz::vsock_address`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::vsock_address(data));
