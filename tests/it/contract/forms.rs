//! What forms and queries say, in the types that a schema has. Not by callbook's own reading of forms, which wrote
//! them.

use reqwest::Url;
use serde_json::{Map, Value, json};

use super::document::Violations;

pub fn decoded(form: &[u8]) -> Vec<(String, String)> {
    let mut url = Url::parse("http://localhost").unwrap();
    url.set_query(Some(std::str::from_utf8(form).unwrap()));
    url.query_pairs().into_owned().collect()
}

/// What a text of a form says, where the schema has another type.
pub fn typed(schema: &Value, text: &str) -> Value {
    let read = match schema["type"].as_str() {
        Some("integer" | "number" | "boolean") => serde_json::from_str(text).ok(),
        _ => None,
    };
    read.unwrap_or_else(|| Value::from(text))
}

/// A form as an object; what is repeated is a list.
pub fn fields(schema: &Value, body: &[u8]) -> (Map<String, Value>, Violations) {
    let (mut fields, mut wrong) = (Map::new(), Vec::new());
    for (name, text) in decoded(body) {
        let declared = &schema["properties"][&name];
        if declared["type"] == "array" {
            let list = fields.entry(name).or_insert_with(|| json!([]));
            list.as_array_mut().unwrap().push(typed(&declared["items"], &text));
        } else if fields.insert(name.clone(), typed(declared, &text)).is_some() {
            wrong.push(format!("the field {name} is there twice"));
        }
    }
    (fields, wrong)
}

/// `application_sid` as `ApplicationSid`.
pub fn camel(name: &Value) -> String {
    let words = name.as_str().unwrap_or_default().split('_');
    words.map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}
