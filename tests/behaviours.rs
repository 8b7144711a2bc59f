//! `tests/behaviours.md` lists which test proves which behaviour. It must list all of them, and
//! nothing that does not exist.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Behaviours (`b24_5`), rows of the abuse matrix (`m17`) and advisories (`cve_2022_21676`), each
/// with the tests whose names begin with them.
type Proofs = BTreeMap<String, Vec<String>>;

/// Lines of the inventory that no test can prove of a server in Rust, or that this server keeps in
/// another way on purpose, and why.
const REASONS: &[(&str, &str)] = &[
    ("4.1", "what was not sent is not handed out: `queued_bytes` and `drained` tell of it in time"),
    ("14.5", "answered 404, as Socket.IO does; whoever wants 501 has a `fallback`"),
    ("14.6", "a crate is nothing that could be called; `Server::builder` takes its place"),
    ("18.5", "frames of WebTransport streams, which is not built"),
    ("18.6", "frames of WebTransport streams, which is not built"),
    ("18.7", "frames of WebTransport streams, which is not built"),
    ("18.8", "frames of WebTransport streams, which is not built"),
    ("18.9", "frames of WebTransport streams, which is not built"),
    ("18.10", "frames of WebTransport streams, which is not built"),
    ("18.11", "frames of WebTransport streams, which is not built"),
    ("18.12", "frames of WebTransport streams, which is not built"),
    ("18.13", "frames of WebTransport streams, which is not built"),
    ("18.14", "frames of WebTransport streams, which is not built"),
    ("18.15", "frames of WebTransport streams, which is not built"),
    ("18.16", "frames of WebTransport streams, which is not built"),
    ("18.17", "frames of WebTransport streams, which is not built"),
    ("18.18", "frames of WebTransport streams, which is not built"),
    ("18.19", "frames of WebTransport streams, which is not built"),
    ("28.17", "its options are given before, to the builder"),
    ("32.39", "WebTransport is not built: there is no handshake without an HTTP request"),
    ("33.3", "there is one adapter, in memory: those between servers are not built yet"),
    ("36.1", "packet types are no part of the public API: nobody writes packets by hand"),
    ("36.17", "there are no packet objects that could be invalid: the type system checks them"),
    ("37.2", "values have no prototypes"),
    ("37.6", "arguments are borrowed: the compiler proves that they are not changed"),
    ("CVE-2025-61765", "there is no message bus between servers yet"),
];

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(std::fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        let name = path.to_str().unwrap().to_owned();
        if path.is_dir() && !name.ends_with("node_modules") && !name.ends_with("target") {
            sources(&path, found);
        } else if is_source_of_tests(&name) {
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Rust, tests of Node.js, and drills.
fn is_source_of_tests(name: &str) -> bool {
    let is_test = [".rs", ".test.js", ".test.mjs"].iter().any(|end| name.ends_with(end));
    is_test || (name.contains("tests/drills/m") && name.ends_with(".js"))
}

/// The names of tests in a source: of functions, and what is quoted first in a line of JavaScript,
/// such as `test("…")` and the `name: "…"` of a drill.
fn tests(name: &str, source: &str) -> Vec<String> {
    let rust = |line: &str| {
        let rest = line.trim_start().strip_prefix("fn ")?;
        Some(rest.split(['(', '<']).next()?.to_owned())
    };
    let javascript = |line: &str| {
        let quoted = line.split_once(['"', '`'])?.1;
        Some(quoted.split(['"', '`', '$', '(']).next()?.trim().to_owned())
    };
    let lines = source.lines();
    match name.ends_with(".rs") {
        true => lines.filter_map(rust).collect(),
        false => lines.filter_map(javascript).collect(),
    }
}

/// The ids that a test's name begins with: `b4_7_b4_8_…` and `b4_7 b4_8 …` have two.
fn ids(test: &str) -> Vec<String> {
    let words: Vec<&str> = test.split(['_', ' ']).collect();
    let is_number = |word: Option<&&str>| {
        word.is_some_and(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut ids = Vec::new();
    let mut at = 0;
    loop {
        let digits = |prefix| words.get(at).and_then(|word: &&str| word.strip_prefix(prefix));
        if is_number(digits('b').as_ref()) && is_number(words.get(at + 1)) {
            ids.push(format!("{}.{}", digits('b').unwrap(), words[at + 1]));
            at += 2;
        } else if is_number(digits('m').as_ref()) {
            ids.push(format!("matrix {}", digits('m').unwrap().trim_start_matches('0')));
            at += 1;
        } else if words.get(at) == Some(&"cve") && is_number(words.get(at + 1)) {
            ids.push(format!("CVE-{}-{}", words[at + 1], words[at + 2]));
            at += 3;
        } else {
            return ids;
        }
    }
}

fn proofs() -> Proofs {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    sources(&root.join("src"), &mut found);
    sources(&root.join("tests"), &mut found);
    let mut proofs = Proofs::new();
    for (name, source) in &found {
        let file = name.strip_prefix(root.to_str().unwrap()).unwrap().trim_start_matches('/');
        for test in tests(name, source) {
            for id in ids(&test) {
                let place = format!("`{test}` ({file})");
                let list = proofs.entry(id).or_default();
                if !list.contains(&place) {
                    list.push(place);
                }
            }
        }
    }
    proofs
}

fn reasons() -> BTreeMap<String, &'static str> {
    REASONS.iter().map(|(id, why)| ((*id).to_owned(), *why)).collect()
}

/// Behaviours by number, then matrix rows by number, then advisories.
fn order(id: &str) -> (u8, u32, u32) {
    let number = |text: &str| text.parse().unwrap_or(0);
    if let Some(row) = id.strip_prefix("matrix ") {
        return (1, number(row), 0);
    }
    match id.strip_prefix("CVE-").and_then(|id| id.split_once('-')) {
        Some((year, rest)) => (2, number(year), number(rest)),
        None => {
            let (group, line) = id.split_once('.').unwrap();
            (0, number(group), number(line))
        }
    }
}

fn document() -> String {
    let (proofs, reasons) = (proofs(), reasons());
    let mut ids: Vec<&String> = proofs.keys().chain(reasons.keys()).collect();
    ids.sort_by_key(|id| order(id));
    let mut text = String::from(
        "# Which test proves which behaviour\n\n\
         Numbers are lines of the inventory of upstream's server tests, by group; *matrix* rows \
         are those of the\nfault and abuse matrix; advisories go by their number. A line \
         without a test has its reason. \
         `BLESS=1 cargo test --test behaviours` writes this file anew.\n\n\
         | id | tests |\n|---|---|\n",
    );
    for id in ids {
        let proof = match (proofs.get(id), reasons.get(id)) {
            (Some(tests), None) => tests.join("<br>"),
            (None, Some(why)) => format!("*none*: {why}"),
            _ => panic!("{id} has tests and a reason for having none"),
        };
        text.push_str(&format!("| {id} | {proof} |\n"));
    }
    text
}

#[test]
fn the_list_of_proofs_is_complete_and_names_only_what_exists() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/behaviours.md");
    let document = document();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &document).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == document, "run `BLESS=1 cargo test --test behaviours` and commit it");
}

#[test]
fn the_ids_of_a_name_are_those_it_begins_with() {
    assert_eq!(ids("b4_7_b4_9_events_flow_2_3"), ["4.7", "4.9"]);
    assert_eq!(ids("b24_5 a socket in two rooms"), ["24.5"]);
    assert_eq!(ids("m45_m46_cve_2022_21676_garbage"), ["matrix 45", "matrix 46", "CVE-2022-21676"]);
    assert_eq!(ids("m05_m64_drills"), ["matrix 5", "matrix 64"]);
    assert!(ids("a_test_of_b4_7").is_empty() && ids("bytes_1").is_empty() && ids("m_1").is_empty());
}
