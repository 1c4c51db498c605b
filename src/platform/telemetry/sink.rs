//! Writes log lines off the threads that serve requests.
//!
//! A line is appended to a bounded buffer; a separate thread writes the buffer out in batches. So a
//! busy service pays one wake-up and one system call for many lines, and an output that is slow or
//! stuck costs lines, which are counted, but never a request's time.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::platform::limits::{Bound, Limit};
use prometheus::IntCounter;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes that may wait for the writer.
const CAPACITY: usize = 4 * 1024 * 1024;

/// How long lines are collected before they are written.
const GATHER: Duration = Duration::from_millis(5);

/// How long the last lines may take to be written when the service ends.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "Log lines that wait to be written",
        bound: Bound::Bytes(CAPACITY),
        effect: "further lines are dropped and counted",
    },
    Limit {
        what: "Last log lines at the end of the process",
        bound: Bound::Time(FLUSH_LIMIT),
        effect: "the rest is lost",
    },
    Limit {
        what: "Spans that wait for the collector",
        bound: Bound::Setting("OTEL_BSP_MAX_QUEUE_SIZE"),
        effect: "further spans are dropped and counted",
    },
    Limit {
        what: "`tracestate` of a request",
        bound: Bound::Bytes(super::traces::MAX_HEADER),
        effect: "it is ignored",
    },
    Limit {
        what: "Last spans at the end of the process",
        bound: Bound::Time(super::traces::FLUSH_LIMIT),
        effect: "the rest is lost",
    },
];

/// A buffered log sink. Clones share the same sink.
#[derive(Clone)]
pub struct Sink {
    shared: Arc<Shared>,
}

/// When dropped, writes out the buffered lines, within a time limit.
pub struct Flush {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Lines that were dropped because the sink was full.
    dropped: IntCounter,
}

struct State {
    waiting: Vec<u8>,
    closed: bool,
    ended: bool,
}

/// Starts the thread that writes to `output`. Lines that are dropped because it is too slow are
/// counted.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(
    output: impl Write + Send + 'static,
    dropped: IntCounter,
) -> io::Result<(Sink, Flush)> {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            waiting: Vec::new(),
            closed: false,
            ended: false,
        }),
        changed: Condvar::new(),
        dropped,
    });
    let writing = Arc::clone(&shared);
    let writer = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || writing.write_until_closed(output))?;
    let sink = Sink {
        shared: Arc::clone(&shared),
    };
    let flush = Flush {
        shared,
        writer: Some(writer),
    };
    Ok((sink, flush))
}

impl Write for &Sink {
    /// Buffers a whole line, or drops it if the buffer is full.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.shared.lock();
        if state.waiting.len() + line.len() > CAPACITY {
            self.shared.dropped.inc();
            return Ok(line.len());
        }
        let was_empty = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if was_empty {
            self.shared.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_until_closed(&self, mut output: impl Write) {
        let mut batch = Vec::new();
        let mut cut = false;
        loop {
            let mut state = self.lock();
            while state.waiting.is_empty() && !state.closed {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            // Collect more lines, unless the sink is closed.
            let (mut state, _) = self
                .changed
                .wait_timeout_while(state, GATHER, |state| !state.closed)
                .unwrap_or_else(PoisonError::into_inner);
            if state.waiting.is_empty() && state.closed {
                state.ended = true;
                self.changed.notify_all();
                return;
            }
            std::mem::swap(&mut batch, &mut state.waiting);
            drop(state);
            self.put(&mut output, &batch, &mut cut);
            batch.clear();
        }
    }
}

impl Shared {
    /// Writes lines out. An output that cannot be written, such as a full disk or a closed pipe,
    /// does not stop the service: the lines are dropped and counted. `cut` is set while the output
    /// ends in an incomplete line.
    fn put(&self, output: &mut impl Write, batch: &[u8], cut: &mut bool) {
        let mut rest = batch;
        if *cut {
            // The next line must not be appended to it.
            if output.write_all(b"\n").is_err() {
                return self.count_dropped(rest);
            }
            *cut = false;
        }
        while !rest.is_empty() {
            match output.write(rest) {
                Ok(0) => break,
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let taken = &batch[..batch.len() - rest.len()];
        *cut = !rest.is_empty() && taken.last().is_some_and(|byte| *byte != b'\n');
        self.count_dropped(rest);
        let _ = output.flush();
    }

    fn count_dropped(&self, lines: &[u8]) {
        let count = lines.split(|byte| *byte == b'\n').skip(1).count();
        self.dropped
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        self.shared.changed.notify_all();
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, FLUSH_LIMIT, |state| !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        let ended = state.ended;
        drop(state);
        // A stuck output is abandoned, so that the process ends.
        if ended && let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Sends what is written; blocks while it is not received.
    struct Pipe(mpsc::SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .send(bytes.to_vec())
                .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn counter() -> IntCounter {
        IntCounter::new("dropped", "Lines.").expect("a name")
    }

    #[test]
    fn lines_come_out_whole_and_in_order_and_the_last_are_flushed() {
        let (sender, receiver) = mpsc::sync_channel(1_000);
        let dropped = counter();
        let (sink, flush) = start(Pipe(sender), dropped.clone()).expect("a thread");
        let mut expected = String::new();
        for number in 0..1_000 {
            let line = format!("line {number}\n");
            (&sink).write_all(line.as_bytes()).expect("never fails");
            expected += &line;
        }
        drop(flush);
        let written: Vec<u8> = receiver.try_iter().flatten().collect();
        assert_eq!(String::from_utf8_lossy(&written), expected);
        assert_eq!(dropped.get(), 0);
    }

    /// Accepts this many bytes, then is full for one write, and then accepts everything again.
    struct Full {
        room: usize,
        taken: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                self.room = usize::MAX;
                return Err(io::ErrorKind::StorageFull.into());
            }
            let count = bytes.len().min(self.room);
            self.room -= count;
            let _ = self.taken.send(bytes[..count].to_vec());
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_lost_to_a_full_output_are_counted_and_no_lines_are_joined() {
        let (taken, receiver) = mpsc::channel();
        let dropped = counter();
        let (_, flush) = start(io::sink(), dropped.clone()).expect("a thread");
        let mut full = Full { room: 10, taken };
        let mut cut = false;
        for batch in ["first\nsecond\nthird\n", "fourth\n", "fifth\n"] {
            flush.shared.put(&mut full, batch.as_bytes(), &mut cut);
        }
        let written: Vec<u8> = receiver.try_iter().flatten().collect();
        assert_eq!(
            String::from_utf8_lossy(&written),
            "first\nseco\nfourth\nfifth\n"
        );
        assert_eq!(dropped.get(), 2);
    }

    #[test]
    fn a_stuck_sink_drops_and_counts_lines_without_blocking() {
        let (sender, receiver) = mpsc::sync_channel(0);
        let dropped = counter();
        let (sink, flush) = start(Pipe(sender), dropped.clone()).expect("a thread");
        let line = vec![b'x'; 64 * 1024];
        // The writer takes at most one batch; the rest is bounded by the capacity, and excess lines
        // are dropped.
        for _ in 0..3 * CAPACITY / line.len() {
            (&sink).write_all(&line).expect("never fails");
        }
        assert!(dropped.get() > 0);
        // The reader closes, and the writer ends.
        drop(receiver);
        drop(flush);
    }
}
