//! The schemas of an OpenAPI 3.0 document, which are nearly JSON Schema, as what they mean.

use jsonschema::{Registry, ValidationOptions, Validator};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// Where schemas look for those that they refer to.
const SCHEMAS: &str = "contract:/schemas";

const RFC_2822: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] \
     [offset_hour sign:mandatory][offset_minute]"
);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Request,
    /// Every field that is declared is there, null if it has no value, as in all of the document's examples.
    Answer,
}

/// The schemas that a document has by name.
pub struct Schemas {
    registry: Registry<'static>,
}

impl Schemas {
    pub fn of(document: &Value) -> Self {
        let mut named = document["components"]["schemas"].as_object().unwrap().clone();
        // Requests refer to enumerations only.
        named.values_mut().for_each(|schema| convert(schema, Part::Answer));
        let all = json!({ "components": { "schemas": named } });
        let registry = Registry::new().add(SCHEMAS, all).unwrap().prepare().unwrap();
        Self { registry }
    }

    pub fn validator(&self, schema: &Value, part: Part) -> Validator {
        let mut schema = schema.clone();
        convert(&mut schema, part);
        options().with_registry(&self.registry).build(&schema).unwrap()
    }
}

fn options<'a>() -> ValidationOptions<'a> {
    jsonschema::options()
        .offline()
        .should_validate_formats(true)
        .with_format("date-time-rfc-2822", is_rfc_2822)
        .with_format("currency", |text: &str| {
            text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic())
        })
}

/// As Twilio writes it, to the letter: the day of the week is that of the day.
fn is_rfc_2822(text: &str) -> bool {
    let written = OffsetDateTime::parse(text, RFC_2822).ok().and_then(|at| at.format(RFC_2822).ok());
    written.as_deref() == Some(text)
}

fn convert(schema: &mut Value, part: Part) {
    let Some(schema) = schema.as_object_mut() else { return };
    if let Some(Value::String(reference)) = schema.get_mut("$ref") {
        // They are found from wherever the schema is used.
        reference.insert_str(0, SCHEMAS);
    }
    if schema.remove("nullable") == Some(Value::Bool(true)) {
        allow_null(schema);
    }
    // The paths in answers are declared as URIs and are none (contract section 4.9).
    if part == Part::Answer && schema.get("format") == Some(&json!("uri")) {
        schema.remove("format");
    }
    if let Some(items) = schema.get_mut("items") {
        convert(items, part);
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(|property| convert(property, part));
        let names: Vec<String> = properties.keys().cloned().collect();
        schema.insert("additionalProperties".to_owned(), json!(false));
        if part == Part::Answer {
            schema.insert("required".to_owned(), json!(names));
        }
    }
}

/// OpenAPI's `nullable` is a type and a value more.
fn allow_null(schema: &mut Map<String, Value>) {
    if let Some(Value::String(kind)) = schema.get("type") {
        let either = json!([kind, "null"]);
        schema.insert("type".to_owned(), either);
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.push(Value::Null);
    }
}

#[test]
fn a_time_is_one_of_rfc_2822_only_if_twilio_would_write_it_so() {
    for (text, expected) in [
        ("Fri, 20 Aug 2010 01:13:42 +0000", true),
        ("Mon, 14 Feb 2022 22:23:00 +0100", true),
        ("Thu, 20 Aug 2010 01:13:42 +0000", false),
        ("Fri, 20 Aug 2010 01:13:42 GMT", false),
        ("2010-08-20T01:13:42Z", false),
        ("Fri, 30 Feb 2010 01:13:42 +0000", false),
        ("", false),
    ] {
        assert_eq!(is_rfc_2822(text), expected, "{text}");
    }
}
