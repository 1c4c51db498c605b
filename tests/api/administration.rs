//! Administration: its listener, and what it changes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use reqwest::{Method, Response};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Database, Service, Setup, login_body, problem, run,
};

const UNKNOWN: &str = "01a1fcd0-39d9-7edf-9953-1bfef046d2c7";

/// What every instance must know by then.
const SOON: Duration = Duration::from_secs(2);

fn settings() -> [(&'static str, &'static str); 1] {
    [("READS", "protected")]
}

fn all_permissions(service: &Service) -> (String, String) {
    let all = [
        "users:read",
        "users:write",
        "users:erase",
        "sessions:end",
        "roles:grant",
        "roles:write",
        "keys:write",
        "tokens:check",
    ];
    service.service_key(&all)
}

/// Sends a request to the administration listener, with a credential.
async fn send(
    service: &Service,
    method: &str,
    path: &str,
    credential: &str,
    body: Option<Value>,
) -> Response {
    let method: Method = method.parse().expect("a method");
    let url = format!("http://{}{path}", service.administration());
    let request = service.client.request(method, url).bearer_auth(credential);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    request.send().await.expect("a response")
}

async fn json_of(response: Response, status: u16) -> Value {
    let found = response.status();
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(found, status, "{body}");
    body
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().expect("a text")
}

/// Whether a user's access token or a key may read users on the main listener.
async fn reads(service: &Service, credential: &str) -> u16 {
    let request = service.client.get(service.url("/users"));
    let response = request.bearer_auth(credential).send().await;
    response.expect("a response").status().as_u16()
}

#[rstest]
#[tokio::test]
async fn administration_is_on_its_own_listener_only(#[values(Sqlite, Postgres)] backend: Backend) {
    let own = [("READS", "open"), ("OPERATIONS_PORT", "0")];
    let service = Service::start_with(backend, &own).await;
    let (_, key) = all_permissions(&service);
    let lines = service.log_lines();
    let ready = lines
        .iter()
        .find(|line| line["message"] == "ready: listening");
    let operations = text(ready.expect("it is ready"), "operations").to_owned();
    let administration = service.administration();
    for path in [
        "/admin/roles",
        "/admin/keys",
        &format!("/admin/users/{UNKNOWN}"),
    ] {
        for address in [service.address.to_string(), operations.clone()] {
            let request = service.client.get(format!("http://{address}{path}"));
            let response = request.bearer_auth(&key).send().await;
            problem(response.expect("a response"), 404, "not-found").await;
        }
        let response = service.client.get(format!("http://{administration}{path}"));
        let response = response.send().await.expect("a response");
        problem(response, 401, "authentication-required").await;
    }
    for path in ["/", "/users", "/health", "/metrics", "/docs"] {
        let response = send(&service, "GET", path, &key, None).await;
        problem(response, 404, "not-found").await;
    }
    // The type of a problem is a page of the same listener.
    let response = send(&service, "GET", "/problems/last-admin", &key, None).await;
    assert_eq!(response.status(), 200);
}

#[rstest]
#[tokio::test]
async fn every_operation_of_administration_needs_its_permission(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = Service::start_with(backend, &settings()).await;
    let client: Value = json_of(service.get("/openapi.json").await, 200).await;
    assert!(
        !client.to_string().contains("/admin/users"),
        "its paths are not for clients"
    );
    let session = service.logged_in("ada@example.org").await;
    let user = text(&session, "access_token");
    let (_, checks_only) = service.service_key(&["tokens:check"]);
    let document = send(&service, "GET", "/openapi.json", user, None).await;
    let document = json_of(document, 200).await;
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            if path == "/openapi.json" {
                continue;
            }
            names.insert(text(operation, "operationId").to_owned());
            let path = path.replace("{id}", UNKNOWN).replace("{role}", "support");
            let method = method.to_uppercase();
            for credential in [user, checks_only.as_str()] {
                let response = send(&service, &method, &path, credential, None).await;
                problem(response, 403, "permission-denied").await;
            }
            let response = send(&service, &method, &path, "ssk_none", None).await;
            problem(response, 401, "access-token-invalid").await;
        }
    }
    let expected = [
        "begin_password_reset",
        "change_user",
        "create_key",
        "create_user",
        "define_role",
        "end_sessions_of_user",
        "erase_user",
        "finish_rotation_of_key",
        "get_administered_user",
        "get_role",
        "grant_role",
        "list_administered_users",
        "list_keys",
        "list_roles",
        "remove_role",
        "revoke_key",
        "revoke_role",
        "rotate_key",
    ];
    assert_eq!(names, expected.map(str::to_owned).into());
}

