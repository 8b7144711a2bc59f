//! How many instructions each operation without I/O takes, counted by valgrind's callgrind. Times
//! are another thing on each machine and at each moment; these counts are the same within a
//! fraction of a percent, so that a change of 2 % is a change of the code.
//!
//! `cargo bench --bench instructions` prints them and compares them with `perf/instructions.json`;
//! it fails when one has changed, to more or to less. `BLESS=1` writes the file instead. Words
//! after `--` choose operations whose names hold one of them. In `cargo test` each is done once.
//!
//! The counts are those of a CPU with AVX2, without SHA instructions, as valgrind presents it, and
//! of one compiler: a new one is a reason to bless. gungraun, which does the same for many crates,
//! needs a program of exactly its own version installed beside it, also for a test run, and keeps
//! what it compares with in `target/`; all that is used of it would be the few lines of `count`.

#[path = "../../tests/support/authority.rs"]
mod authority;
#[path = "../support/null.rs"]
mod null;
mod operations;
#[path = "../support/pipe.rs"]
mod pipe;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

use operations::{OPERATIONS, Operation};

/// How often an operation is done before it is counted, so that its buffers have grown.
const WARM_UP: u32 = 10;

/// How often it is done while it is counted.
const TIMES: u32 = 100;

/// How far a count may be from the one in the file.
const TOLERANCE: f64 = 0.02;

/// The argument that makes this program do one operation, under valgrind.
const MEASURE: &str = "--measure";

/// Instructions of each operation, by name.
type Counts = BTreeMap<String, f64>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [flag, name] if flag == MEASURE => measure(name),
        _ if !arguments.iter().any(|argument| argument == "--bench") => do_all_once(),
        _ if !has_valgrind() => {
            eprintln!(
                "instructions are not counted: valgrind is not installed. \
                 Debian, Ubuntu: apt install valgrind; Fedora: dnf install valgrind; \
                 Arch: pacman -S valgrind"
            );
            ExitCode::SUCCESS
        }
        _ => compare(&arguments),
    }
}

fn measure(name: &str) -> ExitCode {
    let Some((_, prepare)) = OPERATIONS.iter().find(|(each, _)| *each == name) else {
        eprintln!("there is no operation `{name}`");
        return ExitCode::FAILURE;
    };
    let mut operation = prepare();
    (0..WARM_UP).for_each(|_| operation());
    counted_instructions(&mut operation);
    ExitCode::SUCCESS
}

/// What callgrind counts: this function, known to it by its name, and all that it calls.
#[inline(never)]
fn counted_instructions(operation: &mut Operation) {
    (0..TIMES).for_each(|_| operation());
}

fn do_all_once() -> ExitCode {
    for (_, prepare) in OPERATIONS {
        prepare()();
    }
    ExitCode::SUCCESS
}

fn has_valgrind() -> bool {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// Runs one operation under callgrind and gives its instructions.
fn count(name: &str) -> Result<f64, String> {
    let program = env::current_exe().map_err(|error| format!("who am I: {error}"))?;
    let profile = program.with_extension(format!("{}.callgrind", std::process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted_instructions*"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program)
        .args([MEASURE, name])
        .output()
        .map_err(|error| format!("valgrind cannot be started: {error}"))?;
    let counted = fs::read_to_string(&profile).unwrap_or_default();
    // What is left behind when that fails lies in target/.
    let _ = fs::remove_file(&profile);
    let totals = counted.lines().find_map(|line| line.strip_prefix("totals: "));
    match totals.and_then(|total| total.trim().parse::<u64>().ok()) {
        Some(total) if output.status.success() && total > 0 => Ok(total as f64 / f64::from(TIMES)),
        _ => Err(format!(
            "valgrind has counted nothing for `{name}` ({}):\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

/// Counts the operations that are asked for, and compares them with the file, or writes it.
fn compare(arguments: &[String]) -> ExitCode {
    let words: Vec<&String> = arguments.iter().filter(|each| !each.starts_with('-')).collect();
    let path = expected_path();
    let result = read(&path).and_then(|expected| count_all(&words, expected));
    let result = match (result, env::var_os("BLESS")) {
        (Ok((counts, _)), Some(_)) => write(&path, &counts),
        (Ok((_, true)), None) => Err(format!(
            "instructions differ from {}: find out why; if it is meant, BLESS=1 writes them",
            path.display()
        )),
        (result, _) => result.map(drop),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the table, and gives what the file should hold and whether it does not. What is not asked
/// for is taken to be as it was.
fn count_all(words: &[&String], expected: Counts) -> Result<(Counts, bool), String> {
    let is_wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(*word));
    let (mut counts, mut changed) = (Counts::new(), false);
    println!("{:<52} {:>14} {:>9}", "instructions", "per operation", "change");
    for (name, _) in OPERATIONS.iter().filter(|(name, _)| is_wanted(name)) {
        let counted = count(name)?;
        let (text, is_same) = verdict(expected.get(*name).copied(), counted);
        println!("{name:<52} {counted:>14.1} {text:>9}");
        changed |= !is_same;
        counts.insert((*name).to_owned(), counted);
    }
    for (name, count) in expected {
        if OPERATIONS.iter().any(|(each, _)| *each == name) {
            counts.entry(name).or_insert(count);
        } else {
            println!("{name:<52} {:>14} {:>9}", "", "gone");
            changed = true;
        }
    }
    Ok((counts, changed))
}

/// What the table says of a count, and whether that is the expected one.
fn verdict(expected: Option<f64>, counted: f64) -> (String, bool) {
    let Some(expected) = expected else { return ("new".to_owned(), false) };
    let change = counted / expected - 1.0;
    let is_same = change.abs() <= TOLERANCE;
    let mark = if is_same { "" } else { " !" };
    (format!("{:+.1} %{mark}", 100.0 * change), is_same)
}

fn expected_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("perf/instructions.json")
}

fn read(path: &Path) -> Result<Counts, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Counts::new()),
        Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
    };
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, counts: &Counts) -> Result<(), String> {
    let text = serde_json::to_string_pretty(counts).map_err(|error| error.to_string())?;
    fs::write(path, text + "\n")
        .map_err(|error| format!("{} cannot be written: {error}", path.display()))
}
