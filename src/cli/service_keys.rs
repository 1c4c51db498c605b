//! `service-keys`: the keys of machines.

use clap::Subcommand;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::Failure;
use super::operator::{Operator, day, names, print, print_secret, table};
use crate::access::service_keys::{CreateOutcome, Issued, Listed, MAX_DAYS, NewKey, RotateOutcome};
use crate::config::Settings;
use crate::domain::{Name, Permission, Permissions};
use crate::platform::clock::{Clock, SystemClock, timestamp};
use crate::tokens::service_key::ServiceKeyId;

#[derive(Subcommand)]
pub enum Action {
    /// Create a key, and print it: it is shown only once
    Create {
        /// What it is for
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What it may do, such as users:read; repeat it for more
        #[arg(
            long = "permission",
            value_name = "PERMISSION",
            required = true,
            value_parser = permission
        )]
        permissions: Vec<Permission>,
        /// For how many days it is valid, at most 365
        #[arg(
            long,
            value_name = "DAYS",
            value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DAYS))
        )]
        expires_in_days: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List all keys, without their secrets
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a second secret of a key, and print the key with it: it is shown only once
    ///
    /// The secret in use stays valid until --finish; a repeated rotation replaces the second one.
    Rotate {
        /// The id of the key
        id: String,
        /// End the rotation: only the new secret is valid from now on
        #[arg(long)]
        finish: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key: within two seconds no instance accepts it
    Revoke {
        /// The id of the key
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

fn permission(text: &str) -> Result<Permission, String> {
    Permission::parse(text).ok_or_else(|| {
        let all: Vec<&str> = Permission::ALL.iter().map(|known| known.as_str()).collect();
        format!("must be one of {}", all.join(", "))
    })
}

/// Runs the command.
pub async fn run(settings: Settings, action: Action) -> Result<(), Failure> {
    // What can be wrong without the database is reported first.
    let id = match &action {
        Action::Rotate { id, .. } | Action::Revoke { id, .. } => {
            Some(ServiceKeyId::parse(id).ok_or_else(unknown)?)
        }
        Action::Create { .. } | Action::List { .. } => None,
    };
    let name = match &action {
        Action::Create { name, .. } => Some(
            Name::parse(name)
                .map_err(|rule| Failure::usage(&format!("--name: {}", rule.detail)))?,
        ),
        _ => None,
    };
    let operator = Operator::open(settings).await?;
    let outcome = match (action, name, id) {
        (
            Action::Create {
                permissions,
                expires_in_days: days,
                json,
                ..
            },
            Some(name),
            _,
        ) => {
            let permissions: Permissions = permissions.into_iter().collect();
            let new = NewKey {
                name,
                permissions,
                days,
            };
            create(&operator, new, json).await
        }
        (Action::List { json }, ..) => list(&operator, json).await,
        (Action::Rotate { finish, json, .. }, _, Some(id)) => {
            if finish {
                finish_rotation(&operator, id, json).await
            } else {
                rotate(&operator, id, json).await
            }
        }
        (Action::Revoke { json, .. }, _, Some(id)) => revoke(&operator, id, json).await,
        _ => Err(unknown()),
    };
    operator.close(outcome).await
}

fn unknown() -> Failure {
    Failure::new(&"there is no such service key; `signup-service service-keys list` lists them")
}

async fn create(operator: &Operator, new: NewKey, as_json: bool) -> Result<(), Failure> {
    let name = new.name.as_str().to_owned();
    let permissions = new.permissions;
    let keys = operator.service_keys()?;
    let created = keys.create(new, Permissions::ALL, Operator::change());
    let (issued, expires_at) = match created.await? {
        CreateOutcome::Created(issued, expires_at) => (issued, expires_at),
        CreateOutcome::TooMany => {
            return Err(Failure::new(
                &"there are too many service keys; revoke some",
            ));
        }
        CreateOutcome::Lacking(_) => return Err(Failure::new(&"the key was not created")),
    };
    let mut json = secret(&issued);
    json["name"] = name.into();
    json["permissions"] = names(permissions).into();
    json["expires_at"] = timestamp(expires_at).into();
    let hint = format!(
        "service key {} created; it expires on {}. Store it now: it is not shown again",
        issued.id,
        day(expires_at)
    );
    print_secret(as_json, &json, issued.text.expose_secret(), &hint)
}

fn secret(issued: &Issued) -> Value {
    json!({ "id": issued.id.as_str(), "key": issued.text.expose_secret() })
}

async fn rotate(operator: &Operator, id: ServiceKeyId, as_json: bool) -> Result<(), Failure> {
    let keys = operator.service_keys()?;
    let rotated = keys
        .rotate(id, Permissions::ALL, Operator::change())
        .await?;
    let RotateOutcome::Rotated(issued) = rotated else {
        return Err(Failure::new(
            &"there is no such service key, or it has expired or was revoked",
        ));
    };
    let hint = format!(
        "service key {0} has a second secret. Store it now: it is not shown again. The one in use stays \
         valid until `signup-service service-keys rotate {0} --finish`",
        issued.id
    );
    let json = secret(&issued);
    print_secret(as_json, &json, issued.text.expose_secret(), &hint)
}

async fn finish_rotation(
    operator: &Operator,
    id: ServiceKeyId,
    as_json: bool,
) -> Result<(), Failure> {
    let keys = operator.service_keys()?;
    if !keys.finish_rotation(id.clone(), Operator::change()).await? {
        return Err(unknown());
    }
    let json = json!({ "id": id.as_str(), "rotating": false });
    print(as_json, &json, &format!("service key {id} has one secret"))
}

async fn revoke(operator: &Operator, id: ServiceKeyId, as_json: bool) -> Result<(), Failure> {
    let keys = operator.service_keys()?;
    if !keys.revoke(id.clone(), Operator::change()).await? {
        return Err(unknown());
    }
    let json = json!({ "id": id.as_str(), "revoked": true });
    print(as_json, &json, &format!("service key {id} revoked"))
}

async fn list(operator: &Operator, as_json: bool) -> Result<(), Failure> {
    let keys = operator.service_keys()?;
    let now = SystemClock.now();
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let (page, has_more) = keys.page(&after).await?;
        if let Some(last) = page.last() {
            after.clone_from(&last.id);
        }
        all.extend(page);
        if !has_more {
            break;
        }
    }
    let state = |key: &Listed| match key {
        key if key.revoked_at.is_some() => "revoked",
        key if key.expires_at <= now => "expired",
        key if key.is_rotating => "rotating",
        _ => "valid",
    };
    let json: Vec<Value> = all
        .iter()
        .map(|key| {
            json!({
                "id": key.id,
                "name": key.name,
                "state": state(key),
                "permissions": names(key.permissions),
                "created_by": key.created_by,
                "created_at": timestamp(key.created_at),
                "expires_at": timestamp(key.expires_at),
                "last_used_on": key.last_used_on.map(day),
            })
        })
        .collect();
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|key| {
            vec![
                key.id.clone(),
                state(key).to_owned(),
                day(key.expires_at),
                key.last_used_on.map_or_else(|| "never".to_owned(), day),
                names(key.permissions).join(","),
                key.name.clone(),
            ]
        })
        .collect();
    let head = ["id", "state", "expires", "last used", "permissions", "name"];
    print(as_json, &json!({ "keys": json }), &table(&head, &rows))
}
