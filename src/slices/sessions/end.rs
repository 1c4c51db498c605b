//! Ending sessions: each in one transaction with the revocation of its access tokens and its entry
//! in the log.
//!
//! An operation that only ends sessions uses [`end`]; one with more to do calls the methods of
//! [`Ending`] in its own unit of work, and adds what was ended to the feed of this instance.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::auth_log::{self, Entry};
use crate::access::feed::{self, Feed, Revocation};
use crate::domain::{EndReason, SessionId, StoreError, UserId};
use crate::mail::queue::{self, Kind, NewMail};
use crate::platform::clock::{Randomness, uuid_v7};
use crate::platform::database::{Database, End, Error, Micros, Statement, Transaction, UnitOfWork};

/// Sessions of a user that are ended by one statement.
const BATCH: i32 = 100;

/// Ends a session that has not ended: `$1` its id, `$2` when, `$3` why.
static END: Statement = Statement::new(
    "UPDATE sessions SET ended_at = $2, end_reason = $3 WHERE id = $1 AND ended_at IS NULL \
     RETURNING user_id",
);

static END_OTHERS: Statement = Statement::new(
    "UPDATE sessions SET ended_at = $3, end_reason = $4 WHERE ended_at IS NULL AND id IN \
     (SELECT s.id FROM sessions s WHERE s.user_id = $1 AND s.id <> $2 AND s.ended_at IS NULL \
     ORDER BY s.id LIMIT $5) RETURNING id",
);

/// Why and by which request sessions end.
#[derive(Clone)]
pub struct Ending {
    /// Why.
    pub reason: EndReason,
    /// What was done, for the log: `logout`.
    pub action: &'static str,
    /// Who did it, for the log: `user`, or `service` for what follows from a rule.
    pub actor: &'static str,
    /// The network of the client, as in the log.
    pub network: Option<String>,
    /// The correlation id of the request.
    pub correlation_id: String,
    /// When, in whole microseconds.
    pub at: DateTime<Utc>,
    /// Whether the user gets a mail about a session that was [`Reused`](EndReason::Reused): if mails go
    /// anywhere.
    pub sends_mail: bool,
    /// For the ids of revocations, of mails and of entries in the log.
    pub randomness: Arc<dyn Randomness>,
}

impl Ending {
    /// Ends a session. Returns whether it had not ended before.
    ///
    /// # Errors
    /// The driver's.
    pub async fn end(
        &self,
        transaction: &mut Transaction,
        session: SessionId,
    ) -> Result<bool, Error> {
        let parameters = (session.as_uuid(), Micros(self.at), self.reason.as_str());
        let ended: Option<(Uuid,)> = transaction.fetch_optional(&END, parameters).await?;
        let Some((user,)) = ended else {
            return Ok(false);
        };
        self.record(transaction, UserId::new(user), session).await?;
        Ok(true)
    }

