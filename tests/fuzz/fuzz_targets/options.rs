//! See `aquifer_fuzz::options`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aquifer_fuzz::options::run(data);
});
