//! Pages for people: the front page, the 404 page, the licence, and the kinds of problem, one page
//! for each and a list of all.
//!
//! Their texts about problems are those of [`ProblemType`]. Every address in them is relative, so
//! that they work behind a path prefix: a page receives the relative path from its own address to
//! the root, such as `../`.

use std::borrow::Cow;

use crate::http::problem::{EXAMPLE_ID, MEDIA_TYPE, Problem, ProblemType};

/// The licences, of which a user of the service may choose one.
const LICENCES: [(&str, &str); 2] = [
    (
        "MIT",
        include_str!("../../../../crates/bcrypt-lanes/LICENSE-MIT"),
    ),
    (
        "Apache-2.0",
        include_str!("../../../../crates/bcrypt-lanes/LICENSE-APACHE"),
    ),
];

/// What the front page says of the pages of an account.
const ACCOUNT: &str = "<h2>Your account</h2>\n\
    <dl>\n\
    <dt><a href=\"sign-up\">Sign up</a></dt>\n\
    <dd>Make an account.</dd>\n\
    <dt><a href=\"log-in\">Log in</a></dt>\n\
    <dd>With your address and your password. <a href=\"forgot-password\">Forgot the password?</a></dd>\n\
    <dt><a href=\"account\">Your account</a></dt>\n\
    <dd>Your name, address and password, where you are logged in, and your data.</dd>\n\
    </dl>\n";

/// The page at `/`. `pages` is whether there are pages of an account.
pub fn front(pages: bool) -> String {
    let body = format!(
        "<h1>signup-service {version}</h1>\n\
         <p>Creates an account for a name, an address and a password exactly once, and keeps it.</p>\n{account}\
         <h2>For developers</h2>\n\
         <p>The API is for programs; these pages are for people:</p>\n\
         <dl>\n\
         <dt><a href=\"docs\">The API</a></dt>\n\
         <dd>Every operation, to read and to try.</dd>\n\
         <dt><a href=\"problems\">Problems</a></dt>\n\
         <dd>Every error, with its meaning and what to do.</dd>\n\
         <dt><a href=\"openapi.json\">openapi.json</a></dt>\n\
         <dd>The OpenAPI document, for generating a client.</dd>\n\
         </dl>\n\
         <h2>A first signup</h2>\n\
         <pre><code>{example}</code></pre>\n\
         <p>Programs that request <code>{url}</code> without <code>Accept: text/html</code> get JSON.</p>\n",
        account = if pages { ACCOUNT } else { "" },
        version = env!("CARGO_PKG_VERSION"),
        example = escaped(
            "curl -i http://127.0.0.1:8000/signup -H 'Content-Type: application/json' \\\n  \
             -H \"Idempotency-Key: $(uuidgen)\" \\\n  \
             -d '{\"name\":\"Ada Lovelace\",\"email\":\"ada@example.org\",\"password\":\"correct horse battery \
             staple\"}'"
        ),
        url = "/",
    );
    page("./", "Start", &body)
}

/// The page for an unknown path.
pub fn not_found(path: &str) -> String {
    let root = path_to_root(path);
    let body = format!(
        "<h1>Not found</h1>\n\
         <p>No page and no resource has this address. Paths have no trailing slash, and are \
         case-sensitive.</p>\n\
         <ul>\n\
         <li><a href=\"{root}\">Start</a></li>\n\
         <li><a href=\"{root}docs\">The API</a></li>\n\
         <li><a href=\"{root}problems\">Problems</a></li>\n\
         </ul>\n"
    );
    page(&root, "Not found", &body)
}

/// The page of the licence.
pub fn licence() -> String {
    let texts = LICENCES.map(|(name, text)| {
        format!(
            "<h2>{name}</h2>\n<pre><code>{text}</code></pre>\n",
            text = escaped(text)
        )
    });
    let body = format!(
        "<h1>Licence</h1>\n\
         <p>MIT or Apache 2.0, at your option.</p>\n{texts}",
        texts = texts.concat(),
    );
    page("../", "Licence", &body)
}

/// The relative path from a path to the root, such as `../../`.
fn path_to_root(path: &str) -> Cow<'static, str> {
    /// The deepest path for which it is relative: a client must not be able to cause much work.
    const MAX_DEPTH: usize = 16;
    match path.bytes().skip(1).filter(|byte| *byte == b'/').count() {
        0 => "./".into(),
        depth if depth <= MAX_DEPTH => "../".repeat(depth).into(),
        _ => "/".into(),
    }
}

