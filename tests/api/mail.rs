//! Mails, and what their links are for: verification and recovery.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::{join, join_all};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::collector::hex;
use crate::harness::mailing::read;
use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Database, Mailing, Service, login_body, problem,
    run, signup_body,
};
use crate::leaks::tables;

fn password() -> String {
    let body = login_body("ada@example.org");
    body["password"].as_str().expect("a text").to_owned()
}

/// Guarantee M2.
#[rstest]
#[tokio::test]
async fn an_address_is_verified_by_its_mail_and_the_password(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = Mailing::start(backend).await;
    assert_eq!(
        mailing.service.sign_up("ada@example.org").await.status(),
        201
    );
    problem(mailing.log_in(&password()).await, 403, "email-not-verified").await;
    let mail = mailing.mail("verify", 1).await;
    assert_eq!(mail.to, "ada@example.org");
    assert!(mail.id.ends_with("@localhost>"), "{mail:?}");
    // A stranger may have chosen it: no one else's words are in a mail to a mailbox that is not theirs.
    assert!(!mail.text.contains("Lovelace"), "{mail:?}");
    let token = mail.token();
    assert_eq!(token.len(), 64);
    // A scanner that follows links consumes nothing.
    let path = "/auth/verify-email";
    problem(mailing.service.get(path).await, 405, "method-not-allowed").await;
    let wrong = mailing.verify(&token, "wrong").await;
    problem(wrong, 401, "invalid-credentials").await;
    problem(mailing.verify("x", &password()).await, 400, "token-invalid").await;
    let without = mailing.post(path, json!({ "token": token })).await;
    let missing = problem(without, 422, "validation-failed").await;
    let expected = json!([{ "pointer": "/password", "code": "required", "detail": "Is missing." }]);
    assert_eq!(missing["errors"], expected);
    for _ in 0..2 {
        assert_eq!(mailing.verify(&token, &password()).await.status(), 204);
    }
    assert_eq!(mailing.log_in(&password()).await.status(), 200);
    let events = "SELECT type FROM user_events ORDER BY occurred_at";
    let expected = ["user.signed_up", "user.email_verified"];
    assert_eq!(mailing.service.database.rows(events).await, expected);
    let verified = "SELECT CAST(version AS text) FROM users_read WHERE email_verified";
    assert_eq!(mailing.service.database.rows(verified).await, ["1"]);
}

#[rstest]
#[tokio::test]
async fn a_mail_is_sent_again_on_request_and_voids_the_one_before(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = Mailing::start(backend).await;
    assert_eq!(
        mailing.service.sign_up("ada@example.org").await.status(),
        201
    );
    let first = mailing.mail("verify", 1).await.token();
    let mut seen = BTreeSet::new();
    for email in ["ADA@example.org", "eve@example.org"] {
        let path = "/auth/verify-email/resend";
        let response = mailing.post(path, json!({ "email": email })).await;
        let status = response.status().as_u16();
        seen.insert((status, response.text().await.expect("text")));
    }
    assert_eq!(seen, BTreeSet::from([(202, String::new())]));
    let second = mailing.mail("verify", 2).await.token();
    let old = mailing.verify(&first, &password()).await;
    problem(old, 410, "token-expired").await;
    assert_eq!(mailing.verify(&second, &password()).await.status(), 204);
    // At most three in an hour, and none for an address that is verified.
    mailing.idle().await;
    for _ in 0..3 {
        let body = json!({ "email": "ada@example.org" });
        mailing.post("/auth/verify-email/resend", body).await;
    }
    mailing.idle().await;
    assert_eq!(mailing.mails("verify").len(), 2);
}

/// A mail that was sent is not sent once more because the database was away for a moment.
#[rstest]
#[tokio::test]
async fn a_mail_is_marked_when_the_database_takes_it_again(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = Mailing::start(backend).await;
    let database = &mailing.service.database;
    // Mails can be leased, and not be marked.
    let away = "ALTER TABLE mail_queue RENAME COLUMN last_error TO away";
    database.execute(away).await.expect("renamed");
    assert_eq!(
        mailing.service.sign_up("ada@example.org").await.status(),
        201
    );
    mailing.mail("verify", 1).await;
    let back = "ALTER TABLE mail_queue RENAME COLUMN away TO last_error";
    database.execute(back).await.expect("renamed");
    mailing.idle().await;
    let attempts = "SELECT CAST(attempts AS text) FROM mail_queue";
    assert_eq!(database.rows(attempts).await, ["1"]);
    assert_eq!(mailing.mails("verify").len(), 1);
}

