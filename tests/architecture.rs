//! Who may know whom. `docs/architecture.md` tells it in words; here it is proved.
//!
//! The source is read as text: paths from `crate` and `super`, and the names of crates. To add a
//! rule, put a row into [`RULES`], and what it forbids into the cases below.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rstest::rstest;
use source::Source;

/// What some files must not mention.
struct Rule {
    /// The files, by their path.
    files: fn(&str) -> bool,
    /// Modules of the service, with all that is in them.
    modules: &'static [&'static str],
    /// Other crates.
    crates: &'static [&'static str],
    because: &'static str,
}

const HTTP: &[&str] = &["actix_web", "actix_http", "actix_service", "actix_cors"];
const STORAGE: &[&str] = &["sqlx", "deadpool_redis"];

const RULES: &[Rule] = &[
    Rule {
        files: |path| path.starts_with("src/domain/"),
        modules: &[
            "app",
            "cli",
            "config",
            "hashing",
            "http",
            "idempotency",
            "lifecycle",
            "platform",
            "slice",
            "slices",
        ],
        crates: &[
            "actix_http",
            "actix_service",
            "actix_web",
            "serde_json",
            "sqlx",
            "tokio",
            "tracing",
        ],
        because: "the words of the field know no technique",
    },
    Rule {
        files: |path| path.starts_with("src/platform/"),
        modules: &[
            "app",
            "cli",
            "hashing",
            "http",
            "idempotency",
            "lifecycle",
            "slice",
            "slices",
        ],
        crates: HTTP,
        because: "what everything stands on must not lean on it, and knows no face",
    },
    Rule {
        files: |path| path.starts_with("src/hashing/"),
        modules: &[
            "app",
            "cli",
            "http",
            "idempotency",
            "lifecycle",
            "slice",
            "slices",
        ],
        crates: HTTP,
        because: "hashing is behind a port, and knows none of its callers",
    },
    Rule {
        files: |path| path.starts_with("src/idempotency/"),
        modules: &["app", "cli", "hashing", "http", "slice", "slices"],
        crates: HTTP,
        because: "a key has an outcome, whatever face it came by",
    },
    Rule {
        files: |path| path.starts_with("src/http/"),
        modules: &["app", "cli", "slices"],
        crates: STORAGE,
        because: "a face is given what it serves",
    },
    Rule {
        files: |path| ["src/access.rs", "src/dependencies.rs"].contains(&path),
        modules: &["app", "cli", "http", "slice", "slices"],
        crates: HTTP,
        because: "what faces and slices are given knows neither",
    },
    Rule {
        files: |path| path.starts_with("src/http/middleware/"),
        modules: &["dependencies", "slice"],
        crates: &[],
        because: "what every request goes through is the same for every slice",
    },
    Rule {
        files: |path| !path.starts_with("src/http/"),
        modules: &["http::connection", "http::resource"],
        crates: &["actix_http", "actix_service", "hyper", "hyper_util"],
        because: "connections and resources have one place",
    },
    Rule {
        files: |path| path.starts_with("src/config/") || path == "src/lifecycle.rs",
        modules: &["app", "cli", "http", "idempotency", "slice", "slices"],
        crates: HTTP,
        because: "settings and shutdown are handed down, and look at nobody",
    },
    Rule {
        files: |path| ["src/app.rs", "src/slice.rs"].contains(&path),
        modules: &["slices"],
        crates: &[],
        because: "the application is given its slices, and names none",
    },
    Rule {
        files: |path| path.starts_with("src/slices/") || path == "src/slice.rs",
        modules: &["app", "cli"],
        crates: &[],
        because: "a slice is given what it may use, and does not reach for it",
    },
    Rule {
        files: |path| !path.starts_with("src/platform/"),
        modules: &[],
        crates: STORAGE,
        because: "a store is written for the statement layer: only the platform knows the drivers",
    },
    Rule {
        files: |path| path.starts_with("src/platform/") && !path.starts_with(DATABASE),
        modules: &[],
        crates: &["sqlx"],
        because: "the platform has one place for databases",
    },
    Rule {
        files: |path| path != "src/platform/redis.rs",
        modules: &[],
        crates: &["deadpool_redis"],
        because: "Redis has one place, behind its circuit breaker",
    },
    Rule {
        files: |path| area_of(path).is_some() && !speaks_http(path),
        modules: &["http"],
        crates: HTTP,
        because: "in a slice, only its HTTP part speaks HTTP",
    },
    Rule {
        files: |path| {
            !path.starts_with("src/http/") && !speaks_http(path) && !DESCRIBED.contains(&path)
        },
        modules: &[],
        crates: &["utoipa"],
        because: "OpenAPI is described where HTTP is spoken",
    },
    Rule {
        files: |path| in_a_slice(path) && ["command.rs", "query.rs"].contains(&file(path)),
        modules: &["app", "http", "platform::database"],
        crates: &["actix_web", "sqlx"],
        because: "commands and queries are given stores, and give outcomes",
    },
    Rule {
        files: |path| in_a_slice(path) && !path.starts_with("src/slices/operations/health/"),
        modules: &[
            "lifecycle",
            "platform::database::PgPool",
            "platform::database::Pools",
            "platform::database::WriteTransaction",
            "platform::faults",
            "platform::tasks",
            "platform::telemetry",
        ],
        crates: &["tracing_opentelemetry"],
        because: "tasks, spans, retries and faults belong to the layers below; health alone runs \
                  checks side by side",
    },
];

