//! The service's source text, for tests that check it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of `src`, without its tests.
pub struct Source {
    /// Its path, starting with `src/`.
    pub path: String,
    /// The code, line by line, without comments and without the content of literals.
    pub code: String,
    /// Its string literals.
    pub literals: Vec<Literal>,
}

/// A string literal.
pub struct Literal {
    /// The code before it, from the last `;`, `{` or `}`, in one line.
    pub before: String,
    /// Its line, from 1.
    pub line: usize,
    /// Its content, with lines joined that end in a backslash.
    pub text: String,
}

/// Every file of `src`, without tests.
pub fn all() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    collect(&root.join("src"), &mut paths);
    paths.sort();
    let sources: Vec<Source> = paths
        .iter()
        .map(|path| {
            let relative = path.strip_prefix(root).expect("below the root");
            let text = fs::read_to_string(path).expect("readable");
            read(relative.to_str().expect("UTF-8"), &text)
        })
        .collect();
    let tests: BTreeSet<String> = sources.iter().flat_map(test_modules).collect();
    assert!(!sources.is_empty(), "no source in {}", root.display());
    sources
        .into_iter()
        .filter(|source| !tests.contains(&source.path))
        .collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// The files of the test-only modules declared in a file.
fn test_modules(source: &Source) -> Vec<String> {
    let folder = source
        .path
        .strip_suffix("/mod.rs")
        .or_else(|| source.path.strip_suffix(".rs"))
        .expect("a Rust file");
    let lines: Vec<&str> = source.code.lines().map(str::trim).collect();
    lines
        .windows(2)
        .filter(|pair| pair[0] == "#[cfg(test)]")
        .filter_map(|pair| pair[1].strip_suffix(';')?.split("mod ").nth(1))
        .map(|name| format!("{folder}/{name}.rs"))
        .collect()
}

/// Parses a file. Supports the subset of Rust that the service uses.
pub fn read(path: &str, text: &str) -> Source {
    let text: Vec<char> = text.chars().collect();
    let mut code = String::new();
    let mut literals = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        at += match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => {
                let end = rest.windows(2).position(|pair| pair == ['*', '/']);
                let length = end.map_or(rest.len(), |end| end + 2);
                code.extend(rest[..length].iter().filter(|c| **c == '\n'));
                length
            }
            // A character, and not a lifetime.
            ['\'', '\\', ..] => {
                let end = rest[3..].iter().position(|c| *c == '\'');
                code.push_str("''");
                end.map_or(rest.len(), |end| end + 4)
            }
            ['\'', _, '\'', ..] => {
                code.push_str("''");
                3
            }
            ['r', '"' | '#', ..] | ['"', ..] if opens(rest, &code) => {
                let (length, content) = literal(rest);
                literals.push(Literal {
                    before: since_the_last_end(&code),
                    line: code.matches('\n').count() + 1,
                    text: content,
                });
                code.push_str("\"\"");
                code.extend(rest[..length].iter().filter(|c| **c == '\n'));
                length
            }
            _ => {
                code.push(rest[0]);
                1
            }
        };
    }
    if let Some(tests) = code.find("#[cfg(test)]\nmod tests {") {
        code.truncate(tests);
        let last = code.matches('\n').count() + 1;
        literals.retain(|literal| literal.line < last);
    }
    Source {
        path: path.to_owned(),
        code,
        literals,
    }
}

/// Whether a literal begins here: an `r` may also end a name, or begin a raw identifier.
fn opens(rest: &[char], code: &str) -> bool {
    if rest[0] == '"' {
        return true;
    }
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    let in_a_name =
        code.ends_with(|c: char| c.is_alphanumeric() || c == '_') && !code.ends_with('b');
    rest.get(hashes + 1) == Some(&'"') && !in_a_name
}

/// The length and content of the literal that begins here.
fn literal(rest: &[char]) -> (usize, String) {
    if rest[0] == 'r' {
        let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
        let mut end = vec!['"'];
        end.extend(vec!['#'; hashes]);
        let begin = hashes + 2;
        let length = rest[begin..]
            .windows(end.len())
            .position(|window| window == end)
            .expect("a raw literal ends");
        return (
            begin + length + end.len(),
            rest[begin..begin + length].iter().collect(),
        );
    }
    let mut content = String::new();
    let mut at = 1;
    loop {
        match rest[at] {
            '"' => return (at + 1, content),
            '\\' if rest[at + 1] == '\n' => {
                at += 1;
                while rest[at].is_whitespace() {
                    at += 1;
                }
            }
            '\\' => {
                content.push(if rest[at + 1] == 'n' {
                    '\n'
                } else {
                    rest[at + 1]
                });
                at += 2;
            }
            c => {
                content.push(c);
                at += 1;
            }
        }
    }
}

fn since_the_last_end(code: &str) -> String {
    let from = code.rfind([';', '{', '}']).map_or(0, |at| at + 1);
    let words: Vec<&str> = code[from..].split_whitespace().collect();
    words.join(" ")
}

#[test]
fn source_is_separated_from_comments_literals_and_tests() {
    let source = read(
        "src/a/b.rs",
        "// \"no\" crate::x\n\
         /* nor \"this\"\n */ const A: &str =\n    \"one \\\n     two\";\n\
         fn f<'a>(c: char) -> &'a str { if c == '\"' || c == '\\'' { g(r#\"th\"ree\"#) } }\n\
         #[cfg(test)]\nmod contract;\n\
         #[cfg(test)]\nmod tests {\n    \"four\" }\n",
    );
    assert!(!source.code.contains("crate::x") && !source.code.contains("four"));
    assert_eq!(test_modules(&source), ["src/a/b/contract.rs"]);
    let content: Vec<_> = source
        .literals
        .iter()
        .map(|literal| (literal.before.as_str(), literal.line, literal.text.as_str()))
        .collect();
    assert_eq!(
        content,
        [("const A: &str =", 4, "one two"), ("g(", 6, "th\"ree")]
    );
}
