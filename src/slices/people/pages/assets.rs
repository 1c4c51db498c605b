//! The files of the pages.

use std::time::Duration;

use crate::http::static_content::StaticContent;

/// A browser asks each time whether its copy is current, so that a page never runs with the scripts of
/// another release.
const MAX_AGE: Duration = Duration::ZERO;

/// What every page for people is in.
const FRAME: &str = include_str!("page/frame.html");

/// What the page for administrators is in.
const ADMINISTRATION_FRAME: &str = include_str!("page/administration-frame.html");

/// A page.
pub struct Page {
    /// Its path, which mails link to: see [`mail::message`](crate::mail::message).
    pub path: &'static str,
    title: &'static str,
    script: &'static str,
    body: &'static str,
}

/// What the settings say to a page.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Whether an address must be confirmed before a login.
    pub verifies: bool,
    /// Whether a signup says the same for every address.
    pub is_uniform: bool,
    /// Whether mails are sent.
    pub mails: bool,
}

/// The page for administrators, on their listener.
pub const ADMINISTRATION: Page = Page {
    path: "/admin",
    title: "Administration",
    script: "administration.js",
    body: include_str!("page/administration.html"),
};

/// Every page for people.
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

/// A name below `/pages/`, and a text.
type File = (&'static str, &'static str);

/// The scripts that pages on both listeners use.
const SHARED: [File; 5] = [
    ("api.js", include_str!("script/api.js")),
    ("attempt.js", include_str!("script/attempt.js")),
    ("form.js", include_str!("script/form.js")),
    ("session.js", include_str!("script/session.js")),
    ("words.js", include_str!("script/words.js")),
];

/// The scripts of the pages for people.
const OF_PEOPLE: [File; 8] = [
    ("account.js", include_str!("script/account.js")),
    ("change-email.js", include_str!("script/change-email.js")),
    (
        "forgot-password.js",
        include_str!("script/forgot-password.js"),
    ),
    ("link.js", include_str!("script/link.js")),
    ("log-in.js", include_str!("script/log-in.js")),
    (
        "reset-password.js",
        include_str!("script/reset-password.js"),
    ),
    ("sign-up.js", include_str!("script/sign-up.js")),
    ("verify-email.js", include_str!("script/verify-email.js")),
];

/// The scripts of the page for administrators.
const OF_ADMINISTRATION: [File; 4] = [
    (
        "administration.js",
        include_str!("script/administration.js"),
    ),
    ("confirm.js", include_str!("script/confirm.js")),
    ("tab.js", include_str!("script/tab.js")),
    ("user.js", include_str!("script/user.js")),
];

impl Page {
    /// The whole page.
    pub fn content(&self, setup: Setup) -> StaticContent {
        let word = |is: bool| if is { "true" } else { "false" };
        let text = self
            .frame()
            .replace("{title}", self.title)
            .replace("{script}", self.script)
            .replace("{body}", self.body.trim_end())
            .replace("{verifies}", word(setup.verifies))
            .replace("{uniform}", word(setup.is_uniform))
            .replace("{mails}", word(setup.mails));
        StaticContent::new(text.into_bytes(), "text/html; charset=utf-8", MAX_AGE)
    }

    fn frame(&self) -> &'static str {
        if self.path == ADMINISTRATION.path {
            ADMINISTRATION_FRAME
        } else {
            FRAME
        }
    }
}

/// A script.
pub struct Script {
    /// Its name, below `/pages/`.
    pub name: &'static str,
    /// Its content.
    pub content: StaticContent,
}

/// Every script of the pages for people.
pub fn scripts() -> Vec<Script> {
    SHARED.into_iter().chain(OF_PEOPLE).map(script).collect()
}

/// Every script of the page for administrators.
pub fn scripts_of_administration() -> Vec<Script> {
    let all = SHARED.into_iter().chain(OF_ADMINISTRATION);
    all.map(script).collect()
}

fn script((name, text): File) -> Script {
    Script {
        name,
        content: StaticContent::new(text.as_bytes(), "text/javascript; charset=utf-8", MAX_AGE),
    }
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
        let listeners: [(&[Page], &[File]); 2] = [
            (&PAGES, &OF_PEOPLE),
            (&[ADMINISTRATION], &OF_ADMINISTRATION),
        ];
        for (pages, own) in listeners {
            let scripts = [&SHARED, own].concat();
            let served: BTreeSet<&str> = scripts.iter().map(|(name, _)| *name).collect();
            let of_pages = pages.iter().map(|page| page.script);
            let imports = scripts
                .iter()
                .flat_map(|(_, text)| after(text, "from \"./"));
            let used: BTreeSet<&str> = of_pages.chain(imports).collect();
            assert_eq!(used, served);
        }
    }

    /// Every page, on both listeners.
    fn all_pages() -> Vec<Page> {
        PAGES.into_iter().chain([ADMINISTRATION]).collect()
    }

    /// The policy would stop each of these, with nothing but a line in the console.
    #[test]
    fn nothing_is_inline() {
        let pages = all_pages();
        let pages = pages.iter().map(|page| page.body);
        let pages = pages.chain([FRAME, ADMINISTRATION_FRAME]);
        let events = ["click", "submit", "input", "change", "load", "error"];
        let handlers = events.map(|event| format!(" on{event}="));
        for text in pages {
            let elsewhere =
                ["<style", " style=", "<script>", "javascript:", "//"].map(str::to_owned);
            for wrong in elsewhere.iter().chain(&handlers) {
                assert!(!text.contains(wrong), "{wrong} in {text}");
            }
        }
        for (name, text) in [&SHARED[..], &OF_PEOPLE, &OF_ADMINISTRATION].concat() {
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
        for page in &all_pages() {
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
