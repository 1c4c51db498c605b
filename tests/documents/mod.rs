//! Lists in documents are complete: what the program has of a kind is named on the page that lists it.
//!
//! Pages of `docs/reference` that `make docs` generates have tests of their own, and so have commands, alerts and
//! links. To add a list, add a case to [`a_page_names_all_of_a_kind`].

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rstest::rstest;
use serde_json::Value;
use signup_service::domain::Permission;

use super::{areas, source};

fn text(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join(path)).expect(path)
}

/// The names of what is in a folder, without extensions.
fn names_in(folder: &str) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = fs::read_dir(root.join(folder)).expect(folder);
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let stems = paths.filter_map(|path| path.file_stem()?.to_str().map(str::to_owned));
    stems.collect()
}

/// The string literals of the source behind this code.
fn literals_behind(code: &str, path: &str) -> BTreeSet<String> {
    let sources = source::all();
    let sources = sources
        .iter()
        .filter(|source| source.path.starts_with(path));
    let literals = sources.flat_map(|source| &source.literals);
    let literals = literals.filter(|literal| literal.before.ends_with(code));
    literals.map(|literal| literal.text.clone()).collect()
}

/// What a template file of a mail is named by: its kind.
fn mails() -> BTreeSet<String> {
    names_in("src/mail/templates")
}

fn variables_of_mails() -> BTreeSet<String> {
    let source = text("src/mail/message.rs");
    let values = source.split("let values = context! {").nth(1);
    let values = values.and_then(|rest| rest.split("};").next());
    let values = values.expect("the variables").lines();
    let names = values.filter_map(|line| Some(line.split_once("=>")?.0.trim().to_owned()));
    names.collect()
}

fn permissions() -> BTreeSet<String> {
    let all = Permission::ALL.iter();
    all.map(ToString::to_string).collect()
}

fn events() -> BTreeSet<String> {
    literals_behind("const TYPE: &'static str =", "src/")
}

fn pages() -> BTreeSet<String> {
    literals_behind("path:", "src/slices/people/pages/assets.rs")
        .into_iter()
        .filter(|path| path != "/admin")
        .collect()
}

/// The pages to which mails lead, with an own front end too.
fn pages_of_mails() -> BTreeSet<String> {
    let source = text("src/mail/message.rs");
    let pages = pages();
    let names = pages.iter().map(|path| path.trim_start_matches('/'));
    let of_mails = names.filter(|page| {
        source.contains(&format!("\"{page}\"")) || source.contains(&format!("/{page}\""))
    });
    of_mails.map(str::to_owned).collect()
}

/// Its operations, and the fields that their bodies have.
fn of_the_openapi_document() -> BTreeSet<String> {
    /// What is described by a standard, or is an object of its own shape.
    const ELSEWHERE: [&str; 4] = ["Export", "Index", "Jwk", "Jwks"];
    let document: Value = serde_json::from_str(&text("docs/reference/openapi.json")).expect("JSON");
    let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let schemas = members(&document["components"]["schemas"]);
    let codes = schemas["FieldError"]["properties"]["code"]["enum"].clone();
    let codes = codes.as_array().expect("codes").iter();
    let mut found: BTreeSet<String> = codes.filter_map(Value::as_str).map(str::to_owned).collect();
    found.extend(members(&document["paths"]).keys().cloned());
    for (name, schema) in &schemas {
        if !ELSEWHERE.contains(&name.as_str()) {
            let parts = schema["allOf"].as_array().cloned().unwrap_or_default();
            for part in parts.iter().chain([schema]) {
                found.extend(members(&part["properties"]).keys().cloned());
            }
        }
    }
    found
}

/// The slices, and the folders and files of `src`.
fn modules() -> BTreeSet<String> {
    let mut found: BTreeSet<String> = areas().into_values().flatten().collect();
    found.extend(areas().into_keys());
    for folder in [
        "src",
        "src/access",
        "src/mail",
        "src/attempts",
        "src/breached",
    ] {
        found.extend(names_in(folder));
    }
    // Modules for tests, and those that every folder has.
    for common in ["mod", "testing", "metrics", "on_disk"] {
        found.remove(common);
    }
    found
}

