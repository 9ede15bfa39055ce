//! Compares a TOML value with a JSON schema, and reports each difference with its location.
//!
//! It supports the part of JSON Schema that schemars generates for types that serde deserializes: types, bounds of
//! numbers, choices of strings, properties and items. Unsupported parts are accepted: the type itself checks them.

use std::ops::RangeInclusive;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// Bounds of the integer formats for which schemars generates a name but no bounds.
const INTEGER_FORMATS: [(&str, i128, i128); 8] = [
    ("int8", i8::MIN as i128, i8::MAX as i128),
    ("int16", i16::MIN as i128, i16::MAX as i128),
    ("int32", i32::MIN as i128, i32::MAX as i128),
    ("int64", i64::MIN as i128, i64::MAX as i128),
    ("uint8", 0, u8::MAX as i128),
    ("uint16", 0, u16::MAX as i128),
    ("uint32", 0, u32::MAX as i128),
    ("uint64", 0, u64::MAX as i128),
];

/// One difference between a value and its schema.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mismatch {
    /// Location in the file, in bytes.
    pub(crate) span: std::ops::Range<usize>,
    /// The innermost option concerned; `None` for the options as a whole.
    pub(crate) option: Option<String>,
    pub(crate) fact: Fact,
}

/// Kind of a difference.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fact {
    /// There is no option with this name.
    Unknown { name: String, known: Vec<String> },
    /// An option with this name is required.
    Missing { name: String },
    /// The string is not one of the choices.
    NotAChoice { written: String, choices: Vec<String> },
    /// The value has another type, or is out of bounds.
    Unexpected { found: String, wanted: String },
}

/// Returns every difference between `value` and `schema`.
pub(super) fn check(schema: &Value, value: &Spanned<DeValue<'_>>) -> Vec<Mismatch> {
    let mut checker = Checker { found: Vec::new() };
    checker.value(schema, None, value);
    checker.found
}

struct Checker {
    found: Vec<Mismatch>,
}

impl Checker {
    fn add(&mut self, span: std::ops::Range<usize>, option: Option<&str>, fact: Fact) {
        self.found.push(Mismatch { span, option: option.map(str::to_owned), fact });
    }

    fn value(&mut self, schema: &Value, option: Option<&str>, value: &Spanned<DeValue<'_>>) {
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.value(part, option, value);
        }
        let choices = choices(schema);
        if !choices.is_empty() {
            return self.choice(&choices, option, value);
        }
        let alternatives = alternatives(schema);
        match alternatives.as_slice() {
            [] => self.plain(schema, option, value),
            [only] => self.value(only, option, value),
            several => {
                if several.iter().any(|one| check(one, value).is_empty()) {
                    return;
                }
                let of_type =
                    |one: &&&Value| types(one).iter().any(|name| is_of_type(value.get_ref(), name, one));
                let mut of_type = several.iter().filter(of_type);
                match (of_type.next(), of_type.next()) {
                    (Some(only), None) => self.value(only, option, value),
                    _ => self.unexpected(schema, option, value),
                }
            }
        }
    }

    /// Checks that a value is one of several strings.
    fn choice(&mut self, choices: &[&str], option: Option<&str>, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::String(written) if choices.contains(&written.as_ref()) => {}
            DeValue::String(written) => {
                let choices = choices.iter().map(|&choice| choice.to_owned()).collect();
                let fact = Fact::NotAChoice { written: written.as_ref().to_owned(), choices };
                self.add(value.span(), option, fact);
            }
            other => {
                let fact = Fact::Unexpected { found: describe(other), wanted: "a string".to_owned() };
                self.add(value.span(), option, fact);
            }
        }
    }

    /// Checks a value against the types in `schema` itself.
    fn plain(&mut self, schema: &Value, option: Option<&str>, value: &Spanned<DeValue<'_>>) {
        let types = types(schema);
        if !types.is_empty() && !types.iter().any(|name| is_of_type(value.get_ref(), name, schema)) {
            return self.unexpected(schema, option, value);
        }
        match value.get_ref() {
            DeValue::Array(array) => self.items(schema, option, array),
            DeValue::Table(table) => self.properties(schema, option, value.span(), table),
            _ => {}
        }
    }

    fn items(&mut self, schema: &Value, option: Option<&str>, array: &DeArray<'_>) {
        if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
            array.iter().for_each(|item| self.value(items, option, item));
        }
    }

    fn properties(
        &mut self,
        schema: &Value,
        option: Option<&str>,
        span: std::ops::Range<usize>,
        table: &DeTable<'_>,
    ) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            match (properties.and_then(|properties| properties.get(name)), others) {
                (Some(property), _) => self.value(property, Some(name), value),
                (None, Some(Value::Bool(false))) => {
                    let known = properties.into_iter().flat_map(|known| known.keys().cloned()).collect();
                    self.add(key.span(), option, Fact::Unknown { name: name.to_owned(), known });
                }
                (None, Some(schema)) => self.value(schema, Some(name), value),
                (None, None) => {}
            }
        }
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            if let Some(name) = name.as_str().filter(|&name| !table.contains_key(name)) {
                self.add(span.clone(), option, Fact::Missing { name: name.to_owned() });
            }
        }
    }

    fn unexpected(&mut self, schema: &Value, option: Option<&str>, value: &Spanned<DeValue<'_>>) {
        let fact = Fact::Unexpected { found: describe(value.get_ref()), wanted: wanted(schema) };
        self.add(value.span(), option, fact);
    }
}

