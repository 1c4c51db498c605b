//! Lists the migrations, so that `src/platform/database/migrate.rs` embeds them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

#[expect(
    clippy::disallowed_methods,
    reason = "not a setting: cargo names its folder by a variable"
)]
fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=migrations");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    for backend in ["postgres", "sqlite"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let list = list(&folder.join(backend))?;
        fs::write(out.join(backend).with_extension("rs"), list)?;
    }
    Ok(())
}

/// A Rust expression: the names and texts of a folder's files, in order.
fn list(folder: &Path) -> io::Result<String> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    paths.sort();
    let mut list = String::from("&[\n");
    for path in &paths {
        let name = path.file_name().and_then(|name| name.to_str());
        let (Some(name), Some(path)) = (name, path.to_str()) else {
            return Err(io::Error::other("a name of a migration is not Unicode"));
        };
        if !is_migration(name) {
            return Err(io::Error::other(format!(
                "{name} is not NNNN_name.up.sql or NNNN_name.down.sql"
            )));
        }
        writeln!(list, "    ({name:?}, include_str!({path:?})),").map_err(io::Error::other)?;
    }
    list.push_str("]\n");
    Ok(list)
}

fn is_migration(name: &str) -> bool {
    let parts = name.split_once('_');
    parts.is_some_and(|(number, rest)| {
        number.len() == 4
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && (rest.ends_with(".up.sql") || rest.ends_with(".down.sql"))
    })
}
