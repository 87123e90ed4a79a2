//! See `aquifer_fuzz::bitmaps`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aquifer_fuzz::bitmaps::run(data);
});
