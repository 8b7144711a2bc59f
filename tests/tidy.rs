//! The rules that the source text itself keeps. Each says where it is broken and what to do.

#[path = "support/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fmt;

use source::{Source, find_word, is_word};

/// Where Rust lies.
const FOLDERS: &[&str] = &["src", "tests", "examples", "benches", "loadtest/src", "loadtest/tests"];

/// Modules that take bytes and time and give values: no descriptor, thread, clock or randomness.
const PURE: &[&str] = &["base", "proto", "session", "room", "fanout", "command"];

/// What a pure module must not name, and what it does instead.
const IMPURE: &[(&str, &str)] = &[
    ("Instant", "take `now: base::clock::Time` as a parameter"),
    ("SystemTime", "take `now: base::clock::Time` as a parameter"),
    ("std::thread", "the shards' threads are made in shard/run.rs alone"),
    ("thread_local", "keep it in the value; a shard owns its state"),
    ("std::os", "descriptors belong to driver/"),
    ("std::fs", "take the bytes as a parameter"),
    ("std::env", "take the option as a parameter"),
    ("TcpStream", "take bytes; sockets belong to driver/"),
    ("TcpListener", "take bytes; sockets belong to driver/"),
    ("UdpSocket", "take bytes; sockets belong to driver/"),
    ("UnixStream", "take bytes; sockets belong to driver/"),
    ("libc", "system calls belong to driver/sys.rs"),
    ("io_uring", "the ring belongs to driver/uring/"),
    ("rand", "take random bytes as a parameter; they come from Driver::random"),
    ("getrandom", "take random bytes as a parameter; they come from Driver::random"),
    ("fastrand", "take random bytes as a parameter; they come from Driver::random"),
];

/// Parts of the crate that are public for its own tests alone.
const INTERNAL: &[&str] = &[
    "fanfare::internal",
    "fanfare::base",
    "fanfare::driver",
    "fanfare::proto",
    "fanfare::session",
];

/// The one example that needs something internal, and what. It is there to show suites the framing
/// of the server, for which no user has a need.
const ECHO: (&str, &str) = ("examples/websocket_echo.rs", "fanfare::internal::echo_websockets");

const LINE_MAX: usize = 100;
const FUNCTION_MAX: usize = 70;
/// Lines of a file in front of its tests module.
const FILE_MAX: usize = 500;
/// Lines of a file, whatever they are.
const FILE_HARD_MAX: usize = 800;
const README_MAX: usize = 120;

/// Functions that were longer when the rule came, with their exact length: it may only shrink.
const LONG_FUNCTIONS: &[(&str, usize)] = &[];

/// A rule broken somewhere.
struct Finding {
    path: String,
    line: usize,
    remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.remedy)
    }
}

type Rule = fn(&[Source]) -> Vec<Finding>;

/// The repository keeps the rule.
#[track_caller]
fn holds(rule: Rule) {
    let sources = Source::read_all(FOLDERS, ".rs");
    assert!(sources.len() > 50, "the source was not found");
    no_findings(&rule(&sources));
}

#[track_caller]
fn no_findings(findings: &[Finding]) {
    let list: String = findings.iter().map(|finding| format!("\n{finding}")).collect();
    assert!(findings.is_empty(), "{} findings:{list}", findings.len());
}

/// The rule finds fault with exactly these lines of a file.
#[track_caller]
fn finds(rule: Rule, path: &str, text: &str, lines: &[usize]) {
    let found: Vec<usize> = rule(&[Source::new(path, text)]).iter().map(|f| f.line).collect();
    assert_eq!(found, lines, "in {path}:\n{text}");
}

fn finding(source: &Source, line: usize, remedy: impl Into<String>) -> Finding {
    Finding { path: source.path.clone(), line, remedy: remedy.into() }
}

/// Findings of a rule that looks at one line at a time.
fn each_line(
    sources: &[Source],
    looked_at: impl Fn(&Source) -> bool,
    fault: impl Fn(&source::Line) -> Option<String>,
) -> Vec<Finding> {
    let sources = sources.iter().filter(|source| looked_at(source));
    let lines = sources.flat_map(|source| source.numbered().map(move |line| (source, line)));
    lines
        .filter_map(|(source, (number, line))| Some(finding(source, number, fault(line)?)))
        .collect()
}

