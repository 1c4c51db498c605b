//! Commands of users: whether the session of the caller is still live, as their transaction sees it.
//!
//! A request is admitted by what the [`feed`](super::feed) knows, which may be two seconds old. A
//! command asks the rows once more, so that an ended session changes nothing from the moment on at
//! which it ended.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::UserCaller;
use crate::platform::database::{Error, Micros, Statement, Transaction};

static LIVE: Statement = Statement::new(
    "SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id \
     WHERE s.id = $1 AND s.user_id = $2 AND s.ended_at IS NULL AND s.idle_until > $4 AND s.expires_at > $4 \
     AND u.status = 'active' AND u.token_epoch <= $3",
);

static LOCK_POSTGRES: Statement =
    Statement::new("SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE");

/// Whether the caller's session has not ended, its user is active, and the epoch of its token is
/// current. If not, roll back, and respond as to a revoked token.
///
/// It locks nothing, as the lock order has `users` before `sessions`: a session that ends at the same
/// time ends before the command or after it.
///
/// # Errors
/// The driver's.
pub async fn check(
    transaction: &mut Transaction,
    caller: &UserCaller,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let parameters = (
        caller.session.as_uuid(),
        caller.user.as_uuid(),
        caller.epoch.get(),
        Micros(now),
    );
    let found: Option<(Uuid,)> = transaction.fetch_optional(&LIVE, parameters).await?;
    Ok(found.is_some())
}

/// As [`check`], for a command that may take away what another one of the same user rests on: the two
/// are one after the other. It locks the user.
///
/// # Errors
/// The driver's.
pub async fn check_alone(
    transaction: &mut Transaction,
    caller: &UserCaller,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    transaction
        .lock(&LOCK_POSTGRES, (caller.user.as_uuid(),))
        .await?;
    check(transaction, caller, now).await
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::config::Backend::{self, Postgres, Sqlite};
    use crate::domain::{Permissions, SessionId, TokenEpoch, UserId};
    use crate::platform::database::testing::TestDatabase;
    use crate::platform::database::{End, UnitOfWork};
    use crate::slices::sessions::testing::{NOW, new_session};

    struct Command(UserCaller);

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(NOW + 1, 0).expect("in range")
    }

    impl UnitOfWork for Command {
        type Outcome = bool;

        async fn run(&self, transaction: &mut Transaction) -> Result<End<bool>, Error> {
            Ok(End::Rollback(check(transaction, &self.0, now()).await?))
        }
    }

    #[rstest]
    #[case::it_is("SELECT 'nothing'", true)]
    #[case::of_a_later_epoch("UPDATE users SET token_epoch = 3", true)]
    #[case::of_an_earlier_epoch("UPDATE users SET token_epoch = 4", false)]
    #[case::suspended("UPDATE users SET status = 'suspended'", false)]
    #[case::ended("UPDATE sessions SET ended_at = rotated_at", false)]
    #[case::idle_for_too_long("UPDATE sessions SET idle_until = rotated_at", false)]
    #[case::too_old("UPDATE sessions SET expires_at = rotated_at", false)]
    #[case::erased("DELETE FROM users", false)]
    #[tokio::test]
    async fn a_command_is_for_callers_whose_session_is_live(
        #[values(Sqlite, Postgres)] backend: Backend,
        #[case] change: &'static str,
        #[case] expected: bool,
    ) {
        let test = TestDatabase::new(backend).await;
        let session = new_session(&test, 1).await;
        new_session(&test, 2).await;
        test.sql(change).await;
        let caller = |user, session| UserCaller {
            user: UserId::new(Uuid::from_u128(user)),
            session,
            auth_time: DateTime::UNIX_EPOCH,
            epoch: TokenEpoch::new(3),
            permissions: Permissions::NONE,
        };
        let is_live = async |caller| test.database.write(Command(caller)).await.expect("asked");
        assert_eq!(is_live(caller(1, session)).await, expected);
        assert!(!is_live(caller(2, session)).await, "of another user");
        let unknown = SessionId::new(Uuid::from_u128(9));
        assert!(!is_live(caller(1, unknown)).await, "unknown");
    }
}
