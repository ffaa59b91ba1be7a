//! The static memory map of an image: what is fixed before it runs, and what booting took.
//!
//! Owns the reading of the linked file, through `size` and `nm`. It must never guess: a number that could not be found
//! out is shown as unknown.

use std::fmt;
use std::process::Command;

use crate::appliance::{IMAGE_MAX, Image};
use crate::boot;
use crate::house::House;
use crate::run::{self, Error};

/// Stacks of the task that runs `main`, as the kernel makes them: main, system, interrupt.
const STACKS: u64 = (1024 + 64 + 32) * 1024;
/// A static of at least this size gets a line of its own.
const LARGE: u64 = 64 * 1024;

/// One static variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Static {
    pub name: String,
    pub size: u64,
}

impl Static {
    /// Memory that devices read and write: all of it comes from the room `hal`.
    #[must_use]
    pub fn is_dma(&self) -> bool {
        self.name.starts_with("palisade::hal::")
    }
}

/// Sizes in bytes.
#[derive(Clone, Debug)]
pub struct Map {
    pub image: u64,
    pub code: u64,
    pub constants: u64,
    /// Initialised and zeroed variables.
    pub variables: u64,
    /// The loader, and the page tables and boot information that it leaves behind.
    pub loader: u64,
    /// The variables, largest first.
    pub statics: Vec<Static>,
    /// What booting left in the kernel's heap, if a VM could be booted to ask.
    pub heap: Option<Heap>,
}

/// The kernel's heap, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heap {
    pub size: u64,
    pub used: u64,
}

/// Reads the map from the linked file, and boots the image once to learn about the heap.
///
/// # Errors
/// If `size` or `nm` fail.
pub fn read(house: &House, image: &Image) -> Result<Map, Error> {
    let sections = run::output(Command::new("size").args(["--format=sysv", "--radix=10"]).arg(&image.symbols))?;
    let symbols =
        run::output(Command::new("nm").args(["--print-size", "--demangle", "--radix=d"]).arg(&image.symbols))?;
    let whole = run::output(Command::new("size").args(["--format=sysv", "--radix=10"]).arg(&image.path))?;
    let serial = boot::first_lines(house, &image.path, "heap ");
    Ok(Map {
        image: image.size,
        code: sum(&sections, |name| name.starts_with(".text")),
        variables: sum(&sections, is_variables),
        constants: sum(&sections, |name| !name.starts_with(".text") && !is_variables(name) && !is_left_out(name)),
        loader: sum(&whole, |name| name != ".image" && !is_left_out(name)),
        statics: statics(&symbols),
        heap: serial.ok().and_then(|lines| heap(&lines)),
    })
}

fn is_variables(name: &str) -> bool {
    (name.starts_with(".data") && !name.starts_with(".data.rel.ro")) || name.starts_with(".bss")
}

/// Sections that never reach memory.
fn is_left_out(name: &str) -> bool {
    name.starts_with(".debug") || name.starts_with(".comment") || name.ends_with("tab")
}

/// Lines of `size --format=sysv`: name, size, address.
fn sum(sections: &str, wanted: impl Fn(&str) -> bool) -> u64 {
    let lines = sections.lines().filter(|line| line.starts_with('.'));
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    words
        .filter_map(|words| match words.as_slice() {
            [name, size, ..] if wanted(name) => size.parse::<u64>().ok(),
            _ => None,
        })
        .sum()
}

/// Lines of `nm --print-size`: address, size, class, name; the classes of variables are b and d.
fn statics(symbols: &str) -> Vec<Static> {
    let mut statics: Vec<_> = symbols
        .lines()
        .filter_map(|line| {
            let mut words = line.splitn(4, ' ');
            let (_, size, class, name) = (words.next()?, words.next()?, words.next()?, words.next()?);
            let size = size.parse().ok()?;
            matches!(class, "b" | "B" | "d" | "D").then(|| Static { name: name.to_owned(), size })
        })
        .collect();
    statics.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.name.cmp(&b.name)));
    statics
}

/// The line that the appliance writes as it starts: `... heap N of N bytes ...`. It never allocates, so that is the
/// heap that booting used and that will be sealed.
fn heap(serial: &str) -> Option<Heap> {
    let (_, numbers) =
        serial.lines().find_map(|line| line.split_once("heap ").filter(|(_, rest)| rest.contains(" of ")))?;
    let mut numbers = numbers.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok());
    let (used, size) = (numbers.next()?, numbers.next()?);
    Some(Heap { size, used })
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, size: u64, what: &str| writeln!(f, "{size:>12}  {what}");
        let dma: u64 = self.statics.iter().filter(|one| one.is_dma()).map(|one| one.size).sum();
        writeln!(f, "image and static memory, in bytes")?;
        line(f, self.image, &format!("image file (at most {IMAGE_MAX})"))?;
        line(f, self.code, "code")?;
        line(f, self.constants, "constants and relocations")?;
        line(f, self.variables, "variables")?;
        line(f, dma, "  of these, memory that devices write to")?;
        for one in self.statics.iter().filter(|one| one.size >= LARGE) {
            line(f, one.size, &format!("  {}", one.name))?;
        }
        line(f, STACKS, "stacks")?;
        let mut fixed = self.code + self.constants + self.variables + STACKS + self.loader;
        match self.heap {
            Some(heap) => {
                fixed += heap.size;
                line(f, heap.size, "heap of the kernel")?;
                line(f, heap.used, "  of this, used by booting")?;
            }
            None => writeln!(f, "{:>12}  heap of the kernel (no VM could be booted to ask)", "unknown")?,
        }
        line(f, self.loader, "loader, page tables, boot information")?;
        line(f, fixed, "in all")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heap_line() {
        let line = "x\npalisade 0.1.0: boot, heap 64070 of 2097152 bytes\nheap 1 of 2 bytes\n";
        assert_eq!(heap(line), Some(Heap { size: 2_097_152, used: 64_070 }));
        assert_eq!(heap("palisade: heap sealed, soon"), None);
    }

    #[test]
    fn sections_and_symbols() {
        let sections =
            "p  :\nsection  size  addr\n.text  10  0\n.bss  20  0\n.data.rel.ro  5  0\n.debug_info  99  0\nTotal 1\n";
        assert_eq!(sum(sections, is_variables), 20);
        let symbols = "0001 0064 b palisade::hal::POOL\n0002 0128 B b::big thing\n0003 0008 t f\n0004 T no_size\n";
        let found = statics(symbols);
        assert_eq!(found[0], Static { name: "b::big thing".to_owned(), size: 128 });
        assert!(found[1].is_dma());
        assert_eq!(found.len(), 2);
    }
}
