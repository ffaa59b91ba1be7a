//! What the unikernel asks of the code below it, and whether any of our functions can call itself.
//!
//! Owns two checks of docs/DEADLOCK-RULES.md. It must look at what the compiler made, never at the source: what is not
//! in the objects cannot be called.
//!
//! - *Calls*: our crates, compiled without optimisation across crates, leave undefined what they take from others. The
//!   language's own library aside, every such name must stand in `images/kernel-calls.txt` with the reason why it may be
//!   called.
//! - *Recursion*: the call graph of our functions in the linked image, direct calls only, must have no cycle. Then the
//!   stack has a bound that can be read off the code.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::appliance::{self, Image, Kind};
use crate::house::House;
use crate::run::{self, Error};

/// What the compiler itself calls, and the language's library without memory.
const LANGUAGE: [&str; 6] = ["memcpy", "memmove", "memset", "memcmp", "bcmp", "_GLOBAL_OFFSET_TABLE_"];

/// Our crates.
const OURS: [&str; 3] = ["palisade", "palisade_core", "palisade_methods"];

/// Names that mean that memory is asked for.
const MEMORY: [&str; 6] = ["__rust_alloc", "__rust_realloc", "__rdl_", "__rg_", "alloc::", "<alloc::"];

/// All checks on the product image; each finding is a sentence.
///
/// # Errors
/// If a build or a tool fails.
pub fn check(house: &House) -> Result<Vec<String>, Error> {
    let calls = calls(house)?;
    let image = appliance::build(house, Kind::Product)?;
    let mut findings = Vec::new();
    findings.extend(asking_for_memory(&calls).iter().map(|name| format!("asks for memory: {name}")));
    findings.extend(unexpected(house, &calls)?.iter().map(|name| format!("not in images/kernel-calls.txt: {name}")));
    findings.extend(recursion(&image)?.iter().map(|cycle| format!("calls itself: {}", cycle.join(" -> "))));
    Ok(findings)
}

/// Names that our crates use and do not define, demangled, without those of the language.
///
/// # Errors
/// If the build fails.
pub fn calls(house: &House) -> Result<BTreeSet<String>, Error> {
    let objects = appliance::objects(house)?;
    let defined = names(&objects, "--defined-only")?;
    let undefined = names(&objects, "--undefined-only")?;
    let foreign = undefined.difference(&defined).filter(|name| !is_of_the_language(name));
    Ok(foreign.cloned().collect())
}

/// Those of the names that the list does not allow.
///
/// # Errors
/// If `images/kernel-calls.txt` cannot be read.
pub fn unexpected(house: &House, calls: &BTreeSet<String>) -> Result<Vec<String>, Error> {
    let path = house.root().join("images").join("kernel-calls.txt");
    let list = fs::read_to_string(&path).map_err(|error| Error::file("read", &path, &error))?;
    Ok(not_in(&list, calls))
}

/// A line of the list is a name, or `crate` and the name of one that may be used as a whole; after two blanks, a reason.
fn not_in(list: &str, calls: &BTreeSet<String>) -> Vec<String> {
    let lines = list.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let allowed: Vec<&str> = lines.map(|line| line.split_once("  ").map_or(line, |(name, _)| name)).collect();
    let is_allowed = |name: &str| {
        allowed.iter().any(|allowed| match allowed.strip_prefix("crate ") {
            Some(library) => is_of(name, library),
            None => name == *allowed,
        })
    };
    calls.iter().filter(|name| !is_allowed(name)).cloned().collect()
}

/// Whether a function, or the type or the trait that it is a method of, belongs to this crate.
fn is_of(name: &str, library: &str) -> bool {
    let path = name.trim_start_matches(['<', '&']);
    let path = path.strip_prefix("mut ").unwrap_or(path);
    let belongs = |path: &str| path.strip_prefix(library).is_some_and(|rest| rest.starts_with("::"));
    belongs(path) || path.split_once(" as ").is_some_and(|(_, path)| belongs(path))
}

/// Those of the names that ask for memory. There must be none, whatever the list says.
#[must_use]
pub fn asking_for_memory(calls: &BTreeSet<String>) -> Vec<String> {
    calls.iter().filter(|name| MEMORY.iter().any(|start| name.starts_with(start))).cloned().collect()
}

fn is_of_the_language(name: &str) -> bool {
    LANGUAGE.contains(&name) || is_of(name, "core") || is_of(name, "compiler_builtins")
}

fn names(objects: &[PathBuf], which: &str) -> Result<BTreeSet<String>, Error> {
    let symbols = run::output(Command::new("nm").args(["--demangle", "--format=just-symbols", which]).args(objects))?;
    // A file's own name ends in a colon.
    let lines = symbols.lines().map(str::trim).filter(|line| !line.is_empty() && !line.ends_with(':'));
    Ok(lines.map(str::to_owned).collect())
}

