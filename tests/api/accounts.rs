//! What users change of their own account: profile, password, address; and what is stored about them.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join;
use reqwest::{Method, RequestBuilder, Response};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Mailing, Service, Setup, login_body, problem,
    signup_body,
};
use crate::tokens::{Forger, decoded};

const NEW: &str = "another horse battery staple";

/// A request of a user.
fn request(service: &Service, method: &str, path: &str, session: &Value) -> RequestBuilder {
    let method: Method = method.parse().expect("a method");
    let token = session["access_token"].as_str().expect("a text");
    let request = service.client.request(method, service.url(path));
    request.bearer_auth(token)
}

async fn send(request: RequestBuilder) -> Response {
    request.send().await.expect("a response")
}

async fn json_of(response: Response) -> Value {
    assert_eq!(response.status(), 200);
    response.json().await.expect("JSON")
}

/// Logs in once more.
async fn log_in(service: &Service, email: &str) -> Value {
    json_of(send(service.post("/auth/login", &login_body(email))).await).await
}

async fn refreshed(service: &Service, session: &Value) -> Value {
    json_of(service.refresh(&session["refresh_token"], None).await).await
}

fn password() -> String {
    let body = login_body("ada@example.org");
    body["password"].as_str().expect("a text").to_owned()
}

fn change(service: &Service, session: &Value, current: &str, new: &str) -> RequestBuilder {
    let body = json!({ "current_password": current, "new_password": new });
    request(service, "POST", "/users/me/password", session).json(&body)
}

async fn mailing(backend: Backend) -> Mailing {
    Mailing::start_with(backend, &[("EMAIL_VERIFICATION", "off")]).await
}

/// Case 18 of the account side.
/// Guarantee U1.
#[rstest]
#[tokio::test]
async fn a_changed_password_ends_the_other_sessions_and_can_be_repeated(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = mailing(backend).await;
    let service = &mailing.service;
    let here = service.logged_in("ada@example.org").await;
    let there = log_in(service, "ada@example.org").await;
    let keyed = |session: &Value, current: &str, new: &str| {
        change(service, session, current, new).header("Idempotency-Key", "quokka")
    };
    problem(
        send(keyed(&here, "a wrong one", NEW)).await,
        401,
        "invalid-credentials",
    )
    .await;
    let weak = send(keyed(&here, &password(), "password")).await;
    let weak = problem(weak, 422, "validation-failed").await;
    assert_eq!(weak["errors"][0]["pointer"], "/new_password");
    let own = send(change(service, &here, &password(), "Ada@Example.org")).await;
    problem(own, 422, "validation-failed").await;

    let done = send(keyed(&here, &password(), NEW)).await;
    assert_eq!(done.status(), 204);
    // Its access token is of an earlier epoch, its refresh token works.
    let stale = send(keyed(&here, &password(), NEW)).await;
    let stale = problem(stale, 401, "access-token-invalid").await;
    assert_eq!(stale["reason"], "revoked");
    let here = refreshed(service, &here).await;
    let again = send(keyed(&here, &password(), NEW)).await;
    assert_eq!(again.status(), 204);
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    let other = send(keyed(&here, &password(), "a third horse battery")).await;
    problem(other, 422, "idempotency-key-reused").await;

    let ended = service.refresh(&there["refresh_token"], None).await;
    let ended = problem(ended, 401, "session-ended").await;
    assert_eq!(ended["reason"], "password_changed");
    let old = send(service.post("/auth/login", &login_body("ada@example.org"))).await;
    problem(old, 401, "invalid-credentials").await;
    let body = json!({ "email": "ada@example.org", "password": NEW });
    assert_eq!(send(service.post("/auth/login", &body)).await.status(), 200);
    let mail = mailing.mail("password_changed", 1).await;
    assert_eq!(mail.to, "ada@example.org");
    mailing.idle().await;
    assert_eq!(mailing.mails("password_changed").len(), 1);
    let events = "SELECT type FROM user_events WHERE type = 'user.password_changed'";
    assert_eq!(service.database.rows(events).await.len(), 1);
}

/// A key is the caller's own: another user's request with the same key is another one.
#[rstest]
#[tokio::test]
async fn users_choose_their_keys_by_themselves(#[values(Sqlite, Postgres)] backend: Backend) {
    let mailing = mailing(backend).await;
    let service = &mailing.service;
    for name in ["ada", "bob"] {
        let session = service.logged_in(&format!("{name}@example.org")).await;
        let change = change(service, &session, &password(), NEW);
        let done = send(change.header("Idempotency-Key", "quokka")).await;
        assert_eq!(done.status(), 204, "{name}");
        assert!(!done.headers().contains_key("idempotent-replayed"));
    }
}

