//! What a person or a script reads on standard output and standard error, outside the log.
//!
//! `println!` and `eprintln!` panic where the stream takes nothing, so the library denies them (see
//! `lib.rs`), and everything that a command writes goes through here. A result that cannot be
//! written is a failure of the command; a note that cannot be written is lost, and the work goes on.

use std::io::{self, Write};
use std::sync::mpsc;
use std::time::Duration;

use super::Failure;

/// How long a last word may take: nobody may be reading.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Writes what the command was run for, with a line break at its end.
///
/// A reader that has seen enough closes the pipe, and that is no failure.
///
/// # Errors
/// When standard output takes nothing, as on a full disk.
pub fn result(text: &str) -> Result<(), Failure> {
    written(put(io::stdout(), text))
}

/// What came of writing a result.
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

/// Writes a line about work that is under way or done: the work counts, not the line.
pub fn progress(text: &str) {
    let _ = put(io::stdout(), text);
}

/// The beginning of a line whose end comes by [`progress`].
pub fn begin_progress(text: &str) {
    let _ = put_part(io::stdout(), text);
}

/// Asks for a decision. It is for the caller to read it.
///
/// # Errors
/// When the question cannot be shown.
pub fn ask(question: &str) -> io::Result<()> {
    put_part(io::stdout(), question)
}

/// Writes to standard error and waits for nobody: where nobody reads, it may take for ever.
pub fn note(text: String) {
    in_background(move || complain(&text));
}

/// Writes to standard error why the process ends. It waits for a reader only for a moment, so that the
/// process does end.
pub fn last_word(text: &str) {
    let text = format!("signup-service: {text}");
    in_time(move || complain(&text));
}

/// Does something that writes to standard error before the process ends, with the same limit.
pub fn in_time(work: impl FnOnce() + Send + 'static) {
    let done = in_background(work);
    let _ = done.recv_timeout(LAST_WORD);
}

/// Writes a text to standard error.
pub fn complain(text: &str) {
    let _ = put(io::stderr(), text);
}

/// The channel closes when the work is done.
fn in_background(work: impl FnOnce() + Send + 'static) -> mpsc::Receiver<()> {
    let (done, receiver) = mpsc::channel::<()>();
    // Without a thread there is no note.
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
