//! See `aquifer_fuzz::batch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aquifer_fuzz::batch::run(data);
});