/// Files with schemas of OpenAPI beside those that speak HTTP.
const DESCRIBED: [&str; 3] = [
    "src/slices/accounts/user.rs",
    "src/slices/mod.rs",
    "src/slices/operations/health/checks.rs",
];

const DATABASE: &str = "src/platform/database/";

fn file(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn in_a_slice(path: &str) -> bool {
    slice_of(path).is_some()
}

/// The area and the slice that a file is part of.
fn slice_of(path: &str) -> Option<(&str, &str)> {
    let (area, rest) = path.strip_prefix("src/slices/")?.split_once('/')?;
    let (slice, _) = rest.split_once('/')?;
    Some((area, slice))
}

/// The area that a file is part of.
fn area_of(path: &str) -> Option<&str> {
    let (area, _) = path.strip_prefix("src/slices/")?.split_once('/')?;
    Some(area)
}

/// The pages of `docs` are of HTTP, too, and so are an area's kinds of problem.
fn speaks_http(path: &str) -> bool {
    let of_a_slice = ["http.rs", "accept.rs", "pages.rs", "assets.rs"];
    in_a_slice(path) && of_a_slice.contains(&file(path))
        || area_of(path).is_some() && file(path) == "problems.rs"
        || path == "src/slice.rs"
}

/// Something that a file mentions, and the line.
struct Mention {
    line: usize,
    path: String,
}

/// The module that a file is.
fn module(path: &str) -> Vec<&str> {
    let path = path.strip_prefix("src/").unwrap_or(path);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" | "main" => Vec::new(),
        _ => path.split('/').collect(),
    }
}

/// Every path that a file mentions, those of the service without their `crate`.
fn mentions(source: &Source) -> (Vec<Mention>, Vec<Mention>) {
    let (mut own, mut foreign) = (Vec::new(), Vec::new());
    let code = &source.code;
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = 0;
    while let Some(begin) = code[at..].find(is_name).map(|found| at + found) {
        let length = code[begin..]
            .find(|c| !is_name(c))
            .unwrap_or(code.len() - begin);
        let word = &code[begin..begin + length];
        at = begin + length;
        if code[..begin].ends_with("::") {
            continue;
        }
        let line = code[..begin].matches('\n').count() + 1;
        let mut from = match word {
            "crate" => Vec::new(),
            "self" | "super" => module(&source.path),
            _ => {
                let path = word.to_owned();
                foreign.push(Mention { line, path });
                continue;
            }
        };
        let mut rest = &code[begin..];
        while let Some(after) = rest.strip_prefix("super::") {
            from.pop();
            rest = after;
        }
        let rest = rest.strip_prefix("crate::").unwrap_or(rest);
        let rest = rest.strip_prefix("self::").unwrap_or(rest);
        let from = from.join("::");
        for path in expand(rest).0 {
            let path = format!("{from}::{path}");
            let path = path.trim_start_matches("::").to_owned();
            own.push(Mention { line, path });
        }
    }
    (own, foreign)
}

