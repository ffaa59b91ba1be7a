//! What the cores log, line by line, for the story of a failed run. Each test's thread has its own lines.

use std::cell::RefCell;

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Journal;

impl log::Log for Journal {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
    }
    fn flush(&self) {}
}

/// Begins to collect. A second call changes nothing.
pub fn install() {
    if log::set_logger(&Journal).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}

/// The lines since the last call.
pub fn take() -> Vec<String> {
    LINES.with_borrow_mut(std::mem::take)
}
