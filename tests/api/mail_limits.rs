//! How many mails an address gets, whichever users are used for it.

use futures_util::future::join_all;
use reqwest::{Method, Response};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::mailing::Mailing;
use crate::harness::{Backend, Backend::Postgres, Backend::Sqlite, Service, login_body};

const NEW: &str = "another horse battery staple";

/// Where users log in before their address is confirmed, a stranger can do all of this with the address of another.
async fn without_confirmation(backend: Backend) -> Mailing {
    let settings = [("EMAIL_VERIFICATION", "off"), ("RATE_LIMIT_SIGNUP", "off")];
    Mailing::start_with(backend, &settings).await
}

async fn send(
    service: &Service,
    (method, path): (Method, &str),
    session: &Value,
    body: Value,
) -> Response {
    let token = session["access_token"].as_str().expect("a text");
    let request = service.client.request(method, service.url(path));
    let response = request.bearer_auth(token).json(&body).send().await;
    response.expect("a response")
}

async fn log_in(service: &Service, login: &Value) -> Value {
    let session = service.post("/auth/login", login).send().await;
    session.expect("a response").json().await.expect("JSON")
}

async fn ask_for(service: &Service, session: &Value, email: &str) {
    let operation = (Method::POST, "/users/me/email");
    let asked = send(service, operation, session, json!({ "email": email })).await;
    assert_eq!(asked.status(), 202);
}

async fn erase(service: &Service, session: &Value) {
    let erased = send(service, (Method::DELETE, "/users/me"), session, json!({})).await;
    assert_eq!(erased.status(), 204);
}

/// Changes the password and back, `rounds` times.
async fn change_password(service: &Service, rounds: usize) {
    let mut passwords = [login_body("")["password"].clone(), json!(NEW)];
    for _ in 0..rounds {
        let mut login = login_body("ada@example.org");
        login["password"] = passwords[0].clone();
        let session = log_in(service, &login).await;
        let body = json!({ "current_password": passwords[0], "new_password": passwords[1] });
        let operation = (Method::POST, "/users/me/password");
        let changed = send(service, operation, &session, body).await;
        assert_eq!(changed.status(), 204);
        passwords.reverse();
    }
}

/// Guarantee M8.
#[rstest]
#[tokio::test]
async fn erasing_the_user_who_asked_resets_no_count(#[values(Sqlite, Postgres)] backend: Backend) {
    let mailing = without_confirmation(backend).await;
    let service = &mailing.service;
    for _ in 0..5 {
        let session = service.logged_in("ada@example.org").await;
        ask_for(service, &session, "eve@lovelace.example").await;
        mailing.idle().await;
        erase(service, &session).await;
        mailing.idle().await;
    }
    // To the address that the stranger asked for, and to the one that was used.
    let kinds = ["confirm_email", "email_changing", "erased"];
    assert_eq!(kinds.map(|kind| mailing.mails(kind).len()), [3, 3, 3]);
    let withheld = "mail_total{kind=\"confirm_email\",outcome=\"withheld\"} 2";
    service.wait_for_metric(withheld).await;
}

/// Guarantee M8.
#[rstest]
#[tokio::test]
async fn users_who_ask_at_once_send_few_mails_to_one_address(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = without_confirmation(backend).await;
    let settings = [("EMAIL_VERIFICATION", "off")];
    let another = mailing.another(&settings).await;
    let instances = [
        &mailing.service,
        another.as_ref().unwrap_or(&mailing.service),
    ];
    let users = (0..8).map(|number| async move {
        let service = instances[number % 2];
        let user = format!("ada{number}@example.org");
        (service, instances[0].logged_in(&user).await)
    });
    let sessions = join_all(users).await;
    let asked = sessions.iter();
    join_all(asked.map(|(service, session)| ask_for(service, session, "eve@lovelace.example")))
        .await;
    mailing.idle().await;
    assert_eq!(mailing.mails("confirm_email").len(), 3);
    assert_eq!(mailing.mails("email_changing").len(), 8);
}