/// Case 21 of the account side: in either order, and in between. The change comes a little later in each round, over the
/// time that a login takes; the 500 rounds take some seconds.
/// Guarantee U1.
#[rstest]
#[tokio::test]
async fn no_login_with_the_password_before_outlives_its_change(
    #[values(Setup::Sqlite, Setup::TwoInstances)] setup: Setup,
) {
    let settings = [
        ("RATE_LIMIT_LOGIN", "off"),
        ("RATE_LIMIT_REFRESH", "off"),
        ("RATE_LIMIT_USER", "off"),
        ("MAIL_URL", "off"),
    ];
    let instances = setup.start(&settings).await;
    let service = instances.first();
    let mut session = service.logged_in("ada@example.org").await;
    let (mut current, mut next) = (password(), NEW.to_owned());
    let mut statuses = BTreeSet::new();
    for round in 0..500 {
        let body = json!({ "email": "ada@example.org", "password": current });
        let login = async {
            let late = Duration::from_micros(200) * 25_u32.saturating_sub(round % 100);
            tokio::time::sleep(late).await;
            send(instances.last().post("/auth/login", &body)).await
        };
        let changed = async {
            let late = Duration::from_micros(200) * (round % 100).saturating_sub(25);
            tokio::time::sleep(late).await;
            send(change(service, &session, &current, &next)).await
        };
        let (login, changed) = join(login, changed).await;
        assert_eq!(changed.status(), 204, "in round {round}");
        let live = "SELECT CAST(count(*) AS text) FROM sessions WHERE ended_at IS NULL";
        assert_eq!(service.database.rows(live).await, ["1"], "in round {round}");
        statuses.insert(login.status().as_u16());
        if login.status() == 200 {
            let login: Value = login.json().await.expect("JSON");
            let one = instances.nth(round as usize);
            let ended = one.refresh(&login["refresh_token"], None).await;
            let ended = problem(ended, 401, "session-ended").await;
            assert_eq!(ended["reason"], "password_changed");
            let command = request(instances.last(), "DELETE", "/users/me/sessions", &login);
            let refused = problem(send(command).await, 401, "access-token-invalid").await;
            assert_eq!(refused["reason"], "revoked");
        } else {
            problem(login, 401, "invalid-credentials").await;
            // So that the next one does not wait for it.
            service.database.rows("DELETE FROM login_throttle").await;
        }
        session = refreshed(service, &session).await;
        std::mem::swap(&mut current, &mut next);
    }
    assert_eq!(statuses, BTreeSet::from([200, 401]), "both orders");
}

/// Guarantee U1.
#[rstest]
#[tokio::test]
async fn a_password_is_changed_by_one_of_two_at_once(#[values(Sqlite, Postgres)] backend: Backend) {
    let mailing = mailing(backend).await;
    let service = &mailing.service;
    let here = service.logged_in("ada@example.org").await;
    let there = log_in(service, "ada@example.org").await;
    let [first, second] = ["a first new password", "a second new password"];
    let (one, other) = join(
        send(change(service, &here, &password(), first)),
        send(change(service, &there, &password(), second)),
    )
    .await;
    let mut statuses = [one.status().as_u16(), other.status().as_u16()];
    let right = if statuses[0] == 204 { first } else { second };
    statuses.sort_unstable();
    // The other one's session has ended, or its password is not the current one any more.
    assert_eq!(statuses[0], 204, "{statuses:?}");
    assert!([401, 409].contains(&statuses[1]), "{statuses:?}");
    for tried in [first, second] {
        let body = json!({ "email": "ada@example.org", "password": tried });
        let login = send(service.post("/auth/login", &body)).await;
        assert_eq!(login.status() == 200, tried == right, "{tried}");
    }
}

