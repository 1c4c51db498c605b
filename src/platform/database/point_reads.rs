//! Reads of one row by a unique key, many of them by one statement.
//!
//! Most of a read of one row is the round trip of its statement. So the reads of a thread that
//! arrive while a statement is under way wait, and the next statement asks for all of them, and for
//! those that arrive until its task runs. Nothing is cached. `gatherer.rs` decides which reads share a statement; here the statements run.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::pin;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::{Either, select};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgHasArrayType};
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, Encode, Postgres, Sqlite};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::Span;
use tracing::instrument::Instrument;
use uuid::Uuid;

#[cfg(feature = "faults")]
use super::faults;
use super::gatherer::{Gatherer, IsFull, Waiting};
use super::statement::{Column, FromRow, Parameters, Row, Rows, Statement};
use super::{Database, Pools};
use crate::domain::StoreError;
use crate::platform::telemetry::spans::{System, statement};

/// Reads that one statement asks for.
pub(super) const MAX_TOGETHER: usize = 64;

/// Reads by one key that wait, on one thread.
pub(super) const MAX_WAITING: usize = 4096;

/// How long reads wait for a statement under way. A slow one, as to a distant server or on a lost
/// connection, must not hold up the others.
pub(super) const OVERDUE: Duration = Duration::from_millis(5);

/// The numbers of keys for which SQLite has a prepared statement; fewer keys are padded.
const SIZES: [usize; 6] = [2, 4, 8, 16, 32, MAX_TOGETHER];

/// The alias of the key in the rows of a statement for many.
const KEY: &str = "point_key";

/// A unique key: a value that every database takes and returns unchanged.
pub trait PointKey:
    Column
    + PgHasArrayType
    + Clone
    + PartialEq
    + Send
    + Sync
    + for<'q> Encode<'q, Postgres>
    + for<'q> Encode<'q, Sqlite>
    + 'static
{
}

impl PointKey for Uuid {}
impl PointKey for String {}

/// A query of one row by a unique key `K`.
pub struct PointRead<K, T> {
    one: Statement,
    many: OnceLock<Many>,
    types: PhantomData<fn(K) -> T>,
}

/// The statements for many keys.
struct Many {
    postgres: Statement,
    /// In the order of [`SIZES`].
    sqlite: Vec<Statement>,
}

impl<K, T> PointRead<K, T> {
    /// The query by its statement for one key: `SELECT … FROM … WHERE key = $1`.
    ///
    /// # Panics
    /// When the statement has another form; while the program is compiled, as it is a static.
    #[must_use]
    pub const fn new(one: Statement) -> Self {
        assert!(one.is_by_key(), "it selects by `WHERE key = $1`");
        Self {
            one,
            many: OnceLock::new(),
            types: PhantomData,
        }
    }

    /// The statement for this number of keys.
    fn for_keys(&'static self, keys: usize, system: System) -> &'static Statement {
        if keys == 1 {
            return &self.one;
        }
        let many = self.many.get_or_init(|| {
            // Leaked once for each static.
            let statement = |text: String| Statement::new(text.leak());
            let texts = Texts::of(self.one.text());
            Many {
                postgres: statement(texts.postgres),
                sqlite: texts.sqlite.into_iter().map(statement).collect(),
            }
        });
        match system {
            System::Sqlite => &many.sqlite[size_for(keys)],
            _ => &many.postgres,
        }
    }
}

/// The place in [`SIZES`] of the smallest size for this number of keys.
fn size_for(keys: usize) -> usize {
    SIZES
        .partition_point(|size| *size < keys)
        .min(SIZES.len() - 1)
}

/// The texts of the statements for many keys.
#[derive(Debug)]
pub struct Texts {
    /// With an array of keys.
    pub postgres: String,
    /// With lists of several lengths.
    pub sqlite: Vec<String>,
}

impl Texts {
    /// Makes them from the statement for one key, `SELECT … FROM … WHERE key = $1`.
    #[must_use]
    pub fn of(one: &str) -> Self {
        let head = one.strip_suffix(" = $1").unwrap_or(one);
        let key = head.rsplit(' ').next().unwrap_or_default();
        let head = head.replacen(" FROM ", &format!(", {key} AS {KEY} FROM "), 1);
        let list = |size: usize| {
            let places: Vec<String> = (1..=size).map(|place| format!("${place}")).collect();
            format!("{head} IN ({})", places.join(", "))
        };
        Self {
            postgres: format!("{head} = ANY($1)"),
            sqlite: SIZES.into_iter().map(list).collect(),
        }
    }
}

/// The keys of a statement.
struct Keys<K>(Vec<K>);

impl<K: PointKey> Parameters for Keys<K> {
    fn for_postgres(mut self) -> Result<PgArguments, BoxDynError> {
        let mut arguments = PgArguments::default();
        match (self.0.len(), self.0.pop()) {
            (1, Some(key)) => arguments.add(key)?,
            (_, last) => {
                self.0.extend(last);
                arguments.add(self.0)?;
            }
        }
        Ok(arguments)
    }

