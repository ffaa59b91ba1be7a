//! The writer of the common log.
//!
//! Owns one record at a time: lock, look at the end, append, sync, unlock, say so. Must never go on after a record that
//! does not follow: the log then is the evidence.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use palisade_checker::record::{BYTES, Record};

use crate::locks::{self, Bytes, Mode};
use crate::{Writer, sys};

/// Writes until the count is reached, or for ever.
///
/// # Errors
/// A sentence: the log is broken, or the kernel refuses.
pub fn run(path: &Path, writer: &Writer, mode: Mode) -> Result<(), String> {
    let file = locks::open(path)?;
    for count in 1..=writer.count {
        let start = Instant::now();
        let error = |what: &str, error: std::io::Error| format!("cannot {what} {}: {error}", path.display());
        locks::take(&file, mode, Bytes::ALL).map_err(|e| error("lock", e))?;
        let locked = start.elapsed();
        let record = append(&file, writer, count).inspect_err(|sentence| sys::tell(&format!("BROKEN {sentence}")))?;
        locks::give_back(&file, mode, Bytes::ALL).map_err(|e| error("unlock", e))?;
        sys::tell(&format!(
            "WRITTEN number={} node={} boot={:08x} count={count} locked_us={} took_us={}",
            record.number,
            writer.node,
            writer.boot,
            locked.as_micros(),
            start.elapsed().as_micros()
        ));
        std::thread::sleep(writer.pause);
    }
    Ok(())
}

/// Appends one record under the lock and makes it safe.
fn append(file: &File, writer: &Writer, count: u32) -> Result<Record, String> {
    let error = |what: &str, error: std::io::Error| format!("cannot {what} the log: {error}");
    let length = file.metadata().map_err(|e| error("look at", e))?.len();
    let bytes = u64::try_from(BYTES).unwrap_or(u64::MAX);
    let whole = length - length % bytes;
    if whole != length {
        // What a writer that died left of its last record, which it cannot have acknowledged.
        sys::tell(&format!("TORN length={length}"));
        file.set_len(whole).map_err(|e| error("cut", e))?;
    }
    let mut last = None;
    if whole > 0 {
        let mut buffer = [0; BYTES];
        file.read_exact_at(&mut buffer, whole - bytes).map_err(|e| error("read", e))?;
        let record = Record::parse(&buffer)?;
        if record.number != whole / bytes {
            return Err(format!("record {} stands at place {}", record.number, whole / bytes));
        }
        last = Some(record);
    }
    let record = Record::after(last.as_ref(), writer.node, writer.boot, count);
    file.write_all_at(record.to_string().as_bytes(), whole).map_err(|e| error("write", e))?;
    file.sync_all().map_err(|e| error("sync", e))?;
    Ok(record)
}