/// As by a double click, over two instances. The one that is too late had the right password when it came, or not; its
/// session lives on.
/// Guarantee U1.
#[tokio::test]
async fn a_session_changes_a_password_once_at_a_time() {
    let mailing = mailing(Postgres).await;
    let service = &mailing.service;
    let another = mailing.another(&[("EMAIL_VERIFICATION", "off")]).await;
    let another = another.expect("on PostgreSQL");
    let mut session = service.logged_in("ada@example.org").await;
    let mut current = password();
    let mut meanwhile = 0;
    for round in 0..20 {
        let [first, second] = ["first", "second"].map(|which| format!("the {which} of {round}"));
        let (one, other) = join(
            send(change(service, &session, &current, &first)),
            send(change(&another, &session, &current, &second)),
        )
        .await;
        let (done, late, new) = if one.status() == 204 {
            (one, other, first)
        } else {
            (other, one, second)
        };
        assert_eq!(done.status(), 204, "in round {round}");
        if late.status() == 409 {
            problem(late, 409, "changed-meanwhile").await;
            meanwhile += 1;
        } else {
            assert_eq!(late.status(), 401, "in round {round}");
        }
        session = refreshed(service, &session).await;
        current = new;
    }
    assert!(meanwhile > 0, "none came at the same time");
}