/// Cycles among the direct calls of our crates' functions; each is a list of functions of which each calls the next.
///
/// # Errors
/// If the image cannot be disassembled.
pub fn recursion(image: &Image) -> Result<Vec<Vec<String>>, Error> {
    let listing =
        run::output(Command::new("objdump").args(["--disassemble", "--no-show-raw-insn"]).arg(&image.symbols))?;
    Ok(cycles(&graph(&listing)))
}

type Graph<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Who calls whom, by the names of the symbols.
fn graph(listing: &str) -> Graph<'_> {
    let mut graph = Graph::new();
    let mut caller = None;
    for line in listing.lines() {
        let Some((start, rest)) = line.split_once('<') else { continue };
        let Some((name, after)) = rest.split_once('>') else { continue };
        if after.starts_with(':') {
            caller = is_ours(name).then_some(name);
            continue;
        }
        let Some(from) = caller else { continue };
        // A jump to one's own start is a loop, to another's it is a call at the end.
        let calls = start.contains("call ") || (start.contains("jmp ") && name != from);
        if calls && is_ours(name) && !name.contains('+') {
            graph.entry(from).or_default().insert(name);
        }
    }
    graph
}

/// Functions that were compiled for our crates: ours, and those of libraries with a type or a closure of ours in them.
/// Mangled names carry the names of all these crates, each with its length before it.
fn is_ours(name: &str) -> bool {
    OURS.iter().any(|ours| name.contains(&format!("{}{ours}", ours.len()))) && !name.contains("6hermit8palisade")
}

/// Functions that stand in our source. The first crate that a name mentions is the function's own; in the v0 mangling it
/// is written `C`, a hash between `s` and `_`, the length, the name.
fn is_our_source(name: &str) -> bool {
    let homes = name.split('C').skip(1).filter_map(|rest| {
        let (_, rest) = rest.strip_prefix('s')?.split_once('_')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let length: usize = rest[..digits].parse().ok()?;
        rest.get(digits..digits + length)
    });
    homes.into_iter().next().is_some_and(|home| OURS.contains(&home))
}

/// A shortest cycle through each function of our source that lies on one; each cycle once.
fn cycles(graph: &Graph<'_>) -> Vec<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut cycles = Vec::new();
    for start in graph.keys().filter(|name| is_our_source(name)) {
        if seen.contains(start) {
            continue;
        }
        if let Some(cycle) = way_back(graph, start) {
            seen.extend(cycle.iter().copied());
            cycles.push(cycle.into_iter().map(str::to_owned).collect());
        }
    }
    cycles
}

/// The shortest way from a function to itself.
fn way_back<'a>(graph: &Graph<'a>, start: &'a str) -> Option<Vec<&'a str>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for next in graph.get(at).into_iter().flatten() {
            if *next == start {
                let mut way = vec![at];
                while let Some(before) = way.last().and_then(|last| came_from.get(last)) {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, at);
                queue.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_list_allows_names_and_crates() {
        let list = "# why\ncrate aes  no memory\nhermit::mm::virtual_to_physical  reads tables\n";
        let calls =
            set(&["<u16 as aes::Word>::f", "<aes::Block>::new", "hermit::mm::virtual_to_physical", "hermit::mm::map"]);
        assert_eq!(not_in(list, &calls), ["hermit::mm::map"]);
    }

    #[test]
    fn asking_for_memory_is_seen() {
        let calls = set(&["__rust_alloc", "alloc::vec::Vec::push", "hermit::palisade::seal"]);
        assert_eq!(asking_for_memory(&calls).len(), 2);
    }

    #[test]
    fn cycles_are_found_and_loops_are_not() {
        let listing = "\
0000 <_RNvCs1_8palisade1a>:
   0:\tcall   10 <_RNvCs1_8palisade1b>
   4:\tjmp    0 <_RNvCs1_8palisade1a>
0010 <_RNvCs1_8palisade1b>:
  10:\tjmp    20 <_RINvCs2_4core1cNCNvCs1_8palisade1b0E>
  14:\tcall   12 <_RNvCs1_8palisade1b+0x2>
0020 <_RINvCs2_4core1cNCNvCs1_8palisade1b0E>:
  20:\tcall   10 <_RNvCs1_8palisade1b>
0030 <_RNvCs2_4core1d>:
  30:\tcall   30 <_RNvCs2_4core1d>
0040 <_RNvCs2_4core1eCs1_8palisade>:
  40:\tcall   40 <_RNvCs2_4core1eCs1_8palisade>
";
        let found = cycles(&graph(listing));
        assert_eq!(found, [["_RNvCs1_8palisade1b", "_RINvCs2_4core1cNCNvCs1_8palisade1b0E"]]);
    }

    #[test]
    fn a_function_that_calls_itself() {
        let listing = "0 <_RNvCs1_13palisade_core1a>:\n 0:\tcall   0 <_RNvCs1_13palisade_core1a>\n";
        assert_eq!(cycles(&graph(listing)), [["_RNvCs1_13palisade_core1a"]]);
    }
}