/// What the page for administrators needs beside administration itself: it is of another origin than the
/// main listener.
#[rstest]
#[tokio::test]
async fn an_administrator_logs_in_on_the_listener(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start_with(backend, &settings()).await;
    let (_, key) = all_permissions(&service);
    let made = json_of(service.sign_up("ada@example.org").await, 201).await;
    let role = format!("/admin/users/{}/roles/support", text(&made, "id"));
    let response = send(&service, "PUT", &role, &key, None).await;
    assert_eq!(response.status(), 204);
    let post = |path: &str, body: Value| {
        let url = format!("http://{}{path}", service.administration());
        service.client.post(url).json(&body).send()
    };
    let mut wrong = login_body("ada@example.org");
    wrong["password"] = json!("wrong horse battery staple");
    let response = post("/auth/login", wrong).await.expect("a response");
    problem(response, 401, "invalid-credentials").await;
    let response = post("/auth/login", login_body("ada@example.org")).await;
    let response = response.expect("a response");
    // No page of another origin may read it.
    assert!(
        !response
            .headers()
            .contains_key("access-control-allow-origin")
    );
    let session = json_of(response, 200).await;
    let token = text(&session, "access_token");
    let listed = send(&service, "GET", "/admin/users", token, None).await;
    assert_eq!(listed.status(), 200);
    // A session is the same on both listeners.
    assert_eq!(reads(&service, token).await, 200);
    let refreshed = json!({ "refresh_token": session["refresh_token"] });
    let refreshed = post("/auth/refresh", refreshed).await.expect("a response");
    let refreshed = json_of(refreshed, 200).await;
    let left = json!({ "refresh_token": refreshed["refresh_token"] });
    let response = post("/auth/logout", left).await.expect("a response");
    assert_eq!(response.status(), 204);
    let response = service.refresh(&refreshed["refresh_token"], None).await;
    let body = problem(response, 401, "session-ended").await;
    assert_eq!(body["reason"], "logged_out");
    // Both listeners count in the same metrics.
    let metrics = service.get("/metrics").await.text().await.expect("text");
    for expected in [
        "login_total{outcome=\"succeeded\"} 1",
        "login_total{outcome=\"invalid\"} 1",
        "refresh_total{outcome=\"rotated\"} 1",
        "refresh_total{outcome=\"ended\"} 1",
    ] {
        assert!(metrics.lines().any(|line| line == expected), "{expected}");
    }
    for path in ["/auth/reauthenticate", "/auth/password/forgot", "/signup"] {
        let response = post(path, json!({})).await.expect("a response");
        problem(response, 404, "not-found").await;
    }
}

#[rstest]
#[tokio::test]
async fn administrators_find_users(#[values(Sqlite, Postgres)] backend: Backend) {
    // What opens reads to clients opens nothing here.
    let service = Service::start_with(backend, &[("READS", "open")]).await;
    let (_, key) = service.service_key(&["users:read"]);
    for number in 0..5 {
        let response = service.sign_up(&format!("user{number}@example.org")).await;
        assert_eq!(response.status(), 201);
    }
    let url = format!("http://{}/admin/users", service.administration());
    let response = service.client.get(url).send().await.expect("a response");
    problem(response, 401, "authentication-required").await;
    let get = async |query: &str| {
        let response = send(&service, "GET", &format!("/admin/users{query}"), &key, None).await;
        json_of(response, 200).await
    };
    let emails = |page: &Value| -> Vec<String> {
        let users = page["users"].as_array().expect("users").iter();
        users.map(|user| text(user, "email").to_owned()).collect()
    };
    let (mut found, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = get(&query).await;
        found.extend(emails(&page));
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        query = format!("?limit=2&cursor={cursor}");
    }
    let newest_first: Vec<String> = (0..5)
        .rev()
        .map(|number| format!("user{number}@example.org"))
        .collect();
    assert_eq!(found, newest_first);
    let one = get("?email=USER3%40example.org").await;
    assert_eq!(emails(&one), ["user3@example.org"]);
    assert_eq!(one.get("next_cursor"), None);
    assert_eq!(
        get("?email=eve%40example.org").await,
        json!({ "users": [] })
    );
    for query in ["cursor=x", "limit=0", "email=x"] {
        let response = send(
            &service,
            "GET",
            &format!("/admin/users?{query}"),
            &key,
            None,
        )
        .await;
        problem(response, 400, "invalid-parameter").await;
    }
}

