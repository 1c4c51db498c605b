//! Files with a secret of the service, made once beside an embedded database.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::clock::Randomness;
use super::database;
use crate::config::{DatabaseUrl, MIN_SECRET_BYTES};

/// The maximum read of a secret file, in bytes.
const MAX_SECRET_FILE: usize = 4096;

/// The mode bits of a file for its group, and for all other users.
const GROUP: u32 = 0o070;
const ALL_USERS: u32 = 0o007;

/// The secret file cannot be used. The text is one line for the terminal.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the secret in {path}: {reason}")]
pub struct SecretFileError {
    /// The path of the file.
    pub path: String,
    /// The reason.
    pub reason: String,
}

/// The path of a secret file beside an SQLite database: its own path with this suffix.
#[must_use]
pub fn beside(database: &DatabaseUrl, suffix: &str) -> PathBuf {
    let mut path = database::sqlite_options(database)
        .map(|options| options.get_filename().as_os_str().to_owned())
        .unwrap_or_default();
    path.push(suffix);
    PathBuf::from(path)
}

/// Reads the secret from a file, which is created if it is missing.
///
/// # Errors
/// One line that says what is wrong with the file.
pub fn open_or_create(
    path: &Path,
    randomness: &dyn Randomness,
) -> Result<SecretString, SecretFileError> {
    let wrong = |reason: String| SecretFileError {
        path: path.display().to_string(),
        reason,
    };
    make_once(path, randomness).map_err(|error| wrong(error.to_string()))?;
    let mut file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    let metadata = file.metadata().map_err(|error| wrong(error.to_string()))?;
    if metadata.mode() & ALL_USERS != 0 {
        return Err(wrong(format!(
            "every user on this machine may use it; run `chmod 600 {}`, and consider that it may \
             have been read",
            path.display()
        )));
    }
    // A volume may be shared by a group on purpose, or be owned by another user.
    if metadata.mode() & GROUP != 0 {
        tracing::warn!("secret file accessible to its group");
    }
    let own = rustix::process::geteuid().as_raw();
    if ![own, 0].contains(&metadata.uid()) {
        tracing::warn!("secret file owned by another user");
    }
    // Wiped when it is dropped.
    let mut text = Zeroizing::new(String::with_capacity(MAX_SECRET_FILE));
    (&mut file)
        .take(MAX_SECRET_FILE as u64)
        .read_to_string(&mut text)
        .map_err(|error| wrong(error.to_string()))?;
    let text = text.trim();
    if text.len() < MIN_SECRET_BYTES {
        return Err(wrong(format!("it has fewer than {MIN_SECRET_BYTES} bytes")));
    }
    Ok(SecretString::from(text))
}

/// Creates the file with a new secret atomically, unless it exists.
fn make_once(path: &Path, randomness: &dyn Randomness) -> std::io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let secret = Zeroizing::new(hex::encode(
        [randomness.bytes(), randomness.bytes()].concat(),
    ));
    // The name is unpredictable, so that no file can be planted there in advance.
    let mut made = path.as_os_str().to_owned();
    made.push(format!(".{}", hex::encode(randomness.bytes())));
    let made = Path::new(&made);
    let linked = write_private(made, secret.as_bytes()).and_then(|()| {
        // The link fails if another process was first; its secret is used then.
        std::fs::hard_link(made, path)
    });
    let removed = std::fs::remove_file(made);
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => removed?,
    }
    // Without this, a crash of the machine may undo the new name.
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Creates a file for its owner only, and syncs it to disk. An existing file or a link is an error.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
