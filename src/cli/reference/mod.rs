//! The reference pages that are made of the program itself: `docs/reference/`.
//!
//! To add a page, add a variant to [`Page`] with its file and its text. `make docs` writes them all, and a
//! test fails where a committed page is stale.

mod limits;
mod metrics;
mod operations;
mod problems;

use clap::ValueEnum;

use crate::{config, slices};

/// A page of the reference.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Page {
    /// Every limit: times, sizes, numbers
    Limits,
    /// Every metric
    Metrics,
    /// The OpenAPI document, as JSON
    Openapi,
    /// The OpenAPI document of administration, as JSON
    OpenapiAdministration,
    /// Every operation: method, path, access, key, limits, problems
    Operations,
    /// Every kind of problem
    Problems,
    /// Every setting
    Settings,
}

impl Page {
    /// The text of the page.
    ///
    /// # Errors
    /// When two metrics have one name.
    pub fn text(self) -> prometheus::Result<String> {
        Ok(match self {
            Self::Limits => limits::page(),
            Self::Metrics => metrics::page()?,
            Self::Openapi => slices::openapi_text(),
            Self::OpenapiAdministration => slices::administration_text(),
            Self::Operations => operations::page(),
            Self::Problems => problems::page(&slices::problems()),
            Self::Settings => config::reference(),
        })
    }
}

/// A row of a table in Markdown.
fn row(cells: &[&str]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file of a page, below `docs/reference`.
    fn file(page: Page) -> &'static str {
        match page {
            Page::Limits => "limits.md",
            Page::Metrics => "metrics.md",
            Page::Openapi => "openapi.json",
            Page::OpenapiAdministration => "openapi-administration.json",
            Page::Operations => "operations.md",
            Page::Problems => "problems.md",
            Page::Settings => "settings.md",
        }
    }

    #[test]
    fn the_committed_pages_are_fresh() {
        for page in Page::value_variants() {
            // It lists the metrics of the process, which exist on Linux only.
            if matches!(page, Page::Metrics) && !cfg!(target_os = "linux") {
                continue;
            }
            let name = file(*page);
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference");
            let committed = std::fs::read_to_string(format!("{folder}/{name}")).expect(name);
            let fresh = page.text().expect("names that differ");
            assert!(
                committed == fresh,
                "docs/reference/{name} is stale: run `make docs`"
            );
        }
    }
}
