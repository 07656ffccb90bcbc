//! YAML as the program reads it that will load the file, with lines.
//!
//! What an unquoted word means differs: for Envoy `0.5` is a string and 3000000000, too; for
//! Kubernetes they are numbers; for both `off` is `false`. A checker that reads it in a third way would
//! pass files that the proxy refuses.

mod scalar;

use crate::tree::{Kind, Tree};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use std::borrow::Cow;
use std::collections::HashMap;

/// Whose reading of unquoted scalars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Envoy's bootstrap and xDS files: yaml-cpp, then `ValueUtil::loadFromYaml`. Whole numbers of 32 bits
    /// are numbers, larger ones and fractions are strings, merge keys are ordinary keys.
    Envoy,
    /// Kubernetes manifests: YAML 1.1 as sigs.k8s.io/yaml reads it.
    Kubernetes,
}

/// The text is not YAML.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotYaml {
    pub(crate) line: usize,
    pub(crate) problem: String,
}

/// Deeper nesting and more values than any configuration has; aliases can multiply.
const MAX_DEPTH: usize = 100;
const MAX_VALUES: usize = 2_000_000;

/// Reads all documents of a text.
pub(crate) fn documents(text: &str, dialect: Dialect) -> Result<Vec<Tree>, NotYaml> {
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        dialect,
        anchors: HashMap::new(),
        values: 0,
    };
    let mut documents = Vec::new();
    loop {
        match reader.next()? {
            (Event::DocumentStart(_), _) => {
                let first = reader.next()?;
                documents.push(reader.value(first, 0)?);
            }
            (Event::StreamEnd, _) => return Ok(documents),
            _ => {}
        }
    }
}

struct Reader<'t> {
    events: Parser<'t, saphyr_parser::StrInput<'t>>,
    dialect: Dialect,
    anchors: HashMap<usize, Tree>,
    values: usize,
}

type Spanned<'t> = (Event<'t>, Span);

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Spanned<'t>, NotYaml> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(e)) => Err(NotYaml {
                line: e.marker().line(),
                problem: format!("not YAML: {}", e.info()),
            }),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn value(&mut self, (event, span): Spanned<'t>, depth: usize) -> Result<Tree, NotYaml> {
        let line = span.start.line();
        let deeper = depth.saturating_add(1);
        self.count(1, depth, line)?;
        let (kind, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (self.scalar(&text, style, tag.as_deref()), anchor)
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        event => items.push(self.value(event, deeper)?),
                    }
                }
                (Kind::List(items), anchor)
            }
            Event::MappingStart(anchor, _) => (self.mapping(deeper)?, anchor),
            Event::Alias(id) => {
                let Some(tree) = self.anchors.get(&id).cloned() else {
                    return Err(error(line, "an alias of something that is not there yet"));
                };
                self.count(size(&tree), depth, line)?;
                return Ok(tree);
            }
            _ => return Err(error(line, "not YAML: a value is missing")),
        };
        let tree = Tree { line, kind };
        if anchor > 0 {
            self.anchors.insert(anchor, tree.clone());
        }
        Ok(tree)
    }

    fn mapping(&mut self, depth: usize) -> Result<Kind, NotYaml> {
        let mut pairs: Vec<(String, Tree)> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let (key, plain) = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, style, ..) => (text, style == ScalarStyle::Plain),
                _ => return Err(error(span.start.line(), "a key must be a plain name")),
            };
            let event = self.next()?;
            let mut value = self.value(event, depth)?;
            // Where its name stands: a block begins on a later line.
            value.line = span.start.line();
            if key == "<<" && plain && self.dialect == Dialect::Kubernetes {
                merged.push(value);
            } else {
                pairs.push((Cow::into_owned(key), value));
            }
        }
        for source in &merged {
            let objects = std::slice::from_ref(source);
            let objects = if source.items().is_empty() {
                objects
            } else {
                source.items()
            };
            for (key, value) in objects.iter().flat_map(Tree::pairs) {
                if !pairs.iter().any(|(k, _)| k == key) {
                    pairs.push((key.clone(), value.clone()));
                }
            }
        }
        Ok(Kind::Object(pairs))
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Kind {
        let string = match tag {
            Some(tag) => {
                tag.suffix == "!"
                    || (tag.suffix == "str" && self.dialect == Dialect::Kubernetes)
                    || (tag.handle.is_empty() && tag.suffix.is_empty())
            }
            None => false,
        };
        if style != ScalarStyle::Plain || string {
            return Kind::Text(text.to_owned());
        }
        scalar::resolve(text, self.dialect)
    }

    fn count(&mut self, more: usize, depth: usize, line: usize) -> Result<(), NotYaml> {
        self.values = self.values.saturating_add(more);
        if depth > MAX_DEPTH {
            return Err(error(line, "nested too deep"));
        }
        if self.values > MAX_VALUES {
            return Err(error(line, "too many values (do aliases multiply them?)"));
        }
        Ok(())
    }
}

fn error(line: usize, problem: &str) -> NotYaml {
    NotYaml {
        line,
        problem: problem.to_owned(),
    }
}

fn size(tree: &Tree) -> usize {
    let inner: usize = match &tree.kind {
        Kind::List(items) => items.iter().map(size).sum(),
        Kind::Object(pairs) => pairs.iter().map(|(_, value)| size(value)).sum(),
        _ => 0,
    };
    inner.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_lines_documents_aliases_and_merge_keys() {
        let text = "a: &a {k: 1}\nb: *a\n---\n# second\nc:\n  - d:\n      <<: {x: 1}\n      y: 2\n";
        let read = documents(text, Dialect::Kubernetes).unwrap();
        assert_eq!(read.len(), 2);
        assert!(matches!(
            read[0].at(&["b", "k"]).unwrap().kind,
            Kind::Integer(1)
        ));
        assert_eq!(read[1].line_of("c[0].d.y"), 8);
        assert_eq!(read[1].line_of("c[0].d.missing"), 6);
        assert!(
            read[1].get("c").unwrap().items()[0]
                .at(&["d", "x"])
                .is_some()
        );
        let envoy = documents(text, Dialect::Envoy).unwrap();
        assert!(
            envoy[1].get("c").unwrap().items()[0]
                .at(&["d", "<<", "x"])
                .is_some()
        );
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let before = i - 1;
            let ten = vec![format!("*a{before}"); 10].join(", ");
            text.push_str(&format!("a{i}: &a{i} [{ten}]\n"));
        }
        let refused = documents(&text, Dialect::Kubernetes)
            .map(|_| ())
            .unwrap_err();
        assert!(
            refused.problem.starts_with("too many values"),
            "{refused:?}"
        );
    }

    #[test]
    fn broken_yaml_names_its_line() {
        let refused = documents("a: 1\nb: [1, 2\nc: 3\n", Dialect::Envoy)
            .map(|_| ())
            .unwrap_err();
        assert!(refused.line >= 2, "{refused:?}");
    }
}
