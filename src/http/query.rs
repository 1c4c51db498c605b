//! Parameters of query strings.
//!
//! An operation ignores those that it does not know; one that is repeated is refused, as programs
//! differ about which of the two counts.

use actix_web::web::Query;

use super::problem::{Problem, ProblemType};
use crate::platform::limits::{Bound, Limit};

/// The maximum number of parameters in a query, known or not.
const MAX_PARAMETERS: usize = 16;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[Limit {
    what: "Parameters of a query",
    bound: Bound::Count(MAX_PARAMETERS),
    effect: "400 `invalid-parameter`",
}];

/// The parameters of a query string, decoded.
#[derive(Debug)]
pub struct QueryParameters(Vec<(String, String)>);

impl QueryParameters {
    /// Parses a query string, without its question mark.
    ///
    /// # Errors
    /// 400 if it is invalid, or has too many parameters.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        // Before any parameter is decoded.
        if query.split('&').nth(MAX_PARAMETERS).is_some() {
            return Err(invalid("There are more than 16 parameters."));
        }
        Query::<Vec<(String, String)>>::from_query(query)
            .map(|pairs| Self(pairs.into_inner()))
            .map_err(|_| invalid("The query string is invalid."))
    }

    /// The value of a parameter, if it is there.
    ///
    /// # Errors
    /// 400 if it is repeated.
    pub fn single(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.0.iter().filter(|(key, _)| key == name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value.map(|(_, value)| value.as_str())),
            (_, Some(_)) => Err(invalid("A parameter is repeated.")),
        }
    }
}

/// 400 for an invalid parameter. The detail never repeats its value.
#[must_use]
pub fn invalid(detail: &'static str) -> Problem {
    Problem::new(ProblemType::INVALID_PARAMETER, detail)
}
