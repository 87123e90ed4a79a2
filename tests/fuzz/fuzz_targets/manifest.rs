//! See `aquifer_fuzz::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aquifer_fuzz::manifest::run(data);
});