#[rstest]
#[tokio::test]
async fn a_profile_is_changed_by_a_merge_patch(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let session = service.logged_in("ada@example.org").await;
    let patch = |body: Value| request(&service, "PATCH", "/users/me", &session).json(&body);
    let me = || send(request(&service, "GET", "/users/me", &session));
    let first = me().await.headers()["etag"].clone();

    let changed = patch(json!({ "name": "Ada King", "display_name": "Countess" }));
    let changed = send(changed.header("If-Match", &first)).await;
    let second = changed.headers()["etag"].clone();
    let changed = json_of(changed).await;
    assert_eq!(changed["name"], "Ada King");
    assert_eq!(changed["display_name"], "Countess");
    let read = me().await;
    assert_eq!(read.headers()["etag"], second);
    assert_eq!(json_of(read).await, changed);

    let stale = patch(json!({ "name": "Ada Byron" })).header("If-Match", &first);
    problem(send(stale).await, 412, "precondition-failed").await;
    for met in [second.to_str().expect("text"), "*"] {
        let unchanged = patch(json!({ "name": "Ada King" })).header("If-Match", met);
        assert_eq!(json_of(send(unchanged).await).await, changed);
    }
    assert_eq!(json_of(send(patch(json!({}))).await).await, changed);
    let as_patch = request(&service, "PATCH", "/users/me", &session)
        .body(r#"{"display_name":null}"#)
        .header("Content-Type", "application/merge-patch+json");
    let named = json_of(send(as_patch).await).await;
    assert_eq!(named["display_name"], "Ada King");

    let nameless = send(patch(json!({ "name": null, "display_name": "\u{0}" }))).await;
    let nameless = problem(nameless, 422, "validation-failed").await;
    let errors = nameless["errors"].as_array().expect("a list");
    let pointers: Vec<_> = errors.iter().map(|error| &error["pointer"]).collect();
    assert_eq!(pointers, ["/name", "/display_name"]);
    let unknown = send(patch(json!({ "email": "eve@example.org" }))).await;
    problem(unknown, 400, "malformed-request").await;
    let other = request(&service, "PATCH", "/users/me", &session)
        .body("{}")
        .header("Content-Type", "text/plain");
    problem(send(other).await, 415, "unsupported-media-type").await;
    let events = "SELECT type FROM user_events WHERE type = 'user.profile_updated'";
    assert_eq!(service.database.rows(events).await.len(), 2);
}

fn ask(service: &Service, session: &Value, email: &str) -> RequestBuilder {
    let body = json!({ "email": email });
    request(service, "POST", "/users/me/email", session).json(&body)
}

async fn move_by(service: &Service, path: &str, token: &str) -> Response {
    send(service.post(path, &json!({ "token": token }))).await
}

/// Guarantee U2.
#[rstest]
#[tokio::test]
async fn an_address_changes_when_the_new_mailbox_confirms_it(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = mailing(backend).await;
    let service = &mailing.service;
    let here = service.logged_in("ada@example.org").await;
    let there = log_in(service, "ada@example.org").await;
    let keyed = || ask(service, &here, "Ada@lovelace.example").header("Idempotency-Key", "quokka");
    assert_eq!(send(keyed()).await.status(), 202);
    let confirm = mailing.mail("confirm_email", 1).await;
    assert_eq!(confirm.to, "Ada@lovelace.example");
    let notice = mailing.mail("email_changing", 1).await;
    assert_eq!(notice.to, "ada@example.org");
    assert_eq!(send(keyed()).await.headers()["idempotent-replayed"], "true");
    let me = json_of(send(request(service, "GET", "/users/me", &here)).await).await;
    assert_eq!(me["email"], "ada@example.org", "nothing has changed yet");

    let invalid = move_by(service, "/auth/email/confirm", &notice.token()).await;
    problem(invalid, 400, "token-invalid").await;
    for _ in 0..2 {
        let confirmed = move_by(service, "/auth/email/confirm", &confirm.token()).await;
        assert_eq!(confirmed.status(), 204);
    }
    let ended = service.refresh(&there["refresh_token"], None).await;
    problem(ended, 401, "session-ended").await;
    let stale = send(request(service, "GET", "/users/me", &here)).await;
    let stale = problem(stale, 401, "access-token-invalid").await;
    assert_eq!(stale["reason"], "revoked");
    let here = refreshed(service, &here).await;
    let me = json_of(send(request(service, "GET", "/users/me", &here)).await).await;
    assert_eq!(me["email"], "Ada@lovelace.example");
    assert_eq!(me["email_verified"], true);
    log_in(service, "ada@lovelace.example").await;
    let old = send(service.post("/auth/login", &login_body("ada@example.org"))).await;
    problem(old, 401, "invalid-credentials").await;
    // The address is kept for as long as the account can be moved back to it.
    let taken = service.sign_up("ada@example.org").await;
    problem(taken, 409, "email-already-registered").await;
    let notice = mailing.mail("email_changed", 1).await;
    assert_eq!(notice.to, "ada@example.org");
    // It was used twice, and did this once.
    let events = "SELECT type FROM user_events WHERE type = 'user.email_changed'";
    assert_eq!(service.database.rows(events).await.len(), 1);
}

/// Guarantee M8.
#[rstest]
#[tokio::test]
async fn many_users_send_few_mails_to_one_address(#[values(Sqlite, Postgres)] backend: Backend) {
    let mailing = mailing(backend).await;
    let service = &mailing.service;
    let spellings = ["Eve@Lovelace.example", "eve@lovelace.example"];
    for number in 0..5 {
        let user = format!("ada{number}@example.org");
        let session = service.logged_in(&user).await;
        let asked = send(ask(service, &session, spellings[number % 2])).await;
        assert_eq!(asked.status(), 202);
    }
    mailing.idle().await;
    let mails = mailing.mails("confirm_email");
    assert_eq!(mails.len(), 3, "{mails:?}");
    // Another address is not concerned.
    let session = service.logged_in("bob@example.org").await;
    send(ask(service, &session, "bob@lovelace.example")).await;
    let mail = mailing.mail("confirm_email", 4).await;
    assert_eq!(mail.to, "bob@lovelace.example");
}

/// Who has taken an account over cannot keep its owner from getting it back.
/// Guarantee U3.
#[rstest]
#[case::before_the_change(false, false)]
#[case::after_the_change(true, false)]
#[case::after_more_changes(true, true)]
#[tokio::test]
async fn the_owner_of_an_address_gets_the_account_back(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[case] is_confirmed: bool,
    #[case] goes_on: bool,
) {
    let mailing = mailing(backend).await;
    let service = &mailing.service;
    let mut thief = service.logged_in("ada@example.org").await;
    assert_eq!(
        send(ask(service, &thief, "eve@example.org")).await.status(),
        202
    );
    let undo = mailing.mail("email_changing", 1).await.token();
    let confirm = mailing.mail("confirm_email", 1).await.token();
    if is_confirmed {
        let confirmed = move_by(service, "/auth/email/confirm", &confirm).await;
        assert_eq!(confirmed.status(), 204);
        thief = refreshed(service, &thief).await;
    }
    if goes_on {
        let changed = send(change(service, &thief, &password(), NEW)).await;
        assert_eq!(changed.status(), 204);
        thief = refreshed(service, &thief).await;
        let asked = send(ask(service, &thief, "mallory@example.org")).await;
        assert_eq!(asked.status(), 202);
        let second = mailing.mail("confirm_email", 2).await.token();
        let confirmed = move_by(service, "/auth/email/confirm", &second).await;
        assert_eq!(confirmed.status(), 204);
        thief = refreshed(service, &thief).await;
        // The way back is not barred by another account.
        let squat = service.sign_up("ada@example.org").await;
        problem(squat, 409, "email-already-registered").await;
        for _ in 0..4 {
            let forgot = json!({ "email": "mallory@example.org" });
            assert_eq!(
                mailing.post("/auth/password/forgot", forgot).await.status(),
                202
            );
        }
        mailing.idle().await;
    }
    for _ in 0..2 {
        let undone = move_by(service, "/auth/email/undo", &undo).await;
        assert_eq!(undone.status(), 204);
    }
    let ended = service.refresh(&thief["refresh_token"], None).await;
    problem(ended, 401, "session-ended").await;
    let late = move_by(service, "/auth/email/confirm", &confirm).await;
    if is_confirmed {
        assert_eq!(late.status(), 204, "it was used, and does nothing");
    } else {
        problem(late, 410, "token-expired").await;
    }
    for tried in [password(), NEW.to_owned()] {
        let body = json!({ "email": "ada@example.org", "password": tried });
        let login = send(service.post("/auth/login", &body)).await;
        problem(login, 401, "invalid-credentials").await;
    }
    if goes_on {
        // Nor does the thief get it back by the mails to the addresses in between.
        let later = mailing.mails("email_changing")[1].clone();
        assert_eq!(later.to, "eve@example.org");
        let late = move_by(service, "/auth/email/undo", &later.token()).await;
        problem(late, 410, "token-expired").await;
    }
    // It was used twice, and did this once; also if the address had not changed yet.
    let events = "SELECT type FROM user_events WHERE type = 'user.email_changed'";
    let changes = 1 + usize::from(is_confirmed) + usize::from(goes_on);
    assert_eq!(service.database.rows(events).await.len(), changes);
    // Whatever the thief has asked for before.
    let reset = mailing.mail("email_restored", 1).await;
    assert_eq!(reset.to, "ada@example.org");
    let body = json!({ "token": reset.token(), "password": "a third horse battery staple" });
    assert_eq!(
        send(service.post("/auth/password/reset", &body))
            .await
            .status(),
        204
    );
    let body = json!({ "email": "ada@example.org", "password": "a third horse battery staple" });
    let owner = json_of(send(service.post("/auth/login", &body)).await).await;
    assert_eq!(owner["user"]["email"], "ada@example.org");
}

/// Guarantee U3. Two changes: each of the two addresses has its own way back, and the owner of the second one is not at the
/// mercy of the first.
#[rstest]
#[tokio::test]
async fn an_address_that_replaced_another_one_has_a_way_back_of_its_own(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = mailing(backend).await;
    let service = &mailing.service;
    let mut session = service.logged_in("old@example.org").await;
    for (number, email) in [(1, "ada@example.org"), (2, "eve@example.org")] {
        assert_eq!(send(ask(service, &session, email)).await.status(), 202);
        let confirm = mailing.mail("confirm_email", number).await.token();
        // A double click.
        let (one, other) = join(
            move_by(service, "/auth/email/confirm", &confirm),
            move_by(service, "/auth/email/confirm", &confirm),
        )
        .await;
        assert_eq!(
            [one.status(), other.status()].map(|status| status.as_u16()),
            [204, 204]
        );
        session = refreshed(service, &session).await;
    }
    let undo = mailing.mail("email_changed", 2).await;
    assert_eq!(undo.to, "ada@example.org");
    let undone = move_by(service, "/auth/email/undo", &undo.token()).await;
    assert_eq!(undone.status(), 204);
    let restored = mailing.mail("email_restored", 1).await;
    assert_eq!(restored.to, "ada@example.org");
}

/// Who ends a session ends what it began.
#[rstest]
#[tokio::test]
async fn a_change_of_address_ends_with_the_session_that_asked_for_it(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = mailing(backend).await;
    let service = &mailing.service;
    let owner = service.logged_in("ada@example.org").await;
    let thief = log_in(service, "ada@example.org").await;
    assert_eq!(
        send(ask(service, &thief, "eve@example.org")).await.status(),
        202
    );
    let confirm = mailing.mail("confirm_email", 1).await.token();
    let others = request(service, "DELETE", "/users/me/sessions", &owner);
    assert_eq!(send(others).await.status(), 204);
    let late = move_by(service, "/auth/email/confirm", &confirm).await;
    problem(late, 410, "token-expired").await;
}

/// Guarantee U2.
#[rstest]
#[tokio::test]
async fn a_taken_address_is_known_to_its_owner_only(#[values(Sqlite, Postgres)] backend: Backend) {
    let mailing = mailing(backend).await;
    let service = &mailing.service;
    assert_eq!(service.sign_up("bob@example.org").await.status(), 201);
    let session = service.logged_in("ada@example.org").await;
    let mut bodies = Vec::new();
    for email in ["bob@example.org", "free@example.org"] {
        let response = send(ask(service, &session, email)).await;
        assert_eq!(response.status(), 202);
        bodies.push(response.bytes().await.expect("a body"));
        // Before the next one voids it.
        mailing.idle().await;
    }
    assert_eq!(bodies[0], bodies[1]);
    let mail = mailing.mail("account_exists", 1).await;
    assert_eq!(mail.to, "bob@example.org");
    assert!(!mail.text.contains("confirm-email"), "{}", mail.text);
    let confirm = mailing.mail("confirm_email", 1).await;
    assert_eq!(confirm.to, "free@example.org");
    // Meanwhile another user takes it.
    assert_eq!(service.sign_up("free@example.org").await.status(), 201);
    let taken = move_by(service, "/auth/email/confirm", &confirm.token()).await;
    problem(taken, 409, "email-already-registered").await;
}

/// Two users confirm the same address at once, over two instances where there are two: it is that of one of them.
/// Guarantee U2.
#[rstest]
#[tokio::test]
async fn an_address_that_two_confirm_at_once_is_that_of_one(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = mailing(backend).await;
    let service = &mailing.service;
    let another = mailing.another(&[("EMAIL_VERIFICATION", "off")]).await;
    let elsewhere = another.as_ref().unwrap_or(service);
    for round in 0..3 {
        let target = format!("lovelace{round}@example.org");
        let mut tokens = Vec::new();
        for name in ["ada", "eve"] {
            let email = format!("{name}{round}@example.org");
            let session = service.logged_in(&email).await;
            let asked = send(ask(service, &session, &target)).await;
            assert_eq!(asked.status(), 202);
            let mail = mailing.mail("confirm_email", 2 * round + tokens.len() + 1);
            tokens.push(mail.await.token());
        }
        let (one, other) = join(
            move_by(service, "/auth/email/confirm", &tokens[0]),
            move_by(elsewhere, "/auth/email/confirm", &tokens[1]),
        )
        .await;
        let mut statuses = [one.status().as_u16(), other.status().as_u16()];
        let loser = if statuses[0] == 409 { one } else { other };
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 409], "in round {round}");
        problem(loser, 409, "email-already-registered").await;
    }
}

