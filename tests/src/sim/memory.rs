//! The memory of engines, used again: a run starts dozens of them, and each is larger than a megabyte.
//!
//! Owns a heap of them for each thread. An engine that comes from it is as new.

use palisade_core::engine::Engine;
use std::cell::RefCell;

thread_local! {
    static FREE: RefCell<Vec<Box<Engine>>> = const { RefCell::new(Vec::new()) };
}

/// An engine that has not started. Never inlined: the stack of whoever calls would have room for an engine.
#[inline(never)]
pub fn take() -> Box<Engine> {
    const NEW: Engine = Engine::new();
    match FREE.with_borrow_mut(Vec::pop) {
        Some(mut engine) => {
            *engine = NEW;
            engine
        }
        None => Box::new(NEW),
    }
}

/// An engine that is used no more.
pub fn give_back(engine: Option<Box<Engine>>) {
    // A thread that ends may have taken its heap down already.
    let _ended = FREE.try_with(|free| free.borrow_mut().extend(engine));
}
