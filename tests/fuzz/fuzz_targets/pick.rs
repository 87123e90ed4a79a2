//! See `aquifer_fuzz::pick`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aquifer_fuzz::pick::run(data);
});
