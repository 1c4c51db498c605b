//! The two ways in which the service is run: one instance on SQLite, or two on PostgreSQL.

use std::sync::Arc;

use super::{Backend, Database, InProcess, Service};

/// A setup of the service. A promise about several instances holds for one as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    Sqlite,
    TwoInstances,
}

impl Setup {
    fn database(self) -> (Arc<Database>, usize) {
        let (backend, count) = match self {
            Self::Sqlite => (Backend::Sqlite, 1),
            Self::TwoInstances => (Backend::Postgres, 2),
        };
        (Arc::new(Database::new(backend)), count)
    }

    /// Starts the processes.
    pub async fn start(self, settings: &[(&str, &str)]) -> Instances<Service> {
        let (database, count) = self.database();
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(Service::start_on(Arc::clone(&database), settings).await);
        }
        Instances(all)
    }

    /// Starts them in the test's process, with clocks that it moves.
    pub async fn start_in_process(self, settings: &[(&str, &str)]) -> Instances<InProcess> {
        let (database, count) = self.database();
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(InProcess::start_on(Arc::clone(&database), settings).await);
        }
        Instances(all)
    }
}

/// The instances of a setup.
pub struct Instances<S>(pub Vec<S>);

impl<S> Instances<S> {
    pub fn first(&self) -> &S {
        &self.0[0]
    }

    /// The other instance, if there is one.
    pub fn last(&self) -> &S {
        &self.0[self.0.len() - 1]
    }

    /// The instance whose turn it is.
    pub fn nth(&self, number: usize) -> &S {
        &self.0[number % self.0.len()]
    }
}