// The import table: the one in the documentation of the crate.

/// One row: a module, and what it may import.
struct Permission {
    module: String,
    path: String,
}

/// The table in `src/lib.rs`, which is the rule.
fn permissions() -> Vec<Permission> {
    let library = include_str!("../src/lib.rs");
    let rows = library.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let mut permissions = Vec::new();
    for row in rows {
        let mut cells = row.split('|').map(|cell| {
            let names = cell.split('`').map(str::trim);
            names.filter(|name| !name.is_empty() && *name != ",").collect::<Vec<_>>()
        });
        let (modules, paths) = (cells.next().unwrap(), cells.next().unwrap());
        for module in modules {
            let with = |path: &&str| Permission { module: module.into(), path: (*path).into() };
            permissions.extend(paths.iter().map(with));
        }
    }
    assert!(permissions.len() > 20, "the table of src/lib.rs was not understood");
    permissions
}

/// The paths within the crate that a line of code names, from the crate's root.
fn imports(source: &Source, code: &str) -> Vec<String> {
    let path_at = |at: usize| -> String {
        code[at..].chars().take_while(|c| is_word(c) || *c == ':').collect()
    };
    let mut paths: Vec<String> =
        code.match_indices("crate::").map(|(at, word)| path_at(at + word.len())).collect();
    let way_out = "super::".repeat(source.depth());
    paths.extend(code.find(&way_out).map(|at| path_at(at + way_out.len())));
    paths
}

