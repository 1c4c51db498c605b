//! Settings of mail.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use secrecy::SecretString;
use url::{Host, Url};

use super::reader::Sources;
use super::setting::{Setting, secret, text, worded};
use super::urls::public_url;
use super::values::one_line;

/// The rows of this group.
pub(super) const SETTINGS: &[Setting] = &[
    secret(worded(
        "MAIL_URL",
        "mail.url",
        "on SQLite: `file:` with the folder `mail` beside the database; on PostgreSQL: none",
        "Where mails go: `smtp://user:password@host:587` (STARTTLS is required, the certificate is checked), \
         `smtps://host:465`, `file:data/mail` for a file each, `console` for the terminal, or `off`. A server on a \
         loopback address may be without TLS: `smtp://127.0.0.1:1025?tls=none`.",
    )),
    text(worded(
        "MAIL_FROM",
        "mail.from",
        "`no-reply@` and the host of `PUBLIC_URL`",
        "The sender of mails, such as `Example <accounts@example.org>`.",
    )),
    text(worded(
        "MAIL_LINK_URL",
        "mail.link_url",
        "`PUBLIC_URL`",
        "The beginning of links in mails, for a front end of your own: `/verify-email`, `/reset-password`, `/confirm-email` \
         and `/undo-email` follow, each with the token behind a `#`, or `/forgot-password`. Without it, they lead to the \
         pages of this service (`PAGES`).",
    )),
    text(worded(
        "MAIL_TEMPLATES",
        "mail.templates",
        "none: those in English that are built in",
        "A folder with templates that replace those of the same name, such as `verify.txt` and `verify.html`, or are for \
         another language, such as `verify.de.txt` and `verify.de.html`.",
    )),
];

/// Where mails go.
#[derive(Clone)]
pub enum MailUrl {
    /// To a server.
    Smtp(SmtpUrl),
    /// To a file each, in this folder.
    File(PathBuf),
    /// To the standard error of the service.
    Console,
    /// Nowhere: nothing is sent.
    Off,
}

/// A mail server. `Debug` does not show its password.
#[derive(Clone)]
pub struct SmtpUrl {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: SmtpTls,
    /// The user and the password.
    pub credentials: Option<(String, SecretString)>,
}

/// How a connection to a mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// By STARTTLS, which must succeed.
    StartTls,
    /// From its beginning.
    Wrapped,
    /// Not at all, to a loopback address.
    None,
}

impl MailUrl {
    /// Reads the value of `MAIL_URL`.
    ///
    /// # Errors
    /// One line, which does not repeat the URL, as it may contain a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "must be smtp://host, smtps://host, file:folder, console or off";
        one_line(text)?;
        match text {
            "console" => return Ok(Self::Console),
            "off" => return Ok(Self::Off),
            _ => {}
        }
        if let Some(folder) = text.strip_prefix("file:") {
            if folder.is_empty() {
                return Err("must name a folder after file:".to_owned());
            }
            return Ok(Self::File(PathBuf::from(folder)));
        }
        let url = Url::parse(text).map_err(|_| FORM.to_owned())?;
        let (port, mut tls) = match url.scheme() {
            "smtp" => (587, SmtpTls::StartTls),
            "smtps" => (465, SmtpTls::Wrapped),
            _ => return Err(FORM.to_owned()),
        };
        let host = url.host().ok_or_else(|| FORM.to_owned())?;
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err("must end after the host and the port".to_owned());
        }
        for (name, value) in url.query_pairs() {
            match (name.as_ref(), value.as_ref()) {
                ("tls", "none") if is_loopback(&host) => tls = SmtpTls::None,
                ("tls", "none") => {
                    return Err("may be without TLS on a loopback address only".to_owned());
                }
                _ => return Err("may have the parameter tls=none only".to_owned()),
            }
        }
        let decode = |text: &str| {
            let text = percent_encoding::percent_decode_str(text).decode_utf8();
            text.map(std::borrow::Cow::into_owned)
                .map_err(|_| "must have a user and a password in UTF-8".to_owned())
        };
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some((
                decode(user)?,
                SecretString::from(decode(password.unwrap_or_default())?),
            )),
        };
        if credentials.is_some() && tls == SmtpTls::None {
            return Err("must not send a password without TLS".to_owned());
        }
        Ok(Self::Smtp(SmtpUrl {
            host: url.host_str().unwrap_or_default().to_owned(),
            port: url.port().unwrap_or(port),
            tls,
            credentials,
        }))
    }
}

