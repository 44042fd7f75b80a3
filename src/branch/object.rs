//! Objects of a JSON file, read key by key: errors name the key's whole path.

use serde_json::{Map, Value};

use super::{Error, Rule};
use crate::file::{brief, kind};

/// An object and the keys of it that have been asked for.
pub(super) struct Object<'a> {
    file: &'a str,
    /// The keys that lead to it, with a point behind; empty for the file's own value.
    path: String,
    map: &'a Map<String, Value>,
    known: Vec<&'static str>,
}

impl<'a> Object<'a> {
    /// The file's own value.
    pub(super) fn root(file: &'a str, value: &'a Value) -> Result<Self, Error> {
        Self::new(file, String::new(), "its value", value)
    }

    /// The object `value` that stands under `key`.
    pub(super) fn entry(file: &'a str, key: &str, value: &'a Value) -> Result<Self, Error> {
        Self::new(file, format!("{key}."), key, value)
    }

    fn new(file: &'a str, path: String, key: &str, value: &'a Value) -> Result<Self, Error> {
        let map = value
            .as_object()
            .ok_or_else(|| Rule::new(key, "an object", kind(value)).in_file(file))?;
        Ok(Self {
            file,
            path,
            map,
            known: vec![],
        })
    }

    /// A value that may be absent.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known.push(key);
        self.map.get(key)
    }

    /// A value that must be there.
    pub(super) fn need(&mut self, key: &'static str, expected: &str) -> Result<&'a Value, Error> {
        self.get(key)
            .ok_or_else(|| self.invalid(key, expected, "nothing"))
    }

    pub(super) fn object(&mut self, key: &'static str) -> Result<Object<'a>, Error> {
        let value = self.need(key, "an object")?;
        let path = format!("{}{key}", self.path);
        Self::entry(self.file, &path, value)
    }

    pub(super) fn array(&mut self, key: &'static str) -> Result<&'a [Value], Error> {
        let value = self.need(key, "an array")?;
        match value {
            Value::Array(list) => Ok(list),
            other => Err(self.invalid(key, "an array", kind(other))),
        }
    }

    pub(super) fn str(&mut self, key: &'static str) -> Result<&'a str, Error> {
        let value = self.need(key, "a string")?;
        value
            .as_str()
            .ok_or_else(|| self.invalid(key, "a string", kind(value)))
    }

    /// One of some names.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Result<T, Error> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let expected = format!("one of {}", names.join(", "));
        let value = self.need(key, &expected)?;
        let is_meant = |(name, _): &&(&str, T)| value.as_str() == Some(name);
        let choice = choices.iter().find(is_meant);
        choice
            .map(|(_, choice)| *choice)
            .ok_or_else(|| self.invalid(key, &expected, value))
    }

    /// A whole number from `least` to `most`.
    pub(super) fn u32(&mut self, key: &'static str, least: u32, most: u32) -> Result<u32, Error> {
        let expected = format!("a whole number from {least} to {most}");
        let value = self.need(key, &expected)?;
        let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
        number
            .filter(|n| (least..=most).contains(n))
            .ok_or_else(|| self.invalid(key, &expected, value))
    }

    /// A finite number.
    pub(super) fn f32(&mut self, key: &'static str) -> Result<f32, Error> {
        let value = self.need(key, "a finite number")?;
        let number = value.as_f64().map(|x| x as f32);
        number
            .filter(|x| x.is_finite())
            .ok_or_else(|| self.invalid(key, "a finite number", value))
    }

    /// The error for a value of this object.
    pub(super) fn invalid(&self, key: &str, expected: &str, found: impl ToString) -> Error {
        Rule::new(format!("{}{key}", self.path), expected, found).in_file(self.file)
    }

    /// Keys that have not been asked for, with their values.
    pub(super) fn others(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let others = self.map.iter();
        others
            .map(|(key, value)| (key.as_str(), value))
            .filter(|(key, _)| !self.known.contains(key))
    }

    /// Refuses keys that have not been asked for.
    pub(super) fn finish(self) -> Result<(), Error> {
        match self.others().next() {
            None => Ok(()),
            Some((key, _)) => Err(Error::UnknownKey {
                file: self.file.to_owned(),
                key: format!("{}{}", self.path, brief(key)),
            }),
        }
    }
}