fn allows(permission: &Permission, module: &str, path: &str) -> bool {
    permission.module == module
        && path
            .strip_prefix(&*permission.path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn imports_follow_the_table(sources: &[Source]) -> Vec<Finding> {
    let permissions = permissions();
    let mut findings = Vec::new();
    for source in sources {
        let Some(module) = source.module() else { continue };
        for (number, line) in source.numbered().filter(|(_, line)| !line.in_tests) {
            for path in imports(source, &line.code) {
                let is_own = path.split("::").next() == Some(module);
                if !is_own && !permissions.iter().any(|each| allows(each, module, &path)) {
                    findings.push(finding(source, number, format!(
                        "`{module}` must not import `{path}`: the table in src/lib.rs says what \
                         it may; move the code, or pass the value in"
                    )));
                }
            }
        }
    }
    findings
}

#[test]
fn every_module_imports_only_what_the_table_allows() {
    holds(imports_follow_the_table);
    let rule = imports_follow_the_table;
    finds(rule, "src/proto/a.rs", "use crate::base::slab::Key;\nuse crate::shard::State;\n", &[2]);
    finds(rule, "src/room/mod.rs", "use super::driver::Driver;\nuse self::a::B;\n", &[1]);
    finds(rule, "src/room/a.rs", "use super::b::C;\nuse super::super::command::D;\n", &[2]);
    finds(rule, "src/config.rs", "use crate::fanout::Encoder;\n", &[1]);
    finds(rule, "src/fanout.rs", "// crate::shard::Shard\nlet a = \"crate::shard\";\n", &[]);
}

#[test]
fn the_table_allows_nothing_that_is_not_used() {
    let sources = Source::read_all(&["src"], ".rs");
    let is_used = |permission: &Permission| {
        sources.iter().filter(|source| source.module() == Some(&permission.module)).any(|source| {
            let mut paths = source.lines.iter().flat_map(|line| imports(source, &line.code));
            paths.any(|path| allows(permission, &permission.module, &path))
        })
    };
    let unused = permissions().into_iter().filter(|permission| !is_used(permission));
    let unused: Vec<String> =
        unused.map(|each| format!("{} -> {}", each.module, each.path)).collect();
    assert!(unused.is_empty(), "take out of the table in src/lib.rs: {unused:?}");
}

#[test]
fn the_table_names_every_module() {
    let modules: BTreeSet<String> = Source::read_all(&["src"], ".rs")
        .iter()
        .filter_map(|source| source.module().map(str::to_owned))
        .collect();
    let table = include_str!("../src/lib.rs");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("//! | `")).collect();
    for module in modules {
        let name = format!("`{module}`");
        let first_cell =
            |row: &&str| row.split('|').nth(1).is_some_and(|cell| cell.contains(&name));
        assert!(rows.iter().any(first_cell), "src/lib.rs: say in the table what {name} may import");
    }
}

fn base_uses_std_alone(sources: &[Source]) -> Vec<Finding> {
    each_line(
        sources,
        |source| source.module() == Some("base"),
        |line| {
            let root = line.code.trim_start().strip_prefix("use ")?.split("::").next()?;
            let is_allowed = line.in_tests || ["std", "super", "self", "crate"].contains(&root);
            (!is_allowed).then(|| format!("base uses std alone: `{root}` belongs to a layer above"))
        },
    )
}

#[test]
fn base_uses_nothing_but_std() {
    holds(base_uses_std_alone);
    finds(base_uses_std_alone, "src/base/a.rs", "use std::fmt;\nuse bytes::Bytes;\n", &[2]);
}

fn users_see_the_public_part(sources: &[Source]) -> Vec<Finding> {
    let is_user =
        |source: &Source| source.path == "src/main.rs" || source.path.starts_with("examples/");
    let fault = |code: &str| {
        let internal = INTERNAL.iter().find(|path| code.contains(**path))?;
        Some(format!("`{internal}` is internal: use what the root of the crate exports"))
    };
    let is_echo = |source: &Source| source.path == ECHO.0;
    let all_but_echo = |source: &Source| is_user(source) && !is_echo(source);
    let mut findings = each_line(sources, all_but_echo, |line| fault(&line.code));
    findings.extend(each_line(sources, is_echo, |line| fault(&line.code.replace(ECHO.1, ""))));
    findings
}

#[test]
fn the_binary_and_the_examples_use_the_public_api_alone() {
    holds(users_see_the_public_part);
    let text = "use fanfare::Server;\nuse fanfare::internal::Shard;\nuse fanfare::base::id;\n";
    finds(users_see_the_public_part, "examples/a.rs", text, &[2, 3]);
    finds(users_see_the_public_part, "src/main.rs", text, &[2, 3]);
    let text = "fanfare::internal::echo_websockets(a)\nfanfare::internal::shared(b)\n";
    finds(users_see_the_public_part, ECHO.0, text, &[2]);
    finds(users_see_the_public_part, "examples/a.rs", text, &[1, 2]);
}

fn pure_modules_are_pure(sources: &[Source]) -> Vec<Finding> {
    let is_pure = |source: &Source| source.module().is_some_and(|module| PURE.contains(&module));
    each_line(sources, is_pure, |line| {
        let (word, remedy) =
            IMPURE.iter().find(|(word, _)| find_word(&line.code, word).is_some())?;
        (!line.in_tests).then(|| format!("`{word}` in a pure module: {remedy}"))
    })
}

#[test]
fn pure_modules_use_no_descriptor_thread_clock_or_randomness() {
    holds(pure_modules_are_pure);
    let text = "use std::time::{Duration, Instant};\nuse std::thread::spawn;\nfn operand() {}\n";
    finds(pure_modules_are_pure, "src/session/a.rs", text, &[1, 2]);
    finds(pure_modules_are_pure, "src/driver/a.rs", text, &[]);
}

fn unsafe_stays_in_the_driver(sources: &[Source]) -> Vec<Finding> {
    let is_elsewhere = |source: &Source| match source.path.strip_prefix("loadtest/src/") {
        Some(inside) => inside != "sys.rs",
        None => source.path.starts_with("src/") && source.module() != Some("driver"),
    };
    each_line(sources, is_elsewhere, |line| {
        find_word(&line.code, "unsafe")?;
        let home = "src/driver/, or loadtest/src/sys.rs";
        Some(format!("`unsafe` belongs to {home}: find a safe way, or move it there"))
    })
}

#[test]
fn unsafe_code_is_in_the_driver_alone() {
    holds(unsafe_stays_in_the_driver);
    let text = "// unsafe\nunsafe { f() }\nlet unsafety = 1;\n";
    finds(unsafe_stays_in_the_driver, "src/base/a.rs", text, &[2]);
    finds(unsafe_stays_in_the_driver, "loadtest/src/a.rs", text, &[2]);
    finds(unsafe_stays_in_the_driver, "loadtest/src/sys.rs", text, &[]);
}

fn unsafe_is_argued(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for (number, line) in source.numbered() {
            // An `unsafe fn` states its conditions as documentation, which clippy asks for.
            let Some(at) = find_word(&line.code, "unsafe") else { continue };
            if line.code[at..].starts_with("unsafe fn") || is_argued(source, number - 1) {
                continue;
            }
            let remedy = "say above it, in a comment `SAFETY: …`, why this is sound";
            findings.push(finding(source, number, remedy));
        }
    }
    findings
}

