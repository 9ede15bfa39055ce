//! The names and types of a driver's or processor's options, found by asking serde: for `camrig list`.
//!
//! Whoever writes options derives `Deserialize` and nothing of ours. A derived implementation tells a
//! deserializer which fields it looks for, and tells the deserializer of each field which type it wants; here
//! are deserializers that listen. Each stops by failing with what it heard, so that no value is ever needed.
//!
//! It deliberately knows no rules beyond names and types, and sees only what serde shows: options that are
//! not a plain struct (`flatten`, tagged enums, free tables) have no names to list, and an alias counts as a
//! name.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

/// What options a type takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    pub(crate) options: Vec<OptionOutline>,
}

/// One option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OptionOutline {
    pub(crate) name: String,
    /// `bool`, `integer`, `number`, `string`, `list of ...`, `table`, `any`, or choices as in `fast|exact`.
    pub(crate) takes: String,
    /// Whether it is known that it cannot be left out.
    pub(crate) required: bool,
}

impl Outline {
    pub(crate) fn of<O: DeserializeOwned>() -> Self {
        let Err(Heard::Fields(names)) = O::deserialize(Question::Fields) else {
            return Self { options: Vec::new() };
        };
        let required = required::<O>(names.len());
        let options = names.iter().map(|&name| OptionOutline {
            name: name.to_owned(),
            takes: type_of::<O>(name).to_string(),
            required: required.iter().any(|(other, _)| *other == name),
        });
        Self { options: options.collect() }
    }
}

/// One line an option, indented, as `camrig list` shows it.
impl fmt::Display for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.options.is_empty() {
            return writeln!(f, "  no options");
        }
        let width = self.options.iter().map(|option| option.name.len()).max().unwrap_or(0);
        for OptionOutline { name, takes, required } in &self.options {
            writeln!(f, "  {name:width$}  {takes}{}", if *required { ", required" } else { "" })?;
        }
        Ok(())
    }
}

/// The fields that cannot be left out, and their types.
///
/// Serde names only the first that is missing. So that one is given some value, and serde asked again. Where
/// a type refuses the value, fields after it stay unknown: the check of a topology finds them all the same.
fn required<O: DeserializeOwned>(field_count: usize) -> Vec<(&'static str, Type)> {
    let mut required = Vec::new();
    while let Err(Heard::Missing(name)) = O::deserialize(Question::Missing(&required)) {
        if required.len() == field_count {
            break;
        }
        required.push((name, type_of::<O>(name)));
    }
    required
}

fn type_of<O: DeserializeOwned>(field: &'static str) -> Type {
    match O::deserialize(Question::Type(field)) {
        Err(Heard::Type(takes)) => takes,
        _ => Type::Any,
    }
}

/// The type that a field asks for.
#[derive(Clone, Debug)]
enum Type {
    Bool,
    Integer,
    Number,
    String,
    List(Box<Type>),
    Table,
    OneOf(&'static [&'static str]),
    Any,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Integer => f.write_str("integer"),
            Self::Number => f.write_str("number"),
            Self::String => f.write_str("string"),
            Self::List(of) => write!(f, "list of {of}"),
            Self::Table => f.write_str("table"),
            Self::OneOf(variants) => f.write_str(&variants.join("|")),
            Self::Any => f.write_str("any"),
        }
    }
}

/// What a deserializer heard, as the error that stops it.
#[derive(Debug)]
enum Heard {
    Fields(&'static [&'static str]),
    Type(Type),
    Missing(&'static str),
    Nothing,
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped after listening")
    }
}

impl std::error::Error for Heard {}

impl Error for Heard {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Nothing
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}

/// What is asked of the options as a whole.
#[derive(Clone, Copy)]
enum Question<'a> {
    /// Which fields are there?
    Fields,
    /// Which type has this field?
    Type(&'static str),
    /// Which field is missing when these are there?
    Missing(&'a [(&'static str, Type)]),
}

