//! The sources of the settings, and the list of mistakes in them.
//!
//! Texts about a setting go to a terminal or a log, so they never contain a value that may be
//! secret: not that of a setting that is marked so, not a value in the place of a name, and nothing
//! that [`may_be_shown`] does not consider harmless.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;
use toml::de::{DeTable, DeValue};

use super::setting::{self, Setting};

/// The longest accepted file, for settings or for one value, in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// The longest invalid value that is repeated in a message, in bytes.
const MAX_SHOWN: usize = 40;

/// Variables with this prefix are standard, and often set for every program of a machine: an
/// unknown value of one is ignored, with a warning, as OpenTelemetry requires.
const STANDARD: &str = "OTEL_";

/// All mistakes in the settings, one line each.
#[derive(Debug)]
pub struct Mistakes(Vec<String>);

impl Mistakes {
    fn one(line: String) -> Self {
        Self(vec![line])
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => f.write_str(one),
            many => {
                write!(f, "{} settings are invalid:", many.len())?;
                many.iter().try_for_each(|line| write!(f, "\n  {line}"))
            }
        }
    }
}

impl std::error::Error for Mistakes {}

/// A warning about a setting, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The variable.
    pub setting: String,
    /// The text, without secrets.
    pub text: String,
}

/// A command line option: the path of the setting, the name of the option, and its value.
pub type CommandLineOption = (&'static str, &'static str, Option<String>);

/// Whether an invalid value may be repeated in a message: short, and without the characters of URLs
/// with passwords, headers and tokens.
#[must_use]
pub fn may_be_shown(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " .,:/_-[]".contains(c);
    text.len() <= MAX_SHOWN && text.chars().all(is_plain) && !text.contains("//")
}

struct Value {
    /// Wiped when it is dropped.
    text: Zeroizing<String>,
    /// Where it was set: the variable, the option, or the path in the file.
    called: String,
    /// Whether an invalid value is ignored with a warning.
    lenient: bool,
}

/// The variable that names a file with the value.
fn file_variable(setting: &Setting) -> String {
    format!("{}_FILE", setting.env)
}

/// The configured values, by their variables, and the mistakes and warnings so far.
pub struct Sources {
    values: BTreeMap<&'static str, Value>,
    mistakes: Vec<String>,
    warnings: Vec<Warning>,
}

