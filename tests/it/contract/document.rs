//! Twilio's own OpenAPI document, and whether what was said is as it says.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path as FilePath;
use std::rc::Rc;

use jsonschema::Validator;
use serde_json::{Map, Value};

use super::forms::{camel, decoded, fields, typed};
use super::proxy::{Answer, Exchange, JSON};
use super::refusal;
use super::schema::{Part, Schemas};

const FORM: &str = "application/x-www-form-urlencoded";
/// Recordings can be heard at addresses that the document does not have (contract section 4.4).
const MEDIA: [&str; 2] = [".wav", ".mp3"];

pub struct Document {
    paths: Vec<Path>,
    schemas: Schemas,
    /// By the schema that they are of.
    validators: RefCell<HashMap<String, Rc<Validator>>>,
}

struct Path {
    template: Vec<Segment>,
    /// What it has by method, lower case.
    operations: Map<String, Value>,
}

enum Segment {
    Literal(String),
    /// The parameter's name, and what follows it.
    Parameter(String, String),
}

/// A path as it was asked for.
struct Found<'a, 't> {
    path: &'a Path,
    /// Names and values of its parameters.
    parameters: Vec<(&'a str, &'t str)>,
}

/// One answer that the document shows.
pub struct Example {
    /// As in `ListCall`.
    pub operation: String,
    pub body: Value,
    schema: Value,
}

/// What is wrong, a sentence each.
pub type Violations = Vec<String>;