    /// Ends all sessions of a user but one. Returns those that had not ended before.
    ///
    /// # Errors
    /// The driver's.
    pub async fn end_others(
        &self,
        transaction: &mut Transaction,
        user: UserId,
        kept: SessionId,
    ) -> Result<Vec<SessionId>, Error> {
        let mut all = Vec::new();
        loop {
            let parameters = (
                user.as_uuid(),
                kept.as_uuid(),
                Micros(self.at),
                self.reason.as_str(),
                BATCH,
            );
            let ended: Vec<(Uuid,)> = transaction.fetch_all(&END_OTHERS, parameters).await?;
            let is_last = ended.len() < BATCH as usize;
            for (session,) in ended {
                let session = SessionId::new(session);
                self.record(transaction, user, session).await?;
                all.push(session);
            }
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Revokes the access tokens of a session that was ended, and logs it; with a mail to the user if one
    /// of its tokens was stolen.
    async fn record(
        &self,
        transaction: &mut Transaction,
        user: UserId,
        session: SessionId,
    ) -> Result<(), Error> {
        let id = uuid_v7(self.at, self.randomness.as_ref());
        let reason = self.reason.as_str();
        let revocation = Revocation::Session(session);
        feed::revoke(transaction, id, revocation, reason, self.at).await?;
        if self.reason == EndReason::Reused && self.sends_mail {
            let id = uuid_v7(self.at, self.randomness.as_ref());
            let notice = NewMail::notice(id, Kind::SessionReused, user, self.at);
            queue::add(transaction, &notice).await?;
        }
        let entry = Entry {
            id,
            user: Some(user),
            session: Some(session),
            actor: self.actor,
            action: self.action,
            outcome: reason,
            network: self.network.clone(),
            correlation_id: self.correlation_id.clone(),
            at: self.at,
        };
        auth_log::append(transaction, &entry).await
    }
}

/// Ends sessions that have not ended. Access tokens of them are refused by this instance at once, by
/// others within two seconds.
///
/// # Errors
/// When the outcome is not certain: it can be repeated.
pub async fn end(
    database: &Database,
    feed: &Feed,
    sessions: Vec<SessionId>,
    ending: Ending,
) -> Result<(), StoreError> {
    let ended = sessions.clone();
    database.write(EndSessions { sessions, ending }).await?;
    known_at_once(feed, &ended);
    Ok(())
}

/// Has this instance refuse the access tokens of sessions that were ended.
pub fn known_at_once(feed: &Feed, ended: &[SessionId]) {
    for session in ended {
        feed.add(Revocation::Session(*session));
    }
}

struct EndSessions {
    sessions: Vec<SessionId>,
    ending: Ending,
}

impl UnitOfWork for EndSessions {
    type Outcome = ();

    async fn run(&self, transaction: &mut Transaction) -> Result<End<()>, Error> {
        let mut has_changed = false;
        for session in &self.sessions {
            has_changed |= self.ending.end(transaction, *session).await?;
        }
        Ok(if has_changed {
            End::Commit(())
        } else {
            End::Rollback(())
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::access::feed::Standing;
    use crate::config::Backend::{self, Postgres, Sqlite};
    use crate::domain::TokenEpoch;
    use crate::platform::clock::SystemClock;
    use crate::platform::database::testing::TestDatabase;
    use crate::slices::sessions::session;
    use crate::slices::sessions::testing::{another_session, ending, new_session};

    async fn count(test: &TestDatabase, table: &str) -> Vec<String> {
        let count = format!("SELECT CAST(count(*) AS text) FROM {table}");
        test.sql(&count).await
    }

    async fn ended(test: &TestDatabase, id: SessionId) -> Option<EndReason> {
        let found = session::by_id(&test.database, id.as_uuid()).await;
        found.expect("read").expect("a session").stored.ended
    }

    #[rstest]
    #[tokio::test]
    async fn a_session_ends_once_with_its_revocation_and_its_entry(
        #[values(Sqlite, Postgres)] backend: Backend,
    ) {
        let test = TestDatabase::new(backend).await;
        let id = new_session(&test, 1).await;
        let feed = Feed::new(test.database.clone(), Arc::new(SystemClock));
        feed.read().await.expect("read");
        let unknown = SessionId::new(Uuid::from_u128(9));
        for reason in [EndReason::Reused, EndReason::LoggedOut] {
            let ending = ending(reason);
            end(&test.database, &feed, vec![id, unknown], ending)
                .await
                .expect("written");
        }
        assert_eq!(ended(&test, id).await, Some(EndReason::Reused));
        for table in ["revocations", "auth_log", "mail_queue"] {
            assert_eq!(count(&test, table).await, ["1"], "{table}");
        }
        let mail = "SELECT kind FROM mail_queue";
        assert_eq!(test.sql(mail).await, ["session_reused"]);
        let user = UserId::new(Uuid::from_u128(1));
        let standing = feed.standing(id, user, TokenEpoch::default()).await;
        assert_eq!(standing.expect("known"), Standing::Revoked);
        let logged =
            "SELECT actor || ' ' || action || ' ' || outcome || ' ' || network FROM auth_log";
        let entry = test.sql(logged).await;
        assert_eq!(entry, ["user test reused 192.0.2.0/24"]);
    }

    struct EndOthers(UserId, SessionId);

    impl UnitOfWork for EndOthers {
        type Outcome = Vec<SessionId>;

        async fn run(&self, transaction: &mut Transaction) -> Result<End<Self::Outcome>, Error> {
            let ended = ending(EndReason::Revoked);
            let ended = ended.end_others(transaction, self.0, self.1).await?;
            Ok(End::Commit(ended))
        }
    }

    #[rstest]
    #[tokio::test]
    async fn all_but_one_session_of_a_user_end(#[values(Sqlite, Postgres)] backend: Backend) {
        let test = TestDatabase::new(backend).await;
        let kept = new_session(&test, 1).await;
        let foreign = new_session(&test, 2).await;
        // More than one statement ends.
        for number in 0..=u128::try_from(BATCH).expect("positive") {
            another_session(&test, 1, 1_000 + number).await;
        }
        let end_others = || EndOthers(UserId::new(Uuid::from_u128(1)), kept);
        let all = test.database.write(end_others()).await.expect("written");
        assert_eq!(all.len(), BATCH as usize + 1);
        for session in [kept, foreign] {
            assert_eq!(ended(&test, session).await, None);
        }
        assert_eq!(ended(&test, all[0]).await, Some(EndReason::Revoked));
        for table in ["revocations", "auth_log"] {
            assert_eq!(
                count(&test, table).await,
                [all.len().to_string()],
                "{table}"
            );
        }
        assert_eq!(count(&test, "mail_queue").await, ["0"]);
        let again = test.database.write(end_others()).await.expect("written");
        assert!(again.is_empty());
    }
}
