//! `--format`: `json`, and templates whose actions are fields (`{{.State.Status}}`) or `{{json .Field}}`.

use serde_json::Value;

use crate::failure::Failure;

/// How a value is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    /// As one line of JSON.
    Json,
    /// Text with fields.
    Template(Vec<Piece>),
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// As it is.
    Text(String),
    /// The value at a path, as text.
    Field(Vec<String>),
    /// The value at a path, as JSON.
    Json(Vec<String>),
}

impl Format {
    /// Parses the flag's value.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if text == "json" {
            return Ok(Self::Json);
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let unclosed = || Failure::new(64, format!("template parsing error: unclosed action in {text:?}"));
            let (action, after) = after.split_once("}}").ok_or_else(unclosed)?;
            pieces.push(Piece::Text(unescape(before)));
            pieces.push(parse_action(action.trim())?);
            rest = after;
        }
        pieces.push(Piece::Text(unescape(rest)));
        Ok(Self::Template(pieces))
    }

    /// Renders one value.
    pub(crate) fn render(&self, value: &Value) -> Result<String, Failure> {
        let pieces = match self {
            Self::Json => return Ok(value.to_string()),
            Self::Template(pieces) => pieces,
        };
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Field(path) => text.push_str(&plain(find(value, path)?)),
                Piece::Json(path) => text.push_str(&find(value, path)?.to_string()),
            }
        }
        Ok(text)
    }
}

fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

fn parse_action(action: &str) -> Result<Piece, Failure> {
    let (json, path) = match action.strip_prefix("json ") {
        Some(path) => (true, path.trim()),
        None => (false, action),
    };
    let wrong = || Failure::new(64, format!("template parsing error: {{{{{action}}}}} is not supported"));
    let fields = path.strip_prefix('.').ok_or_else(wrong)?;
    let allowed = |character: char| character.is_ascii_alphanumeric() || "._".contains(character);
    if !fields.chars().all(allowed) {
        return Err(wrong());
    }
    let path = fields
        .split('.')
        .filter(|field| !field.is_empty())
        .map(str::to_owned)
        .collect();
    Ok(if json { Piece::Json(path) } else { Piece::Field(path) })
}

fn find<'a>(value: &'a Value, path: &[String]) -> Result<&'a Value, Failure> {
    path.iter().try_fold(value, |value, field| {
        let missing = || Failure::new(1, format!("template: map has no entry for key {field:?}"));
        value.get(field).ok_or_else(missing)
    })
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<no value>".to_owned(),
        // Go prints a list of strings so.
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(format: &str, value: &Value) -> String {
        Format::parse(format).unwrap().render(value).unwrap()
    }

    #[test]
    fn fields_are_printed_as_gos_templates_print_them() {
        let value = json!({"State": {"Pid": 7, "Status": "running"}, "Cmd": ["a", "b"], "On": true});
        assert_eq!(render("{{.State.Status}}\\t{{ .State.Pid }}", &value), "running\t7");
        assert_eq!(
            render("{{json .Cmd}} {{.Cmd}} {{.On}}", &value),
            r#"["a","b"] [a b] true"#
        );
        assert_eq!(render("json", &json!([1])), "[1]");
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for wrong in ["{{range .X}}", "{{.X", "{{if .X}}a{{end}}", "{{X}}"] {
            assert!(Format::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Format::parse("{{.No}}").unwrap().render(&json!({})).is_err());
    }
}