#[rstest]
#[tokio::test]
async fn a_password_is_reset_by_a_mail(#[values(Sqlite, Postgres)] backend: Backend) {
    let mailing = Mailing::start(backend).await;
    assert_eq!(
        mailing.service.sign_up("ada@example.org").await.status(),
        201
    );
    let verify = mailing.mail("verify", 1).await.token();
    assert_eq!(mailing.verify(&verify, &password()).await.status(), 204);
    let session: Value = mailing
        .log_in(&password())
        .await
        .json()
        .await
        .expect("JSON");
    let forgot = json!({ "email": "ada@example.org" });
    let response = mailing.post("/auth/password/forgot", forgot).await;
    assert_eq!(response.status(), 202);
    let token = mailing.mail("reset", 1).await.token();
    for (password, code) in [
        ("short", "too_short"),
        ("ada@example.org", "own_name_or_address"),
    ] {
        let refused = mailing.reset(&token, password).await;
        let body = problem(refused, 422, "validation-failed").await;
        assert_eq!(body["errors"][0]["code"], code);
    }
    let new = "another horse battery staple";
    let keyed = |key: &'static str, password: &str| {
        let body = json!({ "token": token, "password": password });
        let request = mailing.service.post("/auth/password/reset", &body);
        request.header("Idempotency-Key", key).send()
    };
    assert_eq!(keyed("k", new).await.expect("a response").status(), 204);
    let replayed = keyed("k", new).await.expect("a response");
    assert_eq!(replayed.status(), 204);
    assert_eq!(replayed.headers()["idempotent-replayed"], "true");
    let other = keyed("k", "yet another horse battery")
        .await
        .expect("a response");
    problem(other, 422, "idempotency-key-reused").await;
    problem(mailing.reset(&token, new).await, 410, "token-used").await;
    problem(
        mailing.log_in(&password()).await,
        401,
        "invalid-credentials",
    )
    .await;
    assert_eq!(mailing.log_in(new).await.status(), 200);
    let ended = mailing
        .service
        .refresh(&session["refresh_token"], None)
        .await;
    let body = problem(ended, 401, "session-ended").await;
    assert_eq!(body["reason"], "password_changed");
    let token = session["access_token"].as_str().expect("a text");
    let me = mailing.service.client.get(mailing.service.url("/users/me"));
    let me = me.bearer_auth(token).send().await.expect("a response");
    let body = problem(me, 401, "access-token-invalid").await;
    assert_eq!(body["reason"], "revoked");
    assert_eq!(
        mailing.mail("password_changed", 1).await.to,
        "ada@example.org"
    );
    mailing.idle().await;
    assert_eq!(mailing.mails("password_changed").len(), 1);
    let events = "SELECT type FROM user_events WHERE type = 'user.password_changed'";
    assert_eq!(mailing.service.database.rows(events).await.len(), 1);
}

/// Guarantee M3.
#[rstest]
#[tokio::test]
async fn of_two_resets_with_one_token_one_counts(#[values(Sqlite, Postgres)] backend: Backend) {
    let mailing = Mailing::start(backend).await;
    assert_eq!(
        mailing.service.sign_up("ada@example.org").await.status(),
        201
    );
    let forgot = json!({ "email": "ada@example.org" });
    mailing.post("/auth/password/forgot", forgot).await;
    let token = mailing.mail("reset", 1).await.token();
    let another = mailing.another(&[]).await;
    let elsewhere = another.as_ref().unwrap_or(&mailing.service);
    let passwords = ["another horse battery staple", "yet another horse battery"];
    let body = json!({ "token": token, "password": passwords[1] });
    let other = elsewhere.post("/auth/password/reset", &body).send();
    let (one, other) = join(mailing.reset(&token, passwords[0]), other).await;
    let other = other.expect("a response");
    let statuses = [one.status().as_u16(), other.status().as_u16()];
    let mut sorted = statuses;
    sorted.sort_unstable();
    assert_eq!(sorted, [204, 410]);
    let loser = if statuses[0] == 410 { one } else { other };
    problem(loser, 410, "token-used").await;
    // The mailbox is its owner's, so the address is verified.
    for (status, password) in statuses.into_iter().zip(passwords) {
        let expected = if status == 204 { 200 } else { 401 };
        assert_eq!(mailing.log_in(password).await.status(), expected);
    }
}

