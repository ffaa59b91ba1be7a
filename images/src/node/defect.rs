//! What is changed in a copy of the shim's sources, so that a test can see what a line of it is good for.
//!
//! Owns the edits. It must never change a source itself: the product's module has no switch for a defect.

use crate::run::Error;

/// A defect of the shim.
#[derive(Clone, Copy, Debug)]
pub struct Defect {
    /// The name of its image.
    pub name: &'static str,
    /// In which files, what stands there exactly once, and what takes its place.
    pub edits: &'static [(&'static str, &'static str, &'static str)],
}

impl Defect {
    /// The content of a file of the sources with this defect.
    ///
    /// # Errors
    /// If the file does not have what is to be changed.
    pub(super) fn applied(&self, file: &str, content: Vec<u8>) -> Result<Vec<u8>, Error> {
        let mut text = String::from_utf8_lossy(&content).into_owned();
        for (_, from, to) in self.edits.iter().filter(|(edited, _, _)| *edited == file) {
            if text.matches(from).count() != 1 {
                return Err(Error(format!("the defect {} wants `{from}` once in {file}, and it is not", self.name)));
            }
            text = text.replace(from, to);
        }
        Ok(text.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_changes_what_stands_there_once_and_refuses_what_does_not() {
        let defect = Defect { name: "x", edits: &[("a.c", "one();", "")] };
        let applied = |file, text: &str| defect.applied(file, text.as_bytes().to_vec());
        assert_eq!(applied("a.c", "one(); two();").ok().as_deref(), Some(b" two();".as_slice()));
        assert_eq!(applied("b.c", "one();").ok().as_deref(), Some(b"one();".as_slice()));
        assert!(applied("a.c", "two();").is_err() && applied("a.c", "one(); one();").is_err());
    }
}
