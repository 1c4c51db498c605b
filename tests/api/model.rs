//! Arbitrary sequences of signups with keys, and crashes in between, checked against a small model of the contract.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use crate::harness::{Backend, Database, Service, signup_body};

/// How often a key may be used with a different request.
const MAX_MISMATCHES: u32 = 10;

/// A step of a sequence.
#[derive(Debug, Clone)]
enum Step {
    /// A signup with one of a few keys, addresses and names.
    SignUp { key: u8, address: u8, name: u8 },
    /// The process is killed and restarted.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..3_u8, 0..3_u8, 0..2_u8)
            .prop_map(|(key, address, name)| Step::SignUp { key, address, name }),
        1 => Just(Step::Crash),
    ]
}

/// The state of the contract: the response for each key, and the addresses with an account.
#[derive(Default)]
struct Model {
    completed: BTreeMap<u8, Completed>,
    accounts: BTreeSet<u8>,
}

struct Completed {
    request: (u8, u8),
    response: (u16, Vec<u8>),
    mismatches: u32,
}

/// What the contract requires.
#[derive(Debug, PartialEq)]
enum Expected {
    New(u16),
    Replay(u16, Vec<u8>),
    Refused(u16),
}

impl Model {
    fn expects(&mut self, key: u8, request: (u8, u8)) -> Expected {
        match self.completed.get_mut(&key) {
            None if self.accounts.insert(request.0) => Expected::New(201),
            None => Expected::New(409),
            Some(completed) => {
                let is_same = completed.request == request;
                completed.mismatches += u32::from(!is_same);
                if completed.mismatches > MAX_MISMATCHES {
                    Expected::Refused(429)
                } else if is_same {
                    Expected::Replay(completed.response.0, completed.response.1.clone())
                } else {
                    Expected::Refused(422)
                }
            }
        }
    }
}

async fn follow(backend: Backend, steps: Vec<Step>) {
    let database = Arc::new(Database::new(backend));
    let mut service = Service::start_on(Arc::clone(&database), &[]).await;
    let mut model = Model::default();
    for step in steps {
        let Step::SignUp { key, address, name } = step else {
            service.signal("KILL");
            service.wait().await;
            service = Service::start_on(Arc::clone(&database), &[]).await;
            continue;
        };
        let mut body = signup_body(&format!("ada{address}@example.org"));
        body["name"] = json!(format!("Ada {name}"));
        let request = service.signup(&body);
        let request = request.header("Idempotency-Key", format!("key-{key}"));
        let response = request.send().await.expect("a response");
        let is_replay = response.headers().contains_key("idempotent-replayed");
        let status = response.status().as_u16();
        let bytes = response.bytes().await.expect("a body").to_vec();

        let expected = model.expects(key, (address, name));
        let found = match expected {
            Expected::New(_) => {
                assert!(!is_replay);
                let completed = Completed {
                    request: (address, name),
                    response: (status, bytes),
                    mismatches: 0,
                };
                model.completed.insert(key, completed);
                Expected::New(status)
            }
            _ if is_replay => Expected::Replay(status, bytes),
            _ => Expected::Refused(status),
        };
        assert_eq!(found, expected, "key {key}, address {address}, name {name}");
    }
    let accounts = i64::try_from(model.accounts.len()).expect("few");
    assert_eq!(database.counts().await, [accounts; 3]);
}

fn run(backend: Backend, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(follow(backend, steps));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 50, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_follows_the_contract_on_sqlite(steps in prop::collection::vec(step(), 1..40)) {
        run(Backend::Sqlite, steps);
    }

    #[test]
    fn any_sequence_follows_the_contract_on_postgresql(steps in prop::collection::vec(step(), 1..40)) {
        run(Backend::Postgres, steps);
    }
}
