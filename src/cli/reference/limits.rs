//! `docs/reference/limits.md`: every bound.

use std::fmt::Write;

use super::row;
use crate::platform::limits::{Bound, Limit};
use crate::platform::{database, redis, telemetry};
use crate::{access, app, config, hashing, http, idempotency, slices, tokens};

/// The groups, each with the lists of the modules that keep its limits.
fn groups() -> Vec<(&'static str, Vec<&'static [Limit]>)> {
    let of_slices = slices::all().iter().map(|slice| slice.limits).collect();
    vec![
        ("Requests", http::LIMITS.to_vec()),
        ("Hashing", hashing::LIMITS.to_vec()),
        ("Idempotency keys", vec![idempotency::LIMITS]),
        ("Tokens", vec![tokens::LIMITS, access::feed::LIMITS]),
        ("Operations", of_slices),
        ("Database", vec![database::LIMITS]),
        ("Redis", vec![redis::LIMITS]),
        ("Logs and traces", vec![telemetry::LIMITS]),
        ("The process", vec![app::LIMITS]),
    ]
}

/// The page of all limits.
pub fn page() -> String {
    let mut page = String::from(
        "# Limits\n\
         \n\
         Everything that waits or is kept is bounded; these are the bounds that a client or an operator can meet. \
         Numbers come from the source; if a setting decides, its default is beside it ([settings.md](settings.md)). A request as a whole has `REQUEST_TIMEOUT_MS`; its body \
         has `HTTP_READ_TIMEOUT_MS`, and the size that [operations.md](operations.md) lists. \
         [architecture.md](../explanation/architecture.md#deadlines) explains how the times nest.\n",
    );
    for (name, lists) in groups() {
        let _ = write!(
            page,
            "\n## {name}\n\n| limit | value | beyond it |\n|---|---|---|\n"
        );
        for limit in lists.into_iter().flatten() {
            page += &row(&[limit.what, &value(limit.bound), limit.effect]);
        }
    }
    page
}

/// The bound, with the default if a setting decides.
fn value(bound: Bound) -> String {
    let default = match bound {
        Bound::Setting(name) => config::default_of(name),
        _ => None,
    };
    default.map_or_else(
        || bound.to_string(),
        |default| format!("{bound}, {default}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_by_a_setting_has_its_default() {
        let limits = groups().into_iter().flat_map(|(_, lists)| lists).flatten();
        for limit in limits {
            if let Bound::Setting(name) = limit.bound {
                assert!(
                    config::default_of(name).is_some(),
                    "{name} is not a setting"
                );
            }
        }
    }
}
