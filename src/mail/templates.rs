//! The templates of mails: those in the program, and those of the operator's folder.
//!
//! A file of the folder takes the place of a template, as `verify.txt`, or is the template for a
//! language, as `verify.de.txt`.

use std::collections::HashSet;
use std::path::Path;

use minijinja::{AutoEscape, Environment, Template, UndefinedBehavior};

use super::queue::Kind;
use crate::domain::Locale;

/// The templates of a kind, in the program.
macro_rules! built_in {
    ($($kind:literal),+ $(,)?) => {
        [$(
            (concat!($kind, ".txt"), include_str!(concat!("templates/", $kind, ".txt"))),
            (concat!($kind, ".html"), include_str!(concat!("templates/", $kind, ".html"))),
        )+]
    };
}

const BUILT_IN: [(&str, &str); 26] = built_in![
    "verify",
    "reset",
    "login_closed",
    "password_changed",
    "session_reused",
    "set_password",
    "confirm_email",
    "email_changing",
    "email_changed",
    "email_restored",
    "account_exists",
    "address_reserved",
    "erased",
];

/// The templates, by their names.
pub struct Templates(Environment<'static>);

/// The templates of a mail.
pub struct Pair<'a> {
    /// The text, whose first line is the subject.
    pub text: Template<'a, 'a>,
    /// The HTML.
    pub html: Template<'a, 'a>,
    /// The tag of their language; `None` if they are those for any.
    pub language: Option<&'a str>,
}

impl Templates {
    /// Reads the templates.
    ///
    /// # Errors
    /// One line that says what is wrong, and with which file.
    pub fn read(folder: Option<&Path>) -> Result<Self, String> {
        let mut all = Environment::new();
        // A misspelt variable is found when the service starts.
        all.set_undefined_behavior(UndefinedBehavior::Strict);
        all.set_auto_escape_callback(|name| {
            let extension = Path::new(name).extension();
            if extension.is_some_and(|extension| extension == "html") {
                AutoEscape::Html
            } else {
                AutoEscape::None
            }
        });
        for (name, source) in BUILT_IN {
            all.add_template(name, source)
                .map_err(|error| format!("{name}: {error}"))?;
        }
        if let Some(folder) = folder {
            add_own(&mut all, folder).map_err(|error| format!("MAIL_TEMPLATES: {error}"))?;
        }
        Ok(Self(all))
    }

    /// The templates of a kind, in the best language for this one that there is.
    #[must_use]
    pub fn get<'a>(&'a self, kind: Kind, locale: Option<&'a Locale>) -> Option<Pair<'a>> {
        let tags = locale.into_iter().flat_map(Locale::lookup);
        let mut languages = tags.map(Some).chain([None]);
        languages.find_map(|language| self.pair(kind, language))
    }

    /// The templates of a kind, in every language.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = Pair<'_>> {
        let names = self.0.templates().map(|(name, _)| name);
        let texts = names.filter_map(move |name| {
            let rest = name.strip_prefix(kind.as_str())?;
            rest.strip_prefix('.')?.strip_suffix("txt")
        });
        texts.filter_map(move |tag| self.pair(kind, tag.strip_suffix('.')))
    }

    fn pair<'a>(&'a self, kind: Kind, language: Option<&'a str>) -> Option<Pair<'a>> {
        let of = |extension: &str| {
            let name = name(kind.as_str(), language, extension);
            self.0.get_template(&name).ok()
        };
        Some(Pair {
            text: of("txt")?,
            html: of("html")?,
            language,
        })
    }
}

fn name(kind: &str, language: Option<&str>, extension: &str) -> String {
    match language {
        None => format!("{kind}.{extension}"),
        Some(language) => format!("{kind}.{language}.{extension}"),
    }
}

