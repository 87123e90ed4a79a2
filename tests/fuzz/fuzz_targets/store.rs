//! See `aquifer_fuzz::store`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aquifer_fuzz::store::run(data);
});
