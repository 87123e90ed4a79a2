//! See `aquifer_fuzz::command`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aquifer_fuzz::command::run(data);
});