impl Document {
    /// Nothing where the shared folder is not there, and says so.
    pub fn open() -> Option<Self> {
        let Some(folder) = std::env::var_os("CALLBOOK_SHARED") else {
            println!(
                "skipped: CALLBOOK_SHARED does not name the shared folder, which has Twilio's OpenAPI document"
            );
            return None;
        };
        let path = FilePath::new(&folder).join("twilio/api_v2010.openapi.json");
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(Self::of(&serde_json::from_str(&text).unwrap())),
            Err(error) => {
                println!("skipped: Twilio's OpenAPI document {} cannot be read: {error}", path.display());
                None
            }
        }
    }

    fn of(document: &Value) -> Self {
        let paths = document["paths"].as_object().unwrap();
        let paths = paths.iter().map(|(template, operations)| Path {
            template: template.split('/').map(Segment::of).collect(),
            operations: operations.as_object().unwrap().clone(),
        });
        Self { paths: paths.collect(), schemas: Schemas::of(document), validators: RefCell::default() }
    }

    /// What the document calls it, as in `ListCall`.
    pub fn operation(&self, exchange: &Exchange) -> Option<&str> {
        let found = self.find(&exchange.path)?;
        found.path.operations.get(&exchange.method.to_lowercase())?["operationId"].as_str()
    }

    pub fn check(&self, exchange: &Exchange) -> Violations {
        let is_media = MEDIA.iter().any(|ending| exchange.path.ends_with(ending));
        let mut wrong = if is_media { self.check_media(exchange) } else { self.check_described(exchange) };
        if !exchange.has_credentials {
            wrong.push("it has no credentials".to_owned());
        }
        wrong
    }

    fn check_described(&self, exchange: &Exchange) -> Violations {
        let Some(found) = self.find(&exchange.path) else {
            return vec![format!("the path {} is not in the document", exchange.path)];
        };
        let Some(operation) = found.path.operations.get(&exchange.method.to_lowercase()) else {
            return vec![format!("{} is not a method of {}", exchange.method, exchange.path)];
        };
        let mut wrong = self.check_path(operation, &found);
        wrong.extend(self.check_query(operation, &exchange.query));
        wrong.extend(self.check_body(operation, exchange));
        if let Some(answer) = &exchange.answer {
            wrong.extend(self.check_answer(operation, answer));
        }
        wrong
    }

    /// A recording that is asked for by an ending of its own.
    fn check_media(&self, exchange: &Exchange) -> Violations {
        let resource = format!("{}.json", &exchange.path[..exchange.path.len() - MEDIA[0].len()]);
        let Some(found) = self.find(&resource) else {
            return vec![format!("the path {resource} is not in the document")];
        };
        let mut wrong = self.check_path(&found.path.operations["get"], &found);
        if exchange.method != "GET" || !exchange.query.is_empty() || !exchange.body.is_empty() {
            wrong.push("media is got, and by its path alone".to_owned());
        }
        match &exchange.answer {
            Some(answer) if matches!(answer.status, 200 | 206) => {
                if !answer.is("audio/") {
                    wrong.push(format!("media is {:?}", answer.content_type));
                }
            }
            // Nothing of it is in what was asked for; and somewhere else.
            None | Some(Answer { status: 416 | 302 | 307, .. }) => {}
            Some(answer) => wrong.extend(refusal::check(answer)),
        }
        wrong
    }

    fn check_path(&self, operation: &Value, found: &Found<'_, '_>) -> Violations {
        let mut wrong = Vec::new();
        for (name, value) in &found.parameters {
            match parameter(operation, "path", name) {
                None => wrong.push(format!("the path's parameter {name} is not declared")),
                Some(declared) => wrong.extend(self.check_text(&declared["schema"], name, value)),
            }
        }
        wrong
    }

    fn check_query(&self, operation: &Value, query: &str) -> Violations {
        let (mut wrong, mut seen) = (Vec::new(), Vec::new());
        for (name, value) in decoded(query.as_bytes()) {
            match parameter(operation, "query", &name) {
                None => wrong.push(format!("the query parameter {name} is not declared")),
                Some(declared) => wrong.extend(self.check_text(&declared["schema"], &name, &value)),
            }
            if seen.contains(&name) {
                wrong.push(format!("the query parameter {name} is there twice"));
            }
            seen.push(name);
        }
        for declared in operation["parameters"].as_array().into_iter().flatten() {
            let is_required = declared["in"] == "query" && declared["required"] == true;
            if is_required && !seen.iter().any(|name| declared["name"] == name.as_str()) {
                wrong.push(format!("the query parameter {} is required", declared["name"]));
            }
        }
        wrong
    }

    fn check_text(&self, schema: &Value, name: &str, text: &str) -> Violations {
        let wrong = self.check_value(schema, Part::Request, &typed(schema, text));
        wrong.into_iter().map(|wrong| format!("{name}: {wrong}")).collect()
    }

    fn check_body(&self, operation: &Value, exchange: &Exchange) -> Violations {
        let Some(schema) = operation.pointer("/requestBody/content").and_then(|content| content.get(FORM))
        else {
            let is_empty = exchange.body.is_empty();
            return if is_empty { vec![] } else { vec!["it has a body, and takes none".to_owned()] };
        };
        let schema = &schema["schema"];
        if exchange.content_type.as_deref() != Some(FORM) {
            return vec![format!("its body is {:?} and not {FORM}", exchange.content_type)];
        }
        let (fields, mut wrong) = fields(schema, &exchange.body);
        let groups = operation.pointer("/x-twilio/conditional").and_then(Value::as_array);
        for group in groups.into_iter().flatten() {
            let names: Vec<String> = group.as_array().unwrap().iter().map(camel).collect();
            if !names.iter().any(|name| fields.contains_key(name)) {
                wrong.push(format!("none of {} is there", names.join(", ")));
            }
        }
        wrong.extend(self.check_value(schema, Part::Request, &Value::Object(fields)));
        wrong
    }

    fn check_answer(&self, operation: &Value, answer: &Answer) -> Violations {
        if answer.status >= 400 {
            return refusal::check(answer);
        }
        let Some(declared) = operation["responses"].get(answer.status.to_string()) else {
            return vec![format!("the status {} is not declared", answer.status)];
        };
        let schema = &declared["content"][JSON]["schema"];
        let Some(body) = answer.json() else {
            return vec![format!("the answer is {:?} and not JSON", answer.content_type)];
        };
        let mut wrong = self.check_value(schema, Part::Answer, &body);
        self.check_links(&body, &mut wrong);
        wrong
    }

    /// Wherever an answer points to is in the document, too.
    fn check_links(&self, value: &Value, wrong: &mut Violations) {
        for (name, value) in value.as_object().into_iter().flatten() {
            match value {
                Value::String(link) if name == "uri" || name.ends_with("_uri") => {
                    wrong.extend(self.check_link(link));
                }
                Value::Object(links) if name == "subresource_uris" => {
                    let links = links.values().map(|link| link.as_str().unwrap_or_default());
                    wrong.extend(links.flat_map(|link| self.check_link(link)));
                }
                Value::Array(resources) => {
                    resources.iter().for_each(|resource| self.check_links(resource, wrong))
                }
                _ => {}
            }
        }
    }

    fn check_link(&self, link: &str) -> Violations {
        let (path, query) = link.split_once('?').unwrap_or((link, ""));
        let Some(found) = self.find(path) else { return vec![format!("{link} is not in the document")] };
        // Some can only be posted to.
        let operation = ["get", "post"].iter().find_map(|method| found.path.operations.get(*method));
        let Some(operation) = operation else { return vec![format!("{link} has no method")] };
        let mut wrong = self.check_path(operation, &found);
        wrong.extend(self.check_query(operation, query));
        wrong.into_iter().map(|wrong| format!("{link}: {wrong}")).collect()
    }

    fn check_value(&self, schema: &Value, part: Part, value: &Value) -> Violations {
        let validator = {
            let mut validators = self.validators.borrow_mut();
            let known = validators.entry(format!("{part:?} {schema}"));
            Rc::clone(known.or_insert_with(|| Rc::new(self.schemas.validator(schema, part))))
        };
        let told = validator.iter_errors(value).map(|error| {
            // What is wrong with one row of a list is usually wrong with all.
            let path = error.instance_path().to_string();
            let place = path.split('/').map(|name| if name.parse::<usize>().is_ok() { "*" } else { name });
            format!("{}: {error}", place.collect::<Vec<_>>().join("/"))
        });
        told.collect()
    }

    fn find<'t>(&self, path: &'t str) -> Option<Found<'_, 't>> {
        let segments: Vec<&str> = path.split('/').collect();
        let found = self.paths.iter().filter_map(|path| path.found(&segments));
        // What is written out in a template comes before what is a parameter.
        found.min_by_key(|found| found.parameters.len())
    }

    /// The answers that the document shows for these operations.
    pub fn examples(&self, operations: &[&str]) -> Vec<Example> {
        let all = self.paths.iter().flat_map(|path| path.operations.values());
        let asked = all.filter(|operation| {
            operation["operationId"].as_str().is_some_and(|name| operations.contains(&name))
        });
        asked.flat_map(examples_of).collect()
    }

    pub fn check_example(&self, example: &Example) -> Violations {
        self.check_value(&example.schema, Part::Answer, &example.body)
    }
}

