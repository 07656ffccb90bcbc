//! The functions of a module: what they are called, and what their code looks like.

use std::collections::BTreeMap;
use std::ops::Range;

use wasmparser::{
    CompositeInnerType, FunctionBody, KnownCustom, Name, NameSectionReader, Operator, Parser,
    Payload, TypeRef,
};

use crate::names::readable;

/// What is read of a module.
#[derive(Debug)]
pub struct Functions {
    /// How many functions are imported; they have the first indices.
    pub imported: u32,
    /// The module's own functions, in the order of their indices.
    pub own: Vec<Own>,
    /// How many globals there are, imported ones included.
    pub globals: u32,
}

/// A function of the module itself.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// As [`readable`] says it; empty if it has none.
    pub name: String,
    /// How many parameters it takes.
    pub parameters: u32,
    /// Tells codes apart: a hash of its operators without what they refer to, which changes from build to build. FNV-1a, 64
    /// bits.
    pub shape: u64,
    /// Where its conditional branches are (`if` and `br_if`): bytes from the beginning of its body.
    pub branches: Vec<u32>,
}

impl Functions {
    /// Reads a module.
    ///
    /// # Errors
    /// It is not valid.
    pub fn read(module: &[u8]) -> Result<Self, String> {
        crate::valid(module)?;
        Self::read_valid(module).map_err(|error| error.to_string())
    }

    fn read_valid(module: &[u8]) -> wasmparser::Result<Self> {
        let mut found = Self {
            imported: 0,
            own: Vec::new(),
            globals: 0,
        };
        let (mut types, mut kinds) = (Vec::new(), Vec::new());
        let (mut names, mut bodies) = (BTreeMap::new(), Vec::new());
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(groups) => {
                    for group in groups {
                        types.extend(group?.into_types().map(|t| match t.composite_type.inner {
                            CompositeInnerType::Func(f) => f.params().len(),
                            _ => 0,
                        }));
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        match import?.ty {
                            TypeRef::Func(_) | TypeRef::FuncExact(_) => found.imported += 1,
                            TypeRef::Global(_) => found.globals += 1,
                            _ => {}
                        }
                    }
                }
                Payload::FunctionSection(functions) => {
                    kinds = functions.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::GlobalSection(globals) => found.globals += globals.count(),
                Payload::CodeSectionEntry(body) => bodies.push(look_at(module, &body)?),
                Payload::CustomSection(section) => {
                    if let KnownCustom::Name(subsections) = section.as_known() {
                        names = function_names(subsections)?;
                    }
                }
                _ => {}
            }
        }
        // After all sections: the names may stand before the functions.
        let parameters = |kind: &u32| types.get(*kind as usize).copied().unwrap_or_default();
        found.own = (found.imported..)
            .zip(kinds.iter().zip(bodies))
            .map(|(index, (kind, body))| Own {
                name: names.remove(&index).unwrap_or_default(),
                parameters: u32::try_from(parameters(kind)).unwrap_or(u32::MAX),
                ..body
            })
            .collect();
        Ok(found)
    }
}

/// Whether an operator goes one of two ways.
#[must_use]
pub fn is_branch(operator: &Operator<'_>) -> bool {
    matches!(operator, Operator::If { .. } | Operator::BrIf { .. })
}

fn look_at(module: &[u8], body: &FunctionBody<'_>) -> wasmparser::Result<Own> {
    let Range { start, .. } = body.range();
    let mut own = Own {
        shape: 0xcbf2_9ce4_8422_2325,
        ..Own::default()
    };
    let mut add = |byte: u8| {
        own.shape = (own.shape ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    };
    for read in body.get_operators_reader()?.into_iter_with_offsets() {
        let (operator, at) = read?;
        let code = &module[at..];
        add(code[0]);
        // Two bytes say what it is (https://webassembly.github.io/spec/core/binary/instructions.html).
        if matches!(code[0], 0xfb..=0xfe) {
            add(code[1]);
        }
        if is_branch(&operator) {
            own.branches
                .push(u32::try_from(at - start).unwrap_or(u32::MAX));
        }
    }
    Ok(own)
}

fn function_names(names: NameSectionReader<'_>) -> wasmparser::Result<BTreeMap<u32, String>> {
    let mut functions = BTreeMap::new();
    for subsection in names {
        if let Name::Function(map) = subsection? {
            for naming in map {
                let naming = naming?;
                functions.insert(naming.index, readable(naming.name));
            }
        }
    }
    Ok(functions)
}
