//! Any sequence of signups with keys, and of crashes between them, against a small model of the
//! contract.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use crate::harness::{Backend, Database, Service, signup_body};

/// How often a key may come with another request.
const MAX_MISMATCHES: u32 = 10;

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// A signup with one of a few keys, addresses and names.
    SignUp { key: u8, address: u8, name: u8 },
    /// The process is killed and started again.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..3_u8, 0..3_u8, 0..2_u8)
            .prop_map(|(key, address, name)| Step::SignUp { key, address, name }),
        1 => Just(Step::Crash),
    ]
}

/// The contract: what each key was answered, and which addresses have an account.
#[derive(Default)]
struct Model {
    answered: BTreeMap<u8, Answered>,
    accounts: BTreeSet<u8>,
}

struct Answered {
    request: (u8, u8),
    answer: (u16, Vec<u8>),
    mismatches: u32,
}

/// What the contract wants.
#[derive(Debug, PartialEq)]
enum Wanted {
    New(u16),
    Replay(u16, Vec<u8>),
    Refused(u16),
}

impl Model {
    fn wants(&mut self, key: u8, request: (u8, u8)) -> Wanted {
        match self.answered.get_mut(&key) {
            None if self.accounts.insert(request.0) => Wanted::New(201),
            None => Wanted::New(409),
            Some(answered) => {
                let is_same = answered.request == request;
                answered.mismatches += u32::from(!is_same);
                if answered.mismatches > MAX_MISMATCHES {
                    Wanted::Refused(429)
                } else if is_same {
                    Wanted::Replay(answered.answer.0, answered.answer.1.clone())
                } else {
                    Wanted::Refused(422)
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
        let response = request.send().await.expect("an answer");
        let is_replay = response.headers().contains_key("idempotent-replayed");
        let status = response.status().as_u16();
        let bytes = response.bytes().await.expect("a body").to_vec();

        let wanted = model.wants(key, (address, name));
        let found = match wanted {
            Wanted::New(_) => {
                assert!(!is_replay);
                let answered = Answered {
                    request: (address, name),
                    answer: (status, bytes),
                    mismatches: 0,
                };
                model.answered.insert(key, answered);
                Wanted::New(status)
            }
            _ if is_replay => Wanted::Replay(status, bytes),
            _ => Wanted::Refused(status),
        };
        assert_eq!(found, wanted, "key {key}, address {address}, name {name}");
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
    fn any_sequence_is_as_the_contract_wants_on_sqlite(steps in prop::collection::vec(step(), 1..40)) {
        run(Backend::Sqlite, steps);
    }

    #[test]
    fn any_sequence_is_as_the_contract_wants_on_postgresql(steps in prop::collection::vec(step(), 1..40)) {
        run(Backend::Postgres, steps);
    }
}