    fn for_sqlite(self) -> Result<SqliteArguments, BoxDynError> {
        let mut arguments = SqliteArguments::default();
        let count = self.0.len();
        let size = if count == 1 {
            1
        } else {
            SIZES[size_for(count)]
        };
        let Some(last) = self.0.last().cloned() else {
            return Ok(arguments);
        };
        let padding = std::iter::repeat_n(last, size.saturating_sub(count));
        for key in self.0.into_iter().chain(padding) {
            arguments.add(key)?;
        }
        Ok(arguments)
    }
}

/// A row of a statement for many keys.
struct Found<K, T> {
    key: K,
    /// A row that can't be read concerns only the callers that asked for it.
    value: Result<T, StoreError>,
}

impl<K: PointKey, T: FromRow> FromRow for Found<K, T> {
    fn from_row(row: Row<'_>) -> Result<Self, sqlx::Error> {
        Ok(Self {
            key: row.get(KEY)?,
            value: T::from_row(row).map_err(StoreError::from),
        })
    }
}

type Response<T> = Result<Option<T>, StoreError>;

/// A read that waits for its row.
struct Read<K, T> {
    key: K,
    caller: oneshot::Sender<Response<T>>,
}

impl<K, T> Waiting for Read<K, T> {
    fn has_left(&self) -> bool {
        self.caller.is_closed()
    }
}

/// The gatherer of a thread for one query.
type Gathering<K, T> = Mutex<Gatherer<Read<K, T>>>;

thread_local! {
    /// The gatherers of this thread: few, as each is of one query.
    static GATHERINGS: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

struct Entry {
    database: Weak<()>,
    query: *const (),
    gathering: Arc<dyn Any + Send + Sync>,
}

/// The gatherer of this thread for a query on a database.
fn gathering<K: PointKey, T: Send + 'static>(
    database: &Arc<()>,
    query: &'static PointRead<K, T>,
) -> Arc<Gathering<K, T>> {
    let query = ptr::from_ref(query).cast::<()>();
    GATHERINGS.with_borrow_mut(|entries| {
        let known = entries.iter().find(|entry| {
            ptr::eq(entry.query, query) && ptr::eq(entry.database.as_ptr(), Arc::as_ptr(database))
        });
        let known = known.and_then(|entry| Arc::clone(&entry.gathering).downcast().ok());
        known.unwrap_or_else(|| {
            entries.retain(|entry| entry.database.strong_count() > 0);
            let made = Arc::new(Mutex::new(Gatherer::new(MAX_TOGETHER, MAX_WAITING)));
            entries.push(Entry {
                database: Arc::downgrade(database),
                query,
                gathering: Arc::<Gathering<K, T>>::clone(&made),
            });
            made
        })
    })
}

fn lock<R>(gathering: &Mutex<R>) -> MutexGuard<'_, R> {
    // Nothing that can panic runs under the lock.
    gathering.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Database {
    /// Reads the row with this key, if there is one; on the replica if there is one. Reads that
    /// wait at the same time share statements, but none of them a statement that began before it.
    ///
    /// # Errors
    /// When the database is unavailable, or reports an error.
    pub async fn fetch_by_key<K: PointKey, T: FromRow + Clone + 'static>(
        &self,
        query: &'static PointRead<K, T>,
        key: K,
    ) -> Response<T> {
        let gathering = gathering(&self.identity, query);
        let (caller, response) = oneshot::channel();
        let together = lock(&gathering).arrived(Read { key, caller });
        let together = together
            .map_err(|IsFull| StoreError::unavailable("too many reads wait for the database"))?;
        let begins = together.is_some();
        if let Some(together) = together {
            Turn::begin(self.clone(), query, gathering, together);
        }
        let response = async {
            // It panicked: nothing else drops a read that is waited for.
            let ended = |_| StoreError::broken("the statement of this read was cut off");
            response.await.map_err(ended)?
        };
        if begins {
            return response.await;
        }
        // Its statement has no span of its own in this trace.
        statement(
            self.system(),
            query.one.operation(),
            query.one.table(),
            response,
        )
        .await
    }

