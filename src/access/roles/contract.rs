//! Tests of roles and grants, on each database.

use rstest::rstest;
use uuid::Uuid;

use super::{Grant, GrantOutcome, RoleOutcome, Roles};
use crate::access::testing::{change, count, new_user, state};
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::domain::{Permission, Permissions, Role, TokenEpoch, UserId};
use crate::platform::database::testing::TestDatabase;

const READ: Permissions = Permissions::of(&[Permission::UsersRead]);

fn roles(test: &TestDatabase) -> Roles {
    Roles::new(test.database.clone(), None)
}

fn role(name: &str) -> Role {
    Role::parse(name).expect("valid")
}

fn grant(user: UserId, name: &str, limit: Permissions) -> Grant {
    Grant {
        user,
        role: role(name),
        limit,
        change: change(),
    }
}

#[rstest]
#[tokio::test]
async fn a_grant_raises_the_epoch_once(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let user = new_user(&test, 1, &[]).await;
    new_user(&test, 2, &["admin"]).await;
    let roles = roles(&test);
    let give = |name| roles.grant(grant(user, name, Permissions::ALL));
    let take = |name| roles.revoke(grant(user, name, Permissions::ALL));
    let changed = |epoch| GrantOutcome::Changed(TokenEpoch::new(epoch));
    assert_eq!(give("admin").await.expect("written"), changed(1));
    let again = give("admin").await.expect("read");
    assert_eq!(again, GrantOutcome::Unchanged);
    let held = "user_roles WHERE role = 'admin' AND granted_by = 'cli'";
    assert_eq!(count(&test, held).await, "2");
    assert_eq!(state(&test, user).await, "active 1 0");
    assert_eq!(take("admin").await.expect("written"), changed(2));
    let again = take("admin").await.expect("read");
    assert_eq!(again, GrantOutcome::Unchanged);
    for kind in ["user.role_granted", "user.role_revoked"] {
        let events = format!("user_events WHERE type = '{kind}'");
        assert_eq!(count(&test, &events).await, "1");
    }
    assert_eq!(count(&test, "revocations").await, "2");
}

#[rstest]
#[tokio::test]
async fn what_cannot_be_granted_is_not(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let user = new_user(&test, 1, &[]).await;
    let unknown = UserId::new(Uuid::from_u128(9));
    let support = Permissions::of(&[Permission::SessionsEnd]);
    for (user, name, limit, expected) in [
        (user, "user", Permissions::ALL, GrantOutcome::Fixed),
        (user, "other", Permissions::ALL, GrantOutcome::NoSuchRole),
        (unknown, "admin", Permissions::ALL, GrantOutcome::NoSuchUser),
        (user, "support", READ, GrantOutcome::Lacking(support)),
    ] {
        let roles = roles(&test);
        let granted = roles.grant(grant(user, name, limit)).await.expect("read");
        assert_eq!(granted, expected, "{name}");
        let revoked = roles.revoke(grant(user, name, limit)).await.expect("read");
        assert_eq!(revoked, expected, "{name}");
    }
    for table in ["user_roles", "user_events", "revocations"] {
        assert_eq!(count(&test, table).await, "0", "{table}");
    }
    assert_eq!(state(&test, user).await, "active 0 0");
}

#[rstest]
#[tokio::test]
async fn two_that_demote_the_last_two_administrators_leave_one(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let (one, other) = (
        new_user(&test, 1, &["admin"]).await,
        new_user(&test, 2, &["admin"]).await,
    );
    let roles = roles(&test);
    let all = Permissions::ALL;
    for _ in 0..20 {
        let (first, second) = tokio::join!(
            roles.revoke(grant(one, "admin", all)),
            roles.revoke(grant(other, "admin", all)),
        );
        let outcomes = [first.expect("certain"), second.expect("certain")];
        let refused = outcomes
            .iter()
            .filter(|outcome| **outcome == GrantOutcome::LastAdmin);
        assert_eq!(refused.count(), 1, "{outcomes:?}");
        for user in [one, other] {
            let granted = roles.grant(grant(user, "admin", all)).await;
            granted.expect("written");
        }
    }
}

#[rstest]
#[tokio::test]
async fn a_suspended_administrator_does_not_count(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let one = new_user(&test, 1, &["admin"]).await;
    new_user(&test, 2, &["admin"]).await;
    let suspended = "UPDATE users SET status = 'suspended' WHERE email LIKE 'ada2%'";
    test.sql(suspended).await;
    let roles = roles(&test);
    let refused = roles.revoke(grant(one, "admin", Permissions::ALL)).await;
    assert_eq!(refused.expect("read"), GrantOutcome::LastAdmin);
    assert_eq!(count(&test, "user_roles").await, "2");
}

