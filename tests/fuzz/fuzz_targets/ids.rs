#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanfare::proto::engine::exercise_ids(bytes));
