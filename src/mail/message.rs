//! What a mail says: templates, rendered as text and as HTML.
//!
//! A template begins with its subject; its HTML is in a file of its own. Names are hostile: HTML is
//! escaped, and a subject is one line.

use std::path::Path;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use minijinja::{Template, Value, context};
use secrecy::zeroize::Zeroizing;
use url::Url;
use uuid::Uuid;

use super::links;
use super::queue::Kind;
use super::templates::{Pair, Templates};
use crate::domain::Locale;
use crate::tokens::one_time::Use;

/// Renders mails.
pub struct Renderer {
    templates: Templates,
    from: Mailbox,
    /// The beginning of links, without a trailing slash.
    links: String,
    /// The host of the service, for people and in `Message-ID`s.
    host: String,
    /// Whether the link to confirm an address takes the password as well.
    with_password: bool,
}

/// A mail to render.
pub struct Letter<'a> {
    /// Its id.
    pub id: Uuid,
    /// What it is about.
    pub kind: Kind,
    /// The address, as typed.
    pub to: &'a str,
    /// The user's name.
    pub name: &'a str,
    /// The user's language.
    pub locale: Option<&'a Locale>,
    /// The token of its link.
    pub token: Option<&'a str>,
    /// What its link is for.
    pub purpose: Option<Use>,
    /// When it was caused.
    pub at: DateTime<Utc>,
}

impl Renderer {
    /// Reads the templates.
    ///
    /// # Errors
    /// One line that says which setting or template is wrong.
    pub fn new(
        public_url: &str,
        link_url: Option<&str>,
        from: Option<&str>,
        folder: Option<&Path>,
        with_password: bool,
    ) -> Result<Self, String> {
        let host = Url::parse(public_url).ok();
        let host = host.and_then(|url| url.host_str().map(str::to_owned));
        let host = host.unwrap_or_else(|| "localhost".to_owned());
        let from = from.map_or_else(|| format!("no-reply@{host}"), str::to_owned);
        let from = from
            .parse()
            .map_err(|_| "MAIL_FROM: must be an address such as accounts@example.org".to_owned())?;
        let renderer = Self {
            templates: Templates::read(folder)?,
            from,
            links: link_url.unwrap_or(public_url).to_owned(),
            host,
            with_password,
        };
        renderer.try_all()?;
        Ok(renderer)
    }

    /// Renders a mail with each template, so that none is found wrong when a user waits for its mail.
    fn try_all(&self) -> Result<(), String> {
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_sent()) {
            for pair in self.templates.all(kind) {
                let letter = Letter {
                    id: Uuid::nil(),
                    kind,
                    to: "ada@example.org",
                    name: "Ada",
                    locale: None,
                    token: kind.has_link().then_some("TOKEN"),
                    purpose: kind.has_link().then_some(Use::Verify),
                    at: DateTime::UNIX_EPOCH,
                };
                self.text(&letter, &pair)
                    .map_err(|error| format!("MAIL_TEMPLATES: {error}"))?;
            }
        }
        Ok(())
    }

    /// Renders a mail. The same one has the same `Message-ID` each time, so that a copy is known as one.
    ///
    /// # Errors
    /// What is wrong, in a word.
    pub fn render(&self, letter: &Letter<'_>) -> Result<Message, &'static str> {
        let pair = self.templates.get(letter.kind, letter.locale);
        let pair = pair.ok_or("template")?;
        let text = self.text(letter, &pair).map_err(|_| "template")?;
        let to: Mailbox = letter.to.parse().map_err(|_| "address")?;
        let mut message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(text.subject)
            .message_id(Some(format!("<{}@{}>", letter.id, self.host)))
            .date(SystemTime::from(letter.at))
            .multipart(MultiPart::alternative_plain_html(text.plain, text.html))
            .map_err(|_| "message")?;
        // No reply by a machine (RFC 3834, section 5).
        let mut headers = vec![("Auto-Submitted", "auto-generated")];
        // RFC 3282.
        headers.extend(pair.language.map(|tag| ("Content-Language", tag)));
        for (name, value) in headers {
            let name = HeaderName::new_from_ascii_str(name);
            let header = HeaderValue::new(name, value.to_owned());
            message.headers_mut().insert_raw(header);
        }
        Ok(message)
    }

    /// The text of a mail. An error names the template.
    fn text(&self, letter: &Letter<'_>, pair: &Pair<'_>) -> Result<Text, String> {
        let page = match letter.kind {
            Kind::Reset | Kind::LoginClosed | Kind::SetPassword | Kind::EmailRestored => {
                "reset-password"
            }
            Kind::ConfirmEmail => "confirm-email",
            Kind::EmailChanging | Kind::EmailChanged => "undo-email",
            _ => "verify-email",
        };
        // The token is in the fragment, which no log and no `Referer` has.
        let link = letter.token.map(|token| {
            let link = format!("{}/{page}#{token}", self.links);
            Zeroizing::new(link)
        });
        let values = context! {
            name => letter.name,
            service => self.host.as_str(),
            // Not there in a mail without a link: a template that has it there is refused.
            link => or_undefined(link.as_deref()),
            forgot_link => format!("{}/forgot-password", self.links),
            valid_for => or_undefined(letter.purpose.map(links::in_words)),
            valid_minutes => or_undefined(letter.purpose.map(|of| links::life(of).num_minutes())),
            with_password => self.with_password,
        };
        let render = |template: &Template<'_, '_>| {
            let name = template.name();
            let rendered = template.render(&values);
            rendered.map_err(|error| format!("{name} cannot be used: {error}"))
        };
        let (text, html) = (render(&pair.text)?, render(&pair.html)?);
        let parts = text.split_once('\n');
        let parts =
            parts.and_then(|(subject, text)| Some((subject.strip_prefix("Subject:")?, text)));
        let (subject, plain) =
            parts.ok_or_else(|| format!("{}: begin it with Subject: …", pair.text.name()))?;
        Ok(Text {
            subject: subject.trim().to_owned(),
            plain: plain.trim_start().to_owned(),
            html,
        })
    }
}

