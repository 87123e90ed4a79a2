//! See `aquifer_fuzz::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aquifer_fuzz::frame::run(data);
});