    /// Runs the statement for these keys.
    async fn fetch_many<K: PointKey, T: FromRow + Clone>(
        &self,
        query: &'static PointRead<K, T>,
        keys: Vec<K>,
    ) -> Result<Vec<Found<K, T>>, sqlx::Error> {
        let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        self.reads_together.observe(f64::from(count));
        let of = query.for_keys(keys.len(), self.system());
        if let [key] = keys.as_slice() {
            let key = key.clone();
            let rows: Vec<T> = self.fetch(of, Keys(keys), Rows::Few).await?;
            let found = |value| Found {
                key: key.clone(),
                value: Ok(value),
            };
            return Ok(rows.into_iter().map(found).collect());
        }
        self.fetch(of, Keys(keys), Rows::Few).await
    }

    const fn system(&self) -> System {
        match &self.pools {
            Pools::Postgres { .. } => System::Postgres,
            Pools::Sqlite { .. } => System::Sqlite,
        }
    }
}

/// The turn of a gatherer's statement. When it ends, by whatever, the next statement begins.
struct Turn<K: PointKey, T: FromRow + Clone + 'static> {
    database: Database,
    query: &'static PointRead<K, T>,
    gathering: Arc<Gathering<K, T>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    UnderWay,
    Overdue,
    Ended,
}

impl<K: PointKey, T: FromRow + Clone + 'static> Turn<K, T> {
    /// Runs the statement for these reads, and then those for the reads that wait meanwhile, on the
    /// runtime of the caller: a statement belongs to no caller, who may leave.
    fn begin(
        database: Database,
        query: &'static PointRead<K, T>,
        gathering: Arc<Gathering<K, T>>,
        together: Vec<Read<K, T>>,
    ) {
        let turn = Self {
            database,
            query,
            gathering,
            state: State::UnderWay,
        };
        // Without a runtime the service has ended, and no caller waits.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(turn.run(together, Span::current()));
        }
    }

    async fn run(mut self, mut together: Vec<Read<K, T>>, mut span: Span) {
        let database = self.database.clone();
        loop {
            if together.first().is_none_or(Waiting::has_left) {
                // Its trace has ended, and is not that of the others.
                span = Span::none();
            }
            lock(&self.gathering).begins(&mut together);
            if !together.is_empty() {
                self.read(&database, together, span).await;
            }
            // The next ones are part of no single trace.
            span = Span::none();
            match self.end() {
                Some(next) => together = next,
                None => return,
            }
        }
    }

    /// Runs the statement for these reads, and hands out its rows.
    async fn read(&mut self, database: &Database, mut together: Vec<Read<K, T>>, span: Span) {
        let keys = together.iter().map(|read| read.key.clone()).collect();
        let rows = database.fetch_many(self.query, keys).instrument(span);
        let rows = tokio::time::timeout(database.time_limit, rows);
        let Some(rows) = self.watch(rows, &mut together).await else {
            return;
        };
        let rows = rows
            .map_err(StoreError::unavailable)
            .and_then(|rows| Ok(rows?));
        #[cfg(feature = "faults")]
        self.join_under_way(&mut together).await;
        respond(together, rows);
    }

    /// The result of a statement; `None` if all of its callers have left. If it takes too long, the
    /// next one begins beside it.
    async fn watch<R>(
        &mut self,
        rows: impl Future<Output = R>,
        together: &mut [Read<K, T>],
    ) -> Option<R> {
        let all_left = async {
            for read in together {
                read.caller.closed().await;
            }
        };
        let (rows, all_left) = (pin!(rows), pin!(all_left));
        let mut first = select(rows, all_left);
        let in_time = tokio::time::timeout(OVERDUE, &mut first).await;
        let first = if let Ok(first) = in_time {
            first
        } else {
            let (is_left, next) = lock(&self.gathering).is_overdue();
            if is_left {
                self.state = State::Overdue;
            }
            self.begin_next(next);
            first.await
        };
        match first {
            Either::Left((rows, _)) => Some(rows),
            Either::Right(_) => None,
        }
    }

    /// Ends the turn. Returns the reads of the next one, which this task goes on with.
    fn end(&mut self) -> Option<Vec<Read<K, T>>> {
        let was_overdue = self.state == State::Overdue;
        let next = lock(&self.gathering).ended(was_overdue);
        self.state = match next {
            Some(_) => State::UnderWay,
            None => State::Ended,
        };
        next
    }

    /// Begins the turn of other reads beside this one.
    fn begin_next(&self, next: Option<Vec<Read<K, T>>>) {
        if let Some(next) = next {
            let (database, gathering) = (self.database.clone(), Arc::clone(&self.gathering));
            Span::none().in_scope(|| Self::begin(database, self.query, gathering, next));
        }
    }

    /// A planted bug: reads get their row from a statement that began before they arrived.
    #[cfg(feature = "faults")]
    async fn join_under_way(&self, together: &mut Vec<Read<K, T>>) {
        if faults::joins() {
            tokio::time::sleep(faults::UNDER_WAY).await;
            let asked: Vec<K> = together.iter().map(|read| read.key.clone()).collect();
            let joins = |read: &Read<K, T>| asked.contains(&read.key);
            together.extend(lock(&self.gathering).joining(joins));
        }
    }
}