/// Returns the types in `schema`, without `null`, which TOML does not have.
pub(super) fn types(schema: &Value) -> Vec<&str> {
    let named = match schema.get("type") {
        Some(Value::String(name)) => vec![name.as_str()],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    named.into_iter().filter(|&name| name != "null").collect()
}

/// Returns the alternatives of a schema, without `null`; empty if there are none.
pub(super) fn alternatives(schema: &Value) -> Vec<&Value> {
    let lists = ["anyOf", "oneOf"].into_iter().filter_map(|key| schema.get(key)?.as_array());
    lists.flatten().filter(|one| one.get("type").is_none_or(|name| name != "null")).collect()
}

/// Returns the permitted strings; empty if other values are also permitted.
pub(super) fn choices(schema: &Value) -> Vec<&str> {
    if let Some(listed) = schema.get("enum").and_then(Value::as_array) {
        return listed.iter().filter_map(Value::as_str).collect();
    }
    if let Some(only) = schema.get("const").and_then(Value::as_str) {
        return vec![only];
    }
    let alternatives = alternatives(schema);
    let of_each: Vec<_> = alternatives.iter().map(|one| choices(one)).collect();
    if of_each.iter().any(Vec::is_empty) { Vec::new() } else { of_each.concat() }
}

fn is_of_type(value: &DeValue<'_>, name: &str, schema: &Value) -> bool {
    match (value, name) {
        (DeValue::String(_), "string")
        | (DeValue::Boolean(_), "boolean")
        | (DeValue::Array(_), "array")
        | (DeValue::Table(_), "object") => true,
        (DeValue::Integer(integer), "integer") => {
            let bounds = integer_bounds(schema);
            let number = i128::from_str_radix(integer.as_str(), integer.radix());
            number.is_ok_and(|number| bounds.contains(&number))
        }
        (DeValue::Integer(integer), "number") => {
            let number = i128::from_str_radix(integer.as_str(), integer.radix());
            number.is_ok_and(|number| is_within(number as f64, schema))
        }
        // No bounds contain NaN.
        (DeValue::Float(float), "number") => {
            float.as_str().parse().is_ok_and(|number| is_within(number, schema))
        }
        _ => false,
    }
}

/// Returns the least and the largest integer.
fn integer_bounds(schema: &Value) -> RangeInclusive<i128> {
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
    let format = if format == "uint" { "uint64" } else { format };
    let by_format = INTEGER_FORMATS.iter().find(|(name, ..)| *name == format);
    let (least, most) = by_format.map_or((i128::MIN, i128::MAX), |&(_, least, most)| (least, most));
    let given = |key| schema.get(key).and_then(Value::as_f64).map(|bound| bound as i128);
    given("minimum").map_or(least, |given| given.max(least))
        ..=given("maximum").map_or(most, |given| given.min(most))
}

fn is_within(number: f64, schema: &Value) -> bool {
    let (least, most) = number_bounds(schema);
    least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most)
}

fn number_bounds(schema: &Value) -> (Option<f64>, Option<f64>) {
    let bound = |key| schema.get(key).and_then(Value::as_f64);
    (bound("minimum"), bound("maximum"))
}

/// Returns the expected kind of value, with its article.
fn wanted(schema: &Value) -> String {
    let own = types(schema).into_iter().map(|name| wanted_type(schema, name));
    let of_alternatives = alternatives(schema).into_iter().map(wanted);
    let mut wanted: Vec<_> = own.chain(of_alternatives).collect();
    wanted.dedup();
    let last = wanted.pop().unwrap_or_else(|| "another value".to_owned());
    if wanted.is_empty() { last } else { format!("{} or {last}", wanted.join(", ")) }
}