#[rstest]
#[tokio::test]
async fn a_user_asks_for_another_address_three_times_an_hour(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = mailing(backend).await;
    let service = &mailing.service;
    let session = service.logged_in("ada@example.org").await;
    for number in 0..5 {
        let email = format!("ada{number}@example.org");
        assert_eq!(send(ask(service, &session, &email)).await.status(), 202);
    }
    let none = send(ask(service, &session, "lovelace")).await;
    let none = problem(none, 422, "validation-failed").await;
    assert_eq!(none["errors"][0]["pointer"], "/email");
    let tokens = "SELECT CAST(count(*) AS text) FROM one_time_tokens WHERE purpose = 'change'";
    assert_eq!(service.database.rows(tokens).await, ["3"]);
}

/// What takes an account away asks for the password, if it was sent too long ago.
/// Guarantee U5.
#[rstest]
#[case("POST", "/users/me/email", 600)]
#[case("GET", "/users/me/export", 600)]
#[case("DELETE", "/users/me", 300)]
#[tokio::test]
async fn a_password_that_was_sent_long_ago_is_asked_for_again(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[case] method: &str,
    #[case] path: &str,
    #[case] max_age: i64,
) {
    let forger = Forger::new();
    let settings = [&forger.settings()[..], &[("MAIL_URL", "console")]].concat();
    let service = Service::start_with(backend, &settings).await;
    let session = service.logged_in("ada@example.org").await;
    let token = session["access_token"].as_str().expect("a text");
    let [_, mut claims] = decoded(token);
    let sent = claims["auth_time"].as_i64().expect("a time");
    claims["auth_time"] = json!(sent - max_age - 5);
    let old = json!({ "access_token": forger.token(&claims) });
    let body = json!({ "email": "eve@example.org" });
    let refused = send(request(&service, method, path, &old).json(&body)).await;
    let challenge = refused.headers()["www-authenticate"].clone();
    let challenge = challenge.to_str().expect("text").to_owned();
    let refused = problem(refused, 401, "reauthentication-required").await;
    assert_eq!(refused["max_age"], max_age);
    assert!(
        challenge.contains(&format!("max_age=\"{max_age}\""))
            || challenge.contains(&format!("max_age={max_age}")),
        "{challenge}"
    );
    let again = request(&service, "POST", "/auth/reauthenticate", &old);
    let again = again.json(&json!({ "password": password() }));
    let fresh = json_of(send(again).await).await;
    let done = send(request(&service, method, path, &fresh).json(&body)).await;
    assert!(done.status().is_success(), "{}", done.status());
}

