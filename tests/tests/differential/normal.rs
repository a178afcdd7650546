//! What cannot be the same in two runs, made the same; and where the rest differs.

use std::fmt::Write;

use serde_json::Value;

/// Keys whose numbers are chance; that there is a number is compared.
const CHANCE: [&str; 8] = [
    "Pid",
    "Created",
    "SizeRootFs",
    "SizeRw",
    "time",
    "timeNano",
    "NFd",
    "NGoroutines",
];

/// Keys whose lists come in the order of a map of Docker's, which is chance.
const UNORDERED: [&str; 8] = [
    "Mounts",
    "Ports",
    "ContainersDeleted",
    "ExecIDs",
    "Volumes",
    "VolumesDeleted",
    "NetworksDeleted",
    "ImagesDeleted",
];

/// The beginning of 2001, in seconds since 1970: what tests make says that it is older where its age is to be compared.
const OLD: i64 = 978_307_200;

fn is_chance(key: &str, number: Option<i64>) -> bool {
    let is_old = key == "Created" && number.is_some_and(|number| number < OLD);
    CHANCE.contains(&key) && number != Some(0) && !is_old
}

/// Makes one engine's answers comparable.
pub(crate) struct Normal<'a> {
    /// Names of ids, and the ids that creates have answered.
    pub(crate) ids: &'a [(String, String)],
    /// What the engine has for itself, by name.
    pub(crate) own: &'a [(&'static str, String)],
    /// The engine's scratch directory.
    pub(crate) dir: &'a str,
}

impl Normal<'_> {
    pub(crate) fn text(&self, text: &str) -> String {
        let named = |text: String, (name, what): &(&str, String)| text.replace(what, &format!("<{name}>"));
        let text = &self.own.iter().fold(text.replace(self.dir, "<dir>"), named);
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut normal = String::new();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            if let Some(length) = time(rest) {
                normal.push_str("<time>");
                rest = &rest[length..];
                continue;
            }
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            let first = rest.chars().next().map_or(1, char::len_utf8);
            let (word, tail) = rest.split_at(end.max(first));
            let is_of = |id: &str| word.len() >= 12 && id.trim_start_matches("sha256:").starts_with(word);
            let made = self.ids.iter().find(|(_, id)| is_of(id));
            match made {
                Some((name, _)) => write!(normal, "<{} digits of {name}>", word.len()).unwrap(),
                // The digests of the same content are the same.
                None if word.len() == 64 && is_hex(word) && !normal.ends_with("sha256:") => normal.push_str("<id>"),
                // The beginning of the id of a connection.
                None if word.len() == 12 && is_hex(word) && normal.ends_with("id:\"") => normal.push_str("<id>"),
                None => normal.push_str(word),
            }
            rest = tail;
        }
        normal
    }

    pub(crate) fn value(&self, key: &str, value: &Value) -> Value {
        match value {
            Value::String(text) if key == "Status" => Value::String(without_duration(text)),
            // Docker lists the networks in the order of a map.
            Value::String(text) if text.contains("multiple network endpoints: ") => {
                let mut words: Vec<&str> = text.split([' ', ',']).filter(|word| !word.is_empty()).collect();
                words.sort_unstable();
                Value::String(words.join(" "))
            }
            Value::String(text) if key == "message" => Value::String(with_sorted_lists(&self.text(text))),
            // Which of the free addresses it is.
            Value::String(text) if ["IPAddress", "IPv4Address"].contains(&key) && text.starts_with("172.17.0.") => {
                Value::String("172.17.0.<number>".to_owned())
            }
            Value::String(text) => Value::String(self.text(text)),
            Value::Number(number) if is_chance(key, number.as_i64()) => Value::String("<number>".to_owned()),
            Value::Array(items) => {
                let mut items: Vec<Value> = items.iter().map(|item| self.value(key, item)).collect();
                let are_changes = items.iter().any(|item| item["Kind"].is_number());
                if items.iter().any(|item| item["IPAM"].is_object()) {
                    // Docker lists networks in the order of a map.
                    let by_name = items.into_iter().map(|item| (name(&item), item));
                    return Value::Object(by_name.collect());
                }
                if UNORDERED.contains(&key) || are_changes {
                    items.sort_by_key(|item| (item["Name"].to_string(), item.to_string()));
                }
                Value::Array(items)
            }
            Value::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(key, value)| (self.text(key), self.value(key, value)));
                Value::Object(fields.collect())
            }
            other => other.clone(),
        }
    }
}

fn name(item: &Value) -> String {
    item["Name"].as_str().unwrap_or_default().to_owned()
}

/// A message whose list (`[b a]`, `[b, a]`) comes in the order of a map of Docker's.
fn with_sorted_lists(message: &str) -> String {
    let Some((before, (list, after))) = message
        .split_once('[')
        .and_then(|(before, rest)| Some((before, rest.split_once(']')?)))
    else {
        return message.to_owned();
    };
    let mut words: Vec<&str> = list.split([',', ' ']).filter(|word| !word.is_empty()).collect();
    words.sort_unstable();
    format!("{before}[{}]{after}", words.join(" "))
}

/// `Up 2 seconds` without the time that it took to ask.
fn without_duration(status: &str) -> String {
    let words: Vec<&str> = status.split(' ').collect();
    let is_second = |word: &str| word == "second" || word == "seconds";
    match words.iter().position(|word| is_second(word)) {
        Some(end) => {
            let start = end.saturating_sub(if words[end - 1] == "a" { 3 } else { 1 });
            [&words[..start], &["<duration>"], &words[end + 1..]].concat().join(" ")
        }
        None => status.to_owned(),
    }
}

/// The length of a time (RFC 3339) of these years that a text begins with.
fn time(text: &str) -> Option<usize> {
    const FORM: &[u8] = b"20dd-dd-ddTdd:dd:dd";
    let bytes = text.as_bytes();
    let head = bytes.get(..FORM.len())?;
    let is = |(byte, form): (&u8, &u8)| {
        if *form == b'd' {
            byte.is_ascii_digit()
        } else {
            byte == form
        }
    };
    if !head.iter().zip(FORM).all(is) {
        return None;
    }
    let rest = &text[FORM.len()..];
    let fraction = rest
        .find(|c: char| c != '.' && !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let zone = match rest.as_bytes().get(fraction) {
        Some(b'Z') => 1,
        Some(b'+' | b'-') => "+00:00".len(),
        _ => 0,
    };
    Some((FORM.len() + fraction + zone).min(text.len()))
}

/// Every pointer at which two values differ, with what stands there.
pub(crate) fn differences(at: &str, theirs: &Value, ours: &Value, found: &mut Vec<(String, String)>) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let mut keys: Vec<&String> = theirs.keys().chain(ours.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let pointer = format!("{at}/{key}");
                match (theirs.get(key), ours.get(key)) {
                    (Some(theirs), Some(ours)) => differences(&pointer, theirs, ours, found),
                    (Some(theirs), None) => found.push((pointer, format!("Docker {theirs}, Conex has none"))),
                    (_, ours) => found.push((pointer, format!("Docker has none, Conex {}", ours.unwrap()))),
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            for (index, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                differences(&format!("{at}/{index}"), theirs, ours, found);
            }
        }
        _ if theirs == ours => {}
        _ => found.push((at.to_owned(), format!("Docker {theirs}, Conex {ours}"))),
    }
}