#[rstest]
#[tokio::test]
async fn a_suspended_user_has_no_access(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start_with(backend, &settings()).await;
    let (actor, key) = all_permissions(&service);
    let session = service.logged_in("ada@example.org").await;
    let id = text(&session["user"], "id").to_owned();
    let own = format!("/users/{id}");
    let path = format!("/admin/users/{id}");
    let user = json_of(send(&service, "GET", &path, &key, None).await, 200).await;
    assert_eq!(user["sessions"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (text(&user, "status"), text(&user, "email")),
        ("active", "ada@example.org")
    );
    assert_eq!(text(&user["events"][0], "type"), "user.signed_up");

    let suspend = || {
        send(
            &service,
            "PATCH",
            &path,
            &key,
            Some(json!({ "status": "suspended" })),
        )
    };
    let expected = json!({ "id": id, "status": "suspended", "version": 1 });
    for _ in 0..2 {
        assert_eq!(json_of(suspend().await, 200).await, expected);
    }
    let request = service.client.get(service.url(&own));
    let response = request
        .bearer_auth(text(&session, "access_token"))
        .send()
        .await;
    let body = problem(response.expect("a response"), 401, "access-token-invalid").await;
    assert_eq!(body["reason"], "revoked");
    let response = service.refresh(&session["refresh_token"], None).await;
    let body = problem(response, 401, "session-ended").await;
    assert_eq!(body["reason"], "suspended");
    let log_in = || {
        service
            .post("/auth/login", &login_body("ada@example.org"))
            .send()
    };
    let response = log_in().await.expect("a response");
    problem(response, 403, "account-suspended").await;

    let user = json_of(send(&service, "GET", &path, &key, None).await, 200).await;
    assert_eq!(user["sessions"], json!([]));
    assert_eq!(
        (&user["status"], &user["version"]),
        (&json!("suspended"), &json!(1))
    );
    let events = user["events"].as_array().expect("events");
    assert_eq!(events.len(), 2, "a repeated suspension is no event");
    assert_eq!(text(&events[0], "type"), "user.status_changed");
    assert_eq!(text(&events[0], "actor"), actor);
    assert_eq!(events[0]["payload"], json!({ "status": "suspended" }));

    let active = Some(json!({ "status": "active" }));
    let response = send(&service, "PATCH", &path, &key, active).await;
    assert_eq!(json_of(response, 200).await["version"], 2);
    assert_eq!(log_in().await.expect("a response").status(), 200);
    // The old session stays ended.
    let response = service.refresh(&session["refresh_token"], None).await;
    problem(response, 401, "session-ended").await;
}

#[rstest]
#[tokio::test]
async fn all_sessions_of_a_user_end_at_once(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start_with(backend, &settings()).await;
    let (_, key) = service.service_key(&["sessions:end"]);
    let first = service.logged_in("ada@example.org").await;
    let second = service
        .post("/auth/login", &login_body("ada@example.org"))
        .send();
    let second = json_of(second.await.expect("a response"), 200).await;
    let id = text(&first["user"], "id");
    let path = format!("/admin/users/{id}/sessions");
    for _ in 0..2 {
        let response = send(&service, "DELETE", &path, &key, None).await;
        assert_eq!(response.status(), 204);
    }
    for session in [&first, &second] {
        let response = service.refresh(&session["refresh_token"], None).await;
        let body = problem(response, 401, "session-ended").await;
        assert_eq!(body["reason"], "revoked");
        let request = service.client.get(service.url(&format!("/users/{id}")));
        let response = request
            .bearer_auth(text(session, "access_token"))
            .send()
            .await;
        problem(response.expect("a response"), 401, "access-token-invalid").await;
    }
    for unknown in [UNKNOWN, "x"] {
        let path = format!("/admin/users/{unknown}/sessions");
        let response = send(&service, "DELETE", &path, &key, None).await;
        problem(response, 404, "user-not-found").await;
    }
}

/// Guarantee X5.
#[rstest]
#[tokio::test]
async fn a_role_is_granted_within_the_own_rights(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start_with(backend, &settings()).await;
    let (_, few) = service.service_key(&["roles:grant", "users:read"]);
    let (_, all) = all_permissions(&service);
    let session = service.logged_in("ada@example.org").await;
    let id = text(&session["user"], "id");
    let put = |role: &str, key: &str| {
        let (path, key) = (format!("/admin/users/{id}/roles/{role}"), key.to_owned());
        let service = &service;
        async move { send(service, "PUT", &path, &key, None).await }
    };
    let response = put("admin", &few).await;
    assert_eq!(
        response.headers()["www-authenticate"],
        "Bearer error=\"insufficient_scope\", scope=\"users:write users:erase sessions:end \
         roles:write keys:write tokens:check\""
    );
    problem(response, 403, "permission-denied").await;
    problem(put("support", &few).await, 403, "permission-denied").await;
    problem(put("other", &all).await, 404, "role-not-found").await;
    problem(put("Admin", &all).await, 404, "role-not-found").await;
    problem(put("user", &all).await, 409, "role-fixed").await;
    let unknown = format!("/admin/users/{UNKNOWN}/roles/support");
    let response = send(&service, "PUT", &unknown, &all, None).await;
    problem(response, 404, "user-not-found").await;

    let before = text(&session, "access_token");
    assert_eq!(reads(&service, before).await, 403);
    for _ in 0..2 {
        assert_eq!(put("support", &all).await.status(), 204);
    }
    assert_eq!(reads(&service, before).await, 401, "it has an old epoch");
    let response = service.refresh(&session["refresh_token"], None).await;
    let refreshed = json_of(response, 200).await;
    let token = text(&refreshed, "access_token");
    assert_eq!(reads(&service, token).await, 200);
    let path = format!("/admin/users/{id}/roles/support");
    let response = send(&service, "DELETE", &path, &few, None).await;
    problem(response, 403, "permission-denied").await;
    for _ in 0..2 {
        let response = send(&service, "DELETE", &path, &all, None).await;
        assert_eq!(response.status(), 204);
    }
    assert_eq!(reads(&service, token).await, 401);
    let user = send(&service, "GET", &format!("/admin/users/{id}"), &all, None).await;
    let user = json_of(user, 200).await;
    assert_eq!(user["roles"], json!([]));
    let kinds: Vec<&str> = user["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| text(event, "type"))
        .collect();
    assert_eq!(
        kinds,
        ["user.role_revoked", "user.role_granted", "user.signed_up"]
    );
}

/// A user who may grant roles and make keys gives no right that they lack: not by a role, not by one that they
/// define, not by a key, and not by a key's key.
#[rstest]
#[tokio::test]
async fn a_user_gives_no_more_than_the_own_rights(
    #[values(Setup::Sqlite, Setup::TwoInstances)] setup: Setup,
) {
    let instances = setup.start(&settings()).await;
    let (first, service) = (instances.first(), instances.last());
    let (_, root) = all_permissions(first);
    let rights = json!(["roles:grant", "roles:write", "keys:write", "users:write"]);
    let body = Some(json!({ "permissions": rights }));
    let response = send(first, "PUT", "/admin/roles/steward", &root, body).await;
    assert_eq!(response.status(), 204);
    let session = first.logged_in("ada@example.org").await;
    let ada = text(&session["user"], "id");
    let eve = json_of(first.sign_up("eve@example.org").await, 201).await;
    let path = format!("/admin/users/{ada}/roles/steward");
    let response = send(first, "PUT", &path, &root, None).await;
    assert_eq!(response.status(), 204);
    let tokens = json_of(service.refresh(&session["refresh_token"], None).await, 200).await;
    let token = text(&tokens, "access_token").to_owned();
    let key = |permissions: Value| json!({ "name": "n", "permissions": permissions, "expires_in_days": 1 });
    // Another instance knows a new role a moment later.
    let begun = Instant::now();
    let made = loop {
        let body = Some(key(rights.clone()));
        let response = send(service, "POST", "/admin/keys", &token, body).await;
        if response.status() != 403 || begun.elapsed() > SOON {
            break json_of(response, 201).await;
        }
    };
    let made = text(&made, "key").to_owned();
    for actor in [&token, &made] {
        for user in [ada, text(&eve, "id")] {
            for role in ["admin", "support"] {
                let path = format!("/admin/users/{user}/roles/{role}");
                let response = send(service, "PUT", &path, actor, None).await;
                problem(response, 403, "permission-denied").await;
            }
        }
        for role in ["steward", "other"] {
            let body = Some(json!({ "permissions": ["roles:grant", "users:erase"] }));
            let path = format!("/admin/roles/{role}");
            let response = send(service, "PUT", &path, actor, body).await;
            problem(response, 403, "permission-denied").await;
        }
        let body = Some(key(json!(["users:erase"])));
        let response = send(service, "POST", "/admin/keys", actor, body).await;
        problem(response, 403, "permission-denied").await;
    }
    for (query, expected) in [
        ("SELECT count(*) FROM user_roles", "1"),
        ("SELECT count(*) FROM service_keys", "2"),
        (
            "SELECT count(*) FROM role_permissions WHERE permission = 'users:erase' AND role <> 'admin'",
            "0",
        ),
    ] {
        assert_eq!(service.database.rows(query).await, [expected], "{query}");
    }
}

/// Guarantee X5.
#[rstest]
#[tokio::test]
async fn the_last_administrator_stays(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start_with(backend, &settings()).await;
    let (_, key) = all_permissions(&service);
    let mut ids = Vec::new();
    for email in ["ada@example.org", "eve@example.org"] {
        let user = service.sign_up(email).await;
        let user = json_of(user, 201).await;
        let id = text(&user, "id").to_owned();
        let path = format!("/admin/users/{id}/roles/admin");
        let response = send(&service, "PUT", &path, &key, None).await;
        assert_eq!(response.status(), 204);
        ids.push(id);
    }
    let suspend = |id: &str| {
        let path = format!("/admin/users/{id}");
        let (service, key) = (&service, &key);
        async move {
            let body = Some(json!({ "status": "suspended" }));
            send(service, "PATCH", &path, key, body).await
        }
    };
    let demote = |id: &str| {
        let path = format!("/admin/users/{id}/roles/admin");
        let (service, key) = (&service, &key);
        async move { send(service, "DELETE", &path, key, None).await }
    };
    assert_eq!(suspend(&ids[0]).await.status(), 200);
    problem(suspend(&ids[1]).await, 409, "last-admin").await;
    problem(demote(&ids[1]).await, 409, "last-admin").await;
    let path = format!("/admin/users/{}", ids[0]);
    let active = Some(json!({ "status": "active" }));
    let response = send(&service, "PATCH", &path, &key, active).await;
    assert_eq!(response.status(), 200);
    let (one, other) = tokio::join!(demote(&ids[0]), demote(&ids[1]));
    let mut statuses = [one.status().as_u16(), other.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409]);
}

#[rstest]
#[tokio::test]
async fn a_role_of_ones_own_permits_what_it_is_defined_to(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = Service::start_with(backend, &settings()).await;
    let (_, key) = all_permissions(&service);
    let (_, few) = service.service_key(&["roles:write", "users:read"]);
    let path = "/admin/roles/auditor";
    let define = |key: &str, permissions: Value| {
        let (service, key) = (&service, key.to_owned());
        async move {
            let body = Some(json!({ "permissions": permissions }));
            send(service, "PUT", path, &key, body).await
        }
    };
    let more = json!(["users:read", "keys:write"]);
    problem(define(&few, more).await, 403, "permission-denied").await;
    assert_eq!(define(&few, json!(["users:read"])).await.status(), 204);
    for (body, code) in [
        (json!({}), "required"),
        (json!({ "permissions": [] }), "required"),
        (json!({ "permissions": ["users:fly"] }), "unknown_value"),
    ] {
        let response = send(&service, "PUT", path, &key, Some(body)).await;
        let body = problem(response, 422, "validation-failed").await;
        assert_eq!(body["errors"][0]["pointer"], "/permissions");
        assert_eq!(body["errors"][0]["code"], code);
    }
    for role in ["admin", "support", "user"] {
        let path = format!("/admin/roles/{role}");
        let body = Some(json!({ "permissions": ["users:read"] }));
        let response = send(&service, "PUT", &path, &key, body).await;
        problem(response, 409, "role-fixed").await;
        let response = send(&service, "DELETE", &path, &key, None).await;
        problem(response, 409, "role-fixed").await;
    }
    let listed = json_of(send(&service, "GET", "/admin/roles", &key, None).await, 200).await;
    let names: Vec<&str> = listed["roles"]
        .as_array()
        .expect("roles")
        .iter()
        .map(|role| text(role, "role"))
        .collect();
    assert_eq!(names, ["admin", "support", "auditor"]);
    assert_eq!(listed["next_cursor"], Value::Null);
    let rest = send(&service, "GET", "/admin/roles?cursor=auditor", &key, None).await;
    assert_eq!(json_of(rest, 200).await["roles"], json!([]));
    for query in ["cursor=A", "cursor=a&cursor=b", "cursor="] {
        let response = send(
            &service,
            "GET",
            &format!("/admin/roles?{query}"),
            &key,
            None,
        )
        .await;
        problem(response, 400, "invalid-parameter").await;
    }

    let session = service.logged_in("ada@example.org").await;
    let id = text(&session["user"], "id");
    let grant = format!("/admin/users/{id}/roles/auditor");
    let response = send(&service, "PUT", &grant, &key, None).await;
    assert_eq!(response.status(), 204);
    let response = service.refresh(&session["refresh_token"], None).await;
    let refreshed = json_of(response, 200).await;
    let token = text(&refreshed, "access_token");
    assert_eq!(reads(&service, token).await, 200);
    let one = json_of(send(&service, "GET", path, &key, None).await, 200).await;
    assert_eq!(one["users"], json!([id]));
    assert_eq!(one["permissions"], json!(["users:read"]));
    let response = send(&service, "DELETE", path, &key, None).await;
    problem(response, 409, "role-in-use").await;
    // The token stays valid, and permits less.
    assert_eq!(define(&key, json!(["tokens:check"])).await.status(), 204);
    assert_eq!(reads(&service, token).await, 403);
    let response = send(&service, "DELETE", &grant, &key, None).await;
    assert_eq!(response.status(), 204);
    let response = send(&service, "DELETE", path, &key, None).await;
    assert_eq!(response.status(), 204);
    for method in ["DELETE", "GET"] {
        let response = send(&service, method, path, &key, None).await;
        problem(response, 404, "role-not-found").await;
    }
}

#[rstest]
#[tokio::test]
async fn a_key_is_shown_once_rotated_and_revoked(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start_with(backend, &settings()).await;
    let (_, admin) = service.service_key(&["keys:write", "users:read"]);
    let create = |body: Value| send(&service, "POST", "/admin/keys", &admin, Some(body));
    let body = |permissions: Value, days: Value| json!({ "name": "dashboard", "permissions": permissions, "expires_in_days": days });
    let beyond = body(json!(["users:read", "users:write"]), json!(1));
    problem(create(beyond).await, 403, "permission-denied").await;
    for (days, code) in [
        (json!(0), "out_of_range"),
        (json!(366), "out_of_range"),
        (Value::Null, "required"),
    ] {
        let response = create(body(json!(["users:read"]), days)).await;
        let found = problem(response, 422, "validation-failed").await;
        assert_eq!(
            found["errors"],
            json!([{
                "pointer": "/expires_in_days",
                "code": code,
                "detail": found["errors"][0]["detail"],
            }])
        );
    }
    let unknown_field = json!({ "id": "x" });
    problem(create(unknown_field).await, 400, "malformed-request").await;

    let created = json_of(create(body(json!(["users:read"]), json!(365))).await, 201).await;
    let (id, first) = (
        text(&created, "id").to_owned(),
        text(&created, "key").to_owned(),
    );
    assert_eq!(reads(&service, &first).await, 200);
    let listed = json_of(
        send(&service, "GET", "/admin/keys", &admin, None).await,
        200,
    )
    .await;
    let listed = listed["keys"].as_array().expect("keys");
    assert_eq!(listed.len(), 2);
    assert!(!json!(listed).to_string().contains("ssk_"), "{listed:?}");

    let post = |what: &str| {
        let path = format!("/admin/keys/{id}/{what}");
        let (service, admin) = (&service, &admin);
        async move { send(service, "POST", &path, admin, None).await }
    };
    let rotate = async || json_of(post("rotate").await, 200).await;
    let lost = rotate().await;
    let second = rotate().await;
    let second = text(&second, "key");
    assert_eq!(reads(&service, &first).await, 200, "the secret in use");
    assert_eq!(reads(&service, text(&lost, "key")).await, 401);
    assert_eq!(reads(&service, second).await, 200);
    assert_eq!(post("finish-rotation").await.status(), 204);
    assert_eq!(reads(&service, &first).await, 401);
    assert_eq!(reads(&service, second).await, 200);
    let path = format!("/admin/keys/{id}");
    for _ in 0..2 {
        let response = send(&service, "DELETE", &path, &admin, None).await;
        assert_eq!(response.status(), 204);
        assert_eq!(reads(&service, second).await, 401);
    }
    problem(post("rotate").await, 404, "service-key-not-found").await;
    for unknown in ["0000000000", "x"] {
        let path = format!("/admin/keys/{unknown}");
        let response = send(&service, "DELETE", &path, &admin, None).await;
        problem(response, 404, "service-key-not-found").await;
    }
    // Neither the log nor the database has a key or its secret.
    let log = service.log_text();
    let secret = second.split('_').nth(2).expect("a secret");
    assert!(!log.contains(secret) && !log.contains(&first));
}

/// A key that may make keys does not get more rights by a key that others made.
#[rstest]
#[tokio::test]
async fn a_key_with_more_rights_is_not_rotated(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start_with(backend, &settings()).await;
    let (strong, _) = all_permissions(&service);
    let (_, weak) = service.service_key(&["keys:write"]);
    let path = format!("/admin/keys/{strong}/rotate");
    let response = send(&service, "POST", &path, &weak, None).await;
    problem(response, 403, "permission-denied").await;
}

/// Waits until a credential is refused, for as long as the service promises.
async fn refused_soon(service: &Service, credential: &str) {
    let begun = Instant::now();
    while reads(service, credential).await != 401 {
        assert!(begun.elapsed() < SOON, "still accepted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Guarantee X4.
#[tokio::test]
async fn other_instances_notice_within_two_seconds() {
    let database = Arc::new(Database::new(Postgres));
    let one = Service::start_on(Arc::clone(&database), &settings()).await;
    let other = Service::start_on(database, &settings()).await;
    let (_, admin) = all_permissions(&one);
    let body = json!({ "name": "n", "permissions": ["users:read"], "expires_in_days": 1 });
    let created = send(&one, "POST", "/admin/keys", &admin, Some(body)).await;
    let created = json_of(created, 201).await;
    let (id, key) = (text(&created, "id"), text(&created, "key"));
    assert_eq!(reads(&other, key).await, 200, "a new key at once");
    let path = format!("/admin/keys/{id}");
    let response = send(&one, "DELETE", &path, &admin, None).await;
    assert_eq!(response.status(), 204);
    refused_soon(&other, key).await;

    let session = one.logged_in("ada@example.org").await;
    let user = text(&session["user"], "id");
    let role = format!("/admin/users/{user}/roles/support");
    let response = send(&one, "PUT", &role, &admin, None).await;
    assert_eq!(response.status(), 204);
    let refreshed = other.refresh(&session["refresh_token"], None).await;
    let refreshed = json_of(refreshed, 200).await;
    let token = text(&refreshed, "access_token");
    other.wait_for_revocations().await;
    assert_eq!(reads(&other, token).await, 200);
    // A demoted user's old token.
    let response = send(&one, "DELETE", &role, &admin, None).await;
    assert_eq!(response.status(), 204);
    refused_soon(&other, token).await;
}

/// Reads may go on for two seconds; a command asks the database.
///
/// Guarantee X4.
#[tokio::test]
async fn a_revoked_actor_changes_nothing_from_that_moment_on() {
    let database = Arc::new(Database::new(Postgres));
    let one = Service::start_on(Arc::clone(&database), &settings()).await;
    let other = Service::start_on(database, &settings()).await;
    let (_, root) = all_permissions(&one);
    let session = one.logged_in("ada@example.org").await;
    let user = text(&session["user"], "id");
    let role = format!("/admin/users/{user}/roles/admin");
    let second = json_of(one.sign_up("eve@example.org").await, 201).await;
    let second = format!("/admin/users/{}/roles/admin", text(&second, "id"));
    for path in [&second, &role] {
        let response = send(&one, "PUT", path, &root, None).await;
        assert_eq!(response.status(), 204);
    }
    let refreshed = one.refresh(&session["refresh_token"], None).await;
    let refreshed = json_of(refreshed, 200).await;
    let token = text(&refreshed, "access_token");
    let key = json!({ "name": "n", "permissions": ["users:read"], "expires_in_days": 1 });
    let create = |credential: &str| {
        let (other, key, credential) = (&other, key.clone(), credential.to_owned());
        async move { send(other, "POST", "/admin/keys", &credential, Some(key)).await }
    };
    other.wait_for_revocations().await;
    assert_eq!(create(token).await.status(), 201);
    let response = send(&one, "DELETE", &role, &root, None).await;
    assert_eq!(response.status(), 204);
    let body = problem(create(token).await, 401, "access-token-invalid").await;
    assert_eq!(body["reason"], "revoked");

    let (id, weak) = one.service_key(&["keys:write", "users:read"]);
    assert_eq!(create(&weak).await.status(), 201);
    let path = format!("/admin/keys/{id}");
    let response = send(&one, "DELETE", &path, &root, None).await;
    assert_eq!(response.status(), 204);
    problem(create(&weak).await, 401, "access-token-invalid").await;
}

#[rstest]
#[tokio::test]
async fn a_change_of_status_is_validated(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start_with(backend, &settings()).await;
    let (_, key) = service.service_key(&["users:write"]);
    let path = format!("/admin/users/{UNKNOWN}");
    let patch = |body: Value| send(&service, "PATCH", &path, &key, Some(body));
    for (body, code) in [
        (json!({}), "required"),
        (json!({ "status": "gone" }), "unknown_value"),
    ] {
        let found = problem(patch(body).await, 422, "validation-failed").await;
        assert_eq!(found["errors"][0]["code"], code);
    }
    let more = json!({ "status": "active", "role": "admin" });
    problem(patch(more).await, 400, "malformed-request").await;
    let valid = json!({ "status": "active" });
    problem(patch(valid).await, 404, "user-not-found").await;
    // It may change, and not read.
    let response = send(&service, "GET", &path, &key, None).await;
    problem(response, 403, "permission-denied").await;
}

#[tokio::test]
async fn a_taken_default_port_is_a_warning_and_a_taken_one_that_was_set_an_error() {
    // If it cannot be bound, another program has it.
    let _taken = std::net::TcpListener::bind("127.0.0.1:8001");
    let mut service = Service::start_with(Sqlite, &[("ADMIN_PORT", "")]).await;
    service
        .wait_for(|lines| {
            lines.iter().any(|line| {
                let message = line["message"].as_str().unwrap_or_default();
                line["level"] == "WARN" && message.contains("set ADMIN_PORT")
            })
        })
        .await;
    let lines = service.log_lines();
    let ready = lines
        .iter()
        .find(|line| line["message"] == "ready: listening");
    assert_eq!(ready.expect("it is ready")["administration"], Value::Null);
    assert_eq!(service.get("/health").await.status(), 200);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let database = Database::new(Sqlite);
    let settings = [
        ("PORT", "0"),
        ("ADMIN_PORT", &*port),
        ("DATABASE_URL", &*database.url()),
    ];
    let output = run(&["serve"], &settings);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    let expected = format!("cannot listen on 127.0.0.1:{port}");
    assert!(output.stderr.contains(&expected), "{output:?}");
    let same = run(&["serve"], &[("PORT", "7000"), ("ADMIN_PORT", "7000")]);
    assert_eq!(same.status.code(), Some(2), "{same:?}");
    assert!(
        same.stderr.contains("ADMIN_PORT is the same as PORT"),
        "{same:?}"
    );
}

/// A change that waits for the one that takes its right away is not made after it.
///
/// Guarantee X4.
#[tokio::test]
async fn a_demoted_administrator_does_not_regain_the_role() {
    let unlimited = [settings()[0], ("RATE_LIMIT_REFRESH", "off")];
    let database = Arc::new(Database::new(Postgres));
    let one = Service::start_on(Arc::clone(&database), &unlimited).await;
    let other = Service::start_on(Arc::clone(&database), &unlimited).await;
    let (_, root) = all_permissions(&one);
    let keeper = json_of(one.sign_up("eve@example.org").await, 201).await;
    let keeper = format!("/admin/users/{}/roles/admin", text(&keeper, "id"));
    assert_eq!(send(&one, "PUT", &keeper, &root, None).await.status(), 204);
    let session = one.logged_in("ada@example.org").await;
    let role = format!("/admin/users/{}/roles/admin", text(&session["user"], "id"));
    let mut refresh_token = session["refresh_token"].clone();
    for round in 0..20 {
        assert_eq!(send(&one, "PUT", &role, &root, None).await.status(), 204);
        let refreshed = json_of(other.refresh(&refresh_token, None).await, 200).await;
        refresh_token = refreshed["refresh_token"].clone();
        let token = text(&refreshed, "access_token").to_owned();
        let regain = (0..8).map(|_| send(&other, "PUT", &role, &token, None));
        let (demoted, regained) =
            join(send(&one, "DELETE", &role, &root, None), join_all(regain)).await;
        assert_eq!(demoted.status(), 204);
        let statuses: Vec<u16> = regained.iter().map(|one| one.status().as_u16()).collect();
        assert!(
            statuses.iter().all(|status| [204, 401].contains(status)),
            "{statuses:?}"
        );
        let held = "SELECT CAST(count(*) AS text) FROM user_roles WHERE role = 'admin'";
        assert_eq!(
            database.rows(held).await,
            ["1"],
            "in round {round}: {statuses:?}"
        );
    }
}
