//! Why writes go through [`WriteTransaction`] and not through sqlx's own `Pool::begin`.
//!
//! sqlx 0.9.0 records that a transaction is open only after PostgreSQL has responded to BEGIN. If the
//! future is dropped before, by a time limit or a client that disconnects, the connection returns to
//! the pool inside a transaction that never ends: the next write on it is acknowledged, and lost.
//! <https://github.com/launchbadge/sqlx/issues/4385>
//! <https://github.com/launchbadge/sqlx/issues/4393>

use std::any::Any;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use rstest::rstest;
use signup_service::config::{Backend, Settings, Sources};
use signup_service::platform::database::{Database as Service, Pools, WriteTransaction};
use signup_service::platform::metrics::Metrics;
use signup_service::platform::tasks::Tasks;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, SqliteConnection};
use throwaway_servers::postgres::Database;
use tokio::net::{TcpListener, TcpStream};

/// Tries of each way to cancel a BEGIN.
const TRIES: u32 = 40;

const WRITE: &str = "INSERT INTO writes (number) VALUES ($1)";

/// How a BEGIN is cancelled.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// While it waits for the n-th time.
    Waiting,
    /// When it could continue after having waited n times.
    Woken,
    /// After n times 20 microseconds. Its progress by then depends on the machine.
    Late,
}

/// Polls a future up to the given point, and drops it.
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

/// Relays bytes to the server, in tasks on the test's own thread, so that no response arrives before
/// the caller waits for it, however busy the machine is.
async fn relay(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let own = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let server = TcpStream::connect(("127.0.0.1", port)).await;
                let mut server = server.expect("connects");
                // Either side may disconnect at any time.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    own
}

/// A database with a table, and a pool with one open, idle connection.
async fn open() -> (Database, PgPool) {
    let database = throwaway_servers::postgres::server().database();
    let options: PgConnectOptions = database.url().parse().expect("a URL");
    let port = relay(options.get_port()).await;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        // As in the service's pools: BEGIN is then the first thing that begin() waits for.
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

/// The writes visible to another connection.
async fn seen(database: &Database) -> Vec<i64> {
    let mut other = PgConnection::connect(&database.url())
        .await
        .expect("connects");
    sqlx::query_scalar("SELECT number FROM writes ORDER BY number")
        .fetch_all(&mut other)
        .await
        .expect("rows")
}

/// Fails once sqlx has fixed this. Then check whether `WriteTransaction` is still needed.
#[rstest]
#[tokio::test]
async fn sqlx_loses_the_write_after_a_cancelled_begin(
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
        "sqlx's begin() lost no write when it was cancelled ({how:?}): it seems to be cancel-safe now, \
         so WriteTransaction may be replaced by it"
    );
}

/// The service's database with one connection for commands, and the owner of its files or server.
struct Own {
    database: Service,
    url: String,
    _place: Box<dyn Any>,
}

impl Own {
    async fn open(backend: Backend) -> Self {
        let (url, through, place): (_, _, Box<dyn Any>) = match backend {
            Backend::Sqlite => {
                let folder = tempfile::tempdir().expect("a folder");
                let url = format!("sqlite://{}/test.db", folder.path().display());
                (url.clone(), url, Box::new(folder))
            }
            Backend::Postgres => {
                let database = throwaway_servers::postgres::server().database();
                let url = database.url();
                let options: PgConnectOptions = url.parse().expect("a URL");
                let (port, own) = (options.get_port(), relay(options.get_port()).await);
                let through = url.replace(&format!(":{port}/"), &format!(":{own}/"));
                assert_ne!(url, through);
                (url, through, Box::new(database))
            }
        };
        let settings = [
            ("DATABASE_URL", through.as_str()),
            ("DATABASE_MAX_CONNECTIONS", "1"),
        ];
        let sources = Sources::given(&settings, "").expect("no file");
        let settings = Settings::from_sources(sources, false).expect("valid settings");
        let metrics = Metrics::new().expect("unique names");
        let tasks = Tasks::new(tokio::runtime::Handle::current());
        let database = Service::connect(&settings, &metrics, tasks);
        let own = Self {
            database: database.await.expect("opens"),
            url,
            _place: place,
        };
        own.on_another_connection("CREATE TABLE writes (number bigint)")
            .await;
        own.write(-1).await;
        own
    }

