//! Where the settings come from, and the list of what is wrong with them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::table::{self, SETTINGS, Setting};

/// Everything that is wrong with the settings, one line each.
#[derive(Debug)]
pub struct Mistakes(Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => f.write_str(one),
            many => {
                write!(f, "{} settings are wrong:", many.len())?;
                many.iter().try_for_each(|line| write!(f, "\n  {line}"))
            }
        }
    }
}

impl std::error::Error for Mistakes {}

struct Value {
    text: String,
    /// How the one who set it calls it: the variable, or the place in the file.
    called: String,
}

/// The variable that names a file with the secret.
fn file_variable(setting: &Setting) -> String {
    format!("{}_FILE", setting.env)
}

/// The values that were set, and the mistakes found so far.
pub struct Sources {
    values: BTreeMap<&'static str, Value>,
    mistakes: Vec<String>,
}

impl Sources {
    /// The file, if one is named here or by `SIGNUP_CONFIG`, and the process's environment.
    ///
    /// # Errors
    /// When the file can't be read or is no TOML.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks")]
    pub fn from_system(file: Option<&Path>) -> Result<Self, Mistakes> {
        let named = file.map(Path::to_path_buf).or_else(|| {
            std::env::var_os("SIGNUP_CONFIG")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        });
        let text = match &named {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                Mistakes(vec![format!(
                    "the settings file {} cannot be read: {error}",
                    path.display()
                )])
            })?,
        };
        let mut sources = Self::from_toml(&text)?;
        for setting in SETTINGS {
            if let Some(value) = std::env::var_os(setting.env) {
                sources.set_env(setting, value.to_str());
            }
            let file = setting.secret.then(|| file_variable(setting));
            if let Some(path) = file.and_then(std::env::var_os) {
                sources.set_from_file(setting, Path::new(&path));
            }
        }
        Ok(sources)
    }

    /// These variables and this text of a file, and nothing of the system's.
    ///
    /// # Errors
    /// When the text is no TOML.
    pub fn given(env: &[(&str, &str)], file: &str) -> Result<Self, Mistakes> {
        let mut sources = Self::from_toml(file)?;
        for setting in SETTINGS {
            for (name, value) in env {
                if *name == setting.env {
                    sources.set_env(setting, Some(value));
                } else if setting.secret && *name == file_variable(setting) {
                    sources.set_from_file(setting, Path::new(value));
                }
            }
        }
        Ok(sources)
    }

    fn from_toml(text: &str) -> Result<Self, Mistakes> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            // The message alone: the full text would quote the line, secrets included.
            Mistakes(vec![format!(
                "the settings file is no TOML: {}",
                error.message().replace('\n', " ")
            )])
        })?;
        let mut sources = Self {
            values: BTreeMap::new(),
            mistakes: Vec::new(),
        };
        for (name, value) in &table {
            sources.flatten(name, value);
        }
        Ok(sources)
    }

    fn flatten(&mut self, place: &str, value: &toml::Value) {
        if let Some(setting) = table::find(place) {
            let text = match value {
                toml::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            self.set(setting, text, place.to_owned());
            return;
        }
        let prefix = format!("{place}.");
        match value {
            toml::Value::Table(inner)
                if SETTINGS.iter().any(|known| known.toml.starts_with(&prefix)) =>
            {
                for (name, value) in inner {
                    self.flatten(&format!("{prefix}{name}"), value);
                }
            }
            _ => self.mistakes.push(format!(
                "{place} is no setting; docs/settings.md lists them"
            )),
        }
    }

    fn set_env(&mut self, setting: &'static Setting, value: Option<&str>) {
        match value {
            Some("") => {}
            Some(text) => self.set(setting, text.to_owned(), setting.env.to_owned()),
            None => self.mistakes.push(format!("{} is not UTF-8", setting.env)),
        }
    }

    /// Takes a secret from a file, as container platforms hand them over.
    fn set_from_file(&mut self, setting: &'static Setting, path: &Path) {
        let called = file_variable(setting);
        if path.as_os_str().is_empty() {
            return;
        }
        if self
            .values
            .get(setting.toml)
            .is_some_and(|value| value.called == setting.env)
        {
            let both = format!("{} and {called} are both set", setting.env);
            self.mistakes.push(both);
            return;
        }
        match std::fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => {
                let path = path.display();
                self.mistakes
                    .push(format!("{called} names {path}, which is empty"));
            }
            Ok(text) => self.set(setting, text.trim().to_owned(), called),
            Err(error) => self.mistakes.push(format!(
                "{called} names {}, which cannot be read: {error}",
                path.display()
            )),
        }
    }

    fn set(&mut self, setting: &'static Setting, text: String, called: String) {
        self.values.insert(setting.toml, Value { text, called });
    }

    /// A setting whose default stands in the table.
    ///
    /// A wrong value is a mistake, told by [`Sources::finish`]; until then the default stands in.
    ///
    /// # Panics
    /// When the table has no such setting or a wrong default: a mistake in this folder.
    pub fn take<T>(&mut self, toml: &str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let value = self.take_optional(toml, &parse);
        value.unwrap_or_else(|| {
            table::find(toml)
                .and_then(|setting| parse(setting.default?).ok())
                .expect("a test reads every default in the table")
        })
    }

    /// A setting whose default depends on the machine or on another setting.
    pub fn take_or<T>(
        &mut self,
        toml: &str,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.take_optional(toml, parse).unwrap_or(default)
    }

    /// A setting that may be absent.
    ///
    /// # Panics
    /// When the table has no such setting: a mistake in this folder.
    pub fn take_optional<T>(
        &mut self,
        toml: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let setting = table::find(toml).expect("a setting that is read stands in the table");
        let value = self.values.get(toml)?;
        match parse(value.text.trim()) {
            Ok(parsed) => Some(parsed),
            Err(rule) => {
                let called = &value.called;
                // A URL may have a password in it.
                self.mistakes
                    .push(if setting.secret || value.text.contains('@') {
                        format!("{called} {rule}")
                    } else {
                        format!("{called} is {:?}: {rule}", value.text)
                    });
                None
            }
        }
    }

    /// Notes a mistake that parsing alone can't find.
    pub fn mistake(&mut self, toml: &'static str, what: &str) {
        let called = self.values.get(toml).map_or(toml, |value| &value.called);
        self.mistakes.push(format!("{called} {what}"));
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Every mistake found.
    pub fn finish(self) -> Result<(), Mistakes> {
        if self.mistakes.is_empty() {
            Ok(())
        } else {
            Err(Mistakes(self.mistakes))
        }
    }
}