impl<K: PointKey, T: FromRow + Clone + 'static> Drop for Turn<K, T> {
    // After a panic, and when the runtime ends.
    fn drop(&mut self) {
        if self.state != State::Ended {
            let next = self.end();
            self.begin_next(next);
        }
    }
}

/// Gives each read its row. Several may have asked for the same one.
fn respond<K: PartialEq, T: Clone>(
    mut together: Vec<Read<K, T>>,
    rows: Result<Vec<Found<K, T>>, StoreError>,
) {
    match rows {
        Err(error) => {
            for read in together {
                // A caller may have left.
                let _ = read.caller.send(Err(error.clone()));
            }
        }
        Ok(mut rows) => {
            while let Some(read) = together.pop() {
                let row = rows.iter().position(|row| row.key == read.key);
                let value = row.map(|row| {
                    if together.iter().any(|other| other.key == read.key) {
                        rows[row].value.clone()
                    } else {
                        rows.swap_remove(row).value
                    }
                });
                let _ = read.caller.send(value.transpose());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use rstest::rstest;

    use super::super::sqlite_pool::{SqliteLease, SqlitePool};
    use super::super::testing::TestDatabase;
    use super::*;
    use crate::config::Backend::{self, Postgres, Sqlite};

    const NAMES: &str = "CREATE TABLE names (key TEXT PRIMARY KEY, name TEXT NOT NULL)";

    static NAME: PointRead<String, Named> =
        PointRead::new(Statement::new("SELECT name FROM names WHERE key = $1"));

    /// A name; a row named `panic` panics, and one named `broken` can't be read.
    #[derive(Debug, Clone, PartialEq)]
    struct Named(String);

    impl FromRow for Named {
        fn from_row(row: Row<'_>) -> Result<Self, sqlx::Error> {
            let name: String = row.get("name")?;
            assert_ne!(name, "panic", "as planted");
            if name == "broken" {
                return Err(sqlx::Error::RowNotFound);
            }
            Ok(Self(name))
        }
    }

    /// Rows `k0` to `k99`, named after their numbers.
    async fn names(backend: Backend) -> TestDatabase {
        let test = TestDatabase::new(backend).await;
        let rows: Vec<String> = (0..100).map(|n| format!("('k{n}', 'name {n}')")).collect();
        let rows = rows.join(", ");
        test.sql(&format!("{NAMES}; INSERT INTO names VALUES {rows}"))
            .await;
        test
    }

    async fn read(test: &TestDatabase, key: &str) -> Response<Named> {
        test.database.fetch_by_key(&NAME, key.to_owned()).await
    }

    fn named(name: &str) -> Named {
        Named(name.to_owned())
    }

    #[rstest]
    #[tokio::test]
    async fn reads_at_the_same_time_get_each_their_own_row(
        #[values(Sqlite, Postgres)] backend: Backend,
    ) {
        let test = names(backend).await;
        for count in [1, 2, 3, 5, 17, 64, 65, 66, 100, 200] {
            // Twice each from 100 on, and one that does not exist.
            let keys: Vec<String> = (0..count).map(|n| format!("k{}", n % 100)).collect();
            let reads = join_all(keys.iter().map(|key| read(&test, key)));
            let (rows, missing) = tokio::join!(reads, read(&test, "k"));
            for (n, row) in rows.into_iter().enumerate() {
                assert_eq!(
                    row.expect("a row"),
                    Some(named(&format!("name {}", n % 100)))
                );
            }
            assert_eq!(missing.expect("a response"), None);
        }
    }

    #[rstest]
    #[tokio::test]
    async fn reads_that_arrive_together_share_one_statement(
        #[values(Sqlite, Postgres)] backend: Backend,
    ) {
        let test = names(backend).await;
        let counted = || {
            let together = &test.database.reads_together;
            (together.get_sample_count(), together.get_sample_sum())
        };
        let before = counted();
        let keys: Vec<String> = (0..20).map(|n| format!("k{n}")).collect();
        join_all(keys.iter().map(|key| read(&test, key))).await;
        let (statements, reads) = counted();
        assert_eq!(statements - before.0, 1);
        assert!((reads - before.1 - 20.0).abs() < f64::EPSILON, "{reads}");
    }

    #[rstest]
    #[tokio::test]
    async fn a_row_that_cannot_be_read_fails_only_its_own_reads(
        #[values(Sqlite, Postgres)] backend: Backend,
    ) {
        let test = names(backend).await;
        test.sql("UPDATE names SET name = 'broken' WHERE key = 'k7'")
            .await;
        let keys: Vec<String> = (0..10).map(|n| format!("k{n}")).collect();
        let rows = join_all(keys.iter().map(|key| read(&test, key))).await;
        for (n, row) in rows.into_iter().enumerate() {
            match row {
                Ok(row) => assert_eq!(row, Some(named(&format!("name {n}")))),
                Err(error) => assert!(n == 7 && matches!(error, StoreError::Broken(_)), "{n}"),
            }
        }
    }

    #[rstest]
    #[tokio::test]
    async fn a_panic_fails_only_the_reads_of_its_statement(
        #[values(Sqlite, Postgres)] backend: Backend,
    ) {
        let test = names(backend).await;
        test.sql("UPDATE names SET name = 'panic' WHERE key = 'k0'")
            .await;
        // The first goes alone; the others wait for it.
        let mut first = Box::pin(read(&test, "k0"));
        assert!(first.as_mut().now_or_never().is_none(), "it waits");
        tokio::task::yield_now().await;
        let (first, others) = tokio::join!(
            first,
            join_all(["k1", "k2", "k3"].map(|key| read(&test, key)))
        );
        assert!(matches!(first, Err(StoreError::Broken(_))), "{first:?}");
        for (row, name) in others.into_iter().zip(["name 1", "name 2", "name 3"]) {
            assert_eq!(row.expect("a row"), Some(named(name)));
        }
    }

    #[rstest]
    #[tokio::test]
    async fn a_failed_statement_fails_its_reads_and_no_later_ones(
        #[values(Sqlite, Postgres)] backend: Backend,
    ) {
        let test = names(backend).await;
        test.sql("ALTER TABLE names RENAME TO elsewhere").await;
        let failed = join_all(["k0", "k1", "k2"].map(|key| read(&test, key))).await;
        for row in failed {
            assert!(matches!(row, Err(StoreError::Broken(_))), "{row:?}");
        }
        test.sql("ALTER TABLE elsewhere RENAME TO names").await;
        assert_eq!(
            read(&test, "k0").await.expect("a row"),
            Some(named("name 0"))
        );
    }

    #[rstest]
    #[tokio::test]
    async fn a_caller_that_leaves_costs_the_others_nothing(
        #[values(Sqlite, Postgres)] backend: Backend,
    ) {
        let test = names(backend).await;
        // Together, or the first under way and the others waiting for it.
        for (leaving, first_alone) in (0..4).flat_map(|n| [(n, false), (n, true)]) {
            let mut reads: Vec<_> = ["k0", "k1", "k2", "k3"]
                .map(|key| Box::pin(read(&test, key)))
                .into();
            for read in &mut reads {
                assert!(read.as_mut().now_or_never().is_none(), "it waits");
                if first_alone {
                    tokio::task::yield_now().await;
                }
            }
            drop(reads.remove(leaving));
            for row in join_all(reads).await {
                assert!(row.expect("a row").is_some());
            }
        }
        // All leave before the statement begins, which is not run; the next one is served.
        let statements = || test.database.reads_together.get_sample_count();
        let before = statements();
        for key in ["k0", "k1"] {
            assert!(read(&test, key).now_or_never().is_none(), "it waits");
        }
        tokio::task::yield_now().await;
        assert_eq!(statements(), before);
        assert_eq!(
            read(&test, "k2").await.expect("a row"),
            Some(named("name 2"))
        );
    }

    /// Reading `k0` takes as long as a lock is held; its row is as of the begin of the statement.
    async fn with_a_slow_row() -> TestDatabase {
        let test = names(Postgres).await;
        test.sql(
            "ALTER TABLE names RENAME TO rows; \
             CREATE VIEW names AS SELECT key, CASE WHEN key = 'k0' \
                 THEN name || left(pg_advisory_xact_lock_shared(7)::text, 0) \
                 ELSE name END AS name FROM rows",
        )
        .await;
        test
    }

    /// Waits until this many statements wait for the lock.
    async fn statements_wait(test: &TestDatabase, count: usize) {
        let waiting = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' \
                       AND NOT granted AND database = \
                       (SELECT oid FROM pg_database WHERE datname = current_database())";
        let all_wait = async {
            while test.sql(waiting).await != [count.to_string()] {
                tokio::task::yield_now().await;
            }
        };
        let limit = Duration::from_secs(20);
        let in_time = tokio::time::timeout(limit, all_wait).await;
        in_time.expect("statements that wait for the lock");
    }

    /// Guarantee R5.
    #[tokio::test]
    async fn a_read_is_not_part_of_a_statement_that_began_before_it() {
        let test = with_a_slow_row().await;
        let held = test.hold_advisory_lock(7).await;
        let after_a_change = async {
            statements_wait(&test, 1).await;
            test.sql("UPDATE rows SET name = 'new' WHERE key = 'k0'")
                .await;
            let release = async {
                // A statement that is slow is not waited for.
                statements_wait(&test, 2).await;
                held.release().await;
            };
            let (row, ()) = tokio::join!(read(&test, "k0"), release);
            row
        };
        let (old, new) = tokio::join!(read(&test, "k0"), after_a_change);
        assert_eq!(
            old.expect("a row"),
            Some(named("name 0")),
            "it began before"
        );
        assert_eq!(new.expect("a row"), Some(named("new")));
    }

    #[tokio::test]
    async fn a_slow_statement_does_not_hold_up_other_reads() {
        let test = with_a_slow_row().await;
        let held = test.hold_advisory_lock(7).await;
        let others = async {
            statements_wait(&test, 1).await;
            for key in ["k1", "k2"] {
                assert!(read(&test, key).await.expect("a row").is_some());
            }
            held.release().await;
        };
        let (slow, ()) = tokio::join!(read(&test, "k0"), others);
        assert_eq!(slow.expect("a row"), Some(named("name 0")));
    }

    /// Every connection for queries, so that no statement runs until they are dropped.
    async fn every_reader(test: &TestDatabase) -> Vec<SqliteLease> {
        let Pools::Sqlite { read, .. } = &test.database.pools else {
            panic!("not on SQLite");
        };
        let places = std::iter::repeat_n(read, read.size().most);
        let leases = join_all(places.map(SqlitePool::acquire)).await;
        leases
            .into_iter()
            .map(|lease| lease.expect("a place"))
            .collect()
    }

    #[test]
    fn reads_of_a_runtime_that_ends_are_not_waited_for() {
        let runtime = || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().expect("a runtime")
        };
        let first = runtime();
        // One is under way, and the others wait for it.
        let (test, reads, held) = first.block_on(async {
            let test = names(Sqlite).await;
            let held = every_reader(&test).await;
            let mut reads = ["k0", "k1", "k2"].map(|key| {
                let database = test.database.clone();
                Box::pin(async move { database.fetch_by_key(&NAME, key.to_owned()).await })
            });
            for read in &mut reads {
                assert!(read.as_mut().now_or_never().is_none(), "it waits");
                tokio::task::yield_now().await;
            }
            (test, reads, held)
        });
        drop(first);
        drop(held);
        for read in reads {
            let row = read.now_or_never().expect("it waits no more");
            assert!(matches!(row, Err(StoreError::Broken(_))), "{row:?}");
        }
        let row = runtime().block_on(async {
            let limit = Duration::from_secs(20);
            tokio::time::timeout(limit, read(&test, "k3")).await
        });
        let row = row.expect("it waits for nothing").expect("a row");
        assert_eq!(row, Some(named("name 3")));
    }
}