/// A stranger signs up with an address. Its owner does not get an account that the stranger can open.
///
/// Guarantee M2.
#[rstest]
#[tokio::test]
async fn an_account_of_a_stranger_is_taken_over_by_the_owner_of_the_mailbox(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = Mailing::start(backend).await;
    let response = mailing
        .service
        .signup(&signup_body("ada@example.org"))
        .send()
        .await;
    assert_eq!(response.expect("a response").status(), 201);
    let token = mailing.mail("verify", 1).await.token();
    let own = "another horse battery staple";
    problem(
        mailing.verify(&token, own).await,
        401,
        "invalid-credentials",
    )
    .await;
    let verified = "SELECT CAST(count(*) AS text) FROM users WHERE email_verified_at IS NOT NULL";
    assert_eq!(mailing.service.database.rows(verified).await, ["0"]);
    let forgot = json!({ "email": "ada@example.org" });
    mailing.post("/auth/password/forgot", forgot).await;
    let reset = mailing.mail("reset", 1).await.token();
    assert_eq!(mailing.reset(&reset, own).await.status(), 204);
    problem(
        mailing.log_in(&password()).await,
        401,
        "invalid-credentials",
    )
    .await;
    assert_eq!(mailing.log_in(own).await.status(), 200);
    // Nor does the link of the first mail.
    let old = mailing.verify(&token, &password()).await;
    problem(old, 410, "token-expired").await;
}

/// What waits in the queue names no one, and the log no address or token; both while mails wait, and when they are sent.
///
/// Guarantee M6.
#[rstest]
#[tokio::test]
async fn no_address_or_token_is_in_the_queue_or_in_the_log(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let gone = [("MAIL_URL", "smtp://127.0.0.1:1?tls=none")];
    let mut mailing = Mailing::start_with(backend, &gone).await;
    let created = mailing.service.sign_up("ada@example.org").await;
    assert_eq!(created.status(), 201);
    // From the third failure on the queue is left alone for seconds, and so the requests in it.
    let is_failure = |line: &&Value| line["message"] == "mail server cannot be used";
    let has_failed = |lines: &[Value]| lines.iter().filter(is_failure).count() >= 3;
    mailing.service.wait_for(has_failed).await;
    for email in ["ada@example.org", "eve@example.org"] {
        assert_eq!(mailing.forgot(email).await.status(), 202);
    }
    let sealed = "SELECT CAST(count(to_sealed) AS text) FROM mail_queue WHERE sent_at IS NULL";
    assert_eq!(mailing.service.database.rows(sealed).await, ["2"]);
    let queue = async |service: &Service| {
        let tables = tables(service, backend).await;
        let (_, rows) = tables
            .into_iter()
            .find(|(name, _)| name == "mail_queue")
            .expect("the table");
        assert!(!rows.is_empty());
        rows
    };
    let waiting = queue(&mailing.service).await;
    let before = mailing.service.log_text();

    let mailing = Mailing::start(backend).await;
    let token = mailing.signed_up("ada@example.org").await;
    for email in ["ada@example.org", "eve@example.org"] {
        assert_eq!(mailing.forgot(email).await.status(), 202);
    }
    let reset = mailing.mail("reset", 1).await.token();
    mailing.idle().await;
    let sent = queue(&mailing.service).await;
    let log = mailing.service.log_text();
    let address = hex(b"example.org");
    for place in [&waiting, &before, &sent, &log] {
        for secret in [&token, &reset, "example.org", &address] {
            let found = place.to_lowercase().contains(&secret.to_lowercase());
            assert!(!found, "{secret} is in {place}");
        }
    }
}

