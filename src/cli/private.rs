//! Protects memory and files from other users: disables core dumps, and warns of open file modes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::config::{Backend, DatabaseUrl};
use crate::platform::database;

/// The mode bits that let other users read or write, and write.
const OTHERS: u32 = 0o006;
const OTHERS_WRITE: u32 = 0o002;

/// In a folder with this bit, only the owner of a file may remove it.
const STICKY: u32 = 0o1000;

/// Disables core dumps, which would contain passwords and secrets. On Linux, also keeps other
/// processes of the same user from attaching or reading the environment. Where the system refuses,
/// the service runs all the same and logs a warning.
pub fn protect_memory() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(reason = %error, "cannot disable core dumps");
    }
    // A handler that receives dumps through a pipe ignores the limit.
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            tracing::warn!(reason = %error, "cannot make process memory private");
        }
    }
}

/// Warns if the files of an embedded database are accessible to other users.
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

/// The mode bits of a file; 0 if it does not exist.
fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.mode())
}
