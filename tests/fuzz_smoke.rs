//! A moment of fuzzing in every test run: each door of the codecs takes mutations of its corpus.
//!
//! The same corpus and the same seed give the same inputs. `FUZZ_SEED` chooses another seed,
//! `FUZZ_FACTOR` multiplies the work. Run time: about 2 seconds a door.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use fanfare::driver::sim::Random;
use fanfare::proto;

/// A codec's door, and how many inputs keep it busy for about two seconds.
struct Door {
    name: &'static str,
    exercise: fn(&[u8]),
    inputs: usize,
}

const DOORS: &[Door] = &[
    Door { name: "deflate", exercise: proto::websocket::exercise_deflate, inputs: 20_000 },
    Door { name: "encoding", exercise: proto::http::exercise_encoding, inputs: 400_000 },
    Door { name: "engine", exercise: proto::engine::exercise, inputs: 400_000 },
    Door { name: "engine_v3", exercise: proto::engine_v3::exercise, inputs: 200_000 },
    Door { name: "extensions", exercise: proto::websocket::exercise_extensions, inputs: 400_000 },
    Door { name: "http", exercise: proto::http::exercise, inputs: 40_000 },
    Door { name: "ids", exercise: proto::engine::exercise_ids, inputs: 400_000 },
    Door { name: "json", exercise: proto::json::exercise, inputs: 400_000 },
    Door { name: "jsonp", exercise: proto::jsonp::exercise, inputs: 300_000 },
    Door { name: "msgpack", exercise: proto::msgpack::exercise, inputs: 200_000 },
    Door { name: "parser", exercise: proto::parser::exercise, inputs: 400_000 },
    Door { name: "proxy_protocol", exercise: proto::proxy_protocol::exercise, inputs: 100_000 },
    Door { name: "socket", exercise: proto::socket::exercise, inputs: 400_000 },
    Door { name: "socket_v4", exercise: proto::socket_v4::exercise, inputs: 200_000 },
    Door { name: "websocket", exercise: proto::websocket::exercise, inputs: 30_000 },
];

/// Inputs do not grow beyond this: short ones reach as much, and more of them.
const INPUT_BYTES_MAX: usize = 1_024;

/// What the grammars are made of, and what parsers get wrong.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\x1e",
    b"\"",
    b"\\u",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b":",
    b"-",
    b"/",
    b"d=",
    b"?",
    b"&",
    b"\x00\x01\xff",
    b"1:",
    b"_placeholder",
    b"\"num\":",
    b"18446744073709551616",
    b"\xf0\x9f\x98\x80",
    b"\xed\xa0\x80",
    b"\x00",
    b"\x1f",
    b"\x7f",
    b"\xff",
    b"\x80",
    b"\x81\xfe",
    b"\x88\x82",
    b"Content-Length: ",
    b"chunked",
    b"Transfer-Encoding: ",
    b"Upgrade",
    b"%2",
    b"b",
    b"51-",
    b"\xa4data\x92\xa1e",
    b"\xc4\x01x",
    b"\xd4\x00\x00",
    b"\xdd\xff\xff\xff\xff",
    b"=",
    b" ",
    b"permessage-deflate",
    b"server_max_window_bits",
    b"client_max_window_bits",
    b"_no_context_takeover",
    b"gzip",
    b";q=0.",
    b"\xc1\x87",
    b"\0\0\xff\xff",
];

#[test]
fn deflate_takes_whatever_arrives() {
    fuzz("deflate");
}

#[test]
fn encoding_takes_whatever_arrives() {
    fuzz("encoding");
}

#[test]
fn engine_takes_whatever_arrives() {
    fuzz("engine");
}

#[test]
fn engine_v3_takes_whatever_arrives() {
    fuzz("engine_v3");
}

#[test]
fn extensions_takes_whatever_arrives() {
    fuzz("extensions");
}

#[test]
fn http_takes_whatever_arrives() {
    fuzz("http");
}

#[test]
fn ids_takes_whatever_arrives() {
    fuzz("ids");
}

#[test]
fn json_takes_whatever_arrives() {
    fuzz("json");
}

#[test]
fn jsonp_takes_whatever_arrives() {
    fuzz("jsonp");
}

#[test]
fn msgpack_takes_whatever_arrives() {
    fuzz("msgpack");
}

#[test]
fn parser_takes_whatever_arrives() {
    fuzz("parser");
}

#[test]
fn proxy_protocol_takes_whatever_arrives() {
    fuzz("proxy_protocol");
}

#[test]
fn socket_takes_whatever_arrives() {
    fuzz("socket");
}

