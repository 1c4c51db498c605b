//! The files of the page `/docs`: this service's own, and those of Swagger UI that the page uses.

use std::sync::Arc;
use std::time::Duration;

use utoipa_swagger_ui::Config;

use crate::http::static_content::StaticContent;

/// How long a browser may use its copy without revalidation.
pub const MAX_AGE: Duration = Duration::from_hours(1);

/// The page itself.
pub const PAGE: &str = include_str!("page/docs.html");

/// The style sheet of every page.
pub const STYLE: &str = include_str!("page/style.css");

/// The service's own files, by name and media type.
const OWN: [(&str, &str, &str); 4] = [
    ("style.css", "text/css; charset=utf-8", STYLE),
    (
        "docs.css",
        "text/css; charset=utf-8",
        include_str!("page/docs.css"),
    ),
    (
        "swagger-initializer.js",
        "text/javascript; charset=utf-8",
        include_str!("page/swagger-initializer.js"),
    ),
    ("icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
];

/// The files of Swagger UI that the page uses. The rest of it is not served.
const OF_SWAGGER_UI: [&str; 2] = ["swagger-ui.css", "swagger-ui-bundle.js"];

/// A file of the page.
pub struct Asset {
    /// Its name, below `/docs/`.
    pub name: &'static str,
    /// Its content.
    pub content: StaticContent,
}

/// Every file of the page.
///
/// # Panics
/// Never: the build has the files, and a test reads them.
pub fn all() -> Vec<Asset> {
    let own = OWN.map(|(name, content_type, text)| Asset {
        name,
        content: StaticContent::new(text.as_bytes(), content_type, MAX_AGE),
    });
    let of_swagger_ui = OF_SWAGGER_UI.map(|name| {
        let file = utoipa_swagger_ui::serve(name, Arc::new(Config::default()))
            .ok()
            .flatten()
            .expect("Swagger UI has the file");
        Asset {
            name,
            content: StaticContent::new(file.bytes, file.content_type, MAX_AGE),
        }
    });
    own.into_iter().chain(of_swagger_ui).collect()
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
