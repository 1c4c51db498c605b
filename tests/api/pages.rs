//! The pages for people and for administrators, as files: their headers, what they load, and the setting that
//! removes them.
//!
//! `tests/pages` uses them in a browser.

use std::collections::BTreeSet;

use reqwest::Response;
use rstest::rstest;

use crate::harness::{Backend::Sqlite, Service, problem};

const PAGES: [&str; 8] = [
    "/sign-up",
    "/log-in",
    "/verify-email",
    "/forgot-password",
    "/reset-password",
    "/confirm-email",
    "/undo-email",
    "/account",
];

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    let value = response.headers().get(name).expect(name);
    value.to_str().expect("ASCII")
}

/// The values of an attribute in a page.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let rest = page.split(attribute).skip(1);
    rest.filter_map(|rest| rest.split('"').next()).collect()
}

/// What every page may do.
fn policy() -> BTreeSet<String> {
    let all = [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ];
    all.map(str::to_owned).into()
}

fn policy_of(response: &Response) -> BTreeSet<String> {
    let policy = header(response, "content-security-policy").split("; ");
    policy.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_page_may_do_only_what_it_needs() {
    let service = Service::start(Sqlite).await;
    for path in PAGES {
        let response = service.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(
            header(&response, "content-type"),
            "text/html; charset=utf-8"
        );
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        assert_eq!(header(&response, "referrer-policy"), "no-referrer");
        assert_eq!(policy_of(&response), policy(), "{path}");
    }
}

#[tokio::test]
async fn a_browser_asks_each_time_whether_its_copy_is_current() {
    let service = Service::start(Sqlite).await;
    for path in ["/sign-up", "/pages/api.js"] {
        let response = service.get(path).await;
        assert_eq!(header(&response, "cache-control"), "public, max-age=0");
        let tag = header(&response, "etag").to_owned();
        assert!(tag.starts_with('"'), "{tag} is weak");
        let request = reqwest::Client::new().get(service.url(path));
        let again = request.header("if-none-match", &tag).send().await;
        let again = again.expect("a response");
        assert_eq!(again.status(), 304);
        assert_eq!(header(&again, "etag"), tag);
    }
}

/// Every address is relative, so that pages work behind a path prefix, and each leads somewhere.
#[tokio::test]
async fn pages_load_and_link_to_what_there_is() {
    let service = Service::start(Sqlite).await;
    let mut seen = BTreeSet::new();
    for path in PAGES {
        let page = service.get(path).await.text().await.expect("text");
        let addresses = [values(&page, "href=\""), values(&page, "src=\"")].concat();
        assert!(
            addresses.contains(&"docs/style.css") && addresses.contains(&"#main"),
            "{path}"
        );
        seen.extend(addresses.into_iter().map(str::to_owned));
    }
    let mut scripts: Vec<String> = Vec::new();
    for address in &seen {
        if let Some(script) = address.strip_prefix("pages/") {
            scripts.push(script.to_owned());
        }
        assert!(
            !address.starts_with('/') && !address.contains(':'),
            "{address}"
        );
        let path = format!(
            "/{}",
            address.trim_start_matches("./").trim_start_matches("#main")
        );
        assert_eq!(service.get(&path).await.status(), 200, "{address}");
    }
    let mut loaded = BTreeSet::new();
    while let Some(script) = scripts.pop() {
        if loaded.insert(script.clone()) {
            let response = service.get(&format!("/pages/{script}")).await;
            assert_eq!(response.status(), 200, "{script}");
            assert_eq!(
                header(&response, "content-type"),
                "text/javascript; charset=utf-8"
            );
            let text = response.text().await.expect("text");
            scripts.extend(values(&text, "from \"./").into_iter().map(str::to_owned));
        }
    }
    assert!(loaded.len() > 10, "{loaded:?}");
    problem(service.get("/pages/no-such.js").await, 404, "not-found").await;
}

#[rstest]
#[tokio::test]
async fn a_setting_removes_them(#[values("on", "off")] setting: &str) {
    let service = Service::start_with(Sqlite, &[("PAGES", setting)]).await;
    let is_on = setting == "on";
    for path in PAGES.into_iter().chain(["/pages/api.js"]) {
        let status = if is_on { 200 } else { 404 };
        assert_eq!(service.get(path).await.status(), status, "{path}");
    }
    let request = reqwest::Client::new().get(service.url("/"));
    let front = request.header("accept", "text/html").send().await;
    let front = front.expect("a response").text().await.expect("text");
    assert_eq!(front.contains("href=\"sign-up\""), is_on, "{front}");
    for path in ["docs", "problems", "openapi.json"] {
        assert!(front.contains(&format!("href=\"{path}\"")), "{front}");
        assert_eq!(service.get(&format!("/{path}")).await.status(), 200);
    }
    let index = service.get("/").await;
    assert_eq!(header(&index, "content-type"), "application/json");
}

/// Whether an address must be confirmed decides what the page says after a signup.
#[rstest]
#[tokio::test]
async fn the_page_to_sign_up_knows_whether_a_mail_follows(
    #[values("off", "required")] setting: &str,
) {
    let folder = tempfile::tempdir().expect("a folder");
    let mail = format!("file:{}", folder.path().display());
    let settings = [("EMAIL_VERIFICATION", setting), ("MAIL_URL", mail.as_str())];
    let service = Service::start_with(Sqlite, &settings).await;
    let page = service.get("/sign-up").await.text().await.expect("text");
    let expected = format!("data-verifies=\"{}\"", setting == "required");
    assert!(page.contains(&expected), "{page}");
}

/// The page for administrators has all it loads on its own listener, and is on no other.
#[rstest]
#[tokio::test]
async fn the_page_for_administrators_is_on_their_listener(
    #[values("on", "off")] setting: &str,
    #[values("off", "file")] mail: &str,
) {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("file:{}", folder.path().display());
    let url = if mail == "off" { "off" } else { &url };
    let settings = [
        ("PAGES", setting),
        ("MAIL_URL", url),
        ("EMAIL_VERIFICATION", "off"),
    ];
    let service = Service::start_with(Sqlite, &settings).await;
    let administration = service.administration();
    let get = async |path: &str| {
        let response = service.client.get(format!("http://{administration}{path}"));
        response.send().await.expect("a response")
    };
    problem(service.get("/admin").await, 404, "not-found").await;
    problem(service.get("/pages/user.js").await, 404, "not-found").await;
    if setting == "off" {
        problem(get("/admin").await, 404, "not-found").await;
        problem(get("/pages/user.js").await, 404, "not-found").await;
        return;
    }
    let page = get("/admin").await;
    assert_eq!(page.status(), 200);
    assert_eq!(policy_of(&page), policy());
    assert_eq!(header(&page, "cache-control"), "public, max-age=0");
    let page = page.text().await.expect("text");
    let expected = format!("data-mails=\"{}\"", mail == "file");
    assert!(page.contains(&expected), "{page}");
    let mut scripts = Vec::new();
    for address in [values(&page, "href=\""), values(&page, "src=\"")].concat() {
        if !address.starts_with('#') {
            assert!(!address.starts_with('/') && !address.contains(':'));
            assert_eq!(get(&format!("/{address}")).await.status(), 200, "{address}");
        }
        scripts.extend(address.strip_prefix("pages/").map(str::to_owned));
    }
    let mut loaded = BTreeSet::new();
    while let Some(script) = scripts.pop() {
        if loaded.insert(script.clone()) {
            let response = get(&format!("/pages/{script}")).await;
            assert_eq!(response.status(), 200, "{script}");
            let text = response.text().await.expect("text");
            scripts.extend(values(&text, "from \"./").into_iter().map(str::to_owned));
        }
    }
    assert!(loaded.len() > 7, "{loaded:?}");
    // Neither the scripts of people nor those of others.
    for path in [
        "/pages/sign-up.js",
        "/docs/swagger-ui-bundle.js",
        "/sign-up",
    ] {
        problem(get(path).await, 404, "not-found").await;
    }
}