/// Programs that scan mails follow links, some with HEAD first.
///
/// Guarantee M3.
#[rstest]
#[tokio::test]
async fn a_scanner_consumes_no_token(#[values(Sqlite, Postgres)] backend: Backend) {
    let mailing = Mailing::start(backend).await;
    let verify = mailing.signed_up("ada@example.org").await;
    mailing.forgot("ada@example.org").await;
    let reset = mailing.mail("reset", 1).await.token();
    for method in [Method::GET, Method::HEAD] {
        for path in [
            "/auth/verify-email".to_owned(),
            "/auth/password/reset".to_owned(),
            // A client that takes the fragment for a part of the path.
            format!("/auth/verify-email?token={verify}"),
            format!("/auth/password/reset?token={reset}"),
            format!("/verify-email%23{verify}"),
            format!("/reset-password%23{reset}"),
        ] {
            let request = mailing
                .service
                .client
                .request(method.clone(), mailing.service.url(&path));
            let status = request.send().await.expect("a response").status().as_u16();
            assert!([404, 405].contains(&status), "{method} {path}: {status}");
        }
    }
    let used = "SELECT CAST(count(*) AS text) FROM one_time_tokens WHERE used_at IS NOT NULL";
    assert_eq!(mailing.service.database.rows(used).await, ["0"]);
    assert_eq!(mailing.verify(&verify, &password()).await.status(), 204);
    let new = "another horse battery staple";
    assert_eq!(mailing.reset(&reset, new).await.status(), 204);
}

/// Guarantee M3.
#[rstest]
#[tokio::test]
async fn a_token_is_good_for_its_user_and_its_use_alone(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = Mailing::start(backend).await;
    let ada = mailing.signed_up("ada@example.org").await;
    let eve = mailing.signed_up("eve@example.org").await;
    mailing.forgot("ada@example.org").await;
    let reset = mailing.mail("reset", 1).await.token();
    // The id of one row and the mac of another: 16 bytes are 22 characters, of which the last is shared.
    let mixed = format!("{}{}", &ada[..21], &eve[21..]);
    for token in [&mixed, &reset] {
        problem(
            mailing.verify(token, &password()).await,
            400,
            "token-invalid",
        )
        .await;
    }
    let new = "another horse battery staple";
    for token in [&mixed, &ada] {
        problem(mailing.reset(token, new).await, 400, "token-invalid").await;
    }
    // A new password voids all links from before.
    assert_eq!(mailing.reset(&reset, new).await.status(), 204);
    problem(mailing.verify(&ada, new).await, 410, "token-expired").await;
    assert_eq!(mailing.verify(&eve, &password()).await.status(), 204);
}

/// The statuses, bytes and names of headers of requests for a mail show nothing; `tests/timing` has the times.
///
/// Guarantee M4.
#[rstest]
#[case("/auth/password/forgot")]
#[case("/auth/verify-email/resend")]
#[tokio::test]
async fn requests_for_a_mail_get_the_same_response_for_every_address(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[case] path: &str,
) {
    let mailing = Mailing::start(backend).await;
    let token = mailing.signed_up("known@example.org").await;
    assert_eq!(mailing.verify(&token, &password()).await.status(), 204);
    mailing.signed_up("unverified@example.org").await;
    mailing.signed_up("suspended@example.org").await;
    let suspend = "UPDATE users SET status = 'suspended' WHERE email LIKE 'suspended%'";
    mailing
        .service
        .database
        .execute(suspend)
        .await
        .expect("changed");
    let mut seen = BTreeSet::new();
    // The last ones of an address are beyond its limit.
    for address in ["known", "unverified", "suspended", "unknown", "known"].repeat(4) {
        let body = json!({ "email": format!("{address}@example.org") });
        let response = mailing.post(path, body).await;
        let names: BTreeSet<String> = response.headers().keys().map(ToString::to_string).collect();
        let status = response.status().as_u16();
        seen.insert((status, names, response.text().await.expect("text")));
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen.first().map(|(status, ..)| *status), Some(202));
}

