#![no_main]
#![doc = "See `tieline_fuzz::inotify`."]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tieline_fuzz::inotify(data));