impl Sources {
    /// Reads the file, if one is named here or by `SIGNUP_CONFIG`; then the process's environment;
    /// then the command line options.
    ///
    /// # Errors
    /// When the file cannot be read or is not valid TOML.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    pub fn from_system(
        file: Option<&Path>,
        options: &[CommandLineOption],
    ) -> Result<Self, Mistakes> {
        let named = file.map(Path::to_path_buf).or_else(|| {
            std::env::var_os("SIGNUP_CONFIG")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        });
        let mut sources = match &named {
            None => Self::from_toml("", None)?,
            Some(path) => {
                let text = read(path).map_err(|reason| {
                    let path = shown_path(path).unwrap_or_else(|| "that is named".to_owned());
                    Mistakes::one(format!("the settings file {path} cannot be read: {reason}"))
                })?;
                Self::from_toml(&text, shown_path(path).as_deref())?
            }
        };
        let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        sources.take_environment(variables, |name| std::env::var_os(name));
        sources.take_options(options);
        Ok(sources)
    }

    /// Uses these variables and this text of a file, and nothing of the system's.
    ///
    /// # Errors
    /// When the text is not valid TOML.
    pub fn given(env: &[(&str, &str)], file: &str) -> Result<Self, Mistakes> {
        let mut sources = Self::from_toml(file, None)?;
        let names = env.iter().map(|(name, _)| (*name).to_owned());
        sources.take_environment(names, |name| {
            let found = env.iter().rfind(|(known, _)| *known == name);
            found.map(|(_, value)| value.into())
        });
        Ok(sources)
    }

    fn take_environment(
        &mut self,
        names: impl Iterator<Item = String>,
        get: impl Fn(&str) -> Option<std::ffi::OsString>,
    ) {
        for setting in setting::all() {
            if let Some(value) = get(setting.env) {
                self.set_env(setting, &value);
            }
            if let Some(path) = get(&file_variable(setting)) {
                self.set_from_file(setting, Path::new(&path));
            }
        }
        for name in names {
            self.look_for_mistyped(&name);
        }
    }

    /// Applies the options, which take precedence over all other sources.
    pub(super) fn take_options(&mut self, options: &[CommandLineOption]) {
        for (toml, option, value) in options {
            if let (Some(setting), Some(value)) = (setting::find(toml), value) {
                self.set(setting, value.clone(), (*option).to_owned(), false);
            }
        }
    }

    /// Warns of a variable that is nearly the name of a setting: it has no effect, which is easily
    /// missed.
    fn look_for_mistyped(&mut self, name: &str) {
        let bare = name.strip_suffix("_FILE").unwrap_or(name);
        if setting::all().any(|setting| setting.env == bare) {
            return;
        }
        // Too many other names are similar to a short one.
        let known = setting::all().map(|setting| setting.env);
        if let Some(meant) = nearest(bare, known.filter(|known| known.len() > 5), 1) {
            self.warnings.push(Warning {
                setting: name.to_owned(),
                text: format!("this variable is not a setting; did you mean {meant}?"),
            });
        }
    }

    fn from_toml(text: &str, path: Option<&str>) -> Result<Self, Mistakes> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let table = DeTable::parse(text).map_err(|error| {
            let path = path.map(|path| format!("{path}, ")).unwrap_or_default();
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            // Only the message: the full text would quote the line, with its secrets.
            let message = error.message().replace('\n', " ");
            Mistakes::one(format!(
                "the settings file is not valid TOML: {path}line {line}, column {column}: {message}"
            ))
        })?;
        let mut sources = Self {
            values: BTreeMap::new(),
            mistakes: Vec::new(),
            warnings: Vec::new(),
        };
        sources.flatten(text, "", table.get_ref());
        Ok(sources)
    }

    fn flatten(&mut self, file: &str, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let place = format!("{prefix}{}", name.get_ref());
            let section = format!("{place}.");
            let is_section = setting::all().any(|known| known.toml.starts_with(&section));
            match (setting::find_in_file(&place), value.get_ref()) {
                (Some(setting), value) => self.set_from_toml(setting, value),
                (None, DeValue::Table(inner)) if is_section => {
                    self.flatten(file, &section, inner);
                }
                (None, _) if is_section => {
                    let line = format!("{place} is a section, and not a setting");
                    self.mistakes.push(line);
                }
                (None, _) => {
                    let (line, _) = position(file, name.span().start);
                    self.mistakes.push(unknown(&place, line));
                }
            }
        }
    }

    fn set_from_toml(&mut self, setting: &'static Setting, value: &DeValue<'_>) {
        let (text, kind) = match value {
            DeValue::String(text) => (Some(text.to_string()), "a string"),
            DeValue::Integer(number) => (integer(number.as_str(), number.radix()), "a number"),
            DeValue::Float(number) => (Some(number.as_str().to_owned()), "a number"),
            DeValue::Boolean(value) => (Some(value.to_string()), "true or false"),
            DeValue::Datetime(_) => (None, "a date"),
            DeValue::Array(_) => (None, "a list"),
            DeValue::Table(_) => (None, "a table"),
        };
        let is_text = matches!(value, DeValue::String(_));
        match text.filter(|_| is_text || !setting.text) {
            Some(text) => self.set(setting, text, setting.toml.to_owned(), false),
            None if setting.text => self.mistakes.push(format!(
                "{} must be a string in quotes, not {kind}",
                setting.toml
            )),
            None => self
                .mistakes
                .push(format!("{} must not be {kind}", setting.toml)),
        }
    }

    fn set_env(&mut self, setting: &'static Setting, value: &OsStr) {
        match value.to_str() {
            Some("") => {}
            Some(text) => {
                let lenient = setting.env.starts_with(STANDARD);
                self.set(setting, text.to_owned(), setting.env.to_owned(), lenient);
            }
            None => self.mistakes.push(format!("{} is not UTF-8", setting.env)),
        }
    }

    /// Reads a value from a file, as container platforms provide secrets.
    fn set_from_file(&mut self, setting: &'static Setting, path: &Path) {
        let called = file_variable(setting);
        if path.as_os_str().is_empty() {
            return;
        }
        if self
            .values
            .get(setting.env)
            .is_some_and(|value| value.called == setting.env)
        {
            let both = format!("{} and {called} are both set", setting.env);
            self.mistakes.push(both);
            return;
        }
        // The path may be the secret itself, set by mistake.
        let named = shown_path(path).filter(|_| path.is_absolute() && path.exists());
        let named = named.map_or_else(|| "a file".to_owned(), |path| format!("the file {path}"));
        match read(path) {
            Ok(text) if text.trim().is_empty() => self
                .mistakes
                .push(format!("{called} names {named}, which is empty")),
            Ok(text) => self.set(setting, text.trim().to_owned(), called, false),
            Err(reason) => self.mistakes.push(format!(
                "{called} names {named}, which cannot be read: {reason}"
            )),
        }
    }

    fn set(&mut self, setting: &'static Setting, text: String, called: String, lenient: bool) {
        let value = Value {
            text: Zeroizing::new(text),
            called,
            lenient,
        };
        self.values.insert(setting.env, value);
    }

    /// Reads a setting whose default is in the table.
    ///
    /// An invalid value is a mistake, reported by [`Sources::finish`]; until then the default is
    /// used.
    ///
    /// # Panics
    /// When the table has no such setting or an invalid default: a defect in this module.
    pub fn take<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let value = self.take_optional(name, &parse);
        value.unwrap_or_else(|| {
            setting::find(name)
                .and_then(|setting| parse(setting.default?).ok())
                .expect("a test reads every default in the table")
        })
    }

    /// Reads a setting whose default depends on the machine or on another setting.
    pub fn take_or<T>(
        &mut self,
        name: &str,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.take_optional(name, parse).unwrap_or(default)
    }

    /// Reads an optional setting.
    ///
    /// # Panics
    /// When the table has no such setting: a defect in this module.
    pub fn take_optional<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let setting = setting::find(name).expect("the table has every setting that is read");
        let value = self.values.get(setting.env)?;
        let rule = match parse(value.text.trim()) {
            Ok(parsed) => return Some(parsed),
            Err(rule) => rule,
        };
        let (called, text) = (&value.called, &value.text);
        if value.lenient {
            self.warnings.push(Warning {
                setting: called.clone(),
                text: format!("the value of this variable is ignored: it {rule}"),
            });
        } else if setting.secret || !may_be_shown(text) {
            self.mistakes.push(format!("{called} {rule}"));
        } else {
            self.mistakes
                .push(format!("{called} is {:?}: {rule}", text.as_str()));
        }
        None
    }

    /// Records a mistake that parsing alone cannot find.
    pub fn mistake(&mut self, name: &str, what: &str) {
        let called = self.called(name);
        self.mistakes.push(format!("{called} {what}"));
    }

    /// Records a warning for the operator.
    pub fn warn(&mut self, name: &str, text: &str) {
        let warning = Warning {
            setting: self.called(name),
            text: text.to_owned(),
        };
        self.warnings.push(warning);
    }

    /// Where a setting was set; its variable if it was not set.
    fn called(&self, name: &str) -> String {
        let env = setting::find(name).map_or(name, |setting| setting.env);
        let set = self.values.get(env).map(|value| value.called.clone());
        set.unwrap_or_else(|| env.to_owned())
    }

    /// Finishes reading; returns the warnings.
    ///
    /// # Errors
    /// All mistakes.
    pub fn finish(self) -> Result<Vec<Warning>, Mistakes> {
        if self.mistakes.is_empty() {
            Ok(self.warnings)
        } else {
            Err(Mistakes(self.mistakes))
        }
    }
}

