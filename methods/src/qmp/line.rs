//! One line of a QEMU monitor: what it says, as far as fencing cares.
//!
//! Owns the reading of one complete line. Must never trust it: a guest's doings appear in it. Anything that is not
//! well-formed JSON is `Error`; anything well-formed that nobody asked for is `Message::Other`.
//!
//! Why not the JSON crate that reads the configuration: it skips what it does not know by recursion, so a line of
//! brackets would eat the stack, which is small and has no guard page below it. This reader is a loop with a fixed depth.
//! Strings are compared as they stand on the line: none of the words below needs an escape.

/// Deepest nesting that is read. QEMU's own answers to our commands stay below 6.
const DEPTH_MAX: usize = 32;

/// A line that is not JSON, or too deep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error;

/// Where a VM stands, as `query-status` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Its CPUs run.
    Running,
    /// Stopped by somebody, its memory intact.
    Paused,
    /// Fresh from a reset or a start: no instruction has run in this memory.
    Prelaunch,
    /// Stopped because its kernel panicked; its memory is intact.
    GuestPanicked,
    /// Stopped because a write failed; QEMU would repeat the write when continued.
    IoError,
    /// Switched itself off; kept by `-no-shutdown`.
    Shutdown,
    /// Some stage of a migration: its memory may live on elsewhere (SAFETY E3).
    Migrating,
    /// Anything else: stopped for a debugger, by a watchdog, by an internal error.
    Other,
}

impl RunState {
    fn from_word(word: &[u8]) -> Self {
        match word {
            b"running" => Self::Running,
            b"paused" => Self::Paused,
            b"prelaunch" => Self::Prelaunch,
            b"guest-panicked" => Self::GuestPanicked,
            b"io-error" => Self::IoError,
            b"shutdown" => Self::Shutdown,
            b"inmigrate" | b"postmigrate" | b"finish-migrate" | b"save-vm" | b"restore-vm" | b"colo" => Self::Migrating,
            _ => Self::Other,
        }
    }
}

/// Where a migration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migration {
    /// There is none, or it was cancelled or failed: the VM is still here.
    None,
    /// One has completed: away from here, or to here.
    Completed,
    /// One is under way.
    Active,
}

impl Migration {
    fn from_word(word: &[u8]) -> Self {
        match word {
            b"none" | b"cancelled" | b"failed" => Self::None,
            b"completed" => Self::Completed,
            _ => Self::Active,
        }
    }
}

/// What happened, of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest's kernel panicked (pvpanic).
    Panicked,
    /// The CPUs were stopped. Comes before I/O is drained and proves nothing.
    Stopped,
    /// The CPUs run again.
    Resumed,
    /// The machine was reset.
    Reset {
        /// By the guest itself.
        guest: bool,
    },
    /// The machine was switched off, or QEMU ends.
    ShutDown {
        /// By the guest itself.
        guest: bool,
    },
    /// Somebody pressed the power button.
    PowerButton,
    /// The VM's own watchdog fired.
    Watchdog,
    /// A read or write failed on the host.
    IoError,
    /// A migration changed its state.
    Migration(Migration),
    /// An event that fencing does not care about.
    Other,
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A QEMU introduces itself: the first line of each connection.
    Greeting,
    /// A command has been carried out.
    Return { id: &'a [u8], status: Option<&'a [u8]>, running: Option<bool> },
    /// A command was refused.
    Refused { id: Option<&'a [u8]> },
    /// Something happened.
    Event(Event),
    /// Well-formed, and nothing to us.
    Other,
}

/// What `query-status` answered.
pub(super) fn run_state(status: Option<&[u8]>, running: Option<bool>) -> Option<RunState> {
    let state = RunState::from_word(status?);
    // Both must agree: a state that we have misread must not pass for stopped.
    (running? == (state == RunState::Running)).then_some(state)
}

/// What `query-migrate` answered: nothing at all if there never was one.
pub(super) fn migration(status: Option<&[u8]>) -> Migration {
    status.map_or(Migration::None, Migration::from_word)
}

/// Reads one line, without its line end.
pub fn parse(line: &[u8]) -> Result<Message<'_>, Error> {
    let mut fields = Fields::default();
    scan(line, |path, value| fields.note(path, value))?;
    Ok(fields.message())
}

#[derive(Default)]
struct Fields<'a> {
    greeting: bool,
    event: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    returned: bool,
    refused: bool,
    status: Option<&'a [u8]>,
    running: Option<bool>,
    data_status: Option<&'a [u8]>,
    guest: Option<bool>,
}

impl<'a> Fields<'a> {
    fn note(&mut self, path: [&[u8]; 2], value: Value<'a>) {
        match (path, value) {
            ([b"QMP", b""], _) => self.greeting = true,
            ([b"return", b""], _) => self.returned = true,
            ([b"error", b""], _) => self.refused = true,
            ([b"event", b""], Value::Text(word)) => self.event = Some(word),
            ([b"id", b""], Value::Text(id)) => self.id = Some(id),
            ([b"return", b"status"], Value::Text(word)) => self.status = Some(word),
            ([b"return", b"running"], Value::Bool(flag)) => self.running = Some(flag),
            ([b"data", b"status"], Value::Text(word)) => self.data_status = Some(word),
            ([b"data", b"guest"], Value::Bool(flag)) => self.guest = Some(flag),
            _ => {}
        }
    }