/// The page of a kind of problem.
pub fn problem(kind: ProblemType) -> String {
    let about = kind.about();
    let body = format!(
        "<h1>{title}</h1>\n\
         <p><code>{path}</code>, HTTP status <strong>{status}</strong></p>\n\
         <h2>What happened</h2>\n\
         <p>{meaning}</p>\n\
         <h2>What to do</h2>\n\
         <p>{advice}</p>\n\
         <h2>An example</h2>\n\
         <pre><code>{example}</code></pre>\n\
         <p>Programs should check <code>type</code> and <code>status</code>, which do not change. \
         <code>title</code> and <code>detail</code> are for people. Report the <code>request_id</code> to \
         the operator of the service.</p>\n\
         <p><a href=\"../problems\">All problems</a></p>\n",
        title = escaped(about.title),
        path = kind.path(),
        status = about.status,
        meaning = marked_up(about.meaning),
        advice = marked_up(about.advice),
        example = escaped(&example(kind)),
    );
    page("../", about.title, &body)
}

/// The list of all kinds.
pub fn problems(kinds: &[ProblemType]) -> String {
    let rows: Vec<String> = kinds
        .iter()
        .map(|kind| {
            let about = kind.about();
            format!(
                "<tr><td>{status}</td><td><a href=\"problems/{slug}\"><code>{slug}</code></a></td>\
                 <td>{title}</td></tr>\n",
                status = about.status.as_u16(),
                slug = about.slug,
                title = escaped(about.title),
            )
        })
        .collect();
    let rows = rows.concat();
    let body = format!(
        "<h1>Problems</h1>\n\
         <p>Every error of this service has a body of the media type <code>{MEDIA_TYPE}</code> \
         (RFC 9457). Its <code>type</code> is one of these pages, each of which says what happened \
         and what to do.</p>\n\
         <table>\n\
         <thead><tr><th scope=\"col\">Status</th><th scope=\"col\">Slug</th>\
         <th scope=\"col\">Title</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n\
         </table>\n"
    );
    page("./", "Problems", &body)
}

/// A page in the common frame. `root` is the relative path to `/` from the page's own address.
fn page(root: &str, title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} - signup-service</title>\n\
         <link rel=\"icon\" href=\"{root}docs/icon.svg\">\n\
         <link rel=\"stylesheet\" href=\"{root}docs/style.css\">\n</head>\n<body>\n\
         <header class=\"frame\">\n<nav aria-label=\"Pages\">\n\
         <a class=\"home\" href=\"{root}\">signup-service</a>\n\
         <a href=\"{root}docs\">The API</a>\n\
         <a href=\"{root}problems\">Problems</a>\n\
         </nav>\n</header>\n<main class=\"text\">\n{body}</main>\n</body>\n</html>\n",
        title = escaped(title),
    )
}

/// A response with a problem of this kind, as sent, but formatted for people.
fn example(kind: ProblemType) -> String {
    let problem: Problem = kind.example();
    let retry_after = if kind.has_retry_after() {
        "retry-after: 1\n"
    } else {
        ""
    };
    let body = serde_json::to_string_pretty(&problem.members(EXAMPLE_ID))
        .expect("a problem has only strings and numbers");
    format!(
        "HTTP/1.1 {status}\ncontent-type: {MEDIA_TYPE}\n{retry_after}\n{body}",
        status = kind.about().status,
    )
}

/// Escapes text, and marks names in backticks as code.
fn marked_up(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let marked_up = parts.map(|(at, part)| match at % 2 {
        0 => escaped(part),
        _ => format!("<code>{}</code>", escaped(part)),
    });
    marked_up.collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_to_the_root_matches_the_depth() {
        for (path, way) in [
            ("/", "./"),
            ("/users", "./"),
            ("/docs/", "../"),
            ("/a/b/c", "../../"),
            ("//", "../"),
        ] {
            assert_eq!(path_to_root(path), way, "{path}");
        }
        assert_eq!(path_to_root(&"/".repeat(60_000)), "/");
    }

    #[test]
    fn the_licences_are_those_of_the_repository() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        for ((_, text), file) in LICENCES.iter().zip(["LICENSE-MIT", "LICENSE-APACHE"]) {
            let written = std::fs::read_to_string(root.join(file)).expect(file);
            assert_eq!(*text, written, "{file}");
        }
    }
}
