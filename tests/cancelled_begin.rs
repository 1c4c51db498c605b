//! Why writes go through [`WriteTransaction`] and not through sqlx's own `Pool::begin`.
//!
//! sqlx 0.9.0 notes that a transaction is open only once PostgreSQL has answered BEGIN. Dropped
//! before, by a time limit or a client that leaves, the connection goes back to the pool inside a
//! transaction that nobody ends: the next write on it is acknowledged, and lost.
//! <https://github.com/launchbadge/sqlx/issues/4385>
//! <https://github.com/launchbadge/sqlx/issues/4393>

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use rstest::rstest;
use signup_service::platform::database::WriteTransaction;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use throwaway_servers::postgres::Database;
use tokio::net::{TcpListener, TcpStream};

/// Tries of each way to cut a BEGIN.
const TRIES: u32 = 40;

const WRITE: &str = "INSERT INTO writes (number) VALUES ($1)";

/// How a BEGIN is cut.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// When it waits for the n-th time.
    Waiting,
    /// When it could go on after it has waited n times.
    Woken,
    /// When n times 20 microseconds are over. Where that is depends on the machine.
    Late,
}

async fn begin(pool: &PgPool) -> Result<WriteTransaction<PoolConnection<Postgres>>, sqlx::Error> {
    WriteTransaction::begin(pool.acquire().await?).await
}

/// Polls a future only so far, and drops it.
async fn cut<F: Future>(how: Cut, n: u32, future: F) {
    if let Cut::Late = how {
        let _ = tokio::time::timeout(Duration::from_micros(20) * n, future).await;
        return;
    }
    let mut future = pin!(future);
    let mut left = n;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        match (future.as_mut().poll(context), how) {
            (Poll::Pending, Cut::Waiting) if left == 0 => Poll::Ready(()),
            (Poll::Pending, _) => Poll::Pending,
            (Poll::Ready(_), _) => Poll::Ready(()),
        }
    })
    .await;
}

/// Passes bytes on to the server, in tasks of the test's own thread: so no answer is there before
/// whoever asked waits for it, however busy the machine is.
async fn relay(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let own = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let server = TcpStream::connect(("127.0.0.1", port)).await;
                let mut server = server.expect("connects");
                // Either side may leave as it likes.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    own
}

/// A database with a table to write to, and a pool of one connection that is open and idle.
async fn open() -> (Database, PgPool) {
    let database = throwaway_servers::postgres::server().database();
    let options: PgConnectOptions = database.url().parse().expect("a URL");
    let port = relay(options.get_port()).await;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        // As the service's pools: BEGIN is then the first thing that begin() waits for.
        .test_before_acquire(false)
        .connect_with(options.port(port))
        .await
        .expect("connects");
    sqlx::query("CREATE TABLE writes (number bigint)")
        .execute(&pool)
        .await
        .expect("made");
    // The pool takes its connection back in a task.
    while pool.num_idle() == 0 {
        tokio::task::yield_now().await;
    }
    (database, pool)
}

/// The writes that somebody else sees.
async fn seen(database: &Database) -> Vec<i64> {
    let mut other = PgConnection::connect(&database.url())
        .await
        .expect("connects");
    sqlx::query_scalar("SELECT number FROM writes ORDER BY number")
        .fetch_all(&mut other)
        .await
        .expect("an answer")
}

/// The day this fails, sqlx has mended it. Look whether `WriteTransaction` still earns its keep.
#[rstest]
#[tokio::test]
async fn sqlx_loses_the_write_that_follows_a_cut_begin(
    #[values(Cut::Waiting, Cut::Woken)] how: Cut,
) {
    let mut lost = false;
    for n in 0..TRIES {
        // A new pool each time: what is lost stays so until the connection closes.
        let (database, pool) = open().await;
        cut(how, n, pool.begin()).await;
        sqlx::query(WRITE)
            .bind(i64::from(n))
            .execute(&pool)
            .await
            .expect("acknowledged");
        lost = seen(&database).await.is_empty();
        if lost {
            break;
        }
    }
    assert!(
        lost,
        "sqlx's begin() lost no write when it was cut ({how:?}): it seems to be cancel-safe now, \
         so WriteTransaction may be replaced by it"
    );
}

#[rstest]
#[tokio::test]
async fn a_write_transaction_loses_nothing_when_its_begin_is_cut(
    #[values(Cut::Waiting, Cut::Woken, Cut::Late)] how: Cut,
) {
    let (database, pool) = open().await;
    for n in 0..TRIES {
        cut(how, n, begin(&pool)).await;
        sqlx::query(WRITE)
            .bind(i64::from(n))
            .execute(&pool)
            .await
            .expect("acknowledged");
        let expected: Vec<i64> = (0..=i64::from(n)).collect();
        assert_eq!(seen(&database).await, expected, "after {n}");
    }
}

/// And not only the bare write: the next transaction too is whole.
#[rstest]
#[tokio::test]
async fn a_write_transaction_after_a_cut_one_commits(
    #[values(Cut::Waiting, Cut::Woken, Cut::Late)] how: Cut,
) {
    let (database, pool) = open().await;
    for n in 0..TRIES {
        cut(how, n, begin(&pool)).await;
        let mut transaction = begin(&pool).await.expect("begins");
        sqlx::query(WRITE)
            .bind(i64::from(n))
            .execute(transaction.connection())
            .await
            .expect("written");
        transaction.commit().await.expect("commits");
        let expected: Vec<i64> = (0..=i64::from(n)).collect();
        assert_eq!(seen(&database).await, expected, "after {n}");
    }
}