    fn message(self) -> Message<'a> {
        match (self.event, self.id) {
            _ if self.greeting => Message::Greeting,
            (Some(word), _) => Message::Event(self.event(word)),
            (None, id) if self.refused => Message::Refused { id },
            (None, Some(id)) if self.returned => Message::Return { id, status: self.status, running: self.running },
            _ => Message::Other,
        }
    }

    fn event(&self, word: &[u8]) -> Event {
        let guest = self.guest.unwrap_or(true);
        match word {
            b"GUEST_PANICKED" => Event::Panicked,
            b"STOP" => Event::Stopped,
            b"RESUME" => Event::Resumed,
            b"RESET" => Event::Reset { guest },
            b"SHUTDOWN" => Event::ShutDown { guest },
            b"POWERDOWN" => Event::PowerButton,
            b"WATCHDOG" => Event::Watchdog,
            b"BLOCK_IO_ERROR" => Event::IoError,
            b"MIGRATION" => Event::Migration(migration(self.data_status)),
            _ => Event::Other,
        }
    }
}

/// A value as it stands on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'a> {
    /// Between the quotes, escapes and all.
    Text(&'a [u8]),
    Bool(bool),
    /// A number, null, or the start of an object or array.
    Other,
}

/// Walks over one JSON value and shows each member of the two outer levels with its path; a level that is an array has
/// the path word `[`. What lies deeper is checked for form and skipped.
fn scan<'a>(line: &'a [u8], mut visit: impl FnMut([&'a [u8]; 2], Value<'a>)) -> Result<(), Error> {
    let mut cursor = Cursor { rest: line };
    let mut closers = [0u8; DEPTH_MAX];
    let mut path: [&[u8]; 2] = [b"", b""];
    let mut depth = 0;
    loop {
        let (value, opens) = cursor.value()?;
        if depth <= path.len() {
            visit(path, value);
        }
        let mut complete = true;
        if let Some(closer) = opens {
            *closers.get_mut(depth).ok_or(Error)? = closer;
            depth += 1;
            complete = cursor.eat(closer);
            if complete {
                depth -= 1;
            }
        }
        while complete && depth > 0 && cursor.eat(closers[depth - 1]) {
            depth -= 1;
            if let Some(word) = path.get_mut(depth) {
                *word = b"";
            }
        }
        if depth == 0 {
            return if cursor.at_end() { Ok(()) } else { Err(Error) };
        }
        if complete && !cursor.eat(b',') {
            return Err(Error);
        }
        let word = if closers[depth - 1] == b'}' { cursor.key()? } else { b"[" };
        // An empty key must not look like the value above it.
        let word = if word.is_empty() { b"?" } else { word };
        if let Some(place) = path.get_mut(depth - 1) {
            *place = word;
        }
    }
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn at_end(&mut self) -> bool {
        self.skip_space();
        self.rest.is_empty()
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.skip_space();
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn key(&mut self) -> Result<&'a [u8], Error> {
        if !self.eat(b'"') {
            return Err(Error);
        }
        let key = self.text()?;
        if self.eat(b':') { Ok(key) } else { Err(Error) }
    }

    /// The rest of a string whose opening quote is eaten.
    fn text(&mut self) -> Result<&'a [u8], Error> {
        let mut escaped = false;
        for (at, byte) in self.rest.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    let text = &self.rest[..at];
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                0..=0x1f => return Err(Error),
                _ => {}
            }
        }
        Err(Error)
    }

    /// A value, and if it opens an object or array the byte that will close it.
    fn value(&mut self) -> Result<(Value<'a>, Option<u8>), Error> {
        if self.eat(b'{') {
            return Ok((Value::Other, Some(b'}')));
        }
        if self.eat(b'[') {
            return Ok((Value::Other, Some(b']')));
        }
        if self.eat(b'"') {
            return Ok((Value::Text(self.text()?), None));
        }
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let len = self.rest.iter().take_while(|byte| is_word(byte)).count();
        let (word, rest) = self.rest.split_at(len);
        self.rest = rest;
        match word {
            b"true" => Ok((Value::Bool(true), None)),
            b"false" => Ok((Value::Bool(false), None)),
            b"null" => Ok((Value::Other, None)),
            [b'-' | b'0'..=b'9', ..] => Ok((Value::Other, None)),
            _ => Err(Error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // As QEMU 7.2 writes them.
    const GREETING: &[u8] = br#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2+dfsg-7"}, "capabilities": ["oob"]}}"#;
    const STATUS: &[u8] = br#"{"return": {"status": "paused", "singlestep": false, "running": false}, "id": "a-4"}"#;
    const RESET: &[u8] = br#"{"timestamp": {"seconds": 1795360121, "microseconds": 999832}, "event": "RESET", "data": {"guest": false, "reason": "host-qmp-system-reset"}}"#;
    const MIGRATE: &[u8] = br#"{"return": {"status": "completed", "setup-time": 0, "ram": {"total": 34086912, "mbps": 433.57266666666669, "status": "x", "pages": [1, 2]}}, "id": "00ab-7"}"#;
    const REFUSED: &[u8] = br#"{"id": "a-9", "error": {"class": "CommandNotFound", "desc": "The command nonsense \"x has not been found"}}"#;

    #[test]
    fn real_lines() {
        assert_eq!(parse(GREETING), Ok(Message::Greeting));
        let expect = Message::Return { id: b"a-4", status: Some(b"paused"), running: Some(false) };
        assert_eq!(parse(STATUS), Ok(expect));
        assert_eq!(parse(RESET), Ok(Message::Event(Event::Reset { guest: false })));
        let expect = Message::Return { id: b"00ab-7", status: Some(b"completed"), running: None };
        assert_eq!(parse(MIGRATE), Ok(expect));
        assert_eq!(parse(REFUSED), Ok(Message::Refused { id: Some(b"a-9") }));
        assert_eq!(
            parse(br#"{"return": {}, "id": "1"}"#),
            Ok(Message::Return { id: b"1", status: None, running: None })
        );
        let stray = br#"{"error": {"class": "GenericError", "desc": "JSON parse error, stray '\"exec\uFFFD'"}}"#;
        assert_eq!(parse(stray), Ok(Message::Refused { id: None }));
        let stop = br#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}"#;
        assert_eq!(parse(stop), Ok(Message::Event(Event::Stopped)));
        let panicked = br#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "GUEST_PANICKED", "data": {"action": "pause"}}"#;
        assert_eq!(parse(panicked), Ok(Message::Event(Event::Panicked)));
        let active = br#"{"event": "MIGRATION", "data": {"status": "active"}}"#;
        assert_eq!(parse(active), Ok(Message::Event(Event::Migration(Migration::Active))));
    }

    #[test]
    fn a_word_at_the_wrong_depth_is_not_the_word() {
        let nested = br#"{"data": {"event": "RESET", "return": {}, "QMP": 1}, "event": "VSERPORT_CHANGE"}"#;
        assert_eq!(parse(nested), Ok(Message::Event(Event::Other)));
        let deep = br#"{"return": {"x": {"status": "prelaunch", "running": false}}, "id": "1"}"#;
        assert_eq!(parse(deep), Ok(Message::Return { id: b"1", status: None, running: None }));
        let listed = br#"{"return": [{"status": "prelaunch"}], "id": "1"}"#;
        assert_eq!(parse(listed), Ok(Message::Return { id: b"1", status: None, running: None }));
    }

    #[test]
    fn each_cut_line_is_an_error_and_so_is_what_is_no_json() {
        for line in [GREETING, STATUS, RESET, MIGRATE, REFUSED] {
            for len in 0..line.len() {
                assert_eq!(parse(&line[..len]), Err(Error));
            }
        }
        for line in [
            &b"{]"[..],
            b"{\"a\" 1}",
            b"{\"a\":1,}",
            b"[1 2]",
            b"{} {}",
            b"\"a",
            b"{\"a\":tru}",
            b"{\"a\":\"\x01\"}",
            b"[,1]",
        ] {
            assert_eq!(parse(line), Err(Error), "{line:?}");
        }
        for line in [&b"{}"[..], b"[]", b"[[], {}]", b" { \"a\" : [ 1 , -2.5e+3, null ] } ", b"7"] {
            assert_eq!(parse(line), Ok(Message::Other), "{line:?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        assert_eq!(parse(&[b'['; 4000]), Err(Error));
        let mut line = [b'['; 2 * DEPTH_MAX];
        line[DEPTH_MAX..].fill(b']');
        assert_eq!(parse(&line), Ok(Message::Other));
    }

    #[test]
    fn a_state_needs_both_words_to_agree() {
        assert_eq!(run_state(Some(b"prelaunch"), Some(false)), Some(RunState::Prelaunch));
        assert_eq!(run_state(Some(b"running"), Some(true)), Some(RunState::Running));
        assert_eq!(run_state(Some(b"paused"), Some(true)), None);
        assert_eq!(run_state(Some(b"running"), Some(false)), None);
        assert_eq!(run_state(Some(b"paused"), None), None);
        assert_eq!(run_state(None, Some(false)), None);
    }

    #[test]
    fn changed_lines_never_panic() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..20_000 {
            let lines = [GREETING, STATUS, RESET, MIGRATE, REFUSED];
            let line = lines[round % lines.len()];
            let mut copy = [0u8; 512];
            copy[..line.len()].copy_from_slice(line);
            for _ in 0..3 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let [at, byte, ..] = seed.to_le_bytes();
                copy[usize::from(at) % line.len()] = byte;
            }
            let _ = parse(&copy[..line.len()]);
        }
    }
}