/// Whether a comment above the statement of this line, or beside it, says why it is sound.
fn is_argued(source: &Source, index: usize) -> bool {
    let above = source.lines[..index].iter().rev();
    // A statement may begin some lines above; it does so behind the end of another one.
    let mut statement_has_begun = false;
    for line in above {
        let code = line.code.trim_end();
        if code.is_empty() {
            statement_has_begun = true;
            match line.text.contains("SAFETY:") {
                true => return true,
                false if line.text.trim().is_empty() => return false,
                false => continue,
            }
        }
        if statement_has_begun || code.ends_with([';', '{', '}']) {
            return false;
        }
    }
    false
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    holds(unsafe_is_argued);
    finds(unsafe_is_argued, "src/driver/a.rs", "let a = 1;\nunsafe { f() };\n", &[2]);
    let text = "// SAFETY: two\n// lines.\nlet a =\n    unsafe { f() };\n";
    finds(unsafe_is_argued, "src/driver/a.rs", text, &[]);
    let text = "// SAFETY: of g alone.\nunsafe { g() };\nunsafe { f() };\n";
    finds(unsafe_is_argued, "src/driver/a.rs", text, &[3]);
}

fn lines_are_short(sources: &[Source]) -> Vec<Finding> {
    each_line(
        sources,
        |_| true,
        |line| {
            let length = line.text.chars().count();
            (length > LINE_MAX).then(|| format!("{length} characters: break it at {LINE_MAX}"))
        },
    )
}

#[test]
fn lines_have_at_most_100_characters() {
    holds(lines_are_short);
    let text = format!("{}\n{}\n{}\n", "a".repeat(100), "─".repeat(100), "a".repeat(101));
    finds(lines_are_short, "src/a.rs", &text, &[3]);
}

fn files_are_short(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let code = source.lines.iter().filter(|line| !line.in_tests).count();
        if code > FILE_MAX {
            let remedy = format!("{code} lines, {FILE_MAX} at most: split it at an idea");
            findings.push(finding(source, code, remedy));
        } else if source.lines.len() > FILE_HARD_MAX {
            let remedy = format!("{} lines with its tests: give them a file", source.lines.len());
            findings.push(finding(source, source.lines.len(), remedy));
        }
    }
    findings
}

#[test]
fn files_have_at_most_500_lines_before_their_tests_and_800_in_all() {
    holds(files_are_short);
    let with_tests = |code: usize, tests: usize| {
        format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "a\n".repeat(code), "b\n".repeat(tests))
    };
    finds(files_are_short, "src/a.rs", &with_tests(500, 297), &[]);
    finds(files_are_short, "src/a.rs", &with_tests(501, 9), &[501]);
    finds(files_are_short, "src/a.rs", &with_tests(400, 398), &[801]);
    finds(files_are_short, "tests/a.rs", &"b\n".repeat(800), &[]);
}

fn functions_are_short(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for function in source.functions() {
            let name = format!("{}::{}", source.path, function.name);
            let known = LONG_FUNCTIONS.iter().find(|(long, _)| *long == name);
            let remedy = match known {
                Some((_, length)) if *length == function.length => continue,
                Some((_, length)) if function.length < *length => "shorten its ratchet, too",
                _ if function.length > FUNCTION_MAX => "split it at an idea you can name",
                _ => continue,
            };
            let remedy = format!("`{}` has {} lines: {remedy}", function.name, function.length);
            findings.push(finding(source, function.line, remedy));
        }
    }
    findings
}

#[test]
fn functions_have_at_most_70_lines() {
    holds(functions_are_short);
    let function = |lines: usize| format!("a;\nfn f(\n) {{\n{}}}\nfn g();\n", "b;\n".repeat(lines));
    finds(functions_are_short, "src/a.rs", &function(67), &[]);
    finds(functions_are_short, "src/a.rs", &function(68), &[2]);
    let mut text = function(66).replacen("b;\n", "let a = ['{', '\\''];\n", 1);
    text.push_str("fn h<'a>() {}\n");
    finds(functions_are_short, "src/a.rs", &text, &[]);
}

