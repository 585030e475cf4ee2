//! Refusals: the document has none of them, but they have a shape all the same (contract section 4.7).

use serde_json::json;

use super::document::Violations;
use super::proxy::{Answer, JSON};

pub fn check(answer: &Answer) -> Violations {
    if answer.status >= 500 && !answer.is(JSON) {
        // A proxy's page.
        return vec![];
    }
    let Some(body) = answer.json() else {
        return vec![format!("the refusal is {:?} and not JSON", answer.content_type)];
    };
    let schema = json!({
        "type": "object",
        "properties": {
            "code": { "type": ["integer", "null"], "minimum": 10_000, "maximum": 99_999 },
            "message": { "type": "string", "minLength": 1 },
            "more_info": { "type": "string", "pattern": "^https://www\\.twilio\\.com/docs/errors/[0-9]{5}$" },
            "status": { "const": answer.status },
            "detail": { "type": "string" },
            "details": { "type": "object" },
        },
        "required": ["code", "message", "more_info", "status"],
        "additionalProperties": false,
    });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut wrong: Violations = validator.iter_errors(&body).map(|error| error.to_string()).collect();
    let (code, about) = (&body["code"], body["more_info"].as_str().unwrap_or_default());
    if code.is_u64() && !about.ends_with(&code.to_string()) {
        wrong.push(format!("{about} is not about {code}"));
    }
    wrong
}
