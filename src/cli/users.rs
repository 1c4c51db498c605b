//! `users`: accounts, from the command line. The history names `cli` as the actor.

mod export_all;
mod import;

use std::io::{IsTerminal, Read};

use chrono::TimeDelta;
use clap::{Args, Subcommand};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use uuid::Uuid;

use super::operator::{Operator, print};
use super::{Failure, erase, private};
use crate::access::account::{Accounts, Status, StatusOutcome};
use crate::access::change::Change;
use crate::access::roles::{Grant, GrantOutcome, Roles};
use crate::attempts::throttle::{Subject, Throttle};
use crate::breached;
use crate::config::Settings;
use crate::domain::{BrokenRule, Email, Name, Password, Permissions, Role, UserId, at_least};
use crate::hashing::bcrypt_sha256;
use crate::platform::clock::{Randomness, SystemRandomness};
use crate::platform::database::{End, Error, Statement, Transaction, UnitOfWork};
use crate::slices::accounts::new_account::{self, NewAccount};

/// The longest password that is read from standard input, in bytes. Longer ones than the rules allow are
/// read, so that the rule is reported.
const MAX_INPUT: u64 = 4096;

static BY_EMAIL: Statement =
    Statement::new("SELECT id, status FROM users WHERE email_canonical = $1");

static HAS_ROLE: Statement =
    Statement::new("SELECT role FROM user_roles WHERE user_id = $1 AND role = $2");

#[derive(Subcommand)]
pub enum Action {
    /// Create a user, with a verified address; asks for the password
    ///
    /// It is safe to repeat: nothing is changed if the user exists and has the roles. A user who exists
    /// without one of them is refused, as the password may be another person's: grant it the role.
    Create(Create),
    /// Grant a role to a user
    Grant(Granted),
    /// Take a role away from a user
    Revoke(Granted),
    /// Suspend a user: it cannot log in, and its sessions end
    Suspend(Named),
    /// Activate a suspended user
    Activate(Named),
    /// Forget the failed logins of an address, which keep its owner out on new devices
    Unlock(Named),
    /// Erase a user for good, or after a restore those who had been erased
    Erase(erase::Erase),
    /// Print the ids of the users who were erased, and when; keep them beside your backups
    Tombstones,
    /// Print everything that is stored about a user, as JSON
    Export(erase::Export),
    /// Import accounts of another service with their password hashes, from a file with a line of JSON each
    ///
    /// It is safe to repeat: an import that was interrupted goes on where it was. Lines that cannot be
    /// imported are reported by their number, and the others are. Nothing is mailed.
    Import(import::Import),
    /// Export all accounts, a line of JSON each, as `users import` reads them
    ExportAll(export_all::ExportAll),
}