fn nothing_is_unfinished(sources: &[Source]) -> Vec<Finding> {
    let macros = ["todo!", "unimplemented!", "dbg!"];
    // In two pieces, so that this file does not find itself.
    let notes = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    each_line(
        sources,
        |_| true,
        |line| {
            let code = macros.iter().find(|word| find_word(&line.code, word).is_some());
            let note = notes.iter().find(|word| find_word(&line.text, word).is_some());
            Some(format!("`{}`: finish it, or describe it in an issue", code.or(note)?))
        },
    )
}

#[test]
fn nothing_is_left_unfinished() {
    holds(nothing_is_unfinished);
    let note = concat!("// TO", "DO: later\nlet a = \"\\uXX", "XX\";\n");
    finds(nothing_is_unfinished, "src/a.rs", note, &[1]);
    finds(nothing_is_unfinished, "tests/a.rs", "f();\ntodo!();\ndbg!(a);\n", &[2, 3]);
}

fn nothing_is_unwrapped(sources: &[Source]) -> Vec<Finding> {
    each_line(
        sources,
        |source| source.path.starts_with("src/") || source.path.starts_with("loadtest/src/"),
        |line| {
            let call =
                [".unwrap()", ".expect(\""].into_iter().find(|call| line.code.contains(call))?;
            (!line.in_tests).then(|| {
                format!(
                    "`{call}`: give an error, or `let … else` with an `unreachable!` that says why"
                )
            })
        },
    )
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    holds(nothing_is_unwrapped);
    let text = "a.unwrap();\na.unwrap_or(1);\n#[cfg(test)]\nmod tests {\n    a.unwrap();\n}\n";
    finds(nothing_is_unwrapped, "src/a.rs", text, &[1]);
    finds(nothing_is_unwrapped, "loadtest/src/a.rs", text, &[1]);
    finds(nothing_is_unwrapped, "src/a.rs", "a\n    .expect(\"b\");\nself.expect(b);\n", &[2]);
}

fn nothing_sleeps(sources: &[Source]) -> Vec<Finding> {
    each_line(
        sources,
        |_| true,
        |line| {
            let sleeps = line.code.contains("thread::sleep") || line.code.contains("sleep_ms");
            sleeps.then(|| "wait for an event with a deadline, or step a fake clock".into())
        },
    )
}

#[test]
fn no_thread_sleeps() {
    holds(nothing_sleeps);
    finds(nothing_sleeps, "tests/a.rs", "std::thread::sleep(a);\nsocket.sleep();\n", &[1]);
}

fn nothing_prints(sources: &[Source]) -> Vec<Finding> {
    let is_library =
        |source: &Source| source.path.starts_with("src/") && source.path != "src/main.rs";
    each_line(sources, is_library, |line| {
        let macros = ["println!", "print!", "eprintln!", "eprint!"];
        let used = macros.into_iter().find(|word| find_word(&line.code, word).is_some())?;
        (!line.in_tests).then(|| format!("`{used}` in the library: return it, or count it"))
    })
}

#[test]
fn the_library_prints_nothing() {
    holds(nothing_prints);
    finds(nothing_prints, "src/a.rs", "/// println!(\"a\");\nprintln!(\"b\");\n", &[2]);
    finds(nothing_prints, "src/main.rs", "println!(\"b\");\n", &[]);
}

/// Clients choose names of rooms, events and headers: only hashes with a secret keep them from
/// choosing names that collide. Those of std have one; no dependency brings another kind.
fn hashes_have_a_secret(sources: &[Source]) -> Vec<Finding> {
    const WITHOUT: &[&str] = &[
        "BuildHasherDefault",
        "DefaultHasher",
        "SipHasher",
        "with_hasher",
        "with_capacity_and_hasher",
        "impl Hasher",
        "impl BuildHasher",
        "hashbrown",
        "FxHashMap",
        "FxHashSet",
        "AHashMap",
        "AHashSet",
    ];
    let is_library = |source: &Source| source.path.starts_with("src/");
    each_line(sources, is_library, |line| {
        let used = WITHOUT.iter().find(|word| find_word(&line.code, word).is_some())?;
        Some(format!("`{used}`: collect in std's HashMap or BTreeMap, which nobody can fill badly"))
    })
}