/// The paths of a tree such as `a::{b, c::d}`, and the code behind it.
fn expand(tree: &str) -> (Vec<String>, &str) {
    let tree = tree.trim_start();
    if let Some(mut rest) = tree.strip_prefix('{') {
        let mut paths = Vec::new();
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            if rest.is_empty() || rest.starts_with('}') {
                return (paths, rest.get(1..).unwrap_or_default());
            }
            let (more, after) = expand(rest);
            // What is no name, such as `*` or `as x`, is stepped over.
            let next = after.find([',', '}']).unwrap_or(after.len());
            rest = &after[next..];
            paths.extend(more);
        }
    }
    let end = tree
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(tree.len());
    let (name, rest) = tree.split_at(end);
    match rest.strip_prefix("::") {
        Some(below) => {
            let (paths, rest) = expand(below);
            let paths = paths.iter().map(|path| format!("{name}::{path}"));
            (paths.collect(), rest)
        }
        None => (vec![name.to_owned()], rest),
    }
}

fn is_within(path: &str, module: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The slices, by area.
type Areas = BTreeMap<String, BTreeSet<String>>;

/// What a file mentions against the rules, given all areas with their slices.
fn violations(source: &Source, areas: &Areas) -> Vec<String> {
    let (own, foreign) = mentions(source);
    let mut found = Vec::new();
    let mut tell = |mention: &Mention, because: &str| {
        let Mention { line, path } = mention;
        found.push(format!("{}:{line} mentions {path}: {because}", source.path));
    };
    for rule in RULES.iter().filter(|rule| (rule.files)(&source.path)) {
        let modules = own.iter().filter(|mention| {
            rule.modules
                .iter()
                .any(|module| is_within(&mention.path, module))
        });
        let crates = foreign
            .iter()
            .filter(|mention| rule.crates.contains(&mention.path.as_str()));
        modules
            .chain(crates)
            .for_each(|mention| tell(mention, rule.because));
    }
    for (area, slices) in areas {
        let (own_area, own_slice) = (area_of(&source.path), slice_of(&source.path));
        for mention in &own {
            let module = format!("slices::{area}");
            if own_area.is_some_and(|own| own != area) && is_within(&mention.path, &module) {
                tell(mention, "an area knows no other area");
            }
            let is_another = |slice: &&String| {
                own_slice != Some((area, slice))
                    && is_within(&mention.path, &format!("{module}::{slice}"))
            };
            if slices.iter().any(|slice| is_another(&slice)) {
                tell(
                    mention,
                    "nobody knows a slice but itself and the list of slices",
                );
            }
        }
    }
    found
}

/// The folders below `src/slices`, and below each of these.
fn areas() -> Areas {
    let folders = |folder: &Path| -> BTreeSet<String> {
        std::fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry"))
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().into_string().expect("UTF-8"))
            .collect()
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/slices");
    let areas = folders(&root).into_iter();
    areas
        .map(|area| {
            let slices = folders(&root.join(&area));
            (area, slices)
        })
        .collect()
}

/// The names in `slices![…]`, by area.
fn listed(code: &str) -> Areas {
    let (_, list) = code.split_once("\nslices![").expect("the list of slices");
    let (list, _) = list.split_once(']').expect("its end");
    let names = |text: &str| -> BTreeSet<String> {
        let names = text.split(',').map(|name| name.trim().to_owned());
        names.filter(|name| !name.is_empty()).collect()
    };
    let areas = list.split(';').filter_map(|area| area.split_once(':'));
    areas
        .map(|(area, slices)| (area.trim().to_owned(), names(slices)))
        .collect()
}

#[test]
fn dependencies_point_inwards() {
    let areas = areas();
    let found: Vec<String> = source::all()
        .iter()
        .flat_map(|source| violations(source, &areas))
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Clients are generated with an enum of the codes: one that is not on the list breaks them.
#[test]
fn the_lists_of_codes_and_pointers_are_those_that_validation_returns() {
    let sources = source::all();
    let said = |openings: &[&str]| -> BTreeSet<String> {
        let literals = sources.iter().flat_map(|source| &source.literals);
        literals
            .filter(|literal| {
                openings
                    .iter()
                    .any(|opening| literal.before.ends_with(opening))
            })
            .map(|literal| literal.text.clone())
            .collect()
    };
    let listed = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    let codes: BTreeSet<String> = listed(signup_service::domain::CODES);
    assert_eq!(said(&["BrokenRule::new(", "BrokenRule { code:"]), codes);
    let pointers: BTreeSet<String> = listed(&signup_service::http::openapi::all_fields(
        &signup_service::slices::operations(),
    ));
    assert_eq!(
        said(&[
            "check( &mut errors,",
            "check(&mut errors,",
            "const PASSWORD: &str ="
        ]),
        pointers
    );
}

/// What asks the system for the time can't be moved by a test.
#[test]
fn only_the_clock_asks_the_system_for_the_time() {
    const ASKS: [&str; 4] = ["Instant::now", "SystemTime::now", "Utc::now", ".elapsed()"];
    let asks = |source: &Source| ASKS.iter().any(|ask| source.code.contains(ask));
    let found: Vec<String> = source::all()
        .iter()
        .filter(|source| asks(source))
        .map(|source| source.path.clone())
        .collect();
    assert_eq!(found, ["src/platform/clock.rs"]);
}

#[test]
fn every_rule_has_files_that_it_is_for() {
    let sources = source::all();
    for rule in RULES {
        let files = sources.iter().filter(|source| (rule.files)(&source.path));
        assert!(files.count() > 0, "no file any more for: {}", rule.because);
    }
}

#[test]
fn a_slice_is_one_folder_and_one_word_in_the_list() {
    let sources = source::all();
    let list = sources
        .iter()
        .find(|source| source.path == "src/slices/mod.rs")
        .expect("the list of slices");
    assert_eq!(listed(&list.code), areas());
}

#[test]
fn a_list_that_lacks_a_slice_is_not_the_list_of_all() {
    let slices: BTreeSet<String> = ["one", "two"].map(str::to_owned).into();
    let areas = Areas::from([("a".to_owned(), slices)]);
    assert_eq!(listed("\nslices![a: one, two;];"), areas);
    assert_ne!(listed("\nslices![a: one;];"), areas);
    assert_ne!(listed("\nslices![b: one, two;];"), areas);
}

/// The blocks of a page that show a file, each with its path.
fn excerpts(page: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    let mut path = String::new();
    while let Some(line) = lines.next() {
        if let Some(named) = line
            .strip_prefix('`')
            .and_then(|rest| rest.strip_suffix("`:"))
        {
            named.clone_into(&mut path);
        }
        if line == "```rust" {
            let block = lines.by_ref().take_while(|line| *line != "```");
            let block = block.map(|line| line.trim().to_owned()).collect();
            found.push((path.clone(), block));
        }
    }
    found
}

/// Whether these lines stand in a text, one behind the other, however far they are indented.
fn stand_in(lines: &[String], text: &str) -> bool {
    let text: Vec<&str> = text.lines().map(str::trim).collect();
    text.windows(lines.len()).any(|window| window == lines)
}

#[test]
fn the_tour_of_the_slices_shows_them_as_they_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/adding-a-slice.md")).expect("the page");
    let excerpts = excerpts(&page);
    assert!(excerpts.len() >= 8, "{}", excerpts.len());
    for (path, lines) in excerpts {
        let source = std::fs::read_to_string(root.join(&path)).expect(&path);
        assert!(
            stand_in(&lines, &source),
            "{path} has no more:\n{}",
            lines.join("\n")
        );
    }
}

#[test]
fn an_excerpt_that_is_out_of_date_is_found() {
    let page = "`a.rs`:\n\n```rust\nfn a() {\n    b();\n}\n```\n";
    let (path, lines) = excerpts(page).remove(0);
    assert_eq!(path, "a.rs");
    assert!(stand_in(&lines, "x\n    fn a() {\n        b();\n    }\n"));
    assert!(!stand_in(&lines, "fn a() {\n    c();\n}\n"));
}

/// A task of a slice would be nobody's: not waited for at the end, without its request's ids.
#[test]
fn no_slice_spawns() {
    for source in source::all() {
        let is_of_health = source.path.starts_with("src/slices/operations/health/");
        if area_of(&source.path).is_some() && !is_of_health {
            assert!(!source.code.contains("spawn"), "{}", source.path);
        }
    }
}

/// A kind of problem that no operation names has no page, and its `type` leads nowhere.
#[test]
fn every_kind_of_problem_is_collected_and_has_a_slug_of_its_own() {
    let sources = source::all();
    let literals = sources.iter().flat_map(|source| &source.literals);
    let mut written: Vec<&str> = literals
        .filter(|literal| literal.before.ends_with("slug:"))
        .map(|literal| literal.text.as_str())
        .collect();
    written.sort_unstable();
    let problems = signup_service::slices::problems();
    let mut collected: Vec<&str> = problems.iter().map(|kind| kind.about().slug).collect();
    collected.sort_unstable();
    assert_eq!(written, collected);
}

/// A row that two areas write has two owners, and neither can change it.
#[test]
fn no_table_is_written_by_two_areas() {
    let mut writers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in source::all() {
        let Some(area) = area_of(&source.path) else {
            continue;
        };
        for literal in &source.literals {
            if let Some(table) = written(&literal.text) {
                let areas = writers.entry(table.to_owned()).or_default();
                areas.insert(area.to_owned());
            }
        }
    }
    let accounts = ["users", "users_read", "user_events"];
    assert!(accounts.iter().all(|table| writers.contains_key(*table)));
    for (table, areas) in writers {
        assert_eq!(areas.len(), 1, "{table} is written by {areas:?}");
    }
}

/// The table that a statement writes.
fn written(text: &str) -> Option<&str> {
    let rest = ["INSERT INTO ", "UPDATE ", "DELETE FROM "]
        .iter()
        .find_map(|verb| text.strip_prefix(verb))?;
    rest.split_whitespace().next()
}

#[rstest]
#[case("src/domain/user.rs", "use crate::platform::clock::Clock;")]
#[case("src/domain/user.rs", "use super::super::config::Settings;")]
#[case("src/domain/user.rs", "fn f(value: serde_json::Value) {}")]
#[case("src/domain/user.rs", "use tokio::time;")]
#[case(
    "src/platform/clock.rs",
    "use crate::{domain, slices::accounts::signup::MAX_BODY};"
)]
#[case("src/platform/clock.rs", "use sqlx::PgPool;")]
#[case("src/hashing/pool.rs", "use crate::http::middleware::access_log;")]
#[case("src/http/middleware/access_log.rs", "use crate::app::Service;")]
#[case(
    "src/http/middleware/access_log.rs",
    "use crate::dependencies::Dependencies;"
)]
#[case("src/idempotency/keyed.rs", "use crate::http::problem::Problem;")]
#[case("src/platform/redis.rs", "use crate::http::problem::Problem;")]
#[case("src/platform/redis.rs", "use actix_web::HttpResponse;")]
#[case("src/slices/accounts/signup/mod.rs", "use crate::app::Service;")]
#[case("src/slice.rs", "use crate::slices::all;")]
#[case("src/lifecycle.rs", "use actix_web::dev::Server;")]
#[case(
    "src/slices/accounts/signup/store.rs",
    "fn open(pool: &sqlx::PgPool) {}"
)]
#[case("src/slices/accounts/signup/store/contract.rs", "use sqlx::Row;")]
#[case(
    "src/slices/accounts/signup/http.rs",
    "use deadpool_redis::redis::Client;"
)]
#[case(
    "src/slices/accounts/signup/store/postgres.rs",
    "use deadpool_redis::Pool;"
)]
#[case(
    "src/slices/accounts/signup/command.rs",
    "use actix_web::HttpResponse;"
)]
#[case(
    "src/slices/accounts/signup/command.rs",
    "use crate::platform::{database, clock};"
)]
#[case(
    "src/slices/accounts/list_users/cursor.rs",
    "use crate::http::json::read_json;"
)]
#[case(
    "src/slices/accounts/signup/store.rs",
    "use crate::slices::accounts::get_user::store::by_id;"
)]
#[case(
    "src/slices/accounts/signup/store/contract.rs",
    "use super::super::super::get_user::store;"
)]
#[case("src/slices/accounts/signup/mod.rs", "use super::get_user;")]
#[case("src/app.rs", "use crate::slices::all;")]
#[case("src/app.rs", "use crate::http::connection::serve;")]
#[case(
    "src/slices/accounts/get_user/http.rs",
    "use crate::http::resource::bind;"
)]
#[case("src/idempotency/lease.rs", "use hyper::Request;")]
#[case(
    "src/slices/accounts/signup/store.rs",
    "use crate::platform::faults::point;"
)]
#[case(
    "src/slices/accounts/signup/http.rs",
    "use crate::platform::telemetry::spans;"
)]
#[case(
    "src/slices/accounts/signup/store.rs",
    "use crate::platform::database::WriteTransaction;"
)]
#[case(
    "src/slices/accounts/user.rs",
    "use crate::slices::operations::health::SLICE;"
)]
#[case("src/slices/accounts/user.rs", "use actix_web::HttpResponse;")]
#[case("src/http/server.rs", "use crate::slices::all;")]
#[case("src/cli.rs", "use crate::slices::{all, accounts::signup};")]
fn a_violation_is_found(#[case] path: &str, #[case] text: &str) {
    let source = source::read(path, text);
    let found = violations(&source, &areas());
    assert!(!found.is_empty(), "{path}: {text}");
}

