//! Reads Rust sources as far as tidy has to: what is code, what is a test, where functions begin and end.
//!
//! Owns a lexer of a few states. It must never be cleverer than it needs: it knows comments, texts, characters and
//! braces, and nothing of types or macros.

use std::ops::Range;

/// One source file, prepared.
#[derive(Debug)]
pub struct Source {
    /// The text as it is.
    pub text: String,
    /// The same length and lines, with comments and texts blanked.
    pub code: String,
    /// The same, with everything under `#[cfg(test)]` blanked too.
    pub product: String,
}

/// One function with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of its `fn`, from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub lines: usize,
}

impl Source {
    /// Prepares a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let code = without_comments(text);
        let product = without_tests(&code);
        Self { text: text.to_owned(), code, product }
    }

    /// How many lines are not tests.
    #[must_use]
    pub fn product_lines(&self) -> usize {
        let test_lines: usize = test_items(&self.code).iter().map(|item| lines_in(&self.code, item)).sum();
        self.text.lines().count().saturating_sub(test_lines)
    }

    /// The functions that are not tests.
    #[must_use]
    pub fn functions(&self) -> Vec<Function> {
        let bytes = self.product.as_bytes();
        words(&self.product)
            .filter(|word| &self.product[word.clone()] == "fn")
            .filter_map(|word| {
                let name = words(&self.product[word.end..]).next()?;
                // `fn` in a type has a parenthesis before any name.
                if self.product[word.end..word.end + name.start].contains('(') {
                    return None;
                }
                let open = body_of(bytes, word.end + name.end)?;
                let close = closing(bytes, open)?;
                Some(Function {
                    name: self.product[word.end..][name].to_owned(),
                    line: line_of(&self.product, word.start),
                    lines: lines_in(&self.product, &(word.start..close)),
                })
            })
            .collect()
    }
}

/// Whether `word` stands alone somewhere in `text`; the line of the first place, from 1.
#[must_use]
pub fn find_word(text: &str, word: &str) -> Option<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .find(|(at, _)| {
            let before = text[..*at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            !before.is_some_and(is_part) && !after.is_some_and(is_part)
        })
        .map(|(at, _)| line_of(text, at))
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].bytes().filter(|byte| *byte == b'\n').count() + 1
}

/// Lines that a range touches.
fn lines_in(text: &str, range: &Range<usize>) -> usize {
    text[range.clone()].bytes().filter(|byte| *byte == b'\n').count() + 1
}

/// The ranges of identifiers and keywords.
fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let start = at + bytes.get(at..)?.iter().position(is_part)?;
        let length = bytes[start..].iter().position(|byte| !is_part(byte)).unwrap_or(bytes.len() - start);
        at = start + length;
        Some(start..at)
    })
}

/// The opening brace of the body that belongs to the signature at `from`; none for a declaration.
fn body_of(bytes: &[u8], from: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Just behind the brace that closes the one at `open`.
fn closing(bytes: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return Some(at + 1),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The items under `#[cfg(test)]`.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut items: Vec<Range<usize>> = Vec::new();
    for (at, mark) in code.match_indices("#[cfg(test)]") {
        if items.last().is_some_and(|last| last.end > at) {
            continue;
        }
        let bytes = code.as_bytes();
        let after = at + mark.len();
        let end = match body_of(bytes, after) {
            Some(open) => closing(bytes, open),
            None => code[after..].find(';').map(|semicolon| after + semicolon + 1),
        };
        items.push(at..end.unwrap_or(code.len()));
    }
    items
}

fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for item in test_items(code) {
        blank(&mut out[item]);
    }
    text_of(out)
}

/// Whatever was blanked stays ASCII, so this loses nothing of code; texts in other alphabets were blanked already.
fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn blank(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

fn without_comments(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => comment_end(bytes, at),
            b'"' => text_end(bytes, at),
            b'r' | b'b' | b'c' if !is_inside_word(bytes, at) => match raw_text_end(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            b'\'' => match character_end(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        blank(&mut out[at..end]);
        at = end;
    }
    text_of(out)
}

fn is_inside_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length)
}

fn comment_end(bytes: &[u8], at: usize) -> usize {
    let (mut depth, mut here) = (0_usize, at);
    while here < bytes.len() {
        match (bytes[here], bytes.get(here + 1)) {
            (b'/', Some(b'*')) => (depth, here) = (depth + 1, here + 2),
            (b'*', Some(b'/')) => (depth, here) = (depth - 1, here + 2),
            _ => here += 1,
        }
        if depth == 0 {
            return here;
        }
    }
    bytes.len()
}

fn text_end(bytes: &[u8], at: usize) -> usize {
    let mut here = at + 1;
    while here < bytes.len() {
        match bytes[here] {
            b'\\' => here += 2,
            b'"' => return here + 1,
            _ => here += 1,
        }
    }
    bytes.len()
}

/// `r"`, `r#"`, `br"` and so on; none if this is no raw text.
fn raw_text_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut here = at;
    while matches!(bytes.get(here), Some(b'b' | b'c')) {
        here += 1;
    }
    if bytes.get(here) != Some(&b'r') {
        return None;
    }
    here += 1;
    let hashes = bytes[here..].iter().take_while(|byte| **byte == b'#').count();
    here += hashes;
    if bytes.get(here) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.extend(std::iter::repeat_n(b'#', hashes));
    let found = bytes[here + 1..].windows(close.len()).position(|window| window == close)?;
    Some(here + 1 + found + close.len())
}

/// `'x'` or `'\n'`; none for a lifetime.
fn character_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at + 1) == Some(&b'\\') {
        let rest = bytes.get(at + 3..)?;
        return rest.iter().position(|byte| *byte == b'\'').map(|length| at + 3 + length + 1);
    }
    // One character of any length in UTF-8.
    let rest = bytes.get(at + 1..(at + 6).min(bytes.len()))?;
    let close = rest.iter().position(|byte| *byte == b'\'')?;
    let one = std::str::from_utf8(&rest[..close]).ok()?;
    (one.chars().count() == 1).then_some(at + 1 + close + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r##"//! unsafe in words
fn first<'a>(x: &'a str) -> fn(u8) -> u8 { // unsafe {
    let c = '{'; let t = "unsafe { \" }"; let r = r#"unsafe " { "#;
    /* unsafe /* nested */ { */ unsafe { go(b'\'', '\u{7b}') }
}
trait T { fn declared(&self) -> [u8; 3]; }
#[cfg(test)]
mod tests {
    fn third() { unsafe {} }
}
fn fourth() {}
#[cfg(test)]
mod elsewhere;
"##;

    #[test]
    fn comments_texts_and_tests_are_not_code() {
        let source = Source::new(SAMPLE);
        assert_eq!(source.code.matches("unsafe").count(), 2);
        assert_eq!(source.product.matches("unsafe").count(), 1);
        assert_eq!(find_word(&source.product, "unsafe"), Some(4));
        assert_eq!(source.code.lines().count(), SAMPLE.lines().count());
        assert_eq!(source.product_lines(), SAMPLE.lines().count() - 6);
    }

    #[test]
    fn functions_have_names_and_lengths() {
        let functions = Source::new(SAMPLE).functions();
        let found: Vec<(&str, usize, usize)> = functions.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        assert_eq!(found, [("first", 2, 4), ("fourth", 11, 1)]);
    }

    #[test]
    fn a_word_stands_alone() {
        assert_eq!(find_word("unsafe_code\nmost unsafe", "unsafe"), Some(2));
        assert_eq!(find_word("std_like nostd", "std"), None);
    }
}