#[test]
fn socket_v4_takes_whatever_arrives() {
    fuzz("socket_v4");
}

#[test]
fn websocket_takes_whatever_arrives() {
    fuzz("websocket");
}

#[test]
fn every_door_has_a_target_and_every_target_a_corpus() {
    let doors: BTreeSet<String> = DOORS.iter().map(|door| door.name.to_owned()).collect();
    assert_eq!(doors_in_the_source(), doors, "add the missing door to DOORS, and a test of it");
    let targets = names_in(&fuzz_folder().join("fuzz_targets"));
    let targets: BTreeSet<String> =
        targets.iter().map(|name| name.trim_end_matches(".rs").to_owned()).collect();
    assert_eq!(targets, doors, "tests/fuzz/fuzz_targets has a file for each door");
    let manifest = fs::read_to_string(fuzz_folder().join("Cargo.toml")).unwrap();
    for door in DOORS {
        let (name, path) = (door.name, format!("fuzz_targets/{}.rs", door.name));
        assert!(manifest.contains(&path), "tests/fuzz/Cargo.toml has no [[bin]] for {name}");
        let target = fs::read_to_string(fuzz_folder().join(path)).unwrap();
        let calls = [format!("proto::{name}::exercise("), format!("::exercise_{name}(")];
        let is_this = calls.iter().any(|call| target.contains(call));
        assert!(is_this, "the target {name} exercises another door");
        assert!(corpus(name).len() >= 5, "tests/fuzz/corpus/{name} has five inputs or more");
    }
}

/// Mutates the corpus of a door, and puts each outcome through it.
fn fuzz(name: &str) {
    let door = DOORS.iter().find(|door| door.name == name).unwrap();
    let seed = number("FUZZ_SEED").unwrap_or(1);
    println!("seed {seed}");
    let corpus = corpus(name);
    corpus.iter().for_each(|input| exercise(door, input, seed));
    let mut random = Random::new(seed);
    for _ in 0..door.inputs * number("FUZZ_FACTOR").unwrap_or(1) as usize {
        let mut input = corpus[random.index(corpus.len())].clone();
        for _ in 0..random.range(1..=6) {
            mutate(&mut input, &corpus, &mut random);
        }
        input.truncate(INPUT_BYTES_MAX);
        exercise(door, &input, seed);
    }
}

/// Puts one input through a door; says which one it was when the door does not hold.
fn exercise(door: &Door, input: &[u8], seed: u64) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (door.exercise)(input))) {
        println!("{}, seed {seed}: b\"{}\"", door.name, input.escape_ascii());
        resume_unwind(panic);
    }
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.range(0..=input.len());
    let end = random.range(at..=input.len().min(at + 16));
    match random.below(8) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.word() as u8,
        2 => drop(input.drain(at..end)),
        3 => input.truncate(at),
        4 => {
            let piece = input[at..end].to_vec();
            let to = random.range(0..=input.len());
            drop(input.splice(to..to, piece));
        }
        5 => {
            let other = &corpus[random.index(corpus.len())];
            input.truncate(at);
            input.extend_from_slice(&other[random.range(0..=other.len())..]);
        }
        6 => drop(input.splice(at..end, WORDS[random.index(WORDS.len())].iter().copied())),
        _ => drop(input.splice(at..at, WORDS[random.index(WORDS.len())].iter().copied())),
    }
}

fn number(variable: &str) -> Option<u64> {
    Some(std::env::var(variable).ok()?.parse().expect("a number"))
}

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = fuzz_folder().join("corpus").join(name);
    names_in(&folder).iter().map(|file| fs::read(folder.join(file)).unwrap()).collect()
}

/// The files of a folder, in order.
fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The doors of the codecs, by the text of the source: `exercise` is named after its module, and
/// `exercise_deflate` is the door `deflate`.
fn doors_in_the_source() -> BTreeSet<String> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/proto");
    let mut found = BTreeSet::new();
    for name in names_in(&proto) {
        let path = proto.join(&name);
        let files = match path.is_dir() {
            true => names_in(&path).iter().map(|file| path.join(file)).collect(),
            false => vec![path],
        };
        for path in files.iter().filter(|path| path.is_file()) {
            let text = fs::read_to_string(path).unwrap();
            let doors = text.split("\npub fn exercise").skip(1);
            found.extend(doors.map(|rest| match rest.split('(').next() {
                None | Some("") => name.trim_end_matches(".rs").to_owned(),
                Some(own) => own.trim_start_matches('_').to_owned(),
            }));
        }
    }
    found
}
