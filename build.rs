//! Lists the migrations, so that `src/platform/database/migrate.rs` embeds them.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=migrations");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    for backend in ["postgres", "sqlite"] {
        let mut files: Vec<PathBuf> = fs::read_dir(root.join("migrations").join(backend))?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<_>>()?;
        files.sort();
        let mut list = String::from("&[\n");
        for path in files
            .iter()
            .filter(|path| path.extension().is_some_and(|end| end == "sql"))
        {
            let name = path.file_name().unwrap_or_default();
            writeln!(list, "    ({name:?}, include_str!({path:?})),").map_err(io::Error::other)?;
        }
        list.push_str("]\n");
        fs::write(out.join(backend).with_extension("rs"), list)?;
    }
    Ok(())
}
