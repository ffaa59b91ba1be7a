//! One build at a time in one checkout.
//!
//! Owns `target/images/lock`. Tests and a person may build at the same moment; cargo guards its own folder, this guards
//! the steps around it.

use std::fs::{self, File};

use crate::house::House;
use crate::run::Error;

/// Waits until nobody else builds; the lock ends with the value, or with the process.
///
/// # Errors
/// If the file cannot be made.
pub fn hold(house: &House) -> Result<File, Error> {
    let folder = house.images();
    fs::create_dir_all(&folder).map_err(|error| Error::file("make the folder", &folder, &error))?;
    let path = folder.join("lock");
    let file = File::create(&path).map_err(|error| Error::file("make", &path, &error))?;
    file.lock().map_err(|error| Error::file("lock", &path, &error))?;
    Ok(file)
}
