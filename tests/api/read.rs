//! `GET /users/{id}` and `GET /users`: look-ups and pages, on both backends.

use rstest::rstest;
use serde_json::Value;

use crate::harness::{Backend, Backend::Postgres, Backend::Sqlite, Service, problem, signup_body};

async fn sign_up(service: &Service, email: &str) -> Value {
    let response = service
        .signup(&signup_body(email))
        .send()
        .await
        .expect("a response");
    assert_eq!(response.status(), 201);
    response.json().await.expect("JSON")
}

async fn json(service: &Service, path: &str) -> Value {
    let response = service.get(path).await;
    assert_eq!(response.status(), 200, "{path}");
    assert_eq!(response.headers()["content-type"], "application/json");
    response.json().await.expect("JSON")
}

#[rstest]
#[tokio::test]
async fn an_unknown_user_is_not_found(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let response = service
        .get("/users/0190a6e2-7d3c-7a4b-8c5d-6e7f80910213")
        .await;
    problem(response, 404, "user-not-found").await;
}

#[rstest]
#[tokio::test]
async fn an_invalid_id_is_not_looked_up_in_the_database(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = Service::start(backend).await;
    let id = sign_up(&service, "ada@example.org").await["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    // Any query of the projection would now be a 500.
    service
        .database
        .execute("ALTER TABLE users_read RENAME TO away")
        .await
        .expect("renamed");
    problem(
        service.get(&format!("/users/{id}")).await,
        500,
        "internal-error",
    )
    .await;
    for other in [
        "1",
        "ada",
        &id[1..],
        &id.replace('-', ""),
        &format!("%7B{id}%7D"),
        "%00",
        "%ff",
    ] {
        problem(
            service.get(&format!("/users/{other}")).await,
            404,
            "user-not-found",
        )
        .await;
    }
}

/// Guarantee R1.
#[rstest]
#[tokio::test]
async fn reads_touch_the_projection_only(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let user = sign_up(&service, "ada@example.org").await;
    for table in ["users", "user_events"] {
        let rename = format!("ALTER TABLE {table} RENAME TO {table}_away");
        service.database.execute(&rename).await.expect("renamed");
    }
    let id = user["id"].as_str().expect("an id");
    assert_eq!(json(&service, &format!("/users/{id}")).await, user);
    assert_eq!(json(&service, "/users").await["users"][0], user);
    assert_eq!(
        json(&service, "/users?email=ada@example.org").await["users"][0],
        user
    );
}

/// Guarantee R4.
#[rstest]
#[tokio::test]
async fn a_look_up_compares_addresses_as_signup_does(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let user = sign_up(&service, "Ada+x@Bücher.example").await;
    for same in [
        "Ada%2Bx@B%C3%BCcher.example",
        "ada%2bx@xn--bcher-kva.example",
    ] {
        let found = json(&service, &format!("/users?email={same}")).await;
        assert_eq!(found, serde_json::json!({ "users": [user] }), "{same}");
    }
    for other in ["ada@b%C3%BCcher.example", "bob@example.org"] {
        let found = json(&service, &format!("/users?email={other}")).await;
        assert_eq!(found, serde_json::json!({ "users": [] }), "{other}");
    }
}

/// Guarantee R2.
#[rstest]
#[tokio::test]
async fn pages_go_from_the_newest_to_the_oldest(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let empty = json(&service, "/users").await;
    assert_eq!(
        empty,
        serde_json::json!({ "users": [], "next_cursor": null })
    );

    let mut expected = Vec::new();
    for number in 0..23 {
        expected.push(sign_up(&service, &format!("ada{number}@example.org")).await);
    }
    expected.reverse();
    // Two users of the same microsecond, at the end of a page: the id decides their order.
    let [a, b] = [&expected[9], &expected[10]].map(|user| user["id"].as_str().expect("an id"));
    assert!(a > b, "ids sort by their time");
    let column = service.database.uuid_literal(b);
    let same_moment = format!(
        "UPDATE users_read SET created_at = (SELECT created_at FROM users_read WHERE id = {}) \
         WHERE id = {column}",
        service.database.uuid_literal(a)
    );
    let moment = expected[9]["created_at"].clone();
    service
        .database
        .execute(&same_moment)
        .await
        .expect("updated");
    expected[10]["created_at"] = moment;

    for limit in [1, 10, 22, 23, 24, 100] {
        let mut found = Vec::new();
        let mut path = format!("/users?limit={limit}");
        loop {
            let page = json(&service, &path).await;
            let users = page["users"].as_array().expect("users");
            assert!(!users.is_empty() && users.len() <= limit);
            found.extend(users.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(cursor) => path = format!("/users?limit={limit}&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(found, expected, "limit {limit}");
    }
    let default = json(&service, "/users").await;
    assert_eq!(default["users"].as_array().expect("users").len(), 20);
}

/// Guarantee R2.
#[rstest]
#[tokio::test]
async fn a_signup_between_two_pages_shifts_nothing(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let first = sign_up(&service, "first@example.org").await;
    let second = sign_up(&service, "second@example.org").await;
    let page = json(&service, "/users?limit=1").await;
    assert_eq!(page["users"][0], second);
    sign_up(&service, "third@example.org").await;
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let page = json(&service, &format!("/users?limit=1&cursor={cursor}")).await;
    assert_eq!(
        page,
        serde_json::json!({ "users": [first], "next_cursor": null })
    );
}

#[rstest]
#[tokio::test]
async fn invalid_parameters_are_refused(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    sign_up(&service, "a@example.org").await;
    sign_up(&service, "b@example.org").await;
    let page = json(&service, "/users?limit=1").await;
    let cursor = page["next_cursor"].as_str().expect("a cursor").to_owned();
    let forged = format!("{}A", &cursor[..cursor.len() - 1]);
    let forged = if forged == cursor {
        cursor.replace('A', "B")
    } else {
        forged
    };
    for query in [
        "limit=0",
        "limit=101",
        "limit=x",
        "limit=-1",
        "limit=%2B5",
        "limit=1.5",
        "limit=",
        "limit=99999999999999999999",
        "limit=1&limit=2",
        "cursor=",
        "cursor=abc",
        "cursor=%00",
        &format!("cursor={forged}"),
        &format!("cursor={cursor}%3D"),
        "email=",
        "email=nobody",
        "email=a@b@c",
        "email=%zz",
        "email=%ff@example.org",
        "email=a@example.org&email=b@example.org",
    ] {
        let response = service.get(&format!("/users?{query}")).await;
        assert_eq!(response.status(), 400, "{query}");
        problem(response, 400, "invalid-parameter").await;
    }
}

#[rstest]
#[tokio::test]
async fn head_is_get_without_the_body(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let user = sign_up(&service, "ada@example.org").await;
    let path = format!("/users/{}", user["id"].as_str().expect("an id"));
    let length = service.get(&path).await.headers()["content-length"].clone();
    let head = service
        .client
        .head(service.url(&path))
        .send()
        .await
        .expect("a response");
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-length"], length);
    assert!(head.bytes().await.expect("a body").is_empty());
}

/// Guarantee R3.
#[rstest]
#[tokio::test]
async fn reads_do_not_wait_for_hashing(#[values(Sqlite, Postgres)] backend: Backend) {
    let settings = [
        ("BCRYPT_COST", "13"),
        ("BCRYPT_THREADS", "2"),
        ("HTTP_WORKERS", "1"),
    ];
    let service = Service::start_with(backend, &settings).await;
    let first = sign_up(&service, "ada@example.org").await;
    let path = format!("/users/{}", first["id"].as_str().expect("an id"));
    let bodies: Vec<Value> = (0..4)
        .map(|n| signup_body(&format!("ada{n}@example.org")))
        .collect();
    let signups = futures_util::future::join_all(bodies.iter().map(|b| service.signup(b).send()));
    let mut signups = std::pin::pin!(signups);
    let mut reads = 0;
    loop {
        tokio::select! {
            biased;
            _ = &mut signups => break,
            user = json(&service, &path) => assert_eq!(user, first),
        }
        reads += 1;
    }
    assert!(reads > 5, "{reads} reads while four passwords were hashed");
}

#[rstest]
#[tokio::test]
async fn a_client_that_has_the_current_user_gets_304(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let id = sign_up(&service, "ada@example.org").await["id"].clone();
    let path = format!("/users/{}", id.as_str().expect("an id"));
    let first = service.get(&path).await;
    let tag = first.headers()["etag"].to_str().expect("text").to_owned();
    assert_eq!(first.headers()["cache-control"], "private, no-cache");
    // Strong, as it identifies the bytes.
    assert!(tag.starts_with('"') && tag.len() == 34, "{tag}");
    let bytes = first.bytes().await.expect("a body");

    let ask = |known: String| {
        let request = service.client.get(service.url(&path));
        async {
            let request = request.header("if-none-match", known);
            request.send().await.expect("a response")
        }
    };
    let known = [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"other\", {tag}"),
        "*".to_owned(),
    ];
    for known in known {
        let response = ask(known.clone()).await;
        assert_eq!(response.status(), 304, "{known}");
        assert_eq!(response.headers()["etag"], tag.as_str());
        assert_eq!(response.headers()["cache-control"], "private, no-cache");
        assert!(response.headers().contains_key("x-request-id"));
        assert_eq!(response.bytes().await.expect("no body"), "");
    }
    for unknown in ["\"other\"", "other", "\"", "", &tag[1..], "W/", "\u{e9}"] {
        let response = ask(unknown.to_owned()).await;
        assert_eq!(response.status(), 200, "{unknown}");
        assert_eq!(response.headers()["etag"], tag.as_str());
        assert_eq!(response.bytes().await.expect("a body"), bytes);
    }

    // Another representation has another tag.
    let rename = "UPDATE users_read SET display_name = 'Countess of Lovelace'";
    service.database.execute(rename).await.expect("renamed");
    let changed = ask(tag.clone()).await;
    assert_eq!(changed.status(), 200);
    assert_ne!(changed.headers()["etag"], tag.as_str());

    // Not found is not a representation of a user, whatever the client has.
    let path = "/users/0190a6e2-7d3c-7a4b-8c5d-6e7f80910213";
    let missing = service.client.get(service.url(path));
    let missing = missing.header("if-none-match", "*").send().await;
    let missing = missing.expect("a response");
    assert!(!missing.headers().contains_key("etag"));
    assert_eq!(missing.headers()["cache-control"], "no-store");
    problem(missing, 404, "user-not-found").await;
}
