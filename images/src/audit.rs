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

use crate::appliance::{self, Image};
use crate::house::House;
use crate::run::{self, Error};

/// What the compiler itself calls, and the language's library without memory.
const LANGUAGE: [&str; 6] = ["memcpy", "memmove", "memset", "memcmp", "bcmp", "_GLOBAL_OFFSET_TABLE_"];

/// Names that mean that memory is asked for.
const MEMORY: [&str; 6] = ["__rust_alloc", "__rust_realloc", "__rdl_", "__rg_", "alloc::", "<alloc::"];

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

/// Mangled names carry the names of their crates, each with its length before it.
fn is_ours(name: &str) -> bool {
    ["8palisade", "13palisade_core", "16palisade_methods"].iter().any(|ours| name.contains(ours))
        && !name.contains("6hermit8palisade")
}

/// A shortest cycle through each function that lies on one; each cycle once.
fn cycles(graph: &Graph<'_>) -> Vec<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut cycles = Vec::new();
    for start in graph.keys() {
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
0000 <_ZN8palisade1aE>:
   0:\tcall   10 <_ZN8palisade1bE>
   4:\tjmp    0 <_ZN8palisade1aE>
0010 <_ZN8palisade1bE>:
  10:\tjmp    20 <_ZN13palisade_core1cE>
  14:\tcall   12 <_ZN8palisade1bE+0x2>
0020 <_ZN13palisade_core1cE>:
  20:\tcall   10 <_ZN8palisade1bE>
0030 <_ZN4core3fmtE>:
  30:\tcall   30 <_ZN4core3fmtE>
";
        let found = cycles(&graph(listing));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0], ["_ZN13palisade_core1cE", "_ZN8palisade1bE"]);
    }

    #[test]
    fn a_function_that_calls_itself() {
        let listing = "0 <_ZN8palisade1aE>:\n 0:\tcall   0 <_ZN8palisade1aE>\n";
        assert_eq!(cycles(&graph(listing)), [["_ZN8palisade1aE"]]);
    }
}
