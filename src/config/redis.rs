//! Settings of Redis.

use super::reader::Sources;
use super::setting::{Setting, secret, worded};
use super::urls::RedisUrl;

/// The row of this group.
pub(super) const SETTINGS: &[Setting] = &[secret(worded(
    "REDIS_URL",
    "redis.url",
    "none",
    "`redis://…`, or `rediss://…` for TLS: Redis 7 or newer. It saves work when a signup is retried, \
         and is optional.",
))];

pub(super) fn read(s: &mut Sources) -> Option<RedisUrl> {
    s.take_optional("redis.url", RedisUrl::parse)
}
