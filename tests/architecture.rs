//! Dependency rules between modules, as described in `docs/explanation/architecture.md`.
//!
//! The source is read as text: paths from `crate` and `super`, and the names of crates. To add a
//! rule, add a row to [`RULES`], and forbidden examples to the cases below.

mod documents;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rstest::rstest;
use source::Source;

/// Paths that some files must not mention.
struct Rule {
    /// The files, by their path.
    files: fn(&str) -> bool,
    /// Forbidden modules of the service, including their submodules.
    modules: &'static [&'static str],
    /// Other forbidden crates.
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
            "breached",
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
        because: "the domain depends on no technology",
    },
    Rule {
        files: |path| path.starts_with("src/platform/"),
        modules: &[
            "app",
            "breached",
            "cli",
            "hashing",
            "http",
            "idempotency",
            "lifecycle",
            "slice",
            "slices",
        ],
        crates: HTTP,
        because: "the platform is the lowest layer, and does not depend on HTTP",
    },
    Rule {
        files: |path| path.starts_with("src/hashing/"),
        modules: &[
            "app",
            "breached",
            "cli",
            "http",
            "idempotency",
            "lifecycle",
            "slice",
            "slices",
        ],
        crates: HTTP,
        because: "hashing is behind a port, and does not depend on its callers",
    },
    Rule {
        files: |path| path.starts_with("src/breached/"),
        modules: &[
            "access",
            "app",
            "cli",
            "dependencies",
            "http",
            "idempotency",
            "lifecycle",
            "platform::database",
            "slice",
            "slices",
            "tokens",
        ],
        crates: HTTP,
        because: "breached passwords are behind the port of hashing, and need no database",
    },
    Rule {
        files: |path| path.starts_with("src/idempotency/"),
        modules: &["app", "cli", "hashing", "http", "slice", "slices"],
        crates: HTTP,
        because: "idempotency is independent of the protocol",
    },
    Rule {
        files: |path| path.starts_with("src/tokens/"),
        modules: &[
            "app",
            "cli",
            "hashing",
            "http",
            "idempotency",
            "slice",
            "slices",
        ],
        crates: HTTP,
        because: "tokens are independent of the protocol that carries them",
    },
    Rule {
        files: |path| path.starts_with("src/http/"),
        modules: &["app", "cli", "slices"],
        crates: STORAGE,
        because: "the HTTP layer is passed the operations that it serves",
    },
    Rule {
        files: |path| {
            ["src/access/", "src/attempts/", "src/mail/"]
                .iter()
                .any(|folder| path.starts_with(folder))
                || path == "src/dependencies.rs"
        },
        modules: &["app", "cli", "http", "slice", "slices"],
        crates: HTTP,
        because: "shared dependencies do not depend on HTTP or slices",
    },
    Rule {
        files: |path| path.starts_with("src/http/middleware/"),
        modules: &["dependencies", "slice"],
        crates: &[],
        because: "middleware is the same for every slice",
    },
    Rule {
        // The exporter is a client.
        files: |path| !path.starts_with("src/http/") && path != "src/platform/telemetry/otlp.rs",
        modules: &["http::connection", "http::resource"],
        crates: &["actix_http", "actix_service", "hyper", "hyper_util"],
        because: "connections and resources have one place",
    },
    Rule {
        files: |path| path.starts_with("src/config/") || path == "src/lifecycle.rs",
        modules: &["app", "cli", "http", "idempotency", "slice", "slices"],
        crates: HTTP,
        because: "settings and shutdown are passed down, and do not depend on upper layers",
    },
    Rule {
        files: |path| ["src/app.rs", "src/slice.rs"].contains(&path),
        modules: &["slices"],
        crates: &[],
        because: "the application is passed its slices, and names none",
    },
    Rule {
        files: |path| path.starts_with("src/slices/") || path == "src/slice.rs",
        modules: &["app", "cli"],
        crates: &[],
        because: "a slice is passed its dependencies, and does not fetch them",
    },
    Rule {
        files: |path| !path.starts_with("src/platform/"),
        modules: &[],
        crates: STORAGE,
        because: "a store uses the statement layer: only the platform uses drivers",
    },
    Rule {
        files: |path| path.starts_with("src/platform/") && !path.starts_with(DATABASE),
        modules: &[],
        crates: &["sqlx"],
        because: "the platform has one place for databases",
    },
    Rule {
        files: |path| !path.starts_with("src/mail/"),
        modules: &[],
        crates: &["lettre", "minijinja"],
        because: "mails are made and sent in one place",
    },
    Rule {
        files: |path| path != "src/platform/redis.rs",
        modules: &[],
        crates: &["deadpool_redis"],
        because: "Redis has one place, behind its circuit breaker",
    },
    Rule {
        files: |path| (area_of(path).is_some() || path == USER) && !uses_http(path),
        modules: &["http"],
        crates: HTTP,
        because: "in a slice, only its HTTP part uses HTTP",
    },
    Rule {
        files: |path| {
            !path.starts_with("src/http/") && !uses_http(path) && !DESCRIBED.contains(&path)
        },
        modules: &[],
        crates: &["utoipa"],
        because: "OpenAPI is described where HTTP is used",
    },
    Rule {
        files: |path| in_a_slice(path) && ["command.rs", "query.rs"].contains(&file(path)),
        modules: &["app", "http", "platform::database"],
        crates: &["actix_web", "sqlx"],
        because: "commands and queries are passed stores, and return outcomes",
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

/// What a user is, for several areas.
const USER: &str = "src/slices/user.rs";

/// Files with OpenAPI schemas, besides those that use HTTP.
const DESCRIBED: [&str; 3] = [
    USER,
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

/// Whether a file belongs to HTTP; includes the pages of `docs`, and of an area its `http.rs` and its kinds
/// of problem.
fn uses_http(path: &str) -> bool {
    let of_a_slice = ["http.rs", "accept.rs", "pages.rs", "assets.rs"];
    in_a_slice(path) && of_a_slice.contains(&file(path))
        || area_of(path).is_some() && ["http.rs", "problems.rs"].contains(&file(path))
        || path == "src/slice.rs"
}

/// A path mentioned by a file, with its line.
struct Mention {
    line: usize,
    path: String,
}

/// The module of a file.
fn module(path: &str) -> Vec<&str> {
    let path = path.strip_prefix("src/").unwrap_or(path);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" | "main" => Vec::new(),
        _ => path.split('/').collect(),
    }
}

/// All paths mentioned by a file: those of the service, without `crate`, and foreign names.
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

/// The paths of a tree such as `a::{b, c::d}`, and the code after it.
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
            // Skips other tokens, such as `*` or `as x`.
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

/// The violations of the rules in a file, for all areas and their slices.
fn violations(source: &Source, areas: &Areas) -> Vec<String> {
    let (own, foreign) = mentions(source);
    let mut found = Vec::new();
    let mut report = |mention: &Mention, because: &str| {
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
            .for_each(|mention| report(mention, rule.because));
    }
    for (area, slices) in areas {
        let (own_area, own_slice) = (area_of(&source.path), slice_of(&source.path));
        for mention in &own {
            let module = format!("slices::{area}");
            if own_area.is_some_and(|own| own != area) && is_within(&mention.path, &module) {
                report(mention, "an area does not depend on other areas");
            }
            let is_another = |slice: &&String| {
                own_slice != Some((area, slice))
                    && is_within(&mention.path, &format!("{module}::{slice}"))
            };
            if slices.iter().any(|slice| is_another(&slice)) {
                report(
                    mention,
                    "only the slice itself and the list of slices may mention a slice",
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

/// The names in `slices![…]` of an area.
fn listed(code: &str) -> BTreeSet<String> {
    let (_, list) = code.split_once("\nslices![").expect("the list of slices");
    let (list, _) = list.split_once(']').expect("its end");
    let names = list.split(',').map(|name| name.trim().to_owned());
    names.filter(|name| !name.is_empty()).collect()
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

/// Clients are generated with an enum of the codes, and break on unlisted ones.
#[test]
fn the_lists_of_codes_and_pointers_match_validation() {
    let sources = source::all();
    let literals_after = |openings: &[&str]| -> BTreeSet<String> {
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
    assert_eq!(
        literals_after(&["BrokenRule::new(", "BrokenRule { code:"]),
        codes
    );
    let mut operations = signup_service::slices::operations();
    operations.extend(signup_service::slices::administration());
    let pointers: BTreeSet<String> =
        listed(&signup_service::http::openapi::all_fields(&operations));
    assert_eq!(
        literals_after(&[
            "check( &mut errors,",
            "check(&mut errors,",
            "const PASSWORD: &str ="
        ]),
        pointers
    );
}

/// A test can't control code that reads the system time.
#[test]
fn only_the_clock_reads_the_system_time() {
    const READS: [&str; 4] = ["Instant::now", "SystemTime::now", "Utc::now", ".elapsed()"];
    let reads_time = |source: &Source| READS.iter().any(|read| source.code.contains(read));
    let found: Vec<String> = source::all()
        .iter()
        .filter(|source| reads_time(source))
        .map(|source| source.path.clone())
        .collect();
    assert_eq!(found, ["src/platform/clock.rs"]);
}

#[test]
fn every_rule_applies_to_files() {
    let sources = source::all();
    for rule in RULES {
        let files = sources.iter().filter(|source| (rule.files)(&source.path));
        assert!(
            files.count() > 0,
            "no file matches the rule: {}",
            rule.because
        );
    }
}

#[test]
fn every_slice_folder_is_in_the_list() {
    let sources = source::all();
    let code = |path: &str| {
        let found = sources.iter().find(|source| source.path == path);
        &found.expect(path).code
    };
    let all = code("src/slices/mod.rs");
    for (area, slices) in areas() {
        assert_eq!(listed(code(&format!("src/slices/{area}/mod.rs"))), slices);
        assert!(all.contains(&format!("{area}::SLICES")), "{area}");
    }
}

#[test]
fn an_incomplete_list_is_detected() {
    let slices: BTreeSet<String> = ["one", "two"].map(str::to_owned).into();
    assert_eq!(listed("\nslices![one, two];"), slices);
    assert_ne!(listed("\nslices![one];"), slices);
}

/// The code blocks of a page, each with the path of its file.
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

/// Whether these lines occur consecutively in a text, ignoring indentation.
fn occur_in(lines: &[String], text: &str) -> bool {
    let text: Vec<&str> = text.lines().map(str::trim).collect();
    text.windows(lines.len()).any(|window| window == lines)
}

#[test]
fn the_excerpts_in_the_slice_guide_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/how-to/add-a-slice.md")).expect("the page");
    let excerpts = excerpts(&page);
    assert!(excerpts.len() >= 8, "{}", excerpts.len());
    for (path, lines) in excerpts {
        let source = std::fs::read_to_string(root.join(&path)).expect(&path);
        assert!(
            occur_in(&lines, &source),
            "{path} no longer has:\n{}",
            lines.join("\n")
        );
    }
}

#[test]
fn an_outdated_excerpt_is_detected() {
    let page = "`a.rs`:\n\n```rust\nfn a() {\n    b();\n}\n```\n";
    let (path, lines) = excerpts(page).remove(0);
    assert_eq!(path, "a.rs");
    assert!(occur_in(&lines, "x\n    fn a() {\n        b();\n    }\n"));
    assert!(!occur_in(&lines, "fn a() {\n    c();\n}\n"));
}

/// A task spawned by a slice would not be awaited on shutdown, nor have its request's ids.
#[test]
fn no_slice_spawns() {
    for source in source::all() {
        let is_of_health = source.path.starts_with("src/slices/operations/health/");
        if area_of(&source.path).is_some() && !is_of_health {
            assert!(!source.code.contains("spawn"), "{}", source.path);
        }
    }
}

/// A kind of problem that no operation names has no page, so its `type` is a dead link.
#[test]
fn every_kind_of_problem_is_collected_and_has_a_unique_slug() {
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

/// Tables that an area writes, and [`ACCESS`] as well. A suspension changes a user, ends its sessions and
/// revokes its tokens in one transaction, and neither area may use the other. The old rows of the last two are
/// removed with those of sessions.
const WRITTEN_BY_ACCESS_TOO: [&str; 5] =
    ["users", "users_read", "sessions", "revocations", "auth_log"];

/// What several areas do in transactions of their own.
const ACCESS: &str = "src/access/";

/// A table written by two areas has two owners, and neither can change it.
#[test]
fn no_table_is_written_by_two_areas() {
    let mut writers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in source::all() {
        let access = source.path.starts_with(ACCESS).then_some(ACCESS);
        let Some(owner) = area_of(&source.path).or(access) else {
            continue;
        };
        for literal in &source.literals {
            if let Some(table) = written(&literal.text) {
                let owners = writers.entry(table.to_owned()).or_default();
                owners.insert(owner.to_owned());
            }
        }
    }
    let accounts = ["users", "users_read", "user_events"];
    assert!(accounts.iter().all(|table| writers.contains_key(*table)));
    for (table, mut owners) in writers {
        if WRITTEN_BY_ACCESS_TOO.contains(&table.as_str()) {
            assert!(owners.remove(ACCESS), "{table} is not written by {ACCESS}");
        }
        assert_eq!(owners.len(), 1, "{table} is written by {owners:?}");
    }
}

/// The table written by a statement.
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
#[case("src/mail/delivery.rs", "use crate::http::problem::Problem;")]
#[case("src/slices/accounts/signup/command.rs", "use lettre::Message;")]
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
#[case("src/slices/user.rs", "use crate::slices::operations::health::SLICE;")]
#[case("src/slices/user.rs", "use actix_web::HttpResponse;")]
#[case("src/http/server.rs", "use crate::slices::all;")]
#[case("src/cli.rs", "use crate::slices::{all, accounts::signup};")]
fn a_violation_is_detected(#[case] path: &str, #[case] text: &str) {
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
fn valid_code_passes(#[case] path: &str, #[case] text: &str) {
    let source = source::read(path, text);
    let found = violations(&source, &areas());
    assert!(found.is_empty(), "{found:?}");
}

/// A row of the page of guarantees: its number, and the tests that it names, each with its file.
fn guarantees(page: &str) -> Vec<(String, Vec<(String, String)>)> {
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let number = cells.first()?;
        let (family, digits) = number.split_at_checked(1)?;
        let is_number = family.chars().all(char::is_uppercase)
            && !digits.is_empty()
            && digits.chars().all(|digit| digit.is_ascii_digit());
        is_number.then(|| ((*number).to_owned(), cells[cells.len() - 1].to_owned()))
    });
    let tests = |shown: String| {
        let mut file = String::new();
        let mut tests = Vec::new();
        for name in shown.split('`').skip(1).step_by(2) {
            if name.contains('/') {
                name.clone_into(&mut file);
                tests.push((file.clone(), String::new()));
            } else {
                tests.push((file.clone(), name.to_owned()));
            }
        }
        tests
    };
    rows.map(|(number, shown)| (number, tests(shown))).collect()
}

/// The comment and the attributes above a function, with its first line.
fn with_its_comment<'s>(source: &'s str, function: &str) -> Option<Vec<&'s str>> {
    let lines: Vec<&str> = source.lines().collect();
    let is_it = |line: &&str| line.trim_start().contains(&format!("fn {function}("));
    let at = lines.iter().position(is_it)?;
    let above = lines[..at].iter().rev();
    let head = above.take_while(|line| line.trim_start().starts_with(['/', '#']));
    Some(head.chain([&lines[at]]).copied().collect())
}

/// Citations of numbers that the page does not have.
#[test]
fn only_guarantees_of_the_page_are_cited() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = root.join("docs/explanation/guarantees.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let known: BTreeSet<String> = guarantees(&page)
        .into_iter()
        .map(|(number, _)| number)
        .collect();
    let mut cited = 0;
    for folder in ["tests/api", "src/slices/accounts/signup/store"] {
        for entry in std::fs::read_dir(root.join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let citations = text.lines().filter_map(|line| {
                let (_, numbers) = line.split_once("/// Guarantee ")?;
                numbers
                    .split_once('.')
                    .map(|(numbers, _)| numbers.to_owned())
            });
            for number in citations.flat_map(|numbers| {
                let numbers = numbers.split(", ").map(str::to_owned);
                numbers.collect::<Vec<_>>()
            }) {
                cited += 1;
                assert!(known.contains(&number), "{} cites {number}", path.display());
            }
        }
    }
    assert!(cited > 30, "only {cited} citations");
}

#[test]
fn every_guarantee_has_tests_that_cite_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let guarantees = guarantees(&read("docs/explanation/guarantees.md"));
    assert!(guarantees.len() > 40, "{}", guarantees.len());
    let keys = read("tests/api/idempotency.rs") + &read("tests/api/redis.rs");
    let names_of_keys: BTreeSet<&str> = keys
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("async fn "))
        .flat_map(|line| line.split(['_', '(']))
        .collect();
    for (number, tests) in &guarantees {
        if number.starts_with('C') {
            let name = number.to_lowercase();
            assert!(
                names_of_keys.contains(name.as_str()),
                "{number} has no test"
            );
            continue;
        }
        assert!(!tests.is_empty(), "{number} names no test");
        for (path, test) in tests {
            let source = read(path);
            if test.is_empty() {
                assert!(
                    !source.is_empty(),
                    "{number} names {path}, which is not there"
                );
                continue;
            }
            let head = with_its_comment(&source, test)
                .unwrap_or_else(|| panic!("{path} has no test {test}, which {number} names"));
            let is_test = head.iter().any(|line| line.contains("test]"));
            assert!(is_test, "{test} in {path} is not a test");
            let is_cited = head.iter().any(|line| {
                line.trim_start().starts_with("/// Guarantee ")
                    && line.split([' ', ',', '.']).any(|word| word == number)
            });
            assert!(is_cited, "{test} in {path} does not cite {number}");
        }
    }
}
