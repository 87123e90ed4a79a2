//! See `aquifer_fuzz::text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aquifer_fuzz::text::run(data);
});