/// Each operation has a limit of its own.
#[rstest]
#[case::profile("PATCH", "/users/me", "RATE_LIMIT_USER", 200)]
#[case::email("POST", "/users/me/email", "RATE_LIMIT_USER", 202)]
#[case::password("POST", "/users/me/password", "RATE_LIMIT_LOGIN", 422)]
#[tokio::test]
async fn changes_of_an_account_are_limited(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[case] method: &str,
    #[case] path: &str,
    #[case] setting: &str,
    #[case] status: u16,
) {
    let mailing =
        Mailing::start_with(backend, &[("EMAIL_VERIFICATION", "off"), (setting, "2/1h")]).await;
    let service = &mailing.service;
    let session = service.logged_in("ada@example.org").await;
    let body = match path {
        "/users/me" => json!({ "name": "Ada King" }),
        "/users/me/email" => json!({ "email": "ada@lovelace.example" }),
        // It is counted before it is looked at.
        _ => json!({ "current_password": "x", "new_password": "" }),
    };
    for _ in 0..2 {
        let response = send(request(service, method, path, &session).json(&body)).await;
        assert_eq!(response.status(), status);
    }
    let response = send(request(service, method, path, &session).json(&body)).await;
    assert!(response.headers().contains_key("retry-after"));
    problem(response, 429, "rate-limited").await;
}