#[derive(Args)]
pub struct Create {
    /// The address of the user
    #[arg(long, value_name = "ADDRESS")]
    email: String,
    /// The name of the user
    #[arg(long, value_name = "NAME")]
    name: String,
    /// A role to grant, such as admin; repeat it for more
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Read the password from standard input, instead of asking for it on the terminal
    #[arg(long)]
    password_stdin: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Granted {
    /// The address of the user
    email: String,
    /// The role: admin, support, or one of your own
    role: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Named {
    /// The address of the user
    email: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(settings: Settings, action: Action) -> Result<(), Failure> {
    match action {
        Action::Create(create) => self::create(settings, create).await,
        Action::Grant(granted) => change_grant(settings, granted, true).await,
        Action::Revoke(granted) => change_grant(settings, granted, false).await,
        Action::Suspend(named) => set_status(settings, named, Status::Suspended).await,
        Action::Activate(named) => set_status(settings, named, Status::Active).await,
        Action::Unlock(named) => unlock(settings, named).await,
        Action::Erase(erase) => erase::erase(settings, erase).await,
        Action::Tombstones => erase::tombstones(settings).await,
        Action::Export(export) => erase::export(settings, export).await,
        Action::Import(import) => import::run(settings, import).await,
        Action::ExportAll(export) => export_all::run(settings, export).await,
    }
}

pub(super) fn email(text: &str) -> Result<Email, Failure> {
    Email::parse(text).map_err(|rule| Failure::usage(&format!("the address: {}", rule.detail)))
}

fn role(text: &str) -> Result<Role, Failure> {
    let invalid = "the role: 1 to 64 lower-case letters, digits, - and _, the first one a letter";
    Role::parse(text).ok_or_else(|| Failure::usage(&invalid))
}

/// The user with an address.
async fn find(operator: &Operator, email: &Email) -> Result<Option<(UserId, String)>, Failure> {
    let key = (email.canonical().to_owned(),);
    let found: Option<(Uuid, String)> = operator.database.fetch_latest(&BY_EMAIL, key).await?;
    Ok(found.map(|(id, status)| (UserId::new(id), status)))
}

pub(super) async fn existing(operator: &Operator, email: &Email) -> Result<UserId, Failure> {
    let found = find(operator, email).await?;
    let found = found.ok_or_else(|| Failure::new(&"there is no user with this address"))?;
    Ok(found.0)
}

/// Why a grant was refused; nothing if it was not.
fn refused(outcome: GrantOutcome, role: &Role) -> Result<(), Failure> {
    let reason = match outcome {
        GrantOutcome::Changed(_) | GrantOutcome::Unchanged => return Ok(()),
        GrantOutcome::NoSuchUser => "there is no user with this address".to_owned(),
        GrantOutcome::NoSuchRole => format!(
            "there is no role {role}: it is neither admin nor support, nor defined by `PUT /admin/roles/{role}`"
        ),
        GrantOutcome::Fixed => format!("every user has the role {role}"),
        GrantOutcome::Lacking(_) => format!("the role {role} has unknown permissions"),
        GrantOutcome::LastAdmin => last_admin(),
    };
    Err(Failure::new(&reason))
}

pub(super) fn last_admin() -> String {
    "the user is the last active administrator; grant another user the role admin first".to_owned()
}

async fn change_grant(settings: Settings, granted: Granted, is_given: bool) -> Result<(), Failure> {
    let (email, role) = (email(&granted.email)?, role(&granted.role)?);
    let operator = Operator::open(settings).await?;
    let work = async {
        let user = existing(&operator, &email).await?;
        let roles = Roles::new(operator.database.clone(), None);
        let grant = Grant {
            user,
            role: role.clone(),
            limit: Permissions::ALL,
            change: Operator::change(),
        };
        let outcome = if is_given {
            roles.grant(grant).await?
        } else {
            roles.revoke(grant).await?
        };
        refused(outcome, &role)?;
        let changed = outcome != GrantOutcome::Unchanged;
        let text = match (is_given, changed) {
            (true, true) => format!("user {user} granted the role {role}"),
            (true, false) => format!("user {user} has the role {role} already"),
            (false, true) => format!("role {role} taken away from user {user}"),
            (false, false) => format!("user {user} does not have the role {role}"),
        };
        let json = json!({ "id": user, "role": role, "granted": is_given, "changed": changed });
        print(granted.json, &json, &text)
    };
    let outcome = work.await;
    operator.close(outcome).await
}

async fn set_status(settings: Settings, named: Named, status: Status) -> Result<(), Failure> {
    let email = email(&named.email)?;
    let operator = Operator::open(settings).await?;
    let work = async {
        let user = existing(&operator, &email).await?;
        let accounts = Accounts::new(operator.database.clone(), None);
        let outcome = accounts
            .set_status(user, status, Operator::change())
            .await?;
        let changed = match outcome {
            StatusOutcome::Changed(..) => true,
            StatusOutcome::Unchanged(_) => false,
            StatusOutcome::NoSuchUser => {
                return Err(Failure::new(&"there is no user with this address"));
            }
            StatusOutcome::LastAdmin => return Err(Failure::new(&last_admin())),
        };
        let word = status.as_str();
        let text = if changed {
            format!("user {user} is {word} now")
        } else {
            format!("user {user} is {word} already")
        };
        let json = json!({ "id": user, "status": word, "changed": changed });
        print(named.json, &json, &text)
    };
    let outcome = work.await;
    operator.close(outcome).await
}

/// Forgets the failed logins of strangers. The address need not have an account: whether it has one is
/// not what counts.
async fn unlock(settings: Settings, named: Named) -> Result<(), Failure> {
    let email = email(&named.email)?;
    let operator = Operator::open(settings).await?;
    let work = async {
        let subject = Subject::of(email.canonical(), None, operator.secrets()?.as_ref());
        let unlocked = Throttle::new(operator.database.clone())
            .forget(&subject)
            .await?;
        let text = if unlocked {
            "the failed logins of this address are forgotten"
        } else {
            "this address has no failed logins"
        };
        print(named.json, &json!({ "unlocked": unlocked }), text)
    };
    let outcome = work.await;
    operator.close(outcome).await
}

async fn create(settings: Settings, create: Create) -> Result<(), Failure> {
    private::protect_memory();
    let email = email(&create.email)?;
    let name = Name::parse(&create.name)
        .map_err(|rule| Failure::usage(&format!("--name: {}", rule.detail)))?;
    let roles: Vec<Role> = create
        .roles
        .iter()
        .map(|text| role(text))
        .collect::<Result<_, _>>()?;
    let operator = Operator::open(settings).await?;
    let work = async {
        let found = find(&operator, &email).await?;
        let outcome = if let Some((user, _)) = found {
            (user, false)
        } else {
            let password = password(create.password_stdin, &name, &email)?;
            screen(&operator.settings, &password)?;
            add(&operator, &name, &email, &password, &roles).await?
        };
        let (user, is_new) = outcome;
        if !is_new {
            has_all(&operator, user, &email, &roles).await?;
        }
        report(user, is_new, &roles, create.json)
    };
    let outcome = work.await;
    operator.close(outcome).await
}

fn report(user: UserId, is_new: bool, roles: &[Role], as_json: bool) -> Result<(), Failure> {
    let granted = if is_new { roles } else { &[] };
    let json: Value = json!({ "id": user, "created": is_new, "granted": granted });
    let names: Vec<&str> = granted.iter().map(Role::as_str).collect();
    let text = match (is_new, names.as_slice()) {
        (false, _) => format!("user {user} exists already; nothing was changed"),
        (true, []) => format!("user {user} created"),
        (true, names) => format!("user {user} created, and granted: {}", names.join(", ")),
    };
    print(as_json, &json, &text)
}

/// Refuses to go on with a user who exists and lacks one of these roles: a stranger may have signed up
/// with the address, and knows the password.
async fn has_all(
    operator: &Operator,
    user: UserId,
    email: &Email,
    roles: &[Role],
) -> Result<(), Failure> {
    for role in roles {
        let key = (user.as_uuid(), role.as_str().to_owned());
        let found: Option<(String,)> = operator.database.fetch_latest(&HAS_ROLE, key).await?;
        if found.is_none() {
            return Err(Failure::new(&format!(
                "there is an account with this address, without the role {role}, and its password stays as it is; if it \
                 is the right person's: signup-service users grant {} {role}",
                email.canonical()
            )));
        }
    }
    Ok(())
}

/// The password: from standard input, or twice from the terminal. Never from an argument or a variable,
/// which other programs can read.
fn password(from_stdin: bool, name: &Name, email: &Email) -> Result<Password, Failure> {
    let text = if from_stdin {
        read_password(std::io::stdin().lock())?
    } else {
        ask()?
    };
    let about = [name.as_str(), email.as_typed(), email.canonical()];
    Password::parse(text, &about)
        .map_err(|rule| Failure::new(&format!("the password: {}", rule.detail)))
}

/// Refuses a password that is shorter than the settings ask for, or in the list of breached ones.
fn screen(settings: &Settings, password: &Password) -> Result<(), Failure> {
    let refused = |rule: BrokenRule| Failure::new(&format!("the password: {}", rule.detail));
    at_least(password.expose_bytes(), settings.passwords.min_length).map_err(refused)?;
    let Some(path) = &settings.passwords.breached_file else {
        return Ok(());
    };
    // For one look-up, no list need be in memory.
    let list = breached::open(path, 0).map_err(|line| Failure::new(&line))?;
    let found = list.contains(password.expose_bytes());
    if found.map_err(|error| Failure::new(&breached::unusable(&error)))? {
        return Err(refused(breached::rule()));
    }
    Ok(())
}

fn ask() -> Result<SecretString, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(
            &"no terminal to ask for the password on; use --password-stdin",
        ));
    }
    let prompt = |question| {
        rpassword::prompt_password(question)
            .map(SecretString::from)
            .map_err(|error| Failure::new(&format!("cannot read the password: {error}")))
    };
    let first = prompt("Password: ")?;
    let again = prompt("The same again: ")?;
    if first.expose_secret() != again.expose_secret() {
        return Err(Failure::new(&"the passwords differ; nothing was changed"));
    }
    Ok(first)
}

