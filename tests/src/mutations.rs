//! The mutation list: a rule is switched off, its story is told, and a checker must notice.
//!
//! Owns how a story is held against its absence. Which stories there are is said in `scenarios`.

use crate::scenarios::{STORIES, Story};
use palisade_core::rule::{Rule, Rules};

/// Tells the stories that need this rule without it.
///
/// # Panics
/// Nobody noticed, or somebody noticed something else.
pub fn is_noticed(rule: Rule) {
    let such: Vec<&Story> = STORIES.iter().filter(|story| story.rule == rule).collect();
    assert!(!such.is_empty(), "no story needs {rule:?}");
    for story in such {
        let sentence = told_without(story);
        let found = sentence.as_ref().is_some_and(|it| it.contains(story.invariant));
        assert!(found, "without {rule:?} a checker says {sentence:?}, not {:?}", story.invariant);
        println!("without {rule:?}: {}", sentence.unwrap_or_default().lines().next().unwrap_or_default());
    }
}

/// What a checker says.
fn told_without(story: &Story) -> Option<String> {
    let (tell, rules) = (story.tell, Rules::without(story.rule));
    let panic = std::panic::catch_unwind(move || tell(rules)).err()?;
    let text = match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map_or_else(|_| String::new(), |it| (*it).to_owned()),
    };
    Some(text)
}