/// Guesses of the password by the link of a mail count as those of a login do.
#[rstest]
#[tokio::test]
async fn guesses_by_the_link_of_a_mail_are_throttled(#[values(Sqlite, Postgres)] backend: Backend) {
    let mailing = Mailing::start(backend).await;
    let token = mailing.signed_up("ada@example.org").await;
    for _ in 0..10 {
        let wrong = mailing.verify(&token, "wrong").await;
        problem(wrong, 401, "invalid-credentials").await;
    }
    let response = mailing.verify(&token, &password()).await;
    assert!(response.headers().contains_key("retry-after"));
    problem(response, 429, "login-throttled").await;
    problem(mailing.log_in(&password()).await, 429, "login-throttled").await;
    let used = "SELECT CAST(count(*) AS text) FROM one_time_tokens WHERE used_at IS NOT NULL";
    assert_eq!(mailing.service.database.rows(used).await, ["0"]);
    // The wait is over.
    let over = "UPDATE login_throttle SET blocked_until = last_at";
    let database = &mailing.service.database;
    database.execute(over).await.expect("changed");
    assert_eq!(mailing.verify(&token, &password()).await.status(), 204);
    assert_eq!(mailing.log_in(&password()).await.status(), 200);
}

/// Each operation has a limit of its own, which a client reaches before its token is looked at.
#[rstest]
#[tokio::test]
async fn a_client_sends_a_few_tokens_and_requests_for_mails(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let settings = [("RATE_LIMIT_LOGIN", "6/1h"), ("RATE_LIMIT_MAIL", "3/1h")];
    let mailing = Mailing::start_with(backend, &settings).await;
    let email = json!({ "email": "ada@example.org" });
    let token = json!({ "token": "x" });
    let with_password = json!({ "token": "x", "password": password() });
    for (path, body, status, most) in [
        ("/auth/password/forgot", &email, 202, 3),
        ("/auth/verify-email/resend", &email, 202, 3),
        ("/auth/verify-email", &with_password, 400, 6),
        ("/auth/password/reset", &with_password, 400, 2),
        ("/auth/email/confirm", &token, 400, 6),
        ("/auth/email/undo", &token, 400, 6),
    ] {
        for _ in 0..most {
            let response = mailing.post(path, body.clone()).await;
            assert_eq!(response.status(), status, "{path}");
        }
        let response = mailing.post(path, body.clone()).await;
        assert!(response.headers().contains_key("retry-after"), "{path}");
        problem(response, 429, "rate-limited").await;
    }
}

/// The mail of the signup counts.
#[rstest]
#[tokio::test]
async fn an_account_is_sent_its_verification_three_times_an_hour(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = Mailing::start(backend).await;
    mailing.signed_up("ada@example.org").await;
    let resend = || {
        let body = json!({ "email": "ada@example.org" });
        mailing.post("/auth/verify-email/resend", body)
    };
    for response in join_all((0..12).map(|_| resend())).await {
        assert_eq!(response.status(), 202);
    }
    mailing.idle().await;
    let mails = mailing.mails("verify");
    assert_eq!(mails.len(), 3);
    let mut statuses = Vec::new();
    for mail in &mails {
        let response = mailing.verify(&mail.token(), &password()).await;
        statuses.push(response.status().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 410, 410]);
}

/// Many at once are counted one after the other.
#[rstest]
#[tokio::test]
async fn an_account_gets_three_mails_on_request_in_an_hour(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = Mailing::start(backend).await;
    mailing.signed_up("ada@example.org").await;
    for response in join_all((0..12).map(|_| mailing.forgot("ada@example.org"))).await {
        assert_eq!(response.status(), 202);
    }
    mailing.idle().await;
    let mails = mailing.mails("reset");
    assert_eq!(mails.len(), 3);
    // The newest link works, and no other.
    let new = "another horse battery staple";
    let mut statuses = Vec::new();
    for mail in &mails {
        statuses.push(mailing.reset(&mail.token(), new).await.status().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 410, 410]);
}

