//! The router: finds the resource of a path.
//!
//! A literal segment comes before a variable in its place: `/users/me` also matches `/users/{id}`.

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};

use super::operation::PathParameters;
use super::resource::{self, Resource};

/// The resources of a listener, by path.
pub struct Router {
    by_path: matchit::Router<Resource>,
    /// Responds to paths that match no resource.
    fallback: fn(&HttpRequest) -> HttpResponse,
}

impl Router {
    /// Routes to these resources.
    ///
    /// # Panics
    /// When two of them match the same paths, which a test rules out.
    #[must_use]
    pub fn new(resources: Vec<Resource>, fallback: fn(&HttpRequest) -> HttpResponse) -> Self {
        let mut by_path = matchit::Router::new();
        for resource in resources {
            by_path
                .insert(resource.path(), resource)
                .expect("no two paths match the same requests");
        }
        Self { by_path, fallback }
    }

    /// The resource of a path, with the values of its variables.
    fn find(&self, path: &str) -> Option<(&Resource, PathParameters)> {
        let found = self.at(path)?;
        let values = found.params.iter().map(|(_, value)| value);
        Some((found.value, found.value.parameters(values)))
    }

    /// The path pattern that a request matches.
    #[must_use]
    pub fn pattern(&self, path: &str) -> Option<&'static str> {
        self.at(path).map(|found| found.value.path())
    }

    fn at<'r, 'p>(&'r self, path: &'p str) -> Option<matchit::Match<'r, 'p, &'r Resource>> {
        let found = self.by_path.at(path).ok()?;
        // A variable stands for at least one character; the library takes none before a slash.
        let is_whole = found.params.iter().all(|(_, value)| !value.is_empty());
        is_whole.then_some(found)
    }

    /// Responds to a request.
    pub async fn serve(&self, request: HttpRequest, payload: Payload) -> HttpResponse {
        // With percent-encoded letters and digits decoded, but no slash.
        match self.find(request.match_info().unprocessed()) {
            Some((resource, parameters)) => {
                resource::serve(resource, parameters, request, payload).await
            }
            None => (self.fallback)(&request),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(paths: &[&'static str]) -> Router {
        let resources = paths.iter().copied().map(Resource::bare);
        Router::new(resources.collect(), |_| HttpResponse::NotFound().finish())
    }

    #[test]
    fn a_literal_path_is_matched_before_a_variable_that_fits_it() {
        let router = router(&[
            "/users/{id}",
            "/users/{id}/sessions",
            "/users",
            "/users/me",
            "/{any}",
        ]);
        for (path, pattern) in [
            ("/users/me", Some("/users/me")),
            ("/users/men", Some("/users/{id}")),
            ("/users/me/sessions", Some("/users/{id}/sessions")),
            ("/users", Some("/users")),
            ("/other", Some("/{any}")),
            ("/", None),
            ("/users/", None),
            ("/users/me/", None),
            ("/users//sessions", None),
            ("/users/me/sessions/1", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(router.pattern(path), pattern, "{path}");
        }
    }

    #[test]
    fn the_values_of_a_path_have_the_names_of_its_variables() {
        let router = router(&["/users/{id}/sessions/{session}"]);
        let (_, parameters) = router.find("/users/7%2F/sessions/8").expect("a resource");
        let expected = [("id", "7%2F".to_owned()), ("session", "8".to_owned())];
        assert_eq!(parameters, expected);
    }
}