    /// Runs a statement on a separate connection; returns its numbers.
    async fn on_another_connection(&self, statement: &'static str) -> Vec<i64> {
        if self.url.starts_with("sqlite") {
            let mut other = SqliteConnection::connect(&self.url).await.expect("opens");
            sqlx::query_scalar(statement).fetch_all(&mut other).await
        } else {
            let mut other = PgConnection::connect(&self.url).await.expect("connects");
            sqlx::query_scalar(statement).fetch_all(&mut other).await
        }
        .expect("rows")
    }

    /// Begins a transaction and cancels it at that point.
    async fn cut(&self, how: Cut, n: u32) {
        match self.database.pools() {
            Pools::Postgres { write, .. } => {
                cut(how, n, async {
                    WriteTransaction::begin(write.acquire().await?).await
                })
                .await;
            }
            Pools::Sqlite { write, .. } => {
                let (_place, write) = write.enter().expect("a place");
                cut(how, n, async {
                    WriteTransaction::begin(write.acquire().await?).await
                })
                .await;
            }
        }
    }

    /// Writes without a transaction, which must be acknowledged.
    async fn write(&self, number: i64) {
        match self.database.pools() {
            Pools::Postgres { write, .. } => {
                let mut connection = write.acquire().await.expect("a connection");
                let written = sqlx::query(WRITE).bind(number).execute(&mut *connection);
                let written = written.await;
                connection.finish(&written);
                written.map(drop)
            }
            Pools::Sqlite { write, .. } => {
                let (_place, write) = write.enter().expect("a place");
                let mut connection = write.acquire().await.expect("a connection");
                let written = sqlx::query(WRITE).bind(number).execute(&mut *connection);
                let written = written.await;
                connection.finish(&written);
                written.map(drop)
            }
        }
        .expect("acknowledged");
    }

    /// Writes in a transaction that commits.
    async fn write_within(&self, number: i64) {
        match self.database.pools() {
            Pools::Postgres { write, .. } => {
                let connection = write.acquire().await.expect("a connection");
                let mut transaction = WriteTransaction::begin(connection).await.expect("begins");
                let written = sqlx::query(WRITE).bind(number);
                let written = written.execute(transaction.connection()).await;
                written.expect("written");
                transaction.commit().await.expect("commits");
            }
            Pools::Sqlite { write, .. } => {
                let (_place, write) = write.enter().expect("a place");
                let connection = write.acquire().await.expect("a connection");
                let mut transaction = WriteTransaction::begin(connection).await.expect("begins");
                let written = sqlx::query(WRITE).bind(number);
                let written = written.execute(transaction.connection()).await;
                written.expect("written");
                transaction.commit().await.expect("commits");
            }
        }
    }

    async fn seen(&self) -> Vec<i64> {
        self.on_another_connection("SELECT number FROM writes WHERE number >= 0 ORDER BY number")
            .await
    }
}

#[rstest]
#[tokio::test]
async fn a_write_transaction_loses_nothing_after_a_cancelled_begin(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values(Cut::Waiting, Cut::Woken, Cut::Late)] how: Cut,
) {
    let own = Own::open(backend).await;
    for n in 0..TRIES {
        own.cut(how, n).await;
        own.write(i64::from(n)).await;
        let expected: Vec<i64> = (0..=i64::from(n)).collect();
        assert_eq!(own.seen().await, expected, "after {n}");
    }
}

/// Besides a bare write, the next transaction is complete, too.
#[rstest]
#[tokio::test]
async fn a_write_transaction_after_a_cancelled_one_commits(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values(Cut::Waiting, Cut::Woken, Cut::Late)] how: Cut,
) {
    let own = Own::open(backend).await;
    for n in 0..TRIES {
        own.cut(how, n).await;
        own.write_within(i64::from(n)).await;
        let expected: Vec<i64> = (0..=i64::from(n)).collect();
        assert_eq!(own.seen().await, expected, "after {n}");
    }
}