/// Strangers can close logins from new devices, and the owner opens them by mail.
///
/// Guarantee M5.
#[rstest]
#[tokio::test]
async fn closed_logins_are_opened_by_the_link_of_a_mail(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = Mailing::start(backend).await;
    let token = mailing.signed_up("ada@example.org").await;
    assert_eq!(mailing.verify(&token, &password()).await.status(), 204);
    let session: Value = mailing
        .log_in(&password())
        .await
        .json()
        .await
        .expect("JSON");
    let guess = async |email: &str| {
        let body = json!({ "email": email, "password": "wrong" });
        mailing.post("/auth/login", body).await
    };
    // Ninety-nine failures for either address, and the wait after the last one is over.
    for email in ["ada@example.org", "eve@example.org"] {
        problem(guess(email).await, 401, "invalid-credentials").await;
    }
    let database = &mailing.service.database;
    let failed = "UPDATE login_throttle SET failures = 99, blocked_until = last_at";
    database.execute(failed).await.expect("changed");
    for email in ["ada@example.org", "eve@example.org"] {
        problem(guess(email).await, 401, "invalid-credentials").await;
        problem(guess(email).await, 429, "login-throttled").await;
    }
    let mail = mailing.mail("login_closed", 1).await;
    assert_eq!(mail.to, "ada@example.org");
    assert!(mail.text.contains("24 hours"), "{}", mail.text);
    // Its link is not voided by mails that the same strangers ask for.
    for _ in 0..4 {
        assert_eq!(mailing.forgot("ada@example.org").await.status(), 202);
    }
    mailing.idle().await;
    assert_eq!(mailing.mails("reset").len(), 3);
    // A new device; and the one that is known.
    problem(mailing.log_in(&password()).await, 429, "login-throttled").await;
    let mut known = login_body("ada@example.org");
    known["device_token"] = session["device_token"].clone();
    let known = mailing.post("/auth/login", known).await;
    assert_eq!(known.status(), 200);
    let new = "another horse battery staple";
    assert_eq!(mailing.reset(&mail.token(), new).await.status(), 204);
    assert_eq!(mailing.log_in(new).await.status(), 200);

    // Closed once more on the same day: without a mail.
    problem(guess("ada@example.org").await, 401, "invalid-credentials").await;
    database.execute(failed).await.expect("changed");
    problem(guess("ada@example.org").await, 401, "invalid-credentials").await;
    problem(guess("ada@example.org").await, 429, "login-throttled").await;
    mailing.idle().await;
    assert_eq!(mailing.mails("login_closed").len(), 1);
}

#[rstest]
#[tokio::test]
async fn a_user_gets_one_mail_about_a_session_whose_token_was_used_twice(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let settings = [
        ("EMAIL_VERIFICATION", "off"),
        ("REFRESH_GRACE_SECONDS", "0"),
    ];
    let mailing = Mailing::start_with(backend, &settings).await;
    let session = mailing.service.logged_in("ada@example.org").await;
    let token = &session["refresh_token"];
    assert_eq!(mailing.service.refresh(token, None).await.status(), 200);
    for _ in 0..3 {
        let reused = mailing.service.refresh(token, None).await;
        let body = problem(reused, 401, "session-ended").await;
        assert_eq!(body["reason"], "reused");
    }
    assert_eq!(
        mailing.mail("session_reused", 1).await.to,
        "ada@example.org"
    );
    mailing.idle().await;
    assert_eq!(mailing.mails("session_reused").len(), 1);
}

#[rstest]
#[tokio::test]
async fn the_token_alone_verifies_where_that_is_set(#[values(Sqlite, Postgres)] backend: Backend) {
    let settings = [("VERIFY_WITH_PASSWORD", "false")];
    let mailing = Mailing::start_with(backend, &settings).await;
    let token = mailing.signed_up("ada@example.org").await;
    let mail = &mailing.mails("verify")[0].text;
    assert!(
        mail.contains("Hello,") && !mail.contains("password"),
        "{mail}"
    );
    let path = "/auth/verify-email";
    let without = mailing.post(path, json!({})).await;
    let body = problem(without, 422, "validation-failed").await;
    assert_eq!(body["errors"].as_array().map(Vec::len), Some(1), "{body}");
    for _ in 0..2 {
        let response = mailing.post(path, json!({ "token": token })).await;
        assert_eq!(response.status(), 204);
    }
    assert_eq!(mailing.log_in(&password()).await.status(), 200);
    // One that a client sends all the same does not count.
    let token = mailing.signed_up("eve@example.org").await;
    assert_eq!(mailing.verify(&token, "").await.status(), 204);
}

