//! Pages for people about the kinds of problems: one for each, and a list of all.
//!
//! What they say is in the table of [`ProblemType`].

use crate::platform::problem::{EXAMPLE_ID, MEDIA_TYPE, Problem, ProblemType};

/// Both colour schemes are the browser's own; a phone need not zoom.
const STYLE: &str = "\
    :root { color-scheme: light dark; }\n\
    body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 0 auto; padding: 1rem; }\n\
    h1 { font-size: 1.5rem; line-height: 1.2; }\n\
    h2 { font-size: 1.15rem; margin-top: 2rem; }\n\
    code, pre { font-family: ui-monospace, monospace; font-size: 0.9em; }\n\
    pre { border: 1px solid; border-radius: 4px; padding: 0.75rem; white-space: pre-wrap; \
    overflow-wrap: anywhere; }\n\
    table { border-collapse: collapse; }\n\
    th, td { text-align: left; vertical-align: top; padding: 0.3rem 1rem 0.3rem 0; }\n";

/// The page of a kind of problem.
pub fn problem(kind: ProblemType) -> String {
    let about = kind.about();
    let body = format!(
        "<nav><a href=\"/problems\">All problems</a> · <a href=\"/docs\">The API</a></nav>\n\
         <main>\n\
         <h1>{title}</h1>\n\
         <p><code>{path}</code>, HTTP status <strong>{status}</strong></p>\n\
         <h2>What has happened</h2>\n\
         <p>{meaning}</p>\n\
         <h2>What to do</h2>\n\
         <p>{advice}</p>\n\
         <h2>An example</h2>\n\
         <pre><code>{example}</code></pre>\n\
         <p>Programs should look at <code>type</code> and <code>status</code>, which do not change. \
         <code>title</code> and <code>detail</code> are for people. <code>request_id</code> is what to \
         tell those who run the service.</p>\n\
         </main>\n",
        title = escaped(about.title),
        path = kind.path(),
        status = about.status,
        meaning = marked_up(about.meaning),
        advice = marked_up(about.advice),
        example = escaped(&example(kind)),
    );
    page(about.title, &body)
}

/// The list of all kinds.
pub fn problems() -> String {
    let rows: String = ProblemType::ALL
        .map(|kind| {
            let about = kind.about();
            format!(
                "<tr><td>{status}</td><td><a href=\"{path}\"><code>{slug}</code></a></td>\
                 <td>{title}</td></tr>\n",
                status = about.status.as_u16(),
                path = kind.path(),
                slug = about.slug,
                title = escaped(about.title),
            )
        })
        .concat();
    let body = format!(
        "<nav><a href=\"/docs\">The API</a></nav>\n\
         <main>\n\
         <h1>Problems</h1>\n\
         <p>Every error of this service has a body of the media type <code>{MEDIA_TYPE}</code> \
         (RFC 9457). Its <code>type</code> is one of these pages, each of which says what has happened \
         and what to do.</p>\n\
         <table>\n\
         <thead><tr><th scope=\"col\">Status</th><th scope=\"col\">Slug</th>\
         <th scope=\"col\">Title</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n\
         </table>\n\
         </main>\n"
    );
    page("Problems", &body)
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} - signup-service</title>\n\
         <link rel=\"icon\" href=\"/docs/favicon-32x32.png\">\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        title = escaped(title),
    )
}

/// An answer with a problem of this kind, as it goes over the wire, but laid out for people.
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

/// Escaped, with names in backticks as code.
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