fn rows_of_the_dashboard() -> BTreeSet<String> {
    let dashboard = text("deploy/grafana/dashboards/signup-service.json");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let rows = panels.filter(|panel| panel["type"] == "row");
    let titles = rows.filter_map(|row| row["title"].as_str()?.split(':').next());
    titles.map(|title| format!("*{title}*")).collect()
}

fn documents() -> BTreeSet<String> {
    let folders = ["how-to", "reference", "explanation"];
    let pages = folders.iter().flat_map(|folder| {
        let names = names_in(&format!("docs/{folder}")).into_iter();
        names.map(move |name| format!("{folder}/{name}"))
    });
    pages.collect()
}

fn decisions() -> BTreeSet<String> {
    let mut all = names_in("docs/adr");
    all.remove("README");
    all
}

/// Whether a page names this: as a whole word, not as a part of a longer name.
fn is_named(page: &str, name: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    page.match_indices(name).any(|(at, _)| {
        let (before, behind) = (&page[..at], &page[at + name.len()..]);
        !is_part(before.chars().next_back()) && !is_part(behind.chars().next())
    })
}

#[rstest]
#[case("docs/how-to/send-mail.md", mails(), 12)]
#[case("docs/how-to/send-mail.md", variables_of_mails(), 7)]
#[case("docs/how-to/send-mail.md", pages_of_mails(), 5)]
#[case("docs/reference/settings.md", pages_of_mails(), 5)]
#[case("docs/how-to/use-the-pages.md", pages(), 8)]
#[case("deploy/kubernetes/base/ingress.yaml", pages(), 8)]
#[case("docs/how-to/first-administrator.md", permissions(), 8)]
#[case("docs/reference/http-api.md", events(), 12)]
#[case("docs/reference/http-api.md", of_the_openapi_document(), 80)]
#[case("docs/explanation/architecture.md", modules(), 50)]
#[case("docs/how-to/monitor.md", rows_of_the_dashboard(), 9)]
#[case("docs/README.md", documents(), 30)]
#[case("docs/adr/README.md", decisions(), 30)]
fn a_page_names_all_of_a_kind(
    #[case] page: &str,
    #[case] all: BTreeSet<String>,
    #[case] at_least: usize,
) {
    assert!(all.len() >= at_least, "only {all:?}");
    let text = text(page);
    let missing: Vec<_> = all.iter().filter(|name| !is_named(&text, name)).collect();
    assert!(missing.is_empty(), "{page} lacks {missing:?}");
}

#[test]
fn a_part_of_a_longer_name_is_not_the_name() {
    assert!(is_named("the `email_changed` mail", "email_changed"));
    assert!(!is_named("the `email_changed_twice` mail", "email_changed"));
    assert!(!is_named("the `an_email_changed` mail", "email_changed"));
}

/// The numbers of requirements in the security checklist's summary are those of its rows.
#[test]
fn the_security_checklist_counts_its_rows() {
    let page = text("docs/reference/security-checklist.md");
    let (standard, _) = page.split_once("\n# NIST").expect("two standards");
    let rows = standard.lines().filter_map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        Some((cells.next()?, cells.next()?, cells.next()?))
    });
    let (mut stated, mut counted) = (BTreeSet::new(), std::collections::BTreeMap::new());
    for (first, second, _) in rows {
        if let Ok(count) = second.parse::<usize>() {
            stated.insert((first.to_owned(), count));
        } else if first.starts_with(|c: char| c.is_ascii_digit()) {
            *counted.entry(second.to_owned()).or_default() += requirements(first);
        }
    }
    assert!(page.contains("its 252 requirements"));
    assert_eq!(counted.values().sum::<usize>(), 252);
    assert_eq!(counted.into_iter().collect::<BTreeSet<_>>(), stated);
}

/// How many requirements a cell names, such as `1.1.2, 1.2.5 – 1.2.9`.
fn requirements(cell: &str) -> usize {
    let last = |number: &str| {
        number
            .rsplit('.')
            .next()
            .and_then(|n| n.parse::<usize>().ok())
    };
    let counts = cell.split(", ").map(|part| match part.split_once(" – ") {
        None => 1,
        Some((from, to)) => last(to).expect("a number") + 1 - last(from).expect("a number"),
    });
    counts.sum()
}