/// A file's text, without the byte order mark that some Windows editors add.
fn read(path: &Path) -> Result<Zeroizing<String>, String> {
    let mut bytes = Zeroizing::new(Vec::new());
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("it is larger than {} KiB", MAX_FILE / 1024));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Ok(Zeroizing::new(text.to_owned()))
}

/// A path, unless it looks like something else.
fn shown_path(path: &Path) -> Option<String> {
    let path = path.to_str()?;
    let is_path = !path.contains("//") && !path.contains('@') && !path.contains(char::is_control);
    is_path.then(|| path.to_owned())
}

/// The message for an unknown path in the file. Its name is repeated only if it is nearly that of a
/// setting: it may be a secret.
fn unknown(place: &str, line: usize) -> String {
    let settings = setting::all().map(|setting| setting.toml);
    let sections = setting::all().filter_map(|setting| setting.toml.split_once('.'));
    let known = settings.chain(sections.map(|(section, _)| section));
    match nearest(place, known, 2) {
        Some(meant) => format!("{place} is not a setting (line {line}); did you mean {meant}?"),
        None => {
            format!(
                "line {line} of the settings file is not a setting; docs/reference/settings.md lists them"
            )
        }
    }
}

/// The closest known name, if at most `most` letters differ, and few in relation to its length.
fn nearest(
    name: &str,
    known: impl Iterator<Item = &'static str>,
    most: usize,
) -> Option<&'static str> {
    known
        .filter(|known| known.len().abs_diff(name.len()) <= most)
        .map(|known| (strsim::osa_distance(name, known), known))
        .filter(|(distance, known)| *distance <= most && distance * 4 < known.len() + 1)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// The line and column of a byte, both from 1; the column in characters.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or(before);
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

fn integer(digits: &str, radix: u32) -> Option<String> {
    let number = i128::from_str_radix(digits, radix).ok()?;
    Some(number.to_string())
}
