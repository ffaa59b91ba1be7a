//! What the cores log, line by line, for the story of a failed run. Each test's thread has its own lines.

use std::cell::{Cell, RefCell};

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static WANTED: Cell<bool> = const { Cell::new(true) };
}

struct Journal;

impl log::Log for Journal {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        WANTED.get()
    }
    fn log(&self, record: &log::Record<'_>) {
        if WANTED.get() {
            LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
        }
    }
    fn flush(&self) {}
}

/// Begins anew in this thread; where the lines are not wanted, none is made.
pub fn install(wanted: bool) {
    WANTED.set(wanted);
    LINES.with_borrow_mut(Vec::clear);
    if log::set_logger(&Journal).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}

/// The lines since the last call.
pub fn take() -> Vec<String> {
    LINES.with_borrow_mut(std::mem::take)
}
