//! Where the settings come from, and the list of what is wrong with them.
//!
//! What is said of a setting goes to a terminal or a log, so it never has a value in it that may be a
//! secret: not of a setting that is marked so, not what is written in the place of a name, and nothing
//! that [`may_be_shown`] does not take for harmless.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;
use toml::de::{DeTable, DeValue};

use super::setting::{self, Setting};

/// The longest file that is read, for settings or for one value, in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// The longest value that is repeated when it is wrong, in bytes.
const MAX_SHOWN: usize = 40;

/// Variables with this beginning are standard, and often set for every program of a machine: what this
/// one does not know of their values is ignored, with a warning, as OpenTelemetry asks for.
const STANDARD: &str = "OTEL_";

/// Everything that is wrong with the settings, one line each.
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
                write!(f, "{} settings are wrong:", many.len())?;
                many.iter().try_for_each(|line| write!(f, "\n  {line}"))
            }
        }
    }
}

impl std::error::Error for Mistakes {}

/// Something that the service can live with, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The variable that it is about.
    pub setting: String,
    /// What to look at; without a secret.
    pub text: String,
}

/// An option of the command line: the setting's place, how the option is called, and its value.
pub type CommandLineOption = (&'static str, &'static str, Option<String>);

/// Whether a wrong value may be repeated to whoever set it: short, and without the signs that URLs with
/// passwords, headers and tokens have.
#[must_use]
pub fn may_be_shown(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " .,:/_-[]".contains(c);
    text.len() <= MAX_SHOWN && text.chars().all(is_plain) && !text.contains("//")
}

struct Value {
    /// Wiped when it is dropped.
    text: Zeroizing<String>,
    /// How the one who set it calls it: the variable, the option, or the place in the file.
    called: String,
    /// Whether a wrong value is ignored with a warning.
    lenient: bool,
}

/// The variable that names a file with the value.
fn file_variable(setting: &Setting) -> String {
    format!("{}_FILE", setting.env)
}

/// The values that were set, by their variables, and what was noticed so far.
pub struct Sources {
    values: BTreeMap<&'static str, Value>,
    mistakes: Vec<String>,
    warnings: Vec<Warning>,
}

impl Sources {
    /// The file, if one is named here or by `SIGNUP_CONFIG`; then the process's environment; then the
    /// options of the command line.
    ///
    /// # Errors
    /// When the file can't be read or is no TOML.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks")]
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

    /// These variables and this text of a file, and nothing of the system's.
    ///
    /// # Errors
    /// When the text is no TOML.
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

    /// The options win over everything else.
    pub(super) fn take_options(&mut self, options: &[CommandLineOption]) {
        for (toml, option, value) in options {
            if let (Some(setting), Some(value)) = (setting::find(toml), value) {
                self.set(setting, value.clone(), (*option).to_owned(), false);
            }
        }
    }

    /// A variable that is nearly the name of a setting has no effect, which nobody would notice.
    fn look_for_mistyped(&mut self, name: &str) {
        let bare = name.strip_suffix("_FILE").unwrap_or(name);
        if setting::all().any(|setting| setting.env == bare) {
            return;
        }
        // Of short names there are too many others.
        let known = setting::all().map(|setting| setting.env);
        if let Some(meant) = nearest(bare, known.filter(|known| known.len() > 5), 1) {
            self.warnings.push(Warning {
                setting: name.to_owned(),
                text: format!("this variable is no setting; did you mean {meant}?"),
            });
        }
    }

    fn from_toml(text: &str, path: Option<&str>) -> Result<Self, Mistakes> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let table = DeTable::parse(text).map_err(|error| {
            let path = path.map(|path| format!("{path}, ")).unwrap_or_default();
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            // The message alone: the full text would quote the line, secrets included.
            let message = error.message().replace('\n', " ");
            Mistakes::one(format!(
                "the settings file is no TOML: {path}line {line}, column {column}: {message}"
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
            DeValue::String(text) => (Some(text.to_string()), "a text"),
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
                "{} must be a text in quotes, and is {kind}",
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

    /// Takes a value from a file, as container platforms hand secrets over.
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
        // Somebody may have put the secret itself where its file's name belongs.
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

    /// A setting whose default stands in the table.
    ///
    /// A wrong value is a mistake, told by [`Sources::finish`]; until then the default stands in.
    ///
    /// # Panics
    /// When the table has no such setting or a wrong default: a mistake in this folder.
    pub fn take<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let value = self.take_optional(name, &parse);
        value.unwrap_or_else(|| {
            setting::find(name)
                .and_then(|setting| parse(setting.default?).ok())
                .expect("a test reads every default in the table")
        })
    }

    /// A setting whose default depends on the machine or on another setting.
    pub fn take_or<T>(
        &mut self,
        name: &str,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.take_optional(name, parse).unwrap_or(default)
    }

    /// A setting that may be absent.
    ///
    /// # Panics
    /// When the table has no such setting: a mistake in this folder.
    pub fn take_optional<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let setting = setting::find(name).expect("a setting that is read stands in the table");
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

    /// Notes a mistake that parsing alone can't find.
    pub fn mistake(&mut self, name: &str, what: &str) {
        let called = self.called(name);
        self.mistakes.push(format!("{called} {what}"));
    }

    /// Notes something that works, and that whoever runs the service should know.
    pub fn warn(&mut self, name: &str, text: &str) {
        let warning = Warning {
            setting: self.called(name),
            text: text.to_owned(),
        };
        self.warnings.push(warning);
    }

    /// How the one who set it calls a setting; its variable where nobody did.
    fn called(&self, name: &str) -> String {
        let env = setting::find(name).map_or(name, |setting| setting.env);
        let set = self.values.get(env).map(|value| value.called.clone());
        set.unwrap_or_else(|| env.to_owned())
    }

    /// Ends the reading; gives what is worth a warning.
    ///
    /// # Errors
    /// Every mistake found.
    pub fn finish(self) -> Result<Vec<Warning>, Mistakes> {
        if self.mistakes.is_empty() {
            Ok(self.warnings)
        } else {
            Err(Mistakes(self.mistakes))
        }
    }
}

/// A file's text, without the mark that some editors of Windows put before it.
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

/// A path, unless it looks as if it were something else.
fn shown_path(path: &Path) -> Option<String> {
    let path = path.to_str()?;
    let is_path = !path.contains("//") && !path.contains('@') && !path.contains(char::is_control);
    is_path.then(|| path.to_owned())
}

/// A place in the file that no setting has. Its name is repeated only where it is nearly that of a
/// setting: a secret can stand there.
fn unknown(place: &str, line: usize) -> String {
    let settings = setting::all().map(|setting| setting.toml);
    let sections = setting::all().filter_map(|setting| setting.toml.split_once('.'));
    let known = settings.chain(sections.map(|(section, _)| section));
    match nearest(place, known, 2) {
        Some(meant) => format!("{place} is no setting (line {line}); did you mean {meant}?"),
        None => {
            format!("line {line} of the settings file is no setting; docs/settings.md lists them")
        }
    }
}

/// The known name that was meant, where at most so many letters are wrong, and few beside its length.
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

/// Line and column of a byte, both from 1; the column in characters.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or(before);
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

fn integer(digits: &str, radix: u32) -> Option<String> {
    let number = i128::from_str_radix(digits, radix).ok()?;
    Some(number.to_string())
}