/// The history is kept for good, so it grows by a bounded number of entries a day.
#[rstest]
#[tokio::test]
async fn a_profile_is_changed_a_hundred_times_a_day(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start_with(backend, &[("RATE_LIMIT_USER", "off")]).await;
    let session = service.logged_in("ada@example.org").await;
    let rename = async |number: usize| {
        let body = json!({ "name": format!("Ada {number}") });
        send(request(&service, "PATCH", "/users/me", &session).json(&body)).await
    };
    for number in 0..100 {
        assert_eq!(rename(number).await.status(), 200, "{number}");
    }
    let refused = rename(100).await;
    assert!(refused.headers().contains_key("retry-after"));
    problem(refused, 429, "rate-limited").await;
    // What changes nothing is no change.
    assert_eq!(json_of(rename(99).await).await["name"], "Ada 99");
}

/// Guesses of the current password are those of the session alone: a stranger with the token neither guesses on, nor
/// locks out the owner.
#[rstest]
#[tokio::test]
async fn guesses_of_the_current_password_are_throttled(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = mailing(backend).await;
    let service = &mailing.service;
    let session = service.logged_in("ada@example.org").await;
    for _ in 0..10 {
        let guess = send(change(service, &session, "wrong", NEW)).await;
        problem(guess, 401, "invalid-credentials").await;
    }
    let response = send(change(service, &session, &password(), NEW)).await;
    assert!(response.headers().contains_key("retry-after"));
    problem(response, 429, "login-throttled").await;
    let other = log_in(service, "ada@example.org").await;
    let changed = send(change(service, &other, &password(), NEW)).await;
    assert_eq!(changed.status(), 204);
}

