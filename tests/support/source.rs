//! Source text as the tidiness rules see it: comments and literals apart from code.

use std::fs;
use std::path::{Path, PathBuf};

/// One file.
pub struct Source {
    /// Its path in the repository.
    pub path: String,
    /// Its lines.
    pub lines: Vec<Line>,
}

/// One line of a file.
pub struct Line {
    /// As it stands there.
    pub text: String,
    /// Without comments, and without what strings and characters contain.
    pub code: String,
    /// Whether it belongs to a tests module.
    pub in_tests: bool,
}

/// A function, from its name to its last line.
pub struct Function {
    pub name: String,
    pub line: usize,
    pub length: usize,
}

impl Source {
    /// A file of which this is the text.
    pub fn new(path: &str, text: &str) -> Source {
        let code = code_of(text);
        let tests_begin = tests_begin(path, &code);
        let lines = text.lines().zip(code.lines()).enumerate();
        let lines = lines.map(|(index, (text, code))| Line {
            text: text.to_owned(),
            code: code.to_owned(),
            in_tests: index >= tests_begin,
        });
        Source { path: path.to_owned(), lines: lines.collect() }
    }

    /// All files below the given folders of the repository whose names end so.
    pub fn read_all(folders: &[&str], ending: &str) -> Vec<Source> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut paths = Vec::new();
        for folder in folders {
            list(&root.join(folder), ending, &mut paths);
        }
        paths.sort();
        let read = |path: &PathBuf| {
            let text = fs::read_to_string(path).unwrap();
            let path = path.strip_prefix(root).unwrap();
            Source::new(path.to_str().unwrap(), &text)
        };
        paths.iter().map(read).collect()
    }

    /// The lines with their numbers, from 1.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The module of the crate that the file belongs to, if it is one of its modules.
    pub fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let module = inside.split('/').next()?.trim_end_matches(".rs");
        (module != "lib" && module != "main").then_some(module)
    }

    /// How many `super` lead from the file's own module out of the crate's top-level module.
    pub fn depth(&self) -> usize {
        let inside = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        inside.trim_end_matches("/mod").split('/').count()
    }

    /// Every function that has a body.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for (number, line) in self.numbered() {
            for (column, _) in line.code.match_indices("fn ") {
                let name: String = line.code[column + 3..].chars().take_while(is_word).collect();
                let is_whole_word = !line.code[..column].chars().next_back().is_some_and(is_word_);
                if name.is_empty() || !is_whole_word {
                    continue;
                }
                if let Some(length) = self.body_end(number - 1, column) {
                    found.push(Function { name, line: number, length });
                }
            }
        }
        found
    }

    /// How many lines a function has that begins there; `None` when it has no body.
    fn body_end(&self, first: usize, column: usize) -> Option<usize> {
        let (mut braces, mut others) = (0usize, 0usize);
        for (index, line) in self.lines[first..].iter().enumerate() {
            let code = if index == 0 { &line.code[column..] } else { &line.code };
            for character in code.chars() {
                match character {
                    '(' | '[' => others += 1,
                    ')' | ']' => others = others.saturating_sub(1),
                    '{' => braces += 1,
                    '}' if braces == 1 => return Some(index + 1),
                    '}' => braces = braces.saturating_sub(1),
                    ';' if braces == 0 && others == 0 => return None,
                    _ => {}
                }
            }
        }
        None
    }
}

/// Where a word stands in a line of code, with no word character on either side.
pub fn find_word(code: &str, word: &str) -> Option<usize> {
    code.match_indices(word).map(|(at, _)| at).find(|&at| {
        let (before, after) = (&code[..at], &code[at + word.len()..]);
        let joins = |end: Option<char>, edge: Option<char>| {
            edge.is_some_and(is_word_) && end.is_some_and(is_word_)
        };
        !joins(before.chars().next_back(), word.chars().next())
            && !joins(after.chars().next(), word.chars().next_back())
    })
}

/// Whether a character may stand in a name.
pub fn is_word(character: &char) -> bool {
    is_word_(*character)
}

fn is_word_(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn list(path: &Path, ending: &str, paths: &mut Vec<PathBuf>) {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if path.is_file() && name.ends_with(ending) {
        paths.push(path.to_owned());
    }
    if !path.is_dir() || ["target", "node_modules"].contains(&name) {
        return;
    }
    for entry in fs::read_dir(path).unwrap() {
        list(&entry.unwrap().path(), ending, paths);
    }
}

/// The index of the line at which tests begin: everything outside of `src` (of a member of the
/// workspace, too) and `examples` is a test, and so is a file or a folder of that name, and what
/// follows the attribute of a module.
fn tests_begin(path: &str, code: &str) -> usize {
    let folders = ["src/", "examples/", "loadtest/src/"];
    let is_code = folders.iter().any(|folder| path.starts_with(folder));
    if !is_code || path.ends_with("/tests.rs") || path.contains("/tests/") {
        return 0;
    }
    let lines: Vec<&str> = code.lines().collect();
    let begins = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests {");
    lines.windows(2).position(begins).unwrap_or(lines.len())
}

/// The text with every character of a comment or a literal replaced by a space. Line ends stay, and
/// so do quotes, which tell a string from nothing.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let comment = comment_length(rest);
        let length = comment.or_else(|| literal_length(rest, code.chars().next_back()));
        let Some(length) = length else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        let blank = |character| match character {
            '\n' => '\n',
            '"' if comment.is_none() => '"',
            _ => ' ',
        };
        code.extend(rest[..length].chars().map(blank));
        rest = &rest[length..];
    }
    code
}

fn comment_length(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    let mut depth = 0usize;
    let mut at = 0;
    while rest.starts_with("/*") {
        match &rest[at..] {
            inside if inside.starts_with("/*") => (depth, at) = (depth + 1, at + 2),
            inside if inside.starts_with("*/") => (depth, at) = (depth - 1, at + 2),
            inside => at += inside.chars().next().map_or(1, char::len_utf8),
        }
        if depth == 0 || at >= rest.len() {
            return Some(at);
        }
    }
    None
}

fn literal_length(rest: &str, before: Option<char>) -> Option<usize> {
    let starts_word = !before.is_some_and(is_word_);
    let prefix = rest.find(|character| !"brc".contains(character))?;
    if prefix <= 2 && (starts_word || prefix == 0) {
        let hashes = rest[prefix..].chars().take_while(|&character| character == '#').count();
        let is_raw = rest[..prefix].contains('r');
        if (is_raw || hashes == 0) && rest[prefix + hashes..].starts_with('"') {
            let body = prefix + hashes + 1;
            return Some(body + string_length(&rest[body..], is_raw, hashes));
        }
    }
    let quote = prefix.min(usize::from(rest.starts_with('b')));
    let inside = rest[quote..].strip_prefix('\'')?;
    if let Some(escape) = inside.strip_prefix('\\') {
        let end = escape[1..].find('\'')?;
        return Some(quote + 2 + 1 + end + 1);
    }
    // A lifetime has no quote behind its first character.
    let first = inside.chars().next()?.len_utf8();
    inside[first..].starts_with('\'').then_some(quote + 1 + first + 1)
}

fn string_length(body: &str, is_raw: bool, hashes: usize) -> usize {
    let end = format!("\"{}", "#".repeat(hashes));
    if is_raw {
        return body.find(&end).map_or(body.len(), |at| at + end.len());
    }
    let mut escaped = false;
    for (at, character) in body.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    body.len()
}
