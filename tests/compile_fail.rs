//! What must not compile: programs that send or take something else than an event declares, each
//! with what the compiler says to its author.
//!
//! They are given to the compiler as they are, with the library that cargo has built for this test.
//! `BLESS=1 cargo test --test compile_fail` writes what it says now.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What the compiler says is worded anew with many of its versions: this one's words are compared.
const WORDED_BY: &str = "rustc 1.95.";

/// The folder with the test, and the libraries that it is linked with.
fn libraries() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().to_owned()
}

/// The library: the one that was built last, since cargo has seen to it that this test's is new.
fn library(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap_or_default();
        name.starts_with("libfanfare-") && name.ends_with(".rlib")
    };
    let built = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    entries.filter(is_library).max_by_key(built).expect("cargo has built the library")
}

fn rustc() -> Command {
    Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()))
}

fn compile(program: &Path) -> Output {
    let folder = libraries();
    let mut rustc = rustc();
    rustc.args(["--edition=2024", "--emit=metadata", "-o"]);
    rustc.arg(folder.join("compile_fail.rmeta"));
    rustc.arg("--extern").arg(format!("fanfare={}", library(&folder).display()));
    rustc.arg("-L").arg(format!("dependency={}", folder.display()));
    rustc.arg(program).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

/// The error itself, without what follows from where and in which line the library says so.
fn essence(said: &str) -> String {
    let is_more = |line: &&str| line.starts_with("note:") || line.starts_with("help:");
    let lines: Vec<&str> =
        said.lines().take_while(|line| !line.is_empty() && !is_more(line)).collect();
    // How far it is indented depends on the numbers of those lines, too.
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let shared = lines.iter().skip(1).map(indent).min().unwrap_or(0);
    let (error, details) = lines.split_first().expect("the compiler says something");
    let details = details.iter().map(|line| format!("{}\n", &line[shared..]));
    let essence = format!("{error}\n{}", details.collect::<String>());
    // Types are written with their crate where any other crate has one of the same name.
    essence.replace("fanfare::", "")
}

#[test]
fn what_an_event_does_not_declare_does_not_compile() {
    let version = rustc().arg("--version").output().unwrap().stdout;
    let is_worded = version.starts_with(WORDED_BY.as_bytes());
    let folder = Path::new("tests/compile_fail");
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let mut programs = 0;
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        programs += 1;
        let program = folder.join(path.file_name().unwrap());
        let output = compile(&program);
        let said = String::from_utf8(output.stderr).unwrap();
        // Another kind of error would mean that the program itself is wrong.
        let expected = ["error[E0277]", "error[E0308]", "error[E0080]"];
        let is_refused = expected.iter().any(|error| said.starts_with(error));
        assert!(!output.status.success() && is_refused, "{}: {said}", program.display());
        let said = essence(&said);
        let written = path.with_extension("stderr");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&written, &said).unwrap();
        }
        let written = fs::read_to_string(&written).unwrap();
        assert!(said == written || !is_worded, "{}: it says\n{said}", program.display());
    }
    assert!(programs >= 7, "{programs} programs");
}