#[test]
fn m43_every_hash_has_a_secret() {
    holds(hashes_have_a_secret);
    finds(
        hashes_have_a_secret,
        "src/a.rs",
        "use std::collections::HashMap;\n/// with_hasher\nlet a = HashMap::with_hasher(b);\n\
         type C = HashMap<D, E, BuildHasherDefault<F>>;\nimpl Hasher for G {}\n",
        &[3, 4, 5],
    );
}

fn no_path_of_a_machine(sources: &[Source]) -> Vec<Finding> {
    // In two pieces, so that this file does not find itself.
    let paths = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
        concat!("/wo", "rk/"),
    ];
    each_line(
        sources,
        |_| true,
        |line| {
            let path = paths.iter().find(|path| line.text.contains(**path))?;
            Some(format!("`{path}` is a folder of one machine: use env!(\"CARGO_MANIFEST_DIR\")"))
        },
    )
}

#[test]
fn no_path_belongs_to_one_machine() {
    holds(no_path_of_a_machine);
    no_findings(&no_path_of_a_machine(&Source::read_all(&["Cargo.toml", "README.md"], "")));
    let text = concat!("include_str!(\"/ho", "me/somebody/a\");\n");
    finds(no_path_of_a_machine, "tests/a.rs", text, &[1]);
}

/// Every dependency has a comment right above it.
fn dependencies_have_reasons(manifests: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in manifests {
        let mut in_dependencies = false;
        for (number, line) in manifest.numbered() {
            let text = line.text.trim();
            if text.starts_with('[') {
                in_dependencies = text.trim_end_matches(']').ends_with("dependencies");
            } else if in_dependencies && text.contains('=') {
                let above = &manifest.lines[number - 2].text;
                if !above.starts_with('#') {
                    let remedy = "say in a comment above it what the dependency is for";
                    findings.push(finding(manifest, number, remedy));
                }
            }
        }
    }
    findings
}

#[test]
fn every_dependency_has_a_reason() {
    let manifests = Source::read_all(&["Cargo.toml", "tests", "loadtest"], "Cargo.toml");
    assert!(!manifests.is_empty());
    no_findings(&dependencies_have_reasons(&manifests));
    let text = "[package]\nname = \"a\"\n[dev-dependencies]\n# Why.\nb = \"1\"\nc = \"1\"\n";
    finds(dependencies_have_reasons, "Cargo.toml", text, &[6]);
}

/// Everything is built to unwind, and the profile of releases says so.
fn panics_unwind(manifests: &[Source]) -> Vec<Finding> {
    let remedy = "a handler that panics must end alone: profiles have `panic = \"unwind\"`";
    let mut findings = Vec::new();
    for manifest in manifests {
        let (mut section, mut is_pinned) = ("", false);
        for (number, line) in manifest.numbered() {
            let text = line.text.trim();
            if text.starts_with('[') {
                section = text;
            } else if section.starts_with("[profile.") && text.starts_with("panic") {
                match text.replace(' ', "").as_str() {
                    "panic=\"unwind\"" => is_pinned |= section == "[profile.release]",
                    _ => findings.push(finding(manifest, number, remedy)),
                }
            }
        }
        if manifest.path == "Cargo.toml" && !is_pinned {
            findings.push(finding(manifest, manifest.lines.len(), remedy));
        }
    }
    findings
}

#[test]
fn m59_panics_unwind_in_every_profile() {
    no_findings(&panics_unwind(&Source::read_all(&["Cargo.toml", "loadtest"], "Cargo.toml")));
    let release = "[profile.release]\n";
    for (text, lines) in [
        (format!("{release}panic = \"unwind\"\n"), &[][..]),
        (format!("{release}panic=\"abort\"\n"), &[2, 2]),
        (format!("{release}lto = true\n"), &[2]),
        (format!("[profile.fast]\npanic = \"abort\"\n{release}panic = \"unwind\"\n"), &[2]),
        (format!("{release}# panic = \"unwind\"\n[dependencies]\npanic = \"unwind\"\n"), &[4]),
    ] {
        finds(panics_unwind, "Cargo.toml", &text, lines);
    }
}

#[test]
fn the_readme_has_at_most_120_lines() {
    for readme in Source::read_all(&["README.md"], "") {
        let lines = readme.lines.len();
        assert!(lines <= README_MAX, "README.md: {lines} lines: move details to the documentation");
    }
}
