//! The page for those who come from Node.js holds all that the documentation names: each line of
//! `docs/from-node.list` against `docs/from-node.md`. That what it says in Rust compiles is a test
//! of the documentation, in `src/lib.rs`.

use std::collections::BTreeSet;

const PAGE: &str = include_str!("../docs/from-node.md");
const LIST: &str = include_str!("../docs/from-node.list");

/// What stands for something that is not there.
const ABSENT: &str = "-";

/// One line of the list: how it is written in JavaScript, and in Rust.
struct Entry {
    javascript: &'static str,
    rust: &'static str,
}

fn entries() -> Vec<Entry> {
    let lines = LIST.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
    let entries: Vec<Entry> = lines
        .map(|line| {
            let (javascript, rust) = line.split_once(" | ").expect("JavaScript | Rust");
            Entry { javascript, rust }
        })
        .collect();
    assert!(entries.len() > 150, "the list was not understood");
    entries
}

/// A fenced block of code: the line that begins it, and what it holds.
struct Block {
    fence: String,
    code: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in page.lines() {
        match (line.starts_with("```"), &mut open) {
            (true, None) => open = Some(Block { fence: line.to_owned(), code: String::new() }),
            (true, Some(_)) => blocks.extend(open.take()),
            (false, Some(block)) => block.code.extend([line, "\n"]),
            (false, None) => {}
        }
    }
    assert!(open.is_none(), "a block of code does not end");
    blocks
}

/// All code of these languages.
fn code(page: &str, languages: &[&str]) -> String {
    let of_languages = |block: &Block| languages.contains(&block.fence.trim_start_matches('`'));
    blocks(page).into_iter().filter(of_languages).map(|block| block.code).collect()
}

/// What is missing of the list.
fn missing(page: &str) -> Vec<String> {
    let (javascript, rust) = (code(page, &["js", "ts"]), code(page, &["rust"]));
    let (_, absent) = page.split_once("## What is not there").expect("a last section");
    let mut missing = Vec::new();
    for entry in entries() {
        let is_absent = entry.rust == ABSENT;
        let from = if is_absent { absent } else { &javascript };
        if !from.contains(entry.javascript) {
            missing.push(format!("JavaScript: {}", entry.javascript));
        }
        if !is_absent && !rust.contains(entry.rust) {
            missing.push(format!("Rust: {}", entry.rust));
        }
    }
    missing
}

#[test]
fn everything_that_the_documentation_names_is_on_the_page() {
    let missing = missing(PAGE);
    assert!(missing.is_empty(), "docs/from-node.md lacks:\n{}", missing.join("\n"));
}

#[test]
fn what_is_cut_from_the_page_is_missed() {
    let rust = PAGE.replace(".ping_interval(", ".pong_interval(");
    assert_eq!(missing(&rust), ["Rust: .ping_interval("]);
    let javascript = PAGE.replace("pingInterval:", "pongInterval:");
    assert_eq!(missing(&javascript), ["JavaScript: pingInterval:"]);
    let (page, absent) = PAGE.split_once("## What is not there").expect("a last section");
    let absent = absent.replace("wsEngine", "");
    let absent = format!("{page}## What is not there{absent}");
    assert_eq!(missing(&absent), ["JavaScript: wsEngine"]);
}

#[test]
fn no_line_of_the_list_stands_there_twice() {
    let mut seen = BTreeSet::new();
    for entry in entries() {
        assert!(seen.insert(entry.javascript), "{}", entry.javascript);
    }
}

/// On GitHub the lines that rustdoc hides would show, and a test that is told not to compile would
/// prove nothing.
#[test]
fn every_snippet_is_compiled_as_it_is_shown() {
    for block in blocks(PAGE) {
        assert!(["```js", "```ts", "```rust"].contains(&&*block.fence), "{}", block.fence);
        let hidden = block.code.lines().find(|line| line.trim_start().starts_with("# "));
        assert_eq!(hidden, None);
        let long = block.code.lines().find(|line| line.chars().count() > 100);
        assert_eq!(long, None);
    }
    let library = include_str!("../src/lib.rs");
    assert!(library.contains("include_str!(\"../docs/from-node.md\")"));
}
