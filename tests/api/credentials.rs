//! Logins: which address and password are the user's, how many guesses there are, and what a login may not outrun.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::{join, join_all};
use reqwest::Response;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{
    Instances, Service, Setup, Setup::Sqlite, Setup::TwoInstances, login_body, problem, signup_body,
};

/// Without the limit of a client, which would come first.
const UNLIMITED: &[(&str, &str)] = &[
    ("RATE_LIMIT_LOGIN", "off"),
    ("RATE_LIMIT_REFRESH", "off"),
    ("RATE_LIMIT_USER", "off"),
];

async fn log_in(service: &Service, body: &Value) -> Response {
    let response = service.post("/auth/login", body).send().await;
    response.expect("a response")
}

fn wrong(email: &str) -> Value {
    json!({ "email": email, "password": "wrong" })
}

/// A number of rows.
async fn count(instances: &Instances<Service>, of: &str) -> String {
    let query = format!("SELECT CAST(count(*) AS text) FROM {of}");
    instances.first().database.rows(&query).await.remove(0)
}

/// A problem without what differs from request to request, and the names of its headers.
async fn comparable(response: Response) -> String {
    let status = response.status();
    let names: BTreeSet<String> = response.headers().keys().map(ToString::to_string).collect();
    let mut body: Value = response.json().await.expect("JSON");
    body["request_id"] = json!("");
    format!("{status} {names:?} {body}")
}

#[rstest]
#[tokio::test]
async fn the_forms_of_an_address_are_those_of_signup(#[values(Sqlite, TwoInstances)] setup: Setup) {
    let instances = setup.start(UNLIMITED).await;
    for email in ["ada@example.org", "kim@b\u{fc}cher.example"] {
        let signed_up = instances.first().sign_up(email).await;
        assert_eq!(signed_up.status(), 201, "{email}");
    }
    let service = instances.last();
    for email in [
        "ADA@Example.ORG",
        "kim@b\u{fc}cher.example",
        "KIM@B\u{dc}CHER.example",
        "kim@xn--bcher-kva.example",
        "kim@XN--BCHER-KVA.example",
    ] {
        let response = log_in(service, &login_body(email)).await;
        assert_eq!(response.status(), 200, "{email}");
        let response = service.sign_up(email).await;
        problem(response, 409, "email-already-registered").await;
    }
    for email in [
        "ada@example.org.",
        "\u{212a}im@b\u{fc}cher.example",
        "ada @example.org",
        " ada@example.org",
        "ada@example.org ",
        "ada@exa mple.org",
        "ada@\u{200b}example.org",
        "\u{ff41}da@example.org",
    ] {
        let login = problem(
            log_in(service, &login_body(email)).await,
            422,
            "validation-failed",
        );
        let signup = problem(service.sign_up(email).await, 422, "validation-failed");
        let (login, signup) = join(login, signup).await;
        assert_eq!(login["errors"], signup["errors"], "{email}");
        assert_eq!(login["errors"][0]["pointer"], "/email");
    }
    // Whose address it is, is up to the provider: it is another one.
    let plus = log_in(service, &login_body("ada+x@example.org")).await;
    problem(plus, 401, "invalid-credentials").await;
    assert_eq!(service.sign_up("ada+x@example.org").await.status(), 201);
}

#[rstest]
#[tokio::test]
async fn a_password_is_compared_to_its_last_byte(#[values(Sqlite, TwoInstances)] setup: Setup) {
    let instances = setup.start(UNLIMITED).await;
    let service = instances.last();
    let words = "correct horse battery staple ".repeat(40);
    for length in [72, 73, 1024] {
        let email = format!("ada{length}@example.org");
        let right = words[..length - 1].to_owned() + "x";
        let mut body = signup_body(&email);
        body["password"] = json!(right);
        let signed_up = instances.first().signup(&body).send().await;
        assert_eq!(signed_up.expect("a response").status(), 201);
        let longer = right.clone() + "x";
        for (password, status) in [
            (right.as_str(), 200),
            (&(words[..length - 1].to_owned() + "y"), 401),
            (&right[..length - 1], 401),
            // Beyond the limit it can be no password.
            (&longer, if length == 1024 { 422 } else { 401 }),
        ] {
            let body = json!({ "email": email, "password": password });
            let response = log_in(service, &body).await;
            assert_eq!(response.status(), status, "{length}");
        }
    }
    let hashed = count(&instances, "login_throttle").await;
    for password in [&"x".repeat(1025), "", "a\u{0}b", "\u{0}"] {
        let mut seen = BTreeSet::new();
        for email in ["ada72@example.org", "nobody@example.org"] {
            let body = json!({ "email": email, "password": password });
            seen.insert(comparable(log_in(service, &body).await).await);
        }
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert!(seen.first().expect("one").starts_with("422"), "{seen:?}");
    }
    assert_eq!(count(&instances, "login_throttle").await, hashed);
}

