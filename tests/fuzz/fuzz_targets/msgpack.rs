#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanfare::proto::msgpack::exercise(bytes));
