//! Output on standard output and standard error, outside the log.
//!
//! `println!` and `eprintln!` panic when the stream cannot be written, so the library denies them
//! (see `lib.rs`), and commands write through this module. A result that cannot be written is a
//! failure of the command; a notice that cannot be written is lost, and the work goes on.

use std::io::{self, Write};
use std::sync::mpsc;
use std::time::Duration;

use super::Failure;

/// How long the last output may take: the stream may have no reader.
const STDERR_LIMIT: Duration = Duration::from_secs(2);

/// Writes the result of a command, with a line break at its end.
///
/// A reader may close the pipe early; that is not a failure.
///
/// # Errors
/// When standard output cannot be written, as on a full disk.
pub fn result(text: &str) -> Result<(), Failure> {
    written(put(io::stdout(), text))
}

/// Turns the outcome of writing a result into that of the command.
///
/// # Errors
/// As [`result`].
pub fn written(outcome: io::Result<()>) -> Result<(), Failure> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(&format!(
            "cannot write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Writes a line about the progress of the work. Failures are ignored.
pub fn progress(text: &str) {
    let _ = put(io::stdout(), text);
}

/// Writes the beginning of a line that [`progress`] completes.
pub fn begin_progress(text: &str) {
    let _ = put_part(io::stdout(), text);
}

/// Writes to standard error without a line break, such as a progress bar. Failures are ignored.
pub fn status(text: &str) {
    let _ = put_part(io::stderr(), text);
}

/// Writes a prompt. The caller reads the reply.
///
/// # Errors
/// When the prompt cannot be written.
pub fn prompt(question: &str) -> io::Result<()> {
    put_part(io::stdout(), question)
}

/// Writes to standard error without waiting: without a reader, that may block for ever.
pub fn notice(text: String) {
    in_background(move || error(&text));
}

/// Writes to standard error why the process ends. It waits only briefly for a reader, so that the
/// process does end.
pub fn fatal(text: &str) {
    let text = format!("signup-service: {text}");
    in_time(move || error(&text));
}

/// Does work that writes to standard error before the process ends, with the same limit.
pub fn in_time(work: impl FnOnce() + Send + 'static) {
    let done = in_background(work);
    let _ = done.recv_timeout(STDERR_LIMIT);
}

/// Writes a text to standard error.
pub fn error(text: &str) {
    let _ = put(io::stderr(), text);
}

/// The channel closes when the work is done.
fn in_background(work: impl FnOnce() + Send + 'static) -> mpsc::Receiver<()> {
    let (done, receiver) = mpsc::channel::<()>();
    // Without a thread the notice is lost.
    let _ = std::thread::Builder::new().spawn(move || {
        work();
        drop(done);
    });
    receiver
}

fn put(stream: impl Write, text: &str) -> io::Result<()> {
    put_part(stream, &format!("{}\n", text.trim_end()))
}

fn put_part(mut stream: impl Write, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.flush()
}