/// One who knows the password asks for all mails that the owner could, and then makes their links void.
///
/// Guarantee M5.
#[rstest]
#[tokio::test]
async fn a_request_is_withheld_only_from_those_who_have_a_link_that_works(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = without_confirmation(backend).await;
    let service = &mailing.service;
    service.logged_in("ada@example.org").await;
    let forgot = async |mails: usize| {
        for _ in 0..4 {
            assert_eq!(mailing.forgot("ada@example.org").await.status(), 202);
        }
        mailing.idle().await;
        let found = mailing.mails("reset");
        assert_eq!(found.len(), mails, "{found:?}");
        found
    };
    // An address that was not confirmed may be that of another person.
    forgot(3).await;
    change_password(service, 1).await;
    forgot(3).await;
    let verified = "UPDATE users SET email_verified_at = created_at";
    service.database.execute(verified).await.expect("changed");
    let mails = forgot(4).await;
    let more = &mails[3];
    assert!(more.text.contains("24 hours"), "{}", more.text);
    let another = "a third horse battery staple";
    assert_eq!(mailing.reset(&more.token(), another).await.status(), 204);
    // It begins at zero.
    forgot(7).await;
}

/// An owner learns of each change; an address that may be another person's is not flooded.
///
/// Guarantee M8.
#[rstest]
#[tokio::test]
async fn notices_are_withheld_from_addresses_that_are_not_confirmed(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = without_confirmation(backend).await;
    let service = &mailing.service;
    service.logged_in("ada@example.org").await;
    change_password(service, 5).await;
    mailing.idle().await;
    assert_eq!(mailing.mails("password_changed").len(), 3);
    let verified = "UPDATE users SET email_verified_at = created_at";
    service.database.execute(verified).await.expect("changed");
    // The first five have left the other password.
    let mut login = login_body("ada@example.org");
    login["password"] = json!(NEW);
    let session = log_in(service, &login).await;
    let body = json!({ "current_password": NEW, "new_password": login_body("")["password"] });
    let operation = (Method::POST, "/users/me/password");
    let back = send(service, operation, &session, body).await;
    assert_eq!(back.status(), 204);
    change_password(service, 4).await;
    mailing.idle().await;
    assert_eq!(mailing.mails("password_changed").len(), 3 + 5);
}

/// A stranger who has used the address of another before its owner came keeps no mail from the owner: the way back of an
/// account is always sent to an address that was confirmed.
///
/// Guarantee M8.
#[rstest]
#[tokio::test]
async fn what_strangers_did_with_an_address_withholds_nothing_from_its_owner(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = without_confirmation(backend).await;
    let service = &mailing.service;
    let moved = async |number: usize, is_confirmed: bool| {
        let session = service.logged_in("ada@example.org").await;
        if is_confirmed {
            let verified = "UPDATE users SET email_verified_at = created_at";
            service.database.execute(verified).await.expect("changed");
            let verified = "UPDATE users_read SET email_verified = TRUE";
            service.database.execute(verified).await.expect("changed");
        }
        let own = format!("eve{number}@example.org");
        ask_for(service, &session, &own).await;
        let confirm = mailing.mail("confirm_email", number).await;
        assert!(!confirm.text.contains("Ada"), "{}", confirm.text);
        let token = json!({ "token": confirm.token() });
        let confirmed = mailing.post("/auth/email/confirm", token).await;
        assert_eq!(confirmed.status(), 204);
        mailing.idle().await;
        let session = service.refresh(&session["refresh_token"], None).await;
        let session: Value = session.json().await.expect("JSON");
        erase(service, &session).await;
        mailing.idle().await;
    };
    let kinds = ["email_changing", "email_changed", "erased"];
    let counts = || kinds.map(|kind| mailing.mails(kind).len());
    for number in 1..=4 {
        moved(number, false).await;
    }
    // Each erasure was of another address.
    assert_eq!(counts(), [3, 3, 4]);
    let stranger = &mailing.mails("email_changed")[0].text;
    assert!(!stranger.contains("Ada"), "{stranger}");
    moved(5, true).await;
    assert_eq!(counts(), [4, 4, 5]);
    let owner = &mailing.mail("email_changed", 4).await.text;
    assert!(owner.contains("Hello Ada"), "{owner}");
}

