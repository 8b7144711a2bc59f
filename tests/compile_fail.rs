//! What must not compile: programs that send or take something else than an event declares, and
//! what the compiler says to them.
//!
//! `TRYBUILD=overwrite cargo test --test compile_fail` writes what it says now.

use std::process::Command;

/// What the compiler says is worded anew with most of its versions: this one is compared. That they
/// do not compile is checked with every version, by the examples at `fanfare::Event`.
const COMPILER: &str = "rustc 1.95.";

#[test]
fn what_an_event_does_not_declare_does_not_compile() {
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(compiler).arg("--version").output().unwrap().stdout;
    if version.starts_with(COMPILER.as_bytes()) {
        trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
    }
}