#[rstest]
#[case(
    "src/domain/user.rs",
    "// use sqlx::Row;\nuse super::{BrokenRule, Email};"
)]
#[case("src/domain/user.rs", "const A: &str = \"crate::platform and sqlx\";")]
#[case(
    "src/domain/user.rs",
    "#[cfg(test)]\nmod tests {\n    use tokio::time;\n}"
)]
#[case(
    "src/platform/database/mod.rs",
    "use sqlx::PgPool; use crate::config::Settings;"
)]
#[case(
    "src/slices/accounts/signup/store.rs",
    "use crate::platform::database::{Statement, UnitOfWork};"
)]
#[case(
    "src/slices/accounts/signup/store.rs",
    "use crate::platform::database::Database;"
)]
#[case(
    "src/slices/accounts/signup/http.rs",
    "use super::command; use actix_web::web;"
)]
#[case(
    "src/slices/operations/docs/http.rs",
    "let document = crate::slices::openapi();"
)]
#[case(
    "src/slices/accounts/signup/mod.rs",
    "use crate::slice::Slice; use crate::slices::accounts::signup::store;"
)]
#[case("src/app.rs", "use crate::slice::{Access, Slice};")]
#[case("src/cli.rs", "use crate::slices; fn f() { slices::all(); }")]
fn what_is_right_is_left_alone(#[case] path: &str, #[case] text: &str) {
    let source = source::read(path, text);
    let found = violations(&source, &areas());
    assert!(found.is_empty(), "{found:?}");
}
