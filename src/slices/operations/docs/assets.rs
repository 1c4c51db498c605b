//! The files of the page `/docs`: this service's own, and those of Swagger UI that the page uses.

use std::time::Duration;

use crate::http::static_content::StaticContent;

/// How long a browser may use its copy without revalidation.
pub const MAX_AGE: Duration = Duration::from_hours(1);

/// The page itself.
pub const PAGE: &str = include_str!("page/docs.html");

/// The style sheet of every page.
pub const STYLE: &str = include_str!("page/style.css");

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Every file of the page, by name and media type.
const FILES: [(&str, &str, &str); 6] = [
    ("style.css", CSS, STYLE),
    ("docs.css", CSS, include_str!("page/docs.css")),
    (
        "swagger-initializer.js",
        SCRIPT,
        include_str!("page/swagger-initializer.js"),
    ),
    ("icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    // `build.rs` unpacks these two.
    (
        "swagger-ui.css",
        CSS,
        include_str!(concat!(env!("OUT_DIR"), "/swagger-ui.css")),
    ),
    (
        "swagger-ui-bundle.js",
        SCRIPT,
        include_str!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js")),
    ),
];

/// A file of the page.
pub struct Asset {
    /// Its name, below `/docs/`.
    pub name: &'static str,
    /// Its content.
    pub content: StaticContent,
}

/// Every file of the page.
pub fn all() -> Vec<Asset> {
    let asset = |(name, content_type, text): (&'static str, &'static str, &'static str)| Asset {
        name,
        content: StaticContent::new(text.as_bytes(), content_type, MAX_AGE),
    };
    FILES.map(asset).into()
}

/// Those of every page, without Swagger UI.
pub fn of_every_page() -> Vec<Asset> {
    let mut files = all();
    files.retain(|file| ["style.css", "icon.svg"].contains(&file.name));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_uses_every_file_and_no_other() {
        let mut used: Vec<&str> = PAGE
            .split('"')
            .filter_map(|part| part.strip_prefix("docs/"))
            .filter(|name| *name != "licence")
            .collect();
        used.sort_unstable();
        let mut served: Vec<&str> = all().iter().map(|asset| asset.name).collect();
        served.sort_unstable();
        assert_eq!(used, served);
    }
}
