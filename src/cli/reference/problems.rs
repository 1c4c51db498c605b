//! `docs/reference/problems.md`: every kind of problem.

use std::fmt::Write;

use super::row;
use crate::http::problem::{Member, ProblemType};

/// The page of these kinds.
pub fn page(kinds: &[ProblemType]) -> String {
    let mut page = String::from(
        "# Problems\n\
         \n\
         Every error response is a problem (RFC 9457) of the media type `application/problem+json`. Its `type` \
         is `/problems/` and the slug, which is also a page of the running service. Slugs and statuses are part \
         of the contract and do not change; titles and details are for people. \
         [http-api.md](http-api.md#problems) describes the members of the body.\n\
         \n\
         | slug | status | title |\n\
         |---|---|---|\n",
    );
    for kind in kinds {
        let about = kind.about();
        let link = format!("[`{slug}`](#{slug})", slug = about.slug);
        page += &row(&[&link, about.status.as_str(), about.title]);
    }
    for kind in kinds {
        let about = kind.about();
        let _ = write!(
            page,
            "\n## {slug}\n\n**{status}**. {meaning}\n\n{advice}\n",
            slug = about.slug,
            status = about.status,
            meaning = about.meaning,
            advice = about.advice,
        );
        let mut more: Vec<String> = about
            .headers
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        match about.member {
            Member::None => {}
            Member::Errors => more.push("the member `errors`".to_owned()),
            Member::Checks { .. } => more.push("the member `checks`".to_owned()),
            Member::Reason(reasons) => {
                more.push(format!("the member `reason`: `{}`", reasons.join("`, `")));
            }
            Member::MaxAge => more.push("the member `max_age`".to_owned()),
        }
        if !more.is_empty() {
            let _ = write!(page, "\nAlso has: {}.\n", more.join(", "));
        }
    }
    page
}