/// Reads a password to the end of the input, without a line break at its end.
fn read_password(input: impl Read) -> Result<SecretString, Failure> {
    let mut bytes = Zeroizing::new(Vec::new());
    input
        .take(MAX_INPUT)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(&format!("cannot read the password: {error}")))?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::new(&"the password on standard input is not UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    Ok(SecretString::from(text))
}

/// Creates the user with its roles, in one transaction. If the address was taken meanwhile, its user and
/// `false`.
async fn add(
    operator: &Operator,
    name: &Name,
    email: &Email,
    password: &Password,
    roles: &[Role],
) -> Result<(UserId, bool), Failure> {
    let cost = operator.settings.hashing.cost;
    let password_hash = bcrypt_sha256::hash(password, cost, SystemRandomness.bytes());
    let change = Operator::change();
    let account = NewAccount {
        id: UserId::new(change.id()),
        event_id: change.id(),
        name: name.clone(),
        display_name: name.clone(),
        locale: None,
        email: email.clone(),
        password_hash,
        created_at: change.at,
        correlation_id: change.correlation_id.clone(),
        actor: Some(change.actor.clone()),
        imported: None,
        verification: None,
    };
    let user = account.id;
    let work = AddUser {
        account,
        roles: roles.to_vec(),
        change,
    };
    match operator.database.write(work).await? {
        Added::Yes => Ok((user, true)),
        Added::Refused(outcome, role) => {
            refused(outcome, &role)?;
            Err(Failure::new(&"the user was not created"))
        }
        Added::Taken => Ok((existing(operator, email).await?, false)),
    }
}

