//! The flattened device tree that tells the kernel what the loader knows.
//!
//! Owns the format (Devicetree Specification 0.4, chapter 5) as far as it is needed: one pass, a fixed buffer, no
//! memory from anywhere. It must never write past its buffer: a tree that does not fit is an error.

const MAGIC: u32 = 0xd00d_feed;
const VERSION: u32 = 17;
const LAST_COMPATIBLE_VERSION: u32 = 16;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const END: u32 = 9;
const HEADER_BYTES: usize = 40;
/// One empty entry ends the list of reserved memory.
const RESERVED_BYTES: usize = 16;

/// All property names, once; a property refers to its name by the offset in here.
const NAMES: &str = "compatible\0model\0#address-cells\0#size-cells\0device_type\0reg\0bootargs\0khz\0";

/// The buffer is too small, or a property's name is not in `NAMES`.
#[derive(Debug)]
pub struct Error;

pub struct Writer<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// # Errors
    /// If not even the header fits.
    pub fn new(buffer: &'a mut [u8]) -> Result<Self, Error> {
        let mut writer = Self { buffer, at: 0 };
        writer.bytes(&[0; HEADER_BYTES + RESERVED_BYTES])?;
        Ok(writer)
    }

    pub fn begin(&mut self, name: &str) -> Result<(), Error> {
        self.word(BEGIN_NODE)?;
        self.bytes(name.as_bytes())?;
        self.bytes(&[0])?;
        self.align()
    }

    pub fn end(&mut self) -> Result<(), Error> {
        self.word(END_NODE)
    }

    pub fn text(&mut self, name: &str, value: &str) -> Result<(), Error> {
        self.property(name, &[value.as_bytes(), &[0]])
    }

    pub fn number(&mut self, name: &str, value: u32) -> Result<(), Error> {
        self.property(name, &[&value.to_be_bytes()])
    }

    /// Two cells of address, two of length.
    pub fn range(&mut self, start: u64, bytes: u64) -> Result<(), Error> {
        self.property("reg", &[&start.to_be_bytes(), &bytes.to_be_bytes()])
    }

    /// Closes the tree.
    pub fn finish(mut self) -> Result<(), Error> {
        self.word(END)?;
        let structure = HEADER_BYTES + RESERVED_BYTES;
        let strings = self.at;
        self.bytes(NAMES.as_bytes())?;
        let header = [
            MAGIC,
            word(self.at)?,
            word(structure)?,
            word(strings)?,
            word(HEADER_BYTES)?,
            VERSION,
            LAST_COMPATIBLE_VERSION,
            0,
            word(NAMES.len())?,
            word(strings - structure)?,
        ];
        for (place, value) in self.buffer.chunks_exact_mut(4).zip(header) {
            place.copy_from_slice(&value.to_be_bytes());
        }
        Ok(())
    }

    fn property(&mut self, name: &str, parts: &[&[u8]]) -> Result<(), Error> {
        let length = parts.iter().map(|part| part.len()).sum();
        self.word(PROPERTY)?;
        self.word(word(length)?)?;
        self.word(name_offset(name)?)?;
        for part in parts {
            self.bytes(part)?;
        }
        self.align()
    }

    fn word(&mut self, value: u32) -> Result<(), Error> {
        self.bytes(&value.to_be_bytes())
    }

    fn align(&mut self) -> Result<(), Error> {
        while !self.at.is_multiple_of(4) {
            self.bytes(&[0])?;
        }
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let place = self.buffer.get_mut(self.at..self.at + bytes.len()).ok_or(Error)?;
        place.copy_from_slice(bytes);
        self.at += bytes.len();
        Ok(())
    }
}

fn name_offset(name: &str) -> Result<u32, Error> {
    let mut offset = 0;
    for known in NAMES.split('\0') {
        if known == name {
            return word(offset);
        }
        offset += known.len() + 1;
    }
    Err(Error)
}

fn word(value: usize) -> Result<u32, Error> {
    u32::try_from(value).map_err(|_| Error)
}