/// Adds the templates of a folder. Other files, those with a dot in front, and folders are left alone.
fn add_own(all: &mut Environment<'static>, folder: &Path) -> Result<(), String> {
    let unreadable = |error| format!("the folder cannot be read: {error}");
    let mut added = HashSet::new();
    for file in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = file.map_err(unreadable)?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_file = path.is_file() && !file.starts_with('.');
        let Some(extension @ ("txt" | "html")) = extension.filter(|_| is_file) else {
            continue;
        };
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let (kind, language) = match stem.split_once('.') {
            None => (&*stem, None),
            Some((kind, tag)) => {
                let locale = Locale::parse(tag);
                let locale = locale.map_err(|_| format!("{file}: {tag} is no language tag"))?;
                (kind, Some(locale))
            }
        };
        if !BUILT_IN
            .iter()
            .any(|(known, _)| *known == name(kind, None, extension))
        {
            return Err(format!("{file}: there is no mail {kind}"));
        }
        let name = name(kind, language.as_ref().map(Locale::as_str), extension);
        let source = std::fs::read_to_string(&path)
            .map_err(|error| format!("{file} cannot be read: {error}"))?;
        all.add_template_owned(name.clone(), source)
            .map_err(|error| format!("{file} is no template: {error}"))?;
        if !added.insert(name) {
            return Err(format!("{file}: there is another file for this language"));
        }
    }
    for name in &added {
        let other = match name.strip_suffix(".txt") {
            Some(stem) => format!("{stem}.html"),
            None => name.replace(".html", ".txt"),
        };
        if all.get_template(&other).is_err() {
            return Err(format!("{name} needs {other} beside it"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        folder
    }

    fn rendered(templates: &Templates, locale: &str) -> (String, Option<String>) {
        let locale = Locale::parse(locale).expect("a tag");
        let pair = templates.get(Kind::Verify, Some(&locale)).expect("found");
        let text = pair.text.render(()).expect("rendered");
        assert_eq!(
            text,
            pair.html.render(()).expect("rendered"),
            "one language"
        );
        (text, pair.language.map(str::to_owned))
    }

    #[test]
    fn the_best_language_that_there_is_is_taken() {
        let folder = folder(&[
            ("verify.txt", "any"),
            ("verify.html", "any"),
            ("verify.de.txt", "de"),
            ("verify.de.html", "de"),
            ("verify.zh-hant.txt", "zh-Hant"),
            ("verify.zh-Hant.html", "zh-Hant"),
            (".verify.fr.txt", "hidden"),
            ("README.md", "no template"),
        ]);
        let templates = Templates::read(Some(folder.path())).expect("read");
        let found = |text: &str, tag: Option<&str>| (text.to_owned(), tag.map(str::to_owned));
        assert_eq!(rendered(&templates, "de-AT"), found("de", Some("de")));
        assert_eq!(rendered(&templates, "DE"), found("de", Some("de")));
        assert_eq!(
            rendered(&templates, "zh-Hant-TW"),
            found("zh-Hant", Some("zh-Hant"))
        );
        assert_eq!(rendered(&templates, "zh"), found("any", None));
        assert_eq!(rendered(&templates, "fr"), found("any", None));
        // What has no template in the language is sent in the other one.
        let locale = Locale::parse("de").expect("a tag");
        let pair = templates.get(Kind::Reset, Some(&locale)).expect("found");
        assert_eq!(pair.language, None);
        assert!(templates.get(Kind::ResetRequest, None).is_none());
    }

    #[test]
    fn a_file_that_is_no_template_is_refused() {
        let refusal = |files: &[(&str, &str)]| {
            let folder = folder(files);
            let error = Templates::read(Some(folder.path())).err();
            error.expect("refused")
        };
        for (files, reason) in [
            (
                vec![("welcome.txt", "")],
                "MAIL_TEMPLATES: welcome.txt: there is no mail welcome",
            ),
            (
                vec![("verify.de_AT.txt", "")],
                "MAIL_TEMPLATES: verify.de_AT.txt: de_AT is no language tag",
            ),
            (
                vec![("verify.de.html", "")],
                "MAIL_TEMPLATES: verify.de.html needs verify.de.txt beside it",
            ),
        ] {
            assert_eq!(refusal(&files), reason);
        }
        let broken = refusal(&[("reset.html", "{% if")]);
        assert!(broken.contains("reset.html is no template"), "{broken}");
        let twice = refusal(&[("verify.de.txt", ""), ("verify.DE.txt", "")]);
        assert!(twice.contains("another file for this language"), "{twice}");
        let missing = Templates::read(Some(Path::new("/nonexistent"))).err();
        let missing = missing.expect("refused");
        assert!(missing.contains("the folder cannot be read"), "{missing}");
    }
}