struct AddUser {
    account: NewAccount,
    roles: Vec<Role>,
    change: Change,
}

enum Added {
    Yes,
    /// The address has an account.
    Taken,
    /// A role cannot be granted.
    Refused(GrantOutcome, Role),
}

impl UnitOfWork for AddUser {
    type Outcome = Added;

    const IS_PAID: bool = true;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Added>, Error> {
        let Self {
            account,
            roles,
            change,
        } = self;
        if !new_account::insert(transaction, account).await? {
            return Ok(End::Rollback(Added::Taken));
        }
        new_account::verify(transaction, account.id, account.created_at).await?;
        let mut change = change.clone();
        for role in roles {
            // The history is sorted by time.
            change.at += TimeDelta::microseconds(1);
            let grant = Grant {
                user: account.id,
                role: role.clone(),
                limit: Permissions::ALL,
                change: change.clone(),
            };
            let outcome = grant.add(transaction).await?;
            if !matches!(outcome, GrantOutcome::Changed(_) | GrantOutcome::Unchanged) {
                return Ok(End::Rollback(Added::Refused(outcome, role.clone())));
            }
        }
        Ok(End::Commit(Added::Yes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_of_the_input_is_no_part_of_the_password() {
        for (input, expected) in [
            ("pass word", "pass word"),
            ("pass word\n", "pass word"),
            ("pass word\r\n", "pass word"),
            ("pass word\n\n", "pass word\n"),
            (" pass word ", " pass word "),
            ("", ""),
        ] {
            let read = read_password(input.as_bytes()).ok().expect("UTF-8");
            assert_eq!(read.expose_secret(), expected, "{input:?}");
        }
        assert!(read_password(&[0xff][..]).is_err());
        let long = vec![b'a'; 10_000];
        let read = read_password(&long[..]).ok().expect("UTF-8");
        assert_eq!(read.expose_secret().len(), 4096);
    }
}
