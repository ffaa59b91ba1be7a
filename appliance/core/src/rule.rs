//! The safety rules that a test may switch off, one at a time, to see that a checker notices.
//!
//! Owns the list and the question. A rule is asked about at the one place in the code where it decides something. Without the
//! feature `rules-off`, which only the tests' crate turns on, every rule holds: the question is a constant and costs nothing.

/// A rule of docs/SAFETY.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "docs/SAFETY.md says what each of them is")]
pub enum Rule {
    A1,
    A2,
    /// A3 (a): the newest state is the one with the greatest ballot and version.
    A3,
    /// A3 (b): what was adopted is committed before any other act.
    A3Commit,
    /// A3: only what is committed has effects: a death is told when its proof is committed.
    A3Down,
    /// A3 (c): an acceptor accepts only upwards.
    A3Upwards,
    A4,
    A5,
    /// B1: whom a proposal admits is not counted for it.
    B1,
    /// B1: only who knows that it was admitted votes.
    B1Vote,
    B2,
    /// B4: groups and services are what sessions report of them, too.
    B4,
    C2,
    C3,
    D1,
    D2,
    D3,
    E1,
    E2,
    E6,
    F1,
    /// F2: a host is turned on when no order for it is out.
    F2,
    /// F4: an appliance that was condemned is so in the next cluster incarnation, too.
    F4,
    /// F4, I2: nothing is brought to who is condemned or has left, and nothing that they said to others.
    F4Mail,
    /// F6: of those who do not reach each other the fewer go.
    F6,
    G1,
    G2,
    G3,
    I1,
    I2,
    /// DESIGN §5: only Confirmed is a proof, and a timeout is Unknown.
    Proof,
}

/// Which rules hold. Whoever obeys one holds a copy from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A bit for each rule that is switched off.
    #[cfg(any(test, feature = "rules-off"))]
    off: u32,
}

impl Rules {
    /// All of them.
    pub const ALL: Self = Self {
        #[cfg(any(test, feature = "rules-off"))]
        off: 0,
    };

    /// All but this one.
    #[cfg(any(test, feature = "rules-off"))]
    #[must_use]
    pub const fn without(rule: Rule) -> Self {
        Self { off: 1 << rule as u8 }
    }

    /// Whether this rule is to be obeyed.
    #[cfg(any(test, feature = "rules-off"))]
    #[must_use]
    pub const fn holds(self, rule: Rule) -> bool {
        self.off & (1 << rule as u8) == 0
    }

    /// Whether this rule is to be obeyed: it is.
    #[cfg(not(any(test, feature = "rules-off")))]
    #[must_use]
    pub const fn holds(self, _rule: Rule) -> bool {
        true
    }
}