/// What becomes of a mail to another address shows in the export of who asked for it: not whether it has an account.
///
/// Guarantee M7.
#[rstest]
#[tokio::test]
async fn an_export_does_not_show_whether_another_address_has_an_account(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = Mailing::start_with(backend, &[("SIGNUP_ANSWER", "uniform")]).await;
    let service = &mailing.service;
    let user = async |email: &str, number: usize| {
        assert_eq!(service.sign_up(email).await.status(), 202);
        let verify = mailing.mail("verify", number).await.token();
        let login = login_body(email);
        let password = login["password"].as_str().expect("a text");
        assert_eq!(mailing.verify(&verify, password).await.status(), 204);
        log_in(service, &login).await
    };
    user("ada@example.org", 1).await;
    let asking = user("eve@example.org", 2).await;
    // With an account that is confirmed, one that is not, and none. A signup has caused all mails to it that it can.
    let targets = [
        ("ada@example.org", 4),
        ("bob@example.org", 4),
        ("free@example.org", 0),
    ];
    for (asked, (target, signups)) in (1..).zip(targets) {
        for _ in 0..signups {
            assert_eq!(service.sign_up(target).await.status(), 202);
        }
        mailing.idle().await;
        ask_for(service, &asking, target).await;
        mailing.idle().await;
        let operation = (Method::GET, "/users/me/export");
        let export = send(service, operation, &asking, json!({})).await;
        let export: Value = export.json().await.expect("JSON");
        let mails = export["mails"].as_array().expect("a list").iter();
        let mails = mails.filter(|mail| mail["kind"] == "confirm_email");
        let sent: Vec<bool> = mails.map(|mail| mail["sent_at"].is_string()).collect();
        assert_eq!(sent, vec![true; asked], "{target}");
    }
}

/// The page says that a mail is on its way, so there is one.
///
/// Guarantee M7.
#[rstest]
#[tokio::test]
async fn an_address_that_an_account_can_be_moved_back_to_is_sent_a_mail(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let settings = [("SIGNUP_ANSWER", "uniform")];
    let mailing = Mailing::start_with(backend, &settings).await;
    let service = &mailing.service;
    assert_eq!(service.sign_up("ada@example.org").await.status(), 202);
    let verify = mailing.mail("verify", 1).await.token();
    let login = login_body("ada@example.org");
    let password = login["password"].as_str().expect("a text");
    assert_eq!(mailing.verify(&verify, password).await.status(), 204);
    let session = log_in(service, &login).await;
    ask_for(service, &session, "ada@lovelace.example").await;
    let confirm = mailing.mail("confirm_email", 1).await.token();
    let undo = mailing.mail("email_changing", 1).await.token();
    let confirmed = mailing
        .post("/auth/email/confirm", json!({ "token": confirm }))
        .await;
    assert_eq!(confirmed.status(), 204);
    for _ in 0..2 {
        assert_eq!(service.sign_up("Ada@Example.org").await.status(), 202);
    }
    let mail = mailing.mail("address_reserved", 2).await;
    assert_eq!(mail.to, "ada@example.org");
    assert!(mail.text.contains("Hello,"), "{}", mail.text);
    assert_eq!(service.database.counts().await[0], 1, "accounts");
    // Once it was moved back, it has an account.
    let undone = mailing
        .post("/auth/email/undo", json!({ "token": undo }))
        .await;
    assert_eq!(undone.status(), 204);
    assert_eq!(service.sign_up("ada@example.org").await.status(), 202);
    mailing.mail("account_exists", 1).await;
    mailing.idle().await;
    assert_eq!(mailing.mails("address_reserved").len(), 2);
}