impl<'de> Deserializer<'de> for Question<'_> {
    type Error = Heard;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Heard> {
        match self {
            Self::Fields => Err(Heard::Fields(fields)),
            Self::Type(field) => visitor.visit_map(MapDeserializer::new([(field, Listener)].into_iter())),
            Self::Missing(given) => {
                let values = given.iter().map(|(field, takes)| (*field, SomeValue(takes.clone())));
                visitor.visit_map(MapDeserializer::new(values))
            }
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Heard> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Heard> {
        Err(Heard::Nothing)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Methods of [`Listener`] that hear a type at once.
macro_rules! hear {
    ($($method:ident)* => $heard:ident) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Heard> {
            Err(Heard::Type(Type::$heard))
        })*
    };
}

/// Listens for the type of one field.
struct Listener;

impl<'de> Deserializer<'de> for Listener {
    type Error = Heard;

    hear! { deserialize_bool => Bool }
    hear! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 => Integer
    }
    hear! { deserialize_f32 deserialize_f64 => Number }
    hear! { deserialize_char deserialize_str deserialize_string deserialize_identifier => String }
    hear! { deserialize_map => Table }
    hear! { deserialize_any deserialize_unit deserialize_ignored_any => Any }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Heard> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Heard> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Heard> {
        let element = match visitor.visit_seq(SeqDeserializer::new([Self].into_iter())) {
            Err(Heard::Type(element)) => element,
            _ => Type::Any,
        };
        Err(Heard::Type(Type::List(Box::new(element))))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Heard> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Heard> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Heard> {
        Err(Heard::Type(Type::OneOf(variants)))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Heard> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Heard> {
        self.deserialize_unit(visitor)
    }

    forward_to_deserialize_any! { bytes byte_buf }
}

impl IntoDeserializer<'_, Heard> for Listener {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Some value of a type.
struct SomeValue(Type);

impl<'de> Deserializer<'de> for SomeValue {
    type Error = Heard;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Heard> {
        let value = match self.0 {
            Type::Bool => visitor.visit_bool(false),
            Type::Integer => visitor.visit_u64(1),
            Type::Number => visitor.visit_f64(1.0),
            // Of the strings with a form of their own, the one that cameras have: a stream profile.
            Type::String => visitor.visit_str("640x480@30"),
            Type::List(_) => visitor.visit_seq(SeqDeserializer::new(std::iter::empty::<Self>())),
            Type::Table => visitor.visit_map(MapDeserializer::new(std::iter::empty::<(&str, Self)>())),
            Type::OneOf(variants) => {
                visitor.visit_enum(StrDeserializer::new(variants.first().unwrap_or(&"")))
            }
            Type::Any => visitor.visit_unit(),
        };
        // What is missing in a table of the options is not missing in the options.
        value.map_err(|_| Heard::Nothing)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Heard> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Heard> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl IntoDeserializer<'_, Heard> for SomeValue {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use camrig_frame::StreamProfile;
    use serde::Deserialize;

    use super::*;
    use crate::processor::NoOptions;

    fn lines<O: DeserializeOwned>() -> Vec<String> {
        let line = |option: OptionOutline| {
            let mark = if option.required { "!" } else { "" };
            format!("{}{mark}: {}", option.name, option.takes)
        };
        Outline::of::<O>().options.into_iter().map(line).collect()
    }

    #[derive(Default, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    #[allow(dead_code)] // Only its shape matters.
    enum Mode {
        #[default]
        Fast,
        VeryExact,
    }

    #[derive(Deserialize)]
    #[serde(transparent)]
    #[allow(dead_code)]
    struct Millis(u32);

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    #[allow(dead_code)]
    struct Rich {
        serial: String,
        color: StreamProfile,
        depth: Option<StreamProfile>,
        #[serde(default)]
        mode: Mode,
        strict_mode: Mode,
        exposure_millis: Millis,
        gain: Option<f32>,
        loops: bool,
        names: Vec<String>,
        corner: [u32; 2],
        inner: Option<Inner>,
        #[serde(default)]
        anything: Option<toml::Value>,
    }

    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Inner {
        a: u8,
    }

    #[test]
    fn names_types_and_what_is_required() {
        assert_eq!(
            lines::<Rich>(),
            [
                "serial!: string",
                "color!: string",
                "depth: string",
                "mode: fast|very-exact",
                "strict-mode!: fast|very-exact",
                "exposure-millis!: integer",
                "gain: number",
                "loops!: bool",
                "names!: list of string",
                "corner!: list of integer",
                "inner: table",
                "anything: any",
            ]
        );
    }

    #[derive(Deserialize)]
    #[serde(default)]
    struct AllDefault {
        port: u16,
    }

    impl Default for AllDefault {
        fn default() -> Self {
            Self { port: 1 }
        }
    }

    #[test]
    fn a_default_for_the_whole_makes_nothing_required() {
        assert_eq!(AllDefault::default().port, 1);
        assert_eq!(lines::<AllDefault>(), ["port: integer"]);
    }

    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Picky {
        address: std::net::Ipv4Addr,
        inner: Inner,
        after: u8,
    }

    #[test]
    fn what_comes_after_a_value_that_is_refused_stays_unknown() {
        assert_eq!(lines::<Picky>(), ["address!: string", "inner: table", "after: integer"]);
    }

    #[test]
    fn types_that_are_no_struct_have_no_names() {
        assert!(lines::<NoOptions>().is_empty());
        assert!(lines::<toml::Table>().is_empty());
        assert!(lines::<Mode>().is_empty());
    }
}