/// Twenty at once; one that another holds up too long gets a 429, and tries again.
#[rstest]
#[tokio::test]
async fn logins_with_one_key_at_once_begin_one_session(
    #[values(Sqlite, TwoInstances)] setup: Setup,
) {
    let instances = setup.start(UNLIMITED).await;
    let signed_up = instances.first().sign_up("ada@example.org").await;
    assert_eq!(signed_up.status(), 201);
    let attempt = async |number: usize| {
        loop {
            let body = login_body("ada@example.org");
            let request = instances.nth(number).post("/auth/login", &body);
            let response = request.header("Idempotency-Key", "k").send().await;
            let response = response.expect("a response");
            if response.status() == 200 {
                let session: Value = response.json().await.expect("JSON");
                break ["refresh_token", "session_id", "device_token"]
                    .map(|member| session[member].as_str().expect("a text").to_owned());
            }
            problem(response, 429, "login-throttled").await;
        }
    };
    let sessions: BTreeSet<_> = join_all((0..20).map(attempt)).await.into_iter().collect();
    assert_eq!(sessions.len(), 1);
    assert_eq!(count(&instances, "sessions").await, "1");
}

/// However many come at once, an address takes ten guesses, and one more for each instance that was about to
/// count.
///
/// Guarantee S6.
#[rstest]
#[tokio::test]
async fn five_hundred_guesses_at_once_are_ten(
    #[values(Sqlite, TwoInstances)] setup: Setup,
    #[values("ada@example.org", "nobody@example.org")] email: &str,
) {
    let instances = setup.start(UNLIMITED).await;
    let signed_up = instances.first().sign_up("ada@example.org").await;
    assert_eq!(signed_up.status(), 201);
    let body = wrong(email);
    let guesses = (0..500).map(|number| log_in(instances.nth(number), &body));
    let mut hashed = 0;
    for response in join_all(guesses).await {
        if response.status() == 401 {
            problem(response, 401, "invalid-credentials").await;
            hashed += 1;
            continue;
        }
        let wait = response.headers().get("retry-after").cloned();
        problem(response, 429, "login-throttled").await;
        let wait = wait.and_then(|wait| wait.to_str().ok()?.parse::<u32>().ok());
        // The eleventh failure doubles the wait of the tenth, and so on.
        assert!((1..=120).contains(&wait.expect("a number")), "{wait:?}");
    }
    let most = 10 + instances.0.len();
    assert!((10..=most).contains(&hashed), "{hashed}");
    let failures = "SELECT CAST(failures AS text) FROM login_throttle";
    let failures = instances.first().database.rows(failures).await;
    assert_eq!(failures, [hashed.to_string()]);
}

/// A stranger who uses up the guesses of an address keeps out other strangers, and not the owner.
///
/// Guarantee S6.
#[rstest]
#[tokio::test]
async fn the_owner_logs_in_from_a_known_device_while_strangers_guess(
    #[values(Sqlite, TwoInstances)] setup: Setup,
) {
    let instances = setup.start(UNLIMITED).await;
    let session = instances.first().logged_in("ada@example.org").await;
    let guess = async || {
        let response = log_in(instances.first(), &wrong("ada@example.org")).await;
        response.status().as_u16()
    };
    while guess().await == 401 {}
    let service = instances.last();
    let mut known = login_body("ada@example.org");
    known["device_token"] = session["device_token"].clone();
    let new = login_body("ada@example.org");
    for _ in 0..2 {
        problem(log_in(service, &new).await, 429, "login-throttled").await;
        let response = log_in(service, &known).await;
        assert_eq!(response.status(), 200);
        let again: Value = response.json().await.expect("JSON");
        assert_eq!(again["device_token"], session["device_token"]);
        // The login gave the stranger no new guesses.
        assert_eq!(guess().await, 429);
    }
    // The device has guesses of its own, and no more of them.
    known["password"] = json!("wrong");
    for _ in 0..10 {
        let response = log_in(service, &known).await;
        problem(response, 401, "invalid-credentials").await;
    }
    known["password"] = new["password"].clone();
    problem(log_in(service, &known).await, 429, "login-throttled").await;
}