impl fmt::Debug for MailUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smtp(_) => "Smtp(..)",
            Self::File(_) => "File(..)",
            Self::Console => "Console",
            Self::Off => "Off",
        })
    }
}

/// Settings of mail.
#[derive(Debug, Clone)]
pub struct MailSettings {
    /// Where mails go; `None` for what fits the database.
    pub url: Option<MailUrl>,
    /// The sender, if it is not made of the public URL.
    pub from: Option<String>,
    /// The beginning of links, without a trailing slash; `None` for the public URL.
    pub link_url: Option<String>,
    /// A folder with templates.
    pub templates: Option<PathBuf>,
}

pub(super) fn read(s: &mut Sources) -> MailSettings {
    MailSettings {
        url: s.take_optional("mail.url", MailUrl::parse),
        from: s.take_optional("mail.from", |text| one_line(text).map(|()| text.to_owned())),
        link_url: s.take_optional("mail.link_url", public_url),
        templates: s.take_optional("mail.templates", |text| Ok(PathBuf::from(text))),
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        // With a scheme that the URL standard does not know, an IPv4 address is a name.
        Host::Domain(name) => {
            name.eq_ignore_ascii_case("localhost")
                || name
                    .parse::<Ipv4Addr>()
                    .is_ok_and(|address| address.is_loopback())
        }
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use secrecy::ExposeSecret;

    use super::*;

    #[rstest]
    #[case("smtp://mail.example", "mail.example", 587, SmtpTls::StartTls)]
    #[case("smtp://mail.example:25/", "mail.example", 25, SmtpTls::StartTls)]
    #[case("smtps://mail.example", "mail.example", 465, SmtpTls::Wrapped)]
    #[case("smtp://127.0.0.1:1025?tls=none", "127.0.0.1", 1025, SmtpTls::None)]
    #[case("smtp://[::1]:1025?tls=none", "[::1]", 1025, SmtpTls::None)]
    #[case("smtp://localhost:1025?tls=none", "localhost", 1025, SmtpTls::None)]
    fn servers(#[case] text: &str, #[case] host: &str, #[case] port: u16, #[case] tls: SmtpTls) {
        let Ok(MailUrl::Smtp(url)) = MailUrl::parse(text) else {
            panic!("{text} is refused");
        };
        assert_eq!((url.host.as_str(), url.port, url.tls), (host, port, tls));
        assert!(url.credentials.is_none());
    }

    #[test]
    fn a_password_is_decoded_and_not_shown() {
        let url =
            MailUrl::parse("smtp://ada%40example.org:s%2Fcret@mail.example").expect("accepted");
        assert_eq!(format!("{url:?}"), "Smtp(..)");
        let MailUrl::Smtp(url) = url else {
            panic!("it is a server");
        };
        let (user, password) = url.credentials.expect("there are some");
        assert_eq!(user, "ada@example.org");
        assert_eq!(password.expose_secret(), "s/cret");
    }

    #[rstest]
    #[case("")]
    #[case("mail")]
    #[case("file:")]
    #[case("http://mail.example")]
    #[case("smtp://")]
    #[case("smtp://mail.example/path")]
    #[case("smtp://mail.example?tls=none")]
    #[case("smtp://mail.example?x=y")]
    #[case("smtp://ada:secret@127.0.0.1?tls=none")]
    fn wrong_ones_are_refused_without_being_repeated(#[case] text: &str) {
        let refused = MailUrl::parse(text).expect_err("refused");
        assert!(!refused.contains("secret"), "{refused}");
    }
}
