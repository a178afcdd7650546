//! The `filters` parameter of lists and events.

use std::collections::BTreeMap;

use serde_json::Value;

/// Filters by name; the values of one are alternatives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

/// A `filters` parameter that is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FiltersError(String);

impl std::fmt::Display for FiltersError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FiltersError {}

impl Filters {
    /// Parses `{"name": ["value"]}`, and the older `{"name": {"value": true}}`.
    pub fn parse(text: &str) -> Result<Self, FiltersError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let wrong = || FiltersError("invalid filter".to_owned());
        let fields = match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => fields,
            // Go reads a `null` as nothing, here and below.
            Ok(Value::Null) => return Ok(Self::default()),
            _ => return Err(wrong()),
        };
        let mut filters = BTreeMap::new();
        for (name, values) in fields {
            let values = match values {
                Value::Array(values) => values
                    .into_iter()
                    .map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong))
                    .collect::<Result<_, _>>()?,
                Value::Object(set) => {
                    if !set.values().all(Value::is_boolean) {
                        return Err(wrong());
                    }
                    let on = set.into_iter().filter(|(_, on)| on == &Value::Bool(true));
                    on.map(|(value, _)| value).collect()
                }
                Value::Null => Vec::new(),
                _ => return Err(wrong()),
            };
            filters.insert(name, values);
        }
        Ok(Self(filters))
    }

    /// What a filter that is a boolean says: `true` or `1`, or else `false` or `0`. `None` where it is not given.
    ///
    /// # Errors
    /// Where it says neither or both, in Docker's words.
    pub fn truth(&self, name: &str) -> Result<Option<bool>, FiltersError> {
        let Some(values) = self.values(name) else {
            return Ok(None);
        };
        let has = |words: [&str; 2]| values.iter().any(|value| words.contains(&value.as_str()));
        match (has(["true", "1"]), has(["false", "0"])) {
            (true, false) => Ok(Some(true)),
            (false, true) => Ok(Some(false)),
            _ if values.is_empty() => Err(FiltersError(format!("invalid filter '{name}'"))),
            _ => Err(FiltersError(format!("invalid filter '{name}=[{}]'", values.join(" ")))),
        }
    }

    /// Adds a value to those of a filter.
    pub fn add(&mut self, name: &str, value: String) {
        self.0.entry(name.to_owned()).or_default().push(value);
    }

    /// All filters.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Vec<String>)> {
        self.0.iter()
    }

    /// Values of one filter.
    pub fn values(&self, name: &str) -> Option<&[String]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// Refuses filters whose name is none of these, in Docker's words.
    pub fn require_known(&self, known: &[&str]) -> Result<(), FiltersError> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(FiltersError(format!("invalid filter '{name}'"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_understood() {
        let new = Filters::parse(r#"{"status":["running","exited"]}"#).unwrap();
        assert_eq!(new.values("status").unwrap(), ["running", "exited"]);
        let old = Filters::parse(r#"{"label":{"a=b":true,"c":false}}"#).unwrap();
        assert_eq!(old.values("label").unwrap(), ["a=b"]);
        assert!(Filters::parse("[]").is_err());
        assert!(Filters::parse(r#"{"a":1}"#).is_err());
        assert!(Filters::parse(r#"{"a":{"b":1}}"#).is_err());
        assert_eq!(Filters::parse("null").unwrap(), Filters::default());
        let empty = Filters::parse(r#"{"a":null}"#).unwrap();
        assert_eq!(empty.values("a"), Some([].as_slice()));
    }

    #[test]
    fn a_boolean_says_one_of_two_things() {
        let truth = |text: &str| {
            let said = Filters::parse(text).unwrap().truth("a");
            said.map_err(|error| error.to_string())
        };
        assert_eq!(truth("{}"), Ok(None));
        assert_eq!(truth(r#"{"a":["1"]}"#), Ok(Some(true)));
        assert_eq!(truth(r#"{"a":["x","true"]}"#), Ok(Some(true)));
        assert_eq!(truth(r#"{"a":["false"]}"#), Ok(Some(false)));
        assert_eq!(truth(r#"{"a":["t"]}"#), Err("invalid filter 'a=[t]'".to_owned()));
        assert_eq!(truth(r#"{"a":["0","1"]}"#), Err("invalid filter 'a=[0 1]'".to_owned()));
        assert_eq!(truth(r#"{"a":[]}"#), Err("invalid filter 'a'".to_owned()));
    }

    #[test]
    fn unknown_names_are_refused() {
        let filters = Filters::parse(r#"{"nosuch":["x"]}"#).unwrap();
        assert_eq!(
            filters.require_known(&["name"]).unwrap_err().to_string(),
            "invalid filter 'nosuch'"
        );
    }
}