#[rstest]
#[tokio::test]
async fn accounts_that_are_not_verified_in_time_are_removed(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::new(backend));
    let required = [
        ("EMAIL_VERIFICATION", "required"),
        ("MAIL_URL", "smtp://127.0.0.1:1?tls=none"),
    ];
    let service = Service::start_on(Arc::clone(&database), &required).await;
    for email in ["ada@example.org", "eve@example.org"] {
        assert_eq!(service.sign_up(email).await.status(), 201);
    }
    drop(service);
    // One from before a verification was needed.
    let service = Service::start_on(Arc::clone(&database), &[]).await;
    assert_eq!(service.sign_up("old@example.org").await.status(), 201);
    drop(service);
    let verify = "UPDATE users SET email_verified_at = created_at WHERE email LIKE 'eve%'";
    database.execute(verify).await.expect("changed");
    let later = match backend {
        Sqlite => "UPDATE one_time_tokens SET expires_at = expires_at - 7 * 86400 * 1000000",
        Postgres => "UPDATE one_time_tokens SET expires_at = expires_at - interval '7 days'",
    };
    database.execute(later).await.expect("changed");
    let mut service = Service::start_on(Arc::clone(&database), &required).await;
    let line = service
        .wait_for_line("users removed that were not verified in time")
        .await;
    assert_eq!(line["users"], 1, "{line}");
    let left = "SELECT email FROM users ORDER BY email";
    assert_eq!(
        database.rows(left).await,
        ["eve@example.org", "old@example.org"]
    );
    let left = "SELECT email FROM users_read ORDER BY email";
    assert_eq!(
        database.rows(left).await,
        ["eve@example.org", "old@example.org"]
    );
    let expired = "SELECT CAST(count(*) AS text) FROM user_events WHERE type = 'user.expired'";
    assert_eq!(database.rows(expired).await, ["1"]);
    // The address is free.
    assert_eq!(service.sign_up("ada@example.org").await.status(), 201);
}

/// Without settings, everything works on SQLite; on PostgreSQL the start says what is missing.
#[tokio::test]
async fn without_a_mail_server_mails_are_files_on_sqlite_and_postgresql_wants_one() {
    let database = Arc::new(Database::new(Sqlite));
    let required = [("EMAIL_VERIFICATION", "required")];
    let mut service = Service::start_on(Arc::clone(&database), &required).await;
    assert_eq!(service.sign_up("ada@example.org").await.status(), 201);
    let line = service.wait_for_line("mail written").await;
    let file = Path::new(line["file"].as_str().expect("a path"));
    let Database::Sqlite(folder) = &*database else {
        unreachable!("just made");
    };
    assert_eq!(file.parent(), Some(folder.path().join("mail").as_path()));
    assert_eq!(read(file).to, "ada@example.org");
    assert!(
        !service.log_text().contains("example.org"),
        "{}",
        service.log_text()
    );
    drop(service);

    let database = Database::new(Postgres);
    let settings = [
        ("DATABASE_URL", &*database.url()),
        ("IDEMPOTENCY_SECRET", crate::harness::SECRET),
        ("PORT", "0"),
        required[0],
    ];
    for more in [None, Some(("MAIL_URL", "off"))] {
        let settings: Vec<_> = settings.into_iter().chain(more).collect();
        let refused = run(&["serve"], &settings);
        assert!(!refused.status.success());
        let line = "signup-service: EMAIL_VERIFICATION=required needs mail, or no address can be verified: set MAIL_URL, \
                    or EMAIL_VERIFICATION=off\n";
        assert_eq!(refused.stderr, line);
    }
}
