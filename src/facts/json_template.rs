//! JSON whose strings have the facts of a request in them: `{ "id": "{request.id}" }`.

use bytes::Bytes;
use http::HeaderName;
use serde_json::Value;

use super::answers::{Gathered, PartField};
use super::hole::Form;
use super::template::{Template, TemplateError, Variables, View};

/// Compiled JSON. Rendering costs one buffer, and one for each string with a variable in it.
#[derive(Clone, Debug)]
pub struct JsonTemplate(Box<[Piece]>);

#[derive(Clone, Debug)]
enum Piece {
    /// JSON as it is written out.
    Text(Box<str>),
    /// A string. Whatever its facts are, it is written as one string and nothing else.
    String(Template),
}

impl JsonTemplate {
    /// Strings that are values, and not keys, are templates, in which a brace itself is written twice.
    pub fn compile(value: &Value, variables: Variables<'_>) -> Result<JsonTemplate, TemplateError> {
        let mut draft = Draft::default();
        draft.add(value, variables)?;
        draft.flush();
        Ok(JsonTemplate(draft.pieces.into()))
    }

    /// The JSON. A string that names a fact that is absent is `null`.
    pub fn render(&self, view: View<'_>) -> Bytes {
        self.fill(view.into(), Form::Plain)
    }

    /// The JSON of an aggregation. A string that is nothing but something of a part's body is that, of whatever type; one
    /// that names what is absent is `null`.
    pub fn gather(&self, gathered: Gathered<'_>) -> Bytes {
        self.fill(gathered, Form::Decoded)
    }

    fn fill(&self, gathered: Gathered<'_>, form: Form) -> Bytes {
        let mut out = Vec::with_capacity(256);
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::String(template) => {
                    if let Some(json) = template.as_hole().and_then(|hole| hole.json(gathered)) {
                        out.extend_from_slice(json.as_bytes());
                        continue;
                    }
                    let mut text = Vec::with_capacity(64);
                    let filled = template.fill(gathered, form, &mut text);
                    let text = filled.ok().map(|()| String::from_utf8_lossy(&text));
                    // Writing text to a Vec cannot fail.
                    drop(serde_json::to_writer(&mut out, &text));
                }
            }
        }
        out.into()
    }

    /// What of an aggregation's parts it names.
    pub fn parts(&self) -> impl Iterator<Item = &PartField> {
        self.templates().flat_map(Template::parts)
    }

    /// The client's headers that it names.
    pub fn client_headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.templates().flat_map(Template::client_headers)
    }

    /// Whether it can be another one for the same request of another client, but for the headers that it names.
    pub fn is_of_one_client(&self) -> bool {
        self.templates().any(Template::is_of_one_client)
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::String(template) => Some(template),
            Piece::Text(_) => None,
        })
    }
}

#[derive(Default)]
struct Draft {
    pieces: Vec<Piece>,
    text: String,
}

impl Draft {
    fn add(&mut self, value: &Value, variables: Variables<'_>) -> Result<(), TemplateError> {
        match value {
            Value::String(text) => {
                let template = Template::compile_body(text, variables)?;
                match template.as_static() {
                    Some(text) => self.text.push_str(&Value::from(text).to_string()),
                    None => {
                        self.flush();
                        self.pieces.push(Piece::String(template));
                    }
                }
            }
            Value::Array(values) => {
                self.text.push('[');
                for (index, value) in values.iter().enumerate() {
                    self.separate(index);
                    self.add(value, variables)?;
                }
                self.text.push(']');
            }
            Value::Object(entries) => {
                self.text.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    self.separate(index);
                    self.text.push_str(&Value::from(key.as_str()).to_string());
                    self.text.push(':');
                    self.add(value, variables)?;
                }
                self.text.push('}');
            }
            plain => self.text.push_str(&plain.to_string()),
        }
        Ok(())
    }

    fn separate(&mut self, index: usize) {
        if index > 0 {
            self.text.push(',');
        }
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            self.pieces.push(Piece::Text(text.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use pingora::http::RequestHeader;
    use serde_json::json;

    use super::*;
    use crate::facts::{Facts, Scheme};

    fn check(value: Value, path: &str, expected: &str) {
        let names = [Box::from("id")];
        let template = JsonTemplate::compile(&value, Variables::Route(&names)).unwrap();
        let request = RequestHeader::build("GET", path.as_bytes(), None).unwrap();
        let mut facts = Facts::new("192.0.2.7".parse().unwrap(), Scheme::Https);
        facts.captures.push((1, 2));
        let view = View {
            facts: &facts,
            request: &request,
        };
        assert_eq!(template.render(view), expected, "{value}");
    }

    #[test]
    fn strings_have_facts_in_them() {
        check(
            json!({ "ok": true, "n": [1, null] }),
            "/7",
            r#"{"n":[1,null],"ok":true}"#,
        );
        check(
            json!({ "who": "at {client.ip}!" }),
            "/7",
            r#"{"who":"at 192.0.2.7!"}"#,
        );
        check(json!(["{path.id}", "{{x}}"]), "/7", r#"["7","{x}"]"#);
        check(json!("{identity.subject}"), "/7", "null");
        // Whatever is in the request stays inside of the string.
        check(
            json!({ "p": "{request.path}" }),
            "/\"},\"a\":{\"",
            r#"{"p":"/\"},\"a\":{\""}"#,
        );
    }

    #[test]
    fn mistakes_are_found_at_load() {
        let compiled = JsonTemplate::compile(&json!({ "a": "{nothing}" }), Variables::Shared);
        assert!(compiled.is_err());
    }
}
