//! Lists the migrations, so that `src/platform/database/migrate.rs` embeds them, and unpacks the
//! files of Swagger UI for `src/slices/operations/docs/assets.rs`.

use std::borrow::Cow;
use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

/// The files of Swagger UI that the page uses. The rest of it is not served.
const OF_SWAGGER_UI: [&str; 2] = ["swagger-ui.css", "swagger-ui-bundle.js"];

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
    unpack_swagger_ui(&out)
}

fn unpack_swagger_ui(out: &Path) -> io::Result<()> {
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    for name in OF_SWAGGER_UI {
        let end = format!("/dist/{name}");
        let path = (archive.file_names())
            .filter_map(Result::ok)
            .find(|path| path.ends_with(&end))
            .map(Cow::into_owned)
            .ok_or_else(|| io::Error::other(format!("Swagger UI lacks {name}")))?;
        io::copy(
            &mut archive.by_name(&path)?,
            &mut File::create(out.join(name))?,
        )?;
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
