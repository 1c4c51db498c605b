//! Settings of rate limits.

use std::time::Duration;

use super::reader::Sources;
use super::setting::{Setting, fixed, text, worded};
use super::values::number;

/// The rows of this group.
pub(super) const SETTINGS: &[Setting] = &[
    text(worded(
        "RATE_LIMIT_SIGNUP",
        "rate_limit.signup",
        "`20/1m`; `off` if `HOST` is a loopback address",
        "The maximum number of signups per client address, such as `20/1m`, in a sliding window; `off` for no limit. \
         Each instance counts separately. An IPv6 network of 64 bits is one client, and the networks around it have \
         their own limits. Behind a proxy, set `TRUSTED_PROXIES` too: otherwise all clients count as one.",
    )),
    text(fixed(
        "RATE_LIMIT_LOGIN",
        "rate_limit.login",
        "30/1m",
        "The maximum number of logins, and of other requests with a password, per client address; in the form of \
         `RATE_LIMIT_SIGNUP`. Resets of a password are limited to a third of it. Failed logins of an account are limited \
         beside it.",
    )),
    text(fixed(
        "RATE_LIMIT_REFRESH",
        "rate_limit.refresh",
        "60/1m",
        "The maximum number of refreshes and of logouts per client address, in the form of `RATE_LIMIT_SIGNUP`. The \
         refreshes of one session are limited to a sixth of it.",
    )),
    text(fixed(
        "RATE_LIMIT_USER",
        "rate_limit.user",
        "30/1m",
        "The maximum number of changes of a user's own account, for each kind of change and each user; in the form of \
         `RATE_LIMIT_SIGNUP`.",
    )),
    text(fixed(
        "RATE_LIMIT_MAIL",
        "rate_limit.mail",
        "5/1m",
        "The maximum number of requests for a mail per client address, for each kind of request; in the form of \
         `RATE_LIMIT_SIGNUP`. An address gets at most 3 such mails an hour and 10 a day, beside it.",
    )),
];

/// A number of requests per time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The number of requests; at least 1.
    pub requests: u32,
    /// The window; at least a second.
    pub window: Duration,
}

impl Rate {
    /// A part of it, such as a sixth; at least one request.
    #[must_use]
    pub const fn part(self, parts: u32) -> Self {
        let requests = match self.requests / parts {
            0 => 1,
            some => some,
        };
        Self { requests, ..self }
    }
}

/// The default limit of signups per client beyond loopback.
pub(super) const DEFAULT_RATE: Rate = Rate {
    requests: 20,
    window: Duration::from_mins(1),
};

/// The limits per client; `None` for no limit.
pub(super) struct Rates {
    /// Of signups; on loopback there is none by default.
    pub signup: Option<Rate>,
    /// Of requests with a password.
    pub login: Option<Rate>,
    /// Of refreshes.
    pub refresh: Option<Rate>,
    /// Of changes of a user.
    pub user: Option<Rate>,
    /// Of requests for a mail.
    pub mail: Option<Rate>,
}

pub(super) fn read(s: &mut Sources, is_on_loopback: bool) -> Rates {
    let default_rate = (!is_on_loopback).then_some(DEFAULT_RATE);
    Rates {
        signup: s.take_or("rate_limit.signup", default_rate, rate),
        login: s.take("rate_limit.login", rate),
        refresh: s.take("rate_limit.refresh", rate),
        user: s.take("rate_limit.user", rate),
        mail: s.take("rate_limit.mail", rate),
    }
}

/// `20/1m`: a number, and a time in seconds, minutes or hours; or `off`.
pub(super) fn rate(text: &str) -> Result<Option<Rate>, String> {
    if text == "off" {
        return Ok(None);
    }
    let wrong = || "must be off, or a rate such as 20/1m (s, m or h)".to_owned();
    let (requests, window) = text.split_once('/').ok_or_else(wrong)?;
    let unit = window.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(wrong()),
    };
    let requests = number(requests, (1, 1_000_000)).map_err(|_| wrong())?;
    let count = window.strip_suffix(unit).unwrap_or_default();
    let count: u64 = number(count, (1, 86_400)).map_err(|_| wrong())?;
    let window = Duration::from_secs(count * seconds);
    Ok(Some(Rate { requests, window }))
}
