//! Any host and path against any templates: the first line is the host, the second the path, the rest are templates.

use http::{HeaderMap, Method};

use super::host;
use super::{Lookup, Matcher, PathTemplate, RequestParts, TableBuilder};
use crate::text::fuzz::fuzz;

const WORDS: [&str; 20] = [
    "\n", "\n/", "/", "//", "{id}", "{*rest}", "{", "}", "a", "b", ";", ";x", "..", "%2F", "%",
    "é", ".", ":80", "[::1]", "EXAMPLE",
];

#[test]
fn fuzz_hosts_and_paths() {
    fuzz("routes", &WORDS, |input| {
        let text = String::from_utf8_lossy(input);
        let mut lines = text.split('\n');
        let (name, path) = (
            lines.next().unwrap_or_default(),
            lines.next().unwrap_or_default(),
        );
        let mut builder = TableBuilder::new();
        let mut routes = Vec::new();
        for (index, line) in lines.take(12).enumerate() {
            let Ok(template) = PathTemplate::parse(line) else {
                continue;
            };
            let text = template.to_string();
            assert_eq!(PathTemplate::parse(&text), Ok(template.clone()), "{text}");
            let matcher = Matcher::builder().path(template);
            let matcher = match index % 3 {
                0 => matcher,
                1 => matcher.host((name, false)),
                _ => matcher.host((
                    name.split_once('.').map_or(name, |(_, suffix)| suffix),
                    true,
                )),
            };
            let (route, matcher) = (format!("r{index:02}"), matcher.build());
            builder.insert(&route, matcher.clone(), route.clone());
            routes.push((route, matcher));
        }
        let headers = HeaderMap::new();
        let request = RequestParts {
            host: name,
            path,
            query: None,
            method: &Method::GET,
            headers: &headers,
        };
        let normal = host::normalise(name);
        let judged = routes
            .iter()
            .filter_map(|(name, matcher)| matcher.judge(name, &normal, &request).ok());
        let wanted = judged.max().map(|precedence| precedence.leaf.name.0);
        match builder.build().find(&request) {
            Lookup::Found(found, captures) => {
                assert_eq!(Some(found.as_str()), wanted);
                let values: Vec<&str> = captures.values(path).collect();
                assert_eq!(
                    values.len(),
                    captures.len(),
                    "every capture is a part of the path"
                );
                (
                    true,
                    values.iter().map(|value| value.len().min(3)).collect(),
                    routes.len(),
                )
            }
            _ => {
                assert_eq!(wanted, None);
                (false, Vec::new(), routes.len())
            }
        }
    });
}