impl Path {
    fn found<'t>(&self, segments: &[&'t str]) -> Option<Found<'_, 't>> {
        if segments.len() != self.template.len() {
            return None;
        }
        let mut parameters = Vec::new();
        for (segment, text) in self.template.iter().zip(segments) {
            match segment {
                Segment::Literal(literal) if literal == text => {}
                Segment::Literal(_) => return None,
                Segment::Parameter(name, ending) => {
                    parameters.push((name.as_str(), text.strip_suffix(ending.as_str())?));
                }
            }
        }
        Some(Found { path: self, parameters })
    }
}

impl Segment {
    fn of(text: &str) -> Self {
        match text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((name, ending)) => Self::Parameter(name.to_owned(), ending.to_owned()),
            None => Self::Literal(text.to_owned()),
        }
    }
}

fn examples_of(operation: &Value) -> Vec<Example> {
    let mut examples = Vec::new();
    for answer in operation["responses"].as_object().unwrap().values() {
        let json = &answer["content"][JSON];
        for example in json["examples"].as_object().into_iter().flat_map(Map::values) {
            examples.push(Example {
                operation: operation["operationId"].as_str().unwrap().to_owned(),
                body: example["value"].clone(),
                schema: json["schema"].clone(),
            });
        }
    }
    examples
}

fn parameter<'a>(operation: &'a Value, place: &str, name: &str) -> Option<&'a Value> {
    let declared = operation["parameters"].as_array()?.iter();
    declared.into_iter().find(|declared| declared["in"] == place && declared["name"] == name)
}
