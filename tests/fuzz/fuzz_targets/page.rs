//! See `aquifer_fuzz::page`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aquifer_fuzz::page::run(data);
});
