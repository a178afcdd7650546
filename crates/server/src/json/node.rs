//! A JSON value on its way into a type, with its place in the body.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Number, Value};

/// A value that does not fit.
#[derive(Debug)]
pub(super) struct Misfit(String);

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(words: T) -> Self {
        Self(words.to_string())
    }
}

/// A value and the fields that lead to it.
pub(super) struct Node {
    value: Value,
    /// `.HostConfig.Memory`; empty for the body itself.
    path: String,
    /// Whether it is one of a list, which Go tells in other words.
    is_item: bool,
}

/// What Docker calls the type of a body.
fn in_go(name: &str) -> &str {
    match name {
        "ContainerCreateRequest" => "container.CreateRequest",
        "Platform" => "v1.Platform",
        "RestartPolicy" => "container.RestartPolicy",
        "HostConfig" => "container.UpdateConfig",
        "Mount" => "mount.Mount",
        "VolumeCreateRequest" => "volume.CreateOptions",
        "NetworkCreateRequest" => "network.CreateRequest",
        "NetworkConnectRequest" => "network.ConnectOptions",
        "NetworkDisconnectRequest" => "network.DisconnectOptions",
        "EndpointSettings" => "network.EndpointSettings",
        "EndpointIpamConfig" => "network.EndpointIPAMConfig",
        "ConfigReference" => "network.ConfigReference",
        "Ipam" => "network.IPAM",
        "IpamConfig" => "network.IPAMConfig",
        other => other,
    }
}

/// Fields whose type is not that of other numbers.
const SHORT: [&str; 3] = [".GwPriority", ".IPPrefixLen", ".GlobalIPv6PrefixLen"];

impl Node {
    pub(super) fn root(value: Value) -> Self {
        Self::at(String::new(), value)
    }

    fn at(path: String, value: Value) -> Self {
        let is_item = false;
        Self { value, path, is_item }
    }

    /// What Go says of a value that does not fit into a type.
    fn misfit(&self, wanted: &str) -> Misfit {
        let what = match &self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(number) if matches!(wanted, "int" | "int64") => format!("number {number}"),
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        Misfit(match self.path.as_str() {
            "" => format!("json: cannot unmarshal {what} into Go value of type {}", in_go(wanted)),
            path => {
                // The configuration of an update is the body, that of a create is a field.
                let wanted = if wanted == "HostConfig" {
                    "container.HostConfig"
                } else {
                    in_go(wanted)
                };
                let field = if self.is_item { "" } else { "Go struct field " };
                format!("json: cannot unmarshal {what} into {field}{path} of type {wanted}")
            }
        })
    }

    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let wanted = if SHORT.iter().any(|field| self.path.ends_with(field)) {
            "int"
        } else {
            "int64"
        };
        if self.value.is_null() {
            return visitor.visit_i64(0);
        }
        let number = self.value.as_number().map(|number| (number.as_i64(), number.as_u64()));
        let read = match number {
            Some((Some(number), _)) => visitor.visit_i64(number),
            Some((None, Some(number))) => visitor.visit_u64(number),
            _ => return Err(self.misfit(wanted)),
        };
        // Out of the range of the type, which the value itself does not say.
        read.map_err(|_: Misfit| self.misfit(wanted))
    }

    /// The members of a map, whose keys are the client's own.
    fn members<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let members = match self.value {
            Value::Object(members) => members,
            Value::Null => serde_json::Map::new(),
            _ => return Err(self.misfit("map[string]string")),
        };
        visitor.visit_map(Members::new(members.into_iter().collect(), &self.path))
    }
}

macro_rules! integers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
            self.integer(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Node {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => number_of(&number, visitor),
            Value::String(text) => visitor.visit_string(text),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.members(visitor),
        }
    }

    integers!(
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    );

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Null => visitor.visit_bool(false),
            _ => Err(self.misfit("bool")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value {
            Value::String(text) => visitor.visit_string(text),
            // One of a list or a map: Go leaves it as it is made, empty.
            Value::Null => visitor.visit_str(""),
            _ => Err(self.misfit("string")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self.value {
            Value::String(text) => visitor.visit_enum(text.into_deserializer()),
            _ => Err(self.misfit("string")),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let items = match self.value {
            Value::Array(items) => items,
            Value::Null => Vec::new(),
            _ if self.path.ends_with(".IPAM.Config") => return Err(self.misfit("[]network.IPAMConfig")),
            _ => return Err(self.misfit("[]string")),
        };
        let path = self.path;
        let items = items.into_iter().enumerate().map(|(index, value)| Node {
            is_item: true,
            ..Node::at(format!("{path}.{index}"), value)
        });
        visitor.visit_seq(de::value::SeqDeserializer::new(items))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.members(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let members = match self.value {
            Value::Object(members) => members,
            Value::Null => serde_json::Map::new(),
            _ => return Err(self.misfit(name)),
        };
        // Go begins with the name of the body's structure, but for the fields of one within it, as a container's are.
        let path = match (name, self.path.as_str()) {
            ("ExecCreateRequest", "") => "ExecOptions",
            ("VolumeCreateRequest", "") => "CreateOptions",
            ("NetworkCreateRequest", "") => "CreateRequest",
            ("NetworkConnectRequest", "") => "ConnectOptions",
            ("NetworkDisconnectRequest", "") => "DisconnectOptions",
            (_, path) => path,
        };
        let mut known: Vec<(String, Value)> = Vec::new();
        // Go leaves a field as it is for a `null`, and passes over what it does not know.
        for (key, value) in members.into_iter().filter(|(_, value)| !value.is_null()) {
            let exact = fields.iter().find(|field| **field == key);
            let field = exact.or_else(|| fields.iter().find(|field| field.eq_ignore_ascii_case(&key)));
            match field {
                Some(field) if known.iter().any(|(other, _)| other == field) && exact.is_none() => {}
                Some(field) => {
                    known.retain(|(other, _)| other != field);
                    known.push(((*field).to_owned(), value));
                }
                None => {}
            }
        }
        visitor.visit_map(Members::new(known, path))
    }

    forward_to_deserialize_any! {
        f32 f64 char bytes byte_buf unit unit_struct tuple_struct identifier ignored_any
    }
}

impl IntoDeserializer<'_, Misfit> for Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn number_of<'de, V: Visitor<'de>>(number: &Number, visitor: V) -> Result<V::Value, Misfit> {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(number), _, _) => visitor.visit_i64(number),
        (_, Some(number), _) => visitor.visit_u64(number),
        (_, _, number) => visitor.visit_f64(number.unwrap_or_default()),
    }
}

/// Members of an object, one after the other.
struct Members {
    left: std::vec::IntoIter<(String, Value)>,
    current: Option<Node>,
    path: String,
}

impl Members {
    fn new(members: Vec<(String, Value)>, path: &str) -> Self {
        Self {
            left: members.into_iter(),
            current: None,
            path: path.to_owned(),
        }
    }
}

impl<'de> de::MapAccess<'de> for Members {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Misfit> {
        let Some((key, value)) = self.left.next() else {
            return Ok(None);
        };
        let path = format!("{}.{key}", self.path);
        self.current = Some(Node::at(path, value));
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let node = self.current.take();
        seed.deserialize(node.unwrap_or_else(|| Node::root(Value::Null)))
    }
}
