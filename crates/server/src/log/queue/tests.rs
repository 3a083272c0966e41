use super::*;
use std::io::ErrorKind;
use std::sync::mpsc;

/// A stream whose writes wait for a prepared result.
struct Steps {
    outcomes: mpsc::Receiver<Result<usize, ErrorKind>>,
    written: Arc<Mutex<Vec<u8>>>,
    asked: mpsc::Sender<()>,
}

impl Destination for Steps {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.asked.send(()).unwrap();
        let Ok(outcome) = self.outcomes.recv() else {
            loop {
                std::thread::park();
            }
        };
        let count = outcome?.min(bytes.len());
        self.written.lock().unwrap().extend_from_slice(&bytes[..count]);
        Ok(count)
    }
}

struct Stage {
    queue: LogQueue,
    outcomes: mpsc::Sender<Result<usize, ErrorKind>>,
    asked: mpsc::Receiver<()>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Stage {
    fn new(bytes_max: usize) -> Self {
        let (outcomes, coming) = mpsc::channel();
        let (asks, asked) = mpsc::channel();
        let written = Arc::default();
        let steps = Steps {
            outcomes: coming,
            written: Arc::clone(&written),
            asked: asks,
        };
        let queue = LogQueue::start_with(steps, bytes_max);
        Self {
            queue,
            outcomes,
            asked,
            written,
        }
    }

    /// Sets the result of the next write: a count of bytes, or an error.
    fn answer(&self, outcome: Result<usize, ErrorKind>) {
        self.asked.recv().unwrap();
        self.outcomes.send(outcome).unwrap();
    }

    /// Returns what was written, without the time of a notice.
    fn text(&self) -> String {
        let written = self.written.lock().unwrap();
        let text = String::from_utf8_lossy(&written);
        let lines = text
            .lines()
            .map(|line| line.split_once("  WARN ").map_or(line, |(_, rest)| rest));
        lines
            .map(|line| line.split(':').next().unwrap_or_default())
            .collect::<Vec<_>>()
            .join("|")
    }
}

const ALL: Result<usize, ErrorKind> = Ok(usize::MAX);
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_stuck_stream_keeps_nobody_waiting_and_tells_of_what_was_dropped() {
    let stage = Stage::new(3 * (LINE_OVERHEAD_BYTES + 2));
    stage.queue.push(b"1\n");
    stage.asked.recv().unwrap();
    for line in ["2\n", "3\n", "4\n", "5\n"] {
        stage.queue.push(line.as_bytes());
    }
    assert_eq!(stage.queue.dropped(), 2);
    assert!(!stage.queue.flush(Duration::ZERO));
    stage.outcomes.send(ALL).unwrap();
    stage.asked.recv().unwrap();
    stage.queue.push(b"6\n");
    for _ in 0..3 {
        stage.outcomes.send(ALL).unwrap();
        stage.asked.recv().unwrap();
    }
    stage.outcomes.send(ALL).unwrap();
    assert!(stage.queue.flush(LONG));
    assert_eq!(stage.text(), "1|2|3|2 lines were dropped here|6");
    assert_eq!(stage.queue.dropped(), 2);
}

#[test]
fn it_is_told_although_nothing_comes_after_it() {
    let stage = Stage::new(LINE_OVERHEAD_BYTES + 2);
    stage.queue.push(b"1\n");
    stage.queue.push(b"2\n");
    stage.answer(ALL);
    stage.answer(ALL);
    assert!(stage.queue.flush(LONG));
    assert_eq!(stage.text(), "1|1 lines were dropped here");
}

#[test]
fn lines_that_cannot_be_written_are_counted_once_and_told_of_when_it_flows_again() {
    let stage = Stage::new(10_000);
    stage.queue.push(b"1\n");
    stage.answer(Err(ErrorKind::BrokenPipe));
    assert!(stage.queue.flush(LONG));
    stage.queue.push(b"2\n");
    // The notice, and the line.
    stage.answer(Err(ErrorKind::BrokenPipe));
    stage.answer(Err(ErrorKind::BrokenPipe));
    assert!(stage.queue.flush(LONG));
    assert_eq!(stage.queue.dropped(), 2);
    stage.queue.push(b"3\n");
    stage.answer(ALL);
    stage.answer(ALL);
    assert!(stage.queue.flush(LONG));
    assert_eq!(stage.text(), "2 lines were dropped here|3");
}

#[test]
fn a_line_that_was_cut_short_is_ended_before_the_next() {
    let stage = Stage::new(10_000);
    stage.queue.push(b"abc\n");
    stage.answer(Ok(2));
    stage.answer(Err(ErrorKind::StorageFull));
    assert!(stage.queue.flush(LONG));
    stage.queue.push(b"d\n");
    for _ in 0..3 {
        stage.answer(ALL);
    }
    assert!(stage.queue.flush(LONG));
    assert_eq!(stage.text(), "ab|1 lines were dropped here|d");
}