fn or_undefined(value: Option<impl Into<Value>>) -> Value {
    value.map_or(Value::UNDEFINED, Into::into)
}

/// The rendered parts of a mail.
struct Text {
    subject: String,
    plain: String,
    html: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(kind: Kind, name: &str) -> Letter<'_> {
        Letter {
            id: Uuid::from_u128(7),
            kind,
            to: "ada@example.org",
            name,
            token: Some("TOKEN"),
            locale: None,
            purpose: Some(Use::Verify),
            at: DateTime::from_timestamp(1_700_000_000, 0).expect("in range"),
        }
    }

    fn rendered(kind: Kind, name: &str) -> String {
        let renderer = Renderer::new("https://signup.example", None, None, None, true);
        let message = renderer.expect("built in").render(&letter(kind, name));
        let text = String::from_utf8(message.expect("a mail").formatted()).expect("ASCII");
        // Soft line breaks of quoted-printable.
        text.replace("=\r\n", "")
    }

    #[test]
    fn every_kind_that_is_sent_has_templates() {
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_sent()) {
            let text = rendered(kind, "Ada");
            assert!(text.contains("To: ada@example.org\r\n"), "{text}");
            assert!(text.contains("From: no-reply@signup.example\r\n"), "{text}");
            let id = "Message-ID: <00000000-0000-0000-0000-000000000007@signup.example>\r\n";
            assert!(text.contains(id), "{text}");
            assert!(
                text.contains("Auto-Submitted: auto-generated\r\n"),
                "{text}"
            );
            if !matches!(kind, Kind::Erased | Kind::ConfirmEmail) {
                assert!(text.contains("Hello Ada,"), "{text}");
            }
        }
        let verify = rendered(Kind::Verify, "Ada");
        assert!(
            verify.contains("https://signup.example/verify-email#TOKEN"),
            "{verify}"
        );
        for kind in [Kind::Reset, Kind::LoginClosed] {
            let reset = rendered(kind, "Ada");
            assert!(
                reset.contains("https://signup.example/reset-password#TOKEN"),
                "{reset}"
            );
        }
    }

    #[test]
    fn names_are_escaped_and_add_no_header() {
        let text = rendered(Kind::Verify, "<b>Ada</b>\r\nBcc: eve@example.org");
        assert!(text.contains("Hello &lt;b&gt;Ada"), "{text}");
        let head = text.split("\r\n\r\n").next().expect("a head");
        assert!(!head.contains("Bcc"), "{head}");
    }

    #[test]
    fn own_templates_replace_those_built_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = "Subject: {{ name }}, confirm\n\nMy {{ link }}\n";
        std::fs::write(folder.path().join("verify.txt"), own).expect("written");
        let renderer = |folder: &Path| {
            Renderer::new(
                "https://signup.example",
                Some("https://app.example/account"),
                Some("Example <accounts@example.org>"),
                Some(folder),
                true,
            )
        };
        let message = renderer(folder.path()).expect("read");
        let message = message.render(&letter(Kind::Verify, "Ada\nBcc: eve@example.org"));
        let text = String::from_utf8(message.expect("a mail").formatted()).expect("ASCII");
        assert!(
            text.contains("My https://app.example/account/verify-email#TOKEN"),
            "{text}"
        );
        assert!(
            text.contains("From: Example <accounts@example.org>\r\n"),
            "{text}"
        );
        assert!(
            !text
                .split("\r\n\r\n")
                .next()
                .expect("a head")
                .contains("\nBcc"),
            "{text}"
        );
        std::fs::write(folder.path().join("reset.html"), "{% if").expect("written");
        let error = renderer(folder.path()).err().expect("no template");
        assert!(error.contains("reset.html"), "{error}");
        // Those that would fail only when a mail is sent.
        for (text, reason) in [
            (
                "Subject: Hello\n\n{{ first_name }}",
                "MAIL_TEMPLATES: reset.de.txt cannot be used: undefined value (in reset.de.txt:3)",
            ),
            (
                "Hello {{ name }},\n\n{{ link }}",
                "MAIL_TEMPLATES: reset.de.txt: begin it with Subject: …",
            ),
            (
                "Subject: Hello",
                "MAIL_TEMPLATES: reset.de.txt: begin it with Subject: …",
            ),
        ] {
            std::fs::write(folder.path().join("reset.html"), "").expect("written");
            std::fs::write(folder.path().join("reset.de.html"), "").expect("written");
            std::fs::write(folder.path().join("reset.de.txt"), text).expect("written");
            assert_eq!(renderer(folder.path()).err().as_deref(), Some(reason));
        }
        std::fs::write(folder.path().join("reset.de.txt"), "Subject: A\n\nB").expect("written");
        assert!(renderer(folder.path()).is_ok());
        let notice = folder.path().join("password_changed.html");
        std::fs::write(notice, "{{ link }}").expect("written");
        let error = renderer(folder.path()).err().expect("it has no link");
        assert!(error.contains("password_changed.html"), "{error}");
    }
}