/// Without a trusted proxy, the header says nothing: neither whose limit it is, nor where a session began.
#[rstest]
#[tokio::test]
async fn a_forged_client_address_is_the_peers(#[values(Sqlite, TwoInstances)] setup: Setup) {
    let settings = [("RATE_LIMIT_LOGIN", "3/1h"), ("RATE_LIMIT_REFRESH", "2/1h")];
    let instances = setup.start(&settings).await;
    let service = instances.last();
    assert_eq!(service.sign_up("ada@example.org").await.status(), 201);
    let send = async |path: &str, number: usize, body: Value| {
        let request = service.post(path, &body);
        let forged = format!("192.0.2.{number}, 198.51.100.{number}");
        let request = request.header("X-Forwarded-For", &forged);
        let request = request.header("Forwarded", format!("for=192.0.2.{number}"));
        request.send().await.expect("a response")
    };
    let session = send("/auth/login", 0, login_body("ada@example.org")).await;
    assert_eq!(session.status(), 200);
    let session: Value = session.json().await.expect("JSON");
    for number in 1..3 {
        let email = format!("ada{number}@example.org");
        let response = send("/auth/login", number, wrong(&email)).await;
        problem(response, 401, "invalid-credentials").await;
    }
    let response = send("/auth/login", 9, wrong("eve@example.org")).await;
    problem(response, 429, "rate-limited").await;
    let body = json!({ "refresh_token": session["refresh_token"] });
    for number in 0..2 {
        let response = send("/auth/refresh", number, body.clone()).await;
        assert_eq!(response.status(), 200);
    }
    let response = send("/auth/refresh", 9, body).await;
    problem(response, 429, "rate-limited").await;
    let networks = "SELECT network FROM sessions UNION SELECT network FROM auth_log";
    let networks = service.database.rows(networks).await;
    assert_eq!(networks, ["127.0.0.0/24"]);
}

/// In either order: a login that the suspension meets before its session, after it, or not at all. The 150 rounds
/// take some seconds; the suspension comes a little later in each, over the time that a login takes.
///
/// Guarantee S7.
#[rstest]
#[tokio::test]
async fn no_login_outlives_a_suspension(#[values(Sqlite, TwoInstances)] setup: Setup) {
    let settings = [UNLIMITED, &[("READS", "protected")]].concat();
    let instances = setup.start(&settings).await;
    let (_, key) = instances.first().service_key(&["users:write"]);
    let session = instances.first().logged_in("ada@example.org").await;
    let user = session["user"]["id"].as_str().expect("a text");
    let set = async |status: &str| {
        let service = instances.last();
        let url = format!("http://{}/admin/users/{user}", service.administration());
        let request = service.client.patch(url).bearer_auth(&key);
        let request = request.json(&json!({ "status": status }));
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), 200);
    };
    let live = "sessions WHERE ended_at IS NULL";
    let mut outcomes = BTreeSet::new();
    for round in 0..150 {
        let suspend = async {
            tokio::time::sleep(Duration::from_micros(200) * (round % 75)).await;
            set("suspended").await;
        };
        let login = login_body("ada@example.org");
        let (response, ()) = join(log_in(instances.first(), &login), suspend).await;
        assert_eq!(count(&instances, live).await, "0", "in round {round}");
        let status = response.status().as_u16();
        outcomes.insert(status);
        // Its session has ended for good.
        set("active").await;
        match status {
            200 => {
                let session: Value = response.json().await.expect("JSON");
                let token = &session["refresh_token"];
                let response = instances.nth(round as usize).refresh(token, None).await;
                let body = problem(response, 401, "session-ended").await;
                assert_eq!(body["reason"], "suspended");
                let request = instances.first().client.delete({
                    let path = "/users/me/sessions";
                    instances.first().url(path)
                });
                let token = session["access_token"].as_str().expect("a text");
                let response = request.bearer_auth(token).send().await;
                let response = response.expect("a response");
                let body = problem(response, 401, "access-token-invalid").await;
                assert_eq!(body["reason"], "revoked");
            }
            401 => drop(problem(response, 401, "invalid-credentials").await),
            _ => drop(problem(response, 403, "account-suspended").await),
        }
    }
    println!("outcomes: {outcomes:?}");
    assert!(
        outcomes.contains(&200) && outcomes.len() > 1,
        "{outcomes:?}"
    );
}
