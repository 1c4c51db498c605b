//! The files of the pages.

use std::time::Duration;

use crate::http::static_content::StaticContent;

/// A browser asks each time whether its copy is current, so that a page never runs with the scripts of
/// another release.
const MAX_AGE: Duration = Duration::ZERO;

/// What every page is in.
const FRAME: &str = include_str!("page/frame.html");

/// A page.
pub struct Page {
    /// Its path, which mails link to: see [`mail::message`](crate::mail::message).
    pub path: &'static str,
    title: &'static str,
    script: &'static str,
    body: &'static str,
}

/// Every page.
pub const PAGES: [Page; 8] = [
    Page {
        path: "/sign-up",
        title: "Sign up",
        script: "sign-up.js",
        body: include_str!("page/sign-up.html"),
    },
    Page {
        path: "/log-in",
        title: "Log in",
        script: "log-in.js",
        body: include_str!("page/log-in.html"),
    },
    Page {
        path: "/verify-email",
        title: "Confirm your address",
        script: "verify-email.js",
        body: include_str!("page/verify-email.html"),
    },
    Page {
        path: "/forgot-password",
        title: "Forgot your password?",
        script: "forgot-password.js",
        body: include_str!("page/forgot-password.html"),
    },
    Page {
        path: "/reset-password",
        title: "Choose a new password",
        script: "reset-password.js",
        body: include_str!("page/reset-password.html"),
    },
    Page {
        path: "/confirm-email",
        title: "Confirm your new address",
        script: "change-email.js",
        body: include_str!("page/confirm-email.html"),
    },
    Page {
        path: "/undo-email",
        title: "Keep your old address",
        script: "change-email.js",
        body: include_str!("page/undo-email.html"),
    },
    Page {
        path: "/account",
        title: "Your account",
        script: "account.js",
        body: include_str!("page/account.html"),
    },
];

/// Every script, by name.
const SCRIPTS: [(&str, &str); 13] = [
    ("account.js", include_str!("script/account.js")),
    ("api.js", include_str!("script/api.js")),
    ("attempt.js", include_str!("script/attempt.js")),
    ("change-email.js", include_str!("script/change-email.js")),
    (
        "forgot-password.js",
        include_str!("script/forgot-password.js"),
    ),
    ("form.js", include_str!("script/form.js")),
    ("link.js", include_str!("script/link.js")),
    ("log-in.js", include_str!("script/log-in.js")),
    (
        "reset-password.js",
        include_str!("script/reset-password.js"),
    ),
    ("session.js", include_str!("script/session.js")),
    ("sign-up.js", include_str!("script/sign-up.js")),
    ("verify-email.js", include_str!("script/verify-email.js")),
    ("words.js", include_str!("script/words.js")),
];

impl Page {
    /// The whole page. `verifies` is whether an address must be confirmed before a login.
    pub fn content(&self, verifies: bool) -> StaticContent {
        let text = FRAME
            .replace("{title}", self.title)
            .replace("{script}", self.script)
            .replace("{body}", self.body.trim_end())
            .replace("{verifies}", if verifies { "true" } else { "false" });
        StaticContent::new(text.into_bytes(), "text/html; charset=utf-8", MAX_AGE)
    }
}

/// A script.
pub struct Script {
    /// Its name, below `/pages/`.
    pub name: &'static str,
    /// Its content.
    pub content: StaticContent,
}

/// Every script.
pub fn scripts() -> Vec<Script> {
    let script = |(name, text): (&'static str, &'static str)| Script {
        name,
        content: StaticContent::new(text.as_bytes(), "text/javascript; charset=utf-8", MAX_AGE),
    };
    SCRIPTS.map(script).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What stands between `before` and the next `"`, each time.
    fn after<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
        let parts = text.split(before).skip(1);
        parts.filter_map(|part| part.split('"').next()).collect()
    }

    #[test]
    fn every_script_is_used_and_served() {
        let served: BTreeSet<&str> = SCRIPTS.iter().map(|(name, _)| *name).collect();
        let of_pages = PAGES.iter().map(|page| page.script);
        let imports = SCRIPTS
            .iter()
            .flat_map(|(_, text)| after(text, "from \"./"));
        let used: BTreeSet<&str> = of_pages.chain(imports).collect();
        assert_eq!(used, served);
    }

    /// The policy would stop each of these, with nothing but a line in the console.
    #[test]
    fn nothing_is_inline() {
        let pages = PAGES.iter().map(|page| page.body).chain([FRAME]);
        let events = ["click", "submit", "input", "change", "load", "error"];
        let handlers = events.map(|event| format!(" on{event}="));
        for text in pages {
            let elsewhere =
                ["<style", " style=", "<script>", "javascript:", "//"].map(str::to_owned);
            for wrong in elsewhere.iter().chain(&handlers) {
                assert!(!text.contains(wrong), "{wrong} in {text}");
            }
        }
        for (name, text) in SCRIPTS {
            for wrong in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "eval(",
                "document.write",
            ] {
                assert!(!text.contains(wrong), "{wrong} in {name}");
            }
        }
    }

    #[test]
    fn labels_and_descriptions_name_elements_of_their_page() {
        for page in &PAGES {
            let ids: BTreeSet<&str> = after(page.body, " id=\"").into_iter().collect();
            assert_eq!(ids.len(), after(page.body, " id=\"").len(), "{}", page.path);
            for attribute in [
                "for=\"",
                "aria-describedby=\"",
                "aria-labelledby=\"",
                "aria-controls=\"",
            ] {
                for named in after(page.body, attribute)
                    .iter()
                    .flat_map(|names| names.split(' '))
                {
                    assert!(ids.contains(named), "{}: {named}", page.path);
                }
            }
            // One is shown at a time.
            let parts = page.body.matches("data-part=").count().max(1);
            assert_eq!(page.body.matches("<h1").count(), parts, "{}", page.path);
        }
    }
}