fn wanted_type(schema: &Value, name: &str) -> String {
    match name {
        "integer" => {
            let bounds = integer_bounds(schema);
            // The bounds of 64-bit numbers do not help in a message.
            let least = Some(*bounds.start()).filter(|&least| least > i128::from(i64::MIN));
            let most = Some(*bounds.end()).filter(|&most| most < i128::from(i64::MAX));
            bounded("an integer", least, most)
        }
        "number" => {
            let (least, most) = number_bounds(schema);
            bounded("a number", least, most)
        }
        "array" => "an array".to_owned(),
        "object" => "a table".to_owned(),
        other => format!("a {other}"),
    }
}

fn bounded<N: std::fmt::Display>(what: &str, least: Option<N>, most: Option<N>) -> String {
    match (least, most) {
        (Some(least), Some(most)) => format!("{what}, {least} to {most}"),
        (Some(least), None) => format!("{what}, {least} or more"),
        (None, Some(most)) => format!("{what}, {most} or less"),
        (None, None) => what.to_owned(),
    }
}

/// Describes a value for messages.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("string {text:?}"),
        DeValue::Integer(integer) => format!("integer `{integer}`"),
        DeValue::Float(float) => format!("number `{float}`"),
        DeValue::Boolean(switch) => format!("boolean `{switch}`"),
        DeValue::Datetime(_) => "a datetime".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::*;
    use crate::schema::OptionsSchema;

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)] // Only the schema is used.
    struct Rich {
        name: String,
        mode: Option<Mode>,
        small: Option<u8>,
        #[schemars(range(min = -1.5, max = 1.5))]
        share: Option<f64>,
        list: Option<Vec<u16>>,
        inner: Option<Inner>,
        #[schemars(with = "Option<Either>")]
        either: Option<toml::Value>,
    }

    #[derive(JsonSchema)]
    #[serde(untagged)]
    #[allow(dead_code)]
    enum Either {
        Number(f64),
        Switch(bool),
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    #[allow(dead_code)]
    enum Mode {
        /// Described.
        Fast,
        VeryExact,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Inner {
        rate: u32,
    }

    /// Returns every difference: the text at its location, its option, and its kind.
    fn differences(text: &str) -> Vec<String> {
        let value = DeValue::parse(text).unwrap();
        let line = |Mismatch { span, option, fact }: Mismatch| {
            let fact = match fact {
                Fact::Unknown { name, known } => format!("unknown {name} of {}", known.join(",")),
                Fact::Missing { name } => format!("missing {name}"),
                Fact::NotAChoice { written, choices } => format!("{written} of {}", choices.join(",")),
                Fact::Unexpected { found, wanted } => format!("{found}, not {wanted}"),
            };
            format!("{} [{}] {fact}", &text[span], option.unwrap_or_default())
        };
        let mut differences = OptionsSchema::of::<Rich>().check(&value);
        // The order within a table is arbitrary.
        differences.sort_by_key(|it| (it.span.start, it.span.end));
        differences.into_iter().map(line).collect()
    }

    #[test]
    fn a_value_that_fits_has_no_differences() {
        for text in [
            "{ name = '' }",
            "{ name = 'a', mode = 'very-exact', small = 255, share = -1.5, list = [1, 2], inner = { rate = 0x10 } }",
            "{ name = 'a', share = 1, either = 2.5 }",
            "{ name = 'a', either = true }",
        ] {
            assert_eq!(differences(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn every_difference_is_found_at_its_place() {
        let text =
            "{ nam = 1, mode = 'exact', small = 256, share = 1.6, list = [1, -2, 'x'], inner = { rat = 1 } }";
        assert_eq!(
            differences(text),
            [
                &format!("{text} [] missing name"),
                "nam [] unknown nam of name,mode,small,share,list,inner,either",
                "'exact' [mode] exact of very-exact,fast",
                "256 [small] integer `256`, not an integer, 0 to 255",
                "1.6 [share] number `1.6`, not a number, -1.5 to 1.5",
                "-2 [list] integer `-2`, not an integer, 0 to 65535",
                "'x' [list] string \"x\", not an integer, 0 to 65535",
                "{ rat = 1 } [inner] missing rate",
                "rat [inner] unknown rat of rate",
            ]
        );
        assert_eq!(
            differences("{ name = 1, mode = 2, share = nan, either = 'x', inner = [] }"),
            [
                "1 [name] integer `1`, not a string",
                "2 [mode] integer `2`, not a string",
                "nan [share] number `nan`, not a number, -1.5 to 1.5",
                "'x' [either] string \"x\", not a number or a boolean",
                "[] [inner] an array, not a table",
            ]
        );
    }
}
