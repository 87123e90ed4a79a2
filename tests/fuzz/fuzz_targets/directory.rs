//! See `aquifer_fuzz::directory`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aquifer_fuzz::directory::run(data);
});
