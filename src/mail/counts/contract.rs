//! Tests of the counts, on each database.

use rstest::rstest;

use super::*;
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::platform::database::testing::TestDatabase;
use crate::tokens::secrets::testing::secrets;

fn at(minutes: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + 60 * minutes, 0).expect("in range")
}

fn subject(kind: Kind, address: &str) -> Subject {
    Subject::new(&secrets("of the tests", None), kind, address)
}

struct Admit(u128, Subject, i64);

impl UnitOfWork for Admit {
    type Outcome = Admission;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Admission>, Error> {
        let Self(mail, subject, minutes) = self;
        let mail = Uuid::from_u128(*mail);
        let admission = admit(transaction, mail, *subject, MOST, at(*minutes)).await?;
        Ok(match admission {
            Admission::Withheld => End::Rollback(admission),
            _ => End::Commit(admission),
        })
    }
}

/// Guarantee M8.
#[rstest]
#[tokio::test]
async fn three_mails_of_a_kind_are_sent_in_an_hour_and_ten_in_a_day(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let ada = subject(Kind::Reset, "ada@example.org");
    let mut seen = Vec::new();
    // One in each quarter of an hour.
    for number in 0..24 {
        let admit = Admit(number, ada, 15 * i64::try_from(number).expect("small"));
        seen.push(test.database.write(admit).await.expect("written"));
    }
    let sent: Vec<usize> = (0..24)
        .filter(|at| seen[*at] != Admission::Withheld)
        .collect();
    assert_eq!(sent, [0, 1, 2, 4, 5, 6, 8, 9, 10, 12]);
    let last: Vec<usize> = (0..24).filter(|at| seen[*at] == Admission::Last).collect();
    // The third within an hour, and the tenth within a day.
    assert_eq!(last, [2, 4, 5, 6, 8, 9, 10, 12]);
    // An attempt that failed is repeated, also if there were too many since.
    let again = test
        .database
        .write(Admit(4, ada, 360))
        .await
        .expect("written");
    assert_eq!(again, Admission::Sent);
    // Others are counted by themselves.
    for other in [
        subject(Kind::Verify, "ada@example.org"),
        subject(Kind::Reset, "eve@example.org"),
    ] {
        let id = Uuid::new_v4().as_u128();
        let other = test
            .database
            .write(Admit(id, other, 360))
            .await
            .expect("written");
        assert_eq!(other, Admission::Sent);
    }
    // A day after the first one there is room for one, which is the last of its day as well.
    let day = 24 * 60;
    let before = test
        .database
        .write(Admit(100, ada, day - 1))
        .await
        .expect("written");
    assert_eq!(before, Admission::Withheld);
    let after = test
        .database
        .write(Admit(101, ada, day))
        .await
        .expect("written");
    assert_eq!(after, Admission::Last);
}

#[rstest]
#[tokio::test]
async fn mails_of_the_day_before_are_forgotten(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let ada = subject(Kind::Reset, "ada@example.org");
    for number in 0..3 {
        let admit = Admit(number, ada, i64::try_from(number).expect("small"));
        test.database.write(admit).await.expect("written");
    }
    let day = 24 * 60;
    for (minute, removed) in [(day - 1, 0), (day, 1), (day + 9, 2)] {
        let found = purge(&test.database, at(minute), 9).await;
        assert_eq!(found.expect("removed"), removed, "{minute}");
    }
}

/// Of those that two instances send at the same moment, each counts the others.
///
/// Guarantee M8.
#[rstest]
#[tokio::test]
async fn mails_at_the_same_moment_are_counted_one_after_the_other(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    for round in 0..10_u128 {
        let ada = subject(Kind::Reset, &format!("ada{round}@example.org"));
        let admit = |number| {
            let id = Uuid::from_u128(100 * round + number);
            admit_alone(&test.database, id, ada, MOST, at(0))
        };
        let admitted = futures_util::future::join_all((0..8_u128).map(admit)).await;
        let sent = admitted
            .iter()
            .filter(|sent| matches!(sent, Ok(true)))
            .count();
        assert_eq!(sent, 3, "{admitted:?}");
    }
}

struct Forget(Subject);

impl UnitOfWork for Forget {
    type Outcome = ();

    async fn run(&self, transaction: &mut Transaction) -> Result<End<()>, Error> {
        forget(transaction, self.0).await.map(End::Commit)
    }
}

#[rstest]
#[tokio::test]
async fn a_count_begins_at_zero_and_others_stay(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let ada = subject(Kind::Reset, "ada@example.org");
    let others = [
        subject(Kind::Verify, "ada@example.org"),
        subject(Kind::Reset, "eve@example.org"),
    ];
    for number in 0..3 {
        for of in [ada, others[0], others[1]] {
            let admission = test.database.write(Admit(number, of, 0)).await;
            assert_ne!(admission.expect("written"), Admission::Withheld);
        }
    }
    test.database.write(Forget(ada)).await.expect("written");
    for (of, expected) in [
        (ada, Admission::Sent),
        (others[0], Admission::Withheld),
        (others[1], Admission::Withheld),
    ] {
        let admission = test.database.write(Admit(9, of, 1)).await;
        assert_eq!(admission.expect("written"), expected);
    }
}
