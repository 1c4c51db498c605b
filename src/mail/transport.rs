//! Where mails go: to a server by SMTP, to files, or to the terminal.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::ExposeSecret;

use crate::config::{MailUrl, SmtpTls, SmtpUrl};

/// How long a mail may take to be sent.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Connections to the mail server.
pub const MAX_CONNECTIONS: u32 = 8;

/// Codes that refuse the service, and not the mail: they are about its credentials (RFC 4954, section
/// 6), or say that the server is not ready (RFC 5321, section 4.2.3).
const REFUSES_THE_SERVICE: [u16; 6] = [421, 454, 530, 534, 535, 538];

/// Why a mail was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// The server cannot be reached, or refuses the service: no mail can be sent.
    Unreachable(&'static str),
    /// This mail cannot be sent now.
    Temporary(&'static str),
    /// This mail can never be sent.
    Permanent(&'static str),
}

/// Sends mails.
pub enum Transport {
    /// To a server.
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    /// To a file each, in this folder.
    Files(PathBuf),
    /// To the standard error of the service.
    Console,
}

impl Transport {
    /// The transport of a URL; `None` if mails go nowhere.
    ///
    /// # Errors
    /// One line about the certificates of the system.
    pub fn new(url: &MailUrl) -> Result<Option<Self>, String> {
        Ok(match url {
            MailUrl::Smtp(url) => Some(Self::Smtp(smtp(url)?)),
            MailUrl::File(folder) => Some(Self::Files(folder.clone())),
            MailUrl::Console => Some(Self::Console),
            MailUrl::Off => None,
        })
    }

    /// Sends a mail. `name` is that of its file.
    ///
    /// # Errors
    /// Whether it can be tried again.
    pub async fn send(&self, name: &str, message: Message) -> Result<(), SendError> {
        match self {
            Self::Smtp(server) => {
                let sending = tokio::time::timeout(TIMEOUT, server.send(message));
                match sending.await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(classify(&error)),
                    Err(_) => Err(SendError::Temporary("timeout")),
                }
            }
            Self::Files(folder) => {
                let (path, bytes) = (folder.join(name), message.formatted());
                let file = path.clone();
                let written = tokio::task::spawn_blocking(move || write(&file, &bytes)).await;
                match written {
                    Ok(Ok(())) => {
                        tracing::info!(file = %path.display(), "mail written");
                        Ok(())
                    }
                    Ok(Err(error)) => {
                        tracing::warn!(file = %path.display(), reason = %error, "mail not written");
                        Err(SendError::Unreachable("file"))
                    }
                    Err(_) => Err(SendError::Unreachable("file")),
                }
            }
            Self::Console => {
                let mut stderr = std::io::stderr().lock();
                let written = stderr
                    .write_all(&message.formatted())
                    .and_then(|()| stderr.write_all(b"\r\n"));
                written.map_err(|_| SendError::Unreachable("console"))
            }
        }
    }
}

fn smtp(url: &SmtpUrl) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
    let parameters = || {
        TlsParameters::new(url.host.clone())
            .map_err(|_| "MAIL_URL: the certificates of the system cannot be read".to_owned())
    };
    let tls = match url.tls {
        SmtpTls::StartTls => Tls::Required(parameters()?),
        SmtpTls::Wrapped => Tls::Wrapper(parameters()?),
        SmtpTls::None => Tls::None,
    };
    // Dangerous is what the name warns of: no TLS unless it is set, which it is above.
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&url.host)
        .port(url.port)
        .tls(tls)
        .timeout(Some(TIMEOUT))
        .pool_config(PoolConfig::new().max_size(MAX_CONNECTIONS));
    if let Some((user, password)) = &url.credentials {
        let password = password.expose_secret().to_owned();
        builder = builder.credentials(Credentials::new(user.clone(), password));
    }
    Ok(builder.build())
}

fn classify(error: &lettre::transport::smtp::Error) -> SendError {
    let code = error.status().map(u16::from);
    if code.is_some_and(|code| REFUSES_THE_SERVICE.contains(&code)) {
        SendError::Unreachable("refused")
    } else if error.is_permanent() {
        SendError::Permanent("rejected")
    } else if error.is_transient() {
        SendError::Temporary("deferred")
    } else if error.is_timeout() {
        SendError::Temporary("timeout")
    } else if error.is_tls() {
        SendError::Unreachable("tls")
    } else {
        SendError::Unreachable("connection")
    }
}

/// Writes a mail for its owner only, whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let partial = path.with_extension("part");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)
}