#[rstest]
#[tokio::test]
async fn users_get_what_is_stored_about_them(#[values(Sqlite, Postgres)] backend: Backend) {
    let mailing = mailing(backend).await;
    let service = &mailing.service;
    let session = service.logged_in("ada@example.org").await;
    service.logged_in("bob@example.org").await;
    let renamed = request(service, "PATCH", "/users/me", &session);
    let changes = json!({ "display_name": "Countess", "locale": "en-gb" });
    send(renamed.json(&changes)).await;
    send(ask(service, &session, "ada@lovelace.example")).await;
    mailing.idle().await;
    let export = || send(request(service, "GET", "/users/me/export", &session));
    let response = export().await;
    let disposition = response.headers()["content-disposition"].clone();
    assert_eq!(disposition, "attachment; filename=\"account.json\"");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let text = response.text().await.expect("text");
    let data: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(data["account"]["email"], "ada@example.org");
    assert_eq!(data["account"]["display_name"], "Countess");
    assert_eq!(data["account"]["locale"], "en-GB");
    assert_eq!(data["sessions"].as_array().map(Vec::len), Some(1));
    let of = |list: &str, member: &str| -> Vec<String> {
        let list = data[list].as_array().expect("a list").iter();
        list.map(|entry| entry[member].as_str().expect("a text").to_owned())
            .collect()
    };
    assert_eq!(
        of("events", "type"),
        ["user.profile_updated", "user.signed_up"]
    );
    assert_eq!(of("log", "action"), ["login"]);
    let mut mails = of("mails", "kind");
    mails.sort();
    assert_eq!(mails, ["confirm_email", "email_changing"]);
    for secret in ["bcrypt", "bob", "srt_", "hash"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    for _ in 1..5 {
        assert_eq!(export().await.status(), 200);
    }
    problem(export().await, 429, "rate-limited").await;
    let exports = "SELECT outcome FROM auth_log WHERE action = 'export'";
    assert_eq!(service.database.rows(exports).await, ["succeeded"; 5]);
}

/// Guarantee M7.
#[rstest]
#[tokio::test]
async fn a_uniform_signup_says_nothing_about_the_address(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let settings = [
        ("EMAIL_VERIFICATION", "required"),
        ("SIGNUP_ANSWER", "uniform"),
    ];
    let mailing = Mailing::start_with(backend, &settings).await;
    let service = &mailing.service;
    let another = mailing.another(&settings).await;
    let elsewhere = another.as_ref().unwrap_or(service);
    let sign_up_at = async |service: &Service, email: &str, key: &str| {
        let request = service.signup(&signup_body(email));
        let response = send(request.header("Idempotency-Key", key)).await;
        assert_eq!(response.status(), 202);
        assert!(!response.headers().contains_key("location"));
        let mut names: Vec<_> = response.headers().keys().map(ToString::to_string).collect();
        names.retain(|name| name != "idempotent-replayed");
        names.sort();
        (names, response.text().await.expect("text"))
    };
    let sign_up = async |email: &str, key: &str| sign_up_at(service, email, key).await;
    let free = sign_up("ada@example.org", "first").await;
    assert_eq!(free.1, r#"{"status":"check_mail"}"#);
    let token = mailing.mail("verify", 1).await.token();
    // Who has made it does not learn from a login that it was free.
    let known = service.client.post(service.url("/auth/login"));
    let unknown = service.client.post(service.url("/auth/login"));
    let known = send(known.json(&login_body("ada@example.org"))).await;
    let unknown = send(unknown.json(&login_body("eve@example.org"))).await;
    let [known, unknown] = [
        problem(known, 401, "invalid-credentials").await,
        problem(unknown, 401, "invalid-credentials").await,
    ];
    assert_eq!(known["detail"], unknown["detail"]);
    let failures = "SELECT CAST(failures AS text) FROM login_throttle";
    assert_eq!(service.database.rows(failures).await, ["1", "1"]);
    // Taken, and not verified: the owner of the mailbox may take it.
    assert_eq!(sign_up("ada@example.org", "second").await, free);
    let reset = mailing.mail("reset", 1).await;
    assert_eq!(reset.to, "ada@example.org");
    assert_eq!(
        mailing.verify(&token, &password()).await.status(),
        204,
        "the first one is not disturbed"
    );
    assert_eq!(mailing.log_in(&password()).await.status(), 200);
    // Taken, and verified.
    assert_eq!(sign_up("ada@example.org", "third").await, free);
    assert_eq!(
        mailing.mail("account_exists", 1).await.to,
        "ada@example.org"
    );
    // A retry sends no mail.
    for key in ["first", "second", "third"] {
        let retried = sign_up_at(elsewhere, "ada@example.org", key).await;
        assert_eq!(retried, free);
    }
    // A race of two.
    let (one, other) = join(
        sign_up("bob@example.org", "fourth"),
        sign_up_at(elsewhere, "bob@example.org", "fifth"),
    )
    .await;
    assert_eq!((&one, &other), (&free, &free));
    mailing.mail("verify", 2).await;
    mailing.mail("reset", 2).await;
    mailing.idle().await;
    let mails = ["verify", "reset", "account_exists"].map(|kind| mailing.mails(kind).len());
    assert_eq!(mails, [2, 2, 1]);
    assert_eq!(service.database.counts().await[0], 2, "accounts");
}

#[rstest]
#[tokio::test]
async fn a_service_may_ask_for_longer_passwords(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start_with(backend, &[("PASSWORD_MIN_LENGTH", "15")]).await;
    let sign_up = |password: &str| {
        let mut body = signup_body("ada@example.org");
        body["password"] = json!(password);
        send(service.signup(&body))
    };
    let short = problem(sign_up("quokka-numbats").await, 422, "validation-failed").await;
    assert_eq!(short["errors"][0]["code"], "too_short");
    let detail = "Must have at least 15 characters.";
    assert_eq!(short["errors"][0]["detail"], detail);
    assert_eq!(sign_up("quokka-numbat-1").await.status(), 201);
}
