//! Follows the files into which nodes, appliances and guards write, and records every line as an event.
//!
//! Owns one thread for all files. Must never lose a line: a file may appear late, grow in the middle of a line, and begin
//! anew when its VM starts again.

use crate::event::{self, Who};
use crate::journal::Journal;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the files are looked at: the resolution of every time that is measured.
const STEP: Duration = Duration::from_millis(3);
/// Every so many steps it is checked whether the path names another file by now.
const REOPEN_STEPS: u32 = 16;
/// A line longer than this is cut, so that a mad writer costs no memory.
const LINE_BYTES_MAX: usize = 4096;

/// A running follower; ends with this value.
pub struct Observer {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Follows these files.
    ///
    /// # Errors
    /// The thread cannot start.
    pub fn start(journal: Arc<Journal>, files: Vec<(PathBuf, Who)>) -> io::Result<Self> {
        let end = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&end);
        let mut tails: Vec<Tail> = files.into_iter().map(|(path, who)| Tail::new(path, who)).collect();
        let thread = std::thread::Builder::new().name("observer".into()).spawn(move || {
            let mut step = 0_u32;
            while !flag.load(Ordering::Relaxed) {
                step = step.wrapping_add(1);
                for tail in &mut tails {
                    tail.look(&journal, step.is_multiple_of(REOPEN_STEPS));
                }
                std::thread::sleep(STEP);
            }
        })?;
        Ok(Self { end, thread: Some(thread) })
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Tail {
    path: PathBuf,
    who: Who,
    file: Option<(File, u64)>,
    position: u64,
    line: Vec<u8>,
}

impl Tail {
    fn new(path: PathBuf, who: Who) -> Self {
        Self { path, who, file: None, position: 0, line: Vec::new() }
    }

    fn look(&mut self, journal: &Journal, reopen: bool) {
        if reopen {
            self.reopen();
        }
        let Some((file, _)) = &mut self.file else { return };
        let mut buffer = [0; 4096];
        // Bounded, so that one file cannot keep the thread from the others.
        for _ in 0..16 {
            let Ok(count @ 1..) = file.read(&mut buffer) else { return };
            self.position += u64::try_from(count).unwrap_or(0);
            for byte in &buffer[..count] {
                if *byte == b'\n' || self.line.len() >= LINE_BYTES_MAX {
                    let text = String::from_utf8_lossy(&self.line).into_owned();
                    self.line.clear();
                    if let Some(event) = event::parse(journal.now(), self.who, &text) {
                        journal.record(event);
                    }
                } else {
                    self.line.push(*byte);
                }
            }
        }
    }

    /// Opens the file when it appears, and again when it was replaced or cut.
    fn reopen(&mut self) {
        let Ok(now) = std::fs::metadata(&self.path) else { return };
        match &mut self.file {
            Some((_, inode)) if *inode == now.ino() && now.len() >= self.position => {}
            Some((file, inode)) if *inode == now.ino() => {
                self.position = 0;
                self.line.clear();
                let _ = file.seek(SeekFrom::Start(0));
            }
            _ => {
                self.position = 0;
                self.line.clear();
                self.file = File::open(&self.path).ok().map(|file| (file, now.ino()));
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_are_seen_across_late_files_halves_and_restarts() {
        let dir = crate::rundir::RunDir::new("observe").unwrap();
        let path = dir.path().join("serial");
        let journal = Arc::new(Journal::new(false));
        let observer = Observer::start(Arc::clone(&journal), vec![(path.clone(), Who::Appliance(1))]).unwrap();
        let expect = |text: &'static str| {
            journal.wait(0, Duration::from_secs(5), text, |event| event.text == text).unwrap();
        };
        std::thread::sleep(Duration::from_millis(60));
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\ntw").unwrap();
        expect("one");
        file.write_all(b"o\n").unwrap();
        expect("two");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"3\n").unwrap();
        expect("3");
        drop(observer);
        std::fs::remove_dir_all(dir.real()).unwrap();
    }
}
