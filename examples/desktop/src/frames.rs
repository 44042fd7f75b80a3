//! How long frames take, for `--frame-times`.

use std::fs::File;
use std::io::{self, LineWriter, Write};
use std::path::Path;
use std::time::Instant;

/// A line a frame: milliseconds since the start, what the engine was doing, milliseconds since the
/// frame before, and how many of them the window's thread worked.
pub(crate) struct FrameTimes {
    file: LineWriter<File>,
    start: Instant,
    last: Instant,
}

impl FrameTimes {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let mut file = LineWriter::new(File::create(path)?);
        writeln!(file, "at_ms,engine,interval_ms,work_ms")?;
        let now = Instant::now();
        Ok(Self {
            file,
            start: now,
            last: now,
        })
    }

    pub(crate) fn frame(&mut self, engine: &str, work_s: Option<f32>) {
        let now = Instant::now();
        let at = now.duration_since(self.start).as_secs_f64() * 1e3;
        let interval = now.duration_since(self.last).as_secs_f64() * 1e3;
        let work = work_s.unwrap_or(0.0) * 1e3;
        // A measurement that cannot be written is missing from the file for all to see.
        let _ = writeln!(self.file, "{at:.1},{engine},{interval:.2},{work:.2}");
        self.last = now;
    }
}
