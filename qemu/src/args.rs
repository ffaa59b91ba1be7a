//! The words after `cargo demo`.
//!
//! Owns their meaning. What it does not know gets a sentence.

use crate::scenes;

/// What `--help` says.
pub const HELP: &str = "\
cargo demo [--list] [--scene N]... [--repeat N] [--keep]

  Three hosts with one node each, real VMs, real BMC simulators: a node dies, a host dies, and every survivor is told
  with a proof.

  --list       says which scenes there are, and does nothing
  --scene N    plays this scene only; may be given more than once
  --repeat N   plays everything N times and shows the median and the 99th percentile of every column
  --keep       leaves the cluster running at the end and says how to talk to it, until Ctrl-C
  --help       says this

Environment:
  PALISADE_ACCEL=tcg|kvm   forces the accelerator
";

/// What a person wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// Only say something: the text.
    pub say: Option<String>,
    /// The scenes to play, in order.
    pub scenes: Vec<u8>,
    /// How many rounds.
    pub repeat: u32,
    /// Leave it running.
    pub keep: bool,
}

/// Reads the arguments.
///
/// # Errors
/// A sentence about the first argument that makes no sense.
pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Args, String> {
    let mut args = Args { repeat: 1, ..Args::default() };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => args.say = Some(list()),
            "--help" | "-h" => args.say = Some(HELP.to_owned()),
            "--keep" => args.keep = true,
            "--scene" => {
                let count = scenes::SCENES.len();
                let number = number(&word, words.next(), &format!("a scene from 1 to {count}"))?;
                let scene = u8::try_from(number).ok().and_then(scenes::by_number);
                let scene = scene.ok_or_else(|| format!("there is no scene {number}; there are 1 to {count}"))?;
                args.scenes.push(scene.number);
            }
            "--repeat" => {
                args.repeat = number(&word, words.next(), "a count of at least 1")?;
                if args.repeat == 0 {
                    return Err("--repeat 0 would do nothing; give a count of at least 1".to_owned());
                }
            }
            other => return Err(format!("`{other}` is no argument of the demo; see cargo demo --help")),
        }
    }
    if args.scenes.is_empty() {
        args.scenes = scenes::SCENES.iter().map(|scene| scene.number).collect();
    }
    args.scenes.sort_unstable();
    args.scenes.dedup();
    Ok(args)
}

fn number(name: &str, value: Option<String>, wanted: &str) -> Result<u32, String> {
    let value = value.ok_or_else(|| format!("{name} needs {wanted}"))?;
    value.parse().map_err(|_| format!("{name} needs {wanted}, not `{value}`"))
}

fn list() -> String {
    scenes::SCENES.iter().map(|scene| format!("{}  {}\n", scene.number, scene.title)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Args, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn all_words_are_understood_and_others_get_a_sentence() {
        assert_eq!(read("").unwrap().scenes, (1..=11).collect::<Vec<u8>>());
        let args = read("--scene 6 --scene 2 --scene 6 --repeat 3 --keep").unwrap();
        assert_eq!((args.scenes, args.repeat, args.keep), (vec![2, 6], 3, true));
        assert!(read("--list").unwrap().say.unwrap().contains("11  "));
        for wrong in ["--scene", "--scene 12", "--scene x", "--repeat", "--repeat 0", "--repeat -1", "--what", "2"] {
            assert!(!read(wrong).unwrap_err().is_empty(), "{wrong}");
        }
    }
}