#[rstest]
#[tokio::test]
async fn a_role_is_defined_replaced_and_removed(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let user = new_user(&test, 1, &[]).await;
    let roles = roles(&test);
    let all = Permissions::ALL;
    let both = READ.union(Permissions::of(&[Permission::KeysWrite]));
    for permissions in [both, READ, READ] {
        let defined = roles.define(role("auditor"), permissions, all, change());
        assert_eq!(defined.await.expect("written"), RoleOutcome::Done);
        let found = roles.find(&role("auditor")).await.expect("read");
        assert_eq!(found.expect("a role").permissions, permissions);
    }
    assert_eq!(
        count(&test, "auth_log WHERE subject = 'auditor'").await,
        "2"
    );
    let granted = roles.grant(grant(user, "auditor", READ)).await;
    assert!(matches!(
        granted.expect("written"),
        GrantOutcome::Changed(_)
    ));
    let holders = roles.holders(&role("auditor")).await.expect("read");
    assert_eq!(holders, [user]);
    let remove = || roles.remove(role("auditor"), change());
    assert_eq!(remove().await.expect("read"), RoleOutcome::InUse);
    let revoked = roles.revoke(grant(user, "auditor", READ)).await;
    assert!(matches!(
        revoked.expect("written"),
        GrantOutcome::Changed(_)
    ));
    assert_eq!(remove().await.expect("written"), RoleOutcome::Done);
    assert_eq!(remove().await.expect("read"), RoleOutcome::NoSuchRole);
    assert_eq!(count(&test, "role_permissions").await, "0");
    assert_eq!(roles.find(&role("auditor")).await.expect("read"), None);
}

#[rstest]
#[tokio::test]
async fn a_built_in_role_and_one_beyond_the_own_rights_cannot_be_defined(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let roles = roles(&test);
    for name in [Role::USER, Role::SUPPORT, Role::ADMIN] {
        let defined = roles.define(role(name), READ, Permissions::ALL, change());
        assert_eq!(defined.await.expect("read"), RoleOutcome::Fixed);
        let removed = roles.remove(role(name), change()).await;
        assert_eq!(removed.expect("read"), RoleOutcome::Fixed);
    }
    let keys = Permissions::of(&[Permission::KeysWrite]);
    let defined = roles.define(role("keeper"), READ.union(keys), READ, change());
    assert_eq!(defined.await.expect("read"), RoleOutcome::Lacking(keys));
    assert_eq!(count(&test, "roles").await, "0");
}

/// Otherwise a user would have a role that another may define again.
#[rstest]
#[tokio::test]
async fn a_role_that_is_removed_while_it_is_granted_has_no_holder(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let user = new_user(&test, 1, &[]).await;
    let roles = roles(&test);
    let all = Permissions::ALL;
    for _ in 0..20 {
        let defined = roles.define(role("auditor"), READ, all, change()).await;
        assert_eq!(defined.expect("written"), RoleOutcome::Done);
        let (granted, removed) = tokio::join!(
            roles.grant(grant(user, "auditor", all)),
            roles.remove(role("auditor"), change()),
        );
        let is_granted = matches!(granted.expect("certain"), GrantOutcome::Changed(_));
        let is_removed = removed.expect("certain") == RoleOutcome::Done;
        assert_ne!(is_granted, is_removed);
        let held = count(&test, "user_roles").await;
        assert_eq!(held, if is_granted { "1" } else { "0" });
        let _ = roles.revoke(grant(user, "auditor", all)).await;
        let _ = roles.remove(role("auditor"), change()).await;
    }
}

#[rstest]
#[tokio::test]
async fn roles_are_listed_in_pages(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let time = match backend {
        Sqlite => "0",
        Postgres => "now()",
    };
    let rows: Vec<String> = (0..150)
        .map(|number| format!("('r{number:04}', {time})"))
        .collect();
    let insert = format!(
        "INSERT INTO roles (name, created_at) VALUES {}",
        rows.join(", ")
    );
    test.sql(&insert).await;
    let roles = roles(&test);
    let (first, has_more) = roles.page("").await.expect("read");
    assert_eq!((first.len(), has_more), (100, true));
    let last = &first[99];
    assert_eq!(last.role, "r0099");
    assert!(last.permissions.is_empty());
    let (rest, has_more) = roles.page(&last.role).await.expect("read");
    assert_eq!((rest.len(), has_more), (50, false));
}
