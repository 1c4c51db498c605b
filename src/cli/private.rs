//! Keeps what is in memory and on disk from others: no core dump, and a word where files stand open.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::config::{Backend, DatabaseUrl};
use crate::platform::database;

/// The bits of a mode with which all others may read or write, and write.
const OTHERS: u32 = 0o006;
const OTHERS_WRITE: u32 = 0o002;

/// In a folder with this bit nobody removes what belongs to somebody else.
const STICKY: u32 = 0o1000;

/// Forbids core dumps, which would have passwords and secrets in them, and on Linux also that another
/// process of the same user attaches, or reads the environment. Where the system does not let it, the
/// service runs all the same, and says so.
pub fn protect_memory() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(reason = %error, "cannot disable core dumps");
    }
    // A program that takes dumps through a pipe does not ask for the limit.
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            tracing::warn!(reason = %error, "cannot make process memory private");
        }
    }
}

/// Where the database is a file: whether others can get at it.
pub fn warn_of_open_files(url: &DatabaseUrl) {
    if url.backend != Backend::Sqlite {
        return;
    }
    let Ok(options) = database::sqlite_options(url) else {
        return;
    };
    let file = options.get_filename();
    if mode(file) & OTHERS != 0 {
        tracing::warn!("database files accessible to other users");
    }
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mode = mode(folder.unwrap_or_else(|| Path::new(".")));
    if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
        tracing::warn!("database folder writable by other users");
    }
}

/// None of the bits where there is no file.
fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.mode())
}
