#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fanfare::proto::proxy_protocol::exercise(bytes));
