//! A table by number: what is looked up a million times in a run must not cost a search.
//!
//! Owns the look of a map over small numbers, in their order.

use std::ops::Index;

/// Things by number, 0 to 255.
#[derive(Debug)]
pub struct Table<T> {
    slots: Vec<Option<T>>,
}

impl<T> FromIterator<(u8, T)> for Table<T> {
    fn from_iter<I: IntoIterator<Item = (u8, T)>>(things: I) -> Self {
        let mut table = Self { slots: Vec::new() };
        for (number, thing) in things {
            table.insert(number, thing);
        }
        table
    }
}

impl<T> Table<T> {
    /// Puts something under a number; returns what was there.
    pub fn insert(&mut self, number: u8, thing: T) -> Option<T> {
        let at = usize::from(number);
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, || None);
        }
        self.slots[at].replace(thing)
    }

    /// What is there, if anything.
    #[must_use]
    pub fn get(&self, number: &u8) -> Option<&T> {
        self.slots.get(usize::from(*number))?.as_ref()
    }

    /// The same, to change.
    pub fn get_mut(&mut self, number: &u8) -> Option<&mut T> {
        self.slots.get_mut(usize::from(*number))?.as_mut()
    }

    /// All of them with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &T)> {
        let numbered = (0..=u8::MAX).zip(&self.slots);
        numbered.filter_map(|(number, slot)| slot.as_ref().map(|thing| (number, thing)))
    }

    /// All numbers.
    pub fn keys(&self) -> impl Iterator<Item = u8> {
        self.iter().map(|(number, _)| number)
    }

    /// All of them.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }

    /// The same, to change.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().flatten()
    }
}

impl<T> Index<&u8> for Table<T> {
    type Output = T;
    fn index(&self, number: &u8) -> &T {
        self.get(number).expect("a configured number")
    }
}
