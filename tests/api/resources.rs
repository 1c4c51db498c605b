//! Operations of several slices on one path.

use rstest::rstest;

use crate::harness::{InProcess, problem};

#[rstest]
#[case("GET", "/shared/7", "Get /shared/{id} 7")]
#[case("PUT", "/shared/7", "Put /shared/{id} 7")]
#[case("PATCH", "/shared/7", "Patch /shared/{id} 7")]
#[case("DELETE", "/shared/7", "Delete /shared/{id} 7")]
#[case("GET", "/shared/literal", "Get /shared/literal ")]
#[tokio::test(flavor = "multi_thread")]
async fn each_method_of_a_path_has_its_own_operation(
    #[case] method: &str,
    #[case] path: &str,
    #[case] expected: &str,
) {
    let service = InProcess::start(&[]).await;
    let response = service.send(method, path).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.expect("a body"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_served_like_get_without_a_body() {
    let service = InProcess::start(&[]).await;
    let response = service.send("HEAD", "/shared/7").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-length"], "18");
    assert!(response.bytes().await.expect("no body").is_empty());
}

#[rstest]
#[case("/shared/7", "GET, HEAD, PUT, PATCH, DELETE")]
#[case("/shared/literal", "GET, HEAD")]
#[case("/keyed", "POST")]
#[tokio::test(flavor = "multi_thread")]
async fn any_other_method_is_405_with_the_allowed_ones(#[case] path: &str, #[case] allow: &str) {
    let service = InProcess::start(&[]).await;
    for method in ["OPTIONS", "PURGE", "POST", "DELETE"] {
        if allow.contains(method) {
            continue;
        }
        let response = service.send(method, path).await;
        assert_eq!(response.headers()["allow"], allow, "{method}");
        problem(response, 405, "method-not-allowed").await;
    }
}
