//! `order-functions` on a module in which every way to name a function occurs.

use std::collections::BTreeMap;

use wasm_encoder::{
    CodeSection, ConstExpr, CustomSection, ElementSection, Elements, EntityType, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, HeapType, ImportSection,
    IndirectNameMap, Instruction, Module, NameMap, NameSection, RefType, StartSection,
    TableSection, TableType, TypeSection, ValType,
};
use wasmparser::{ElementItems, KnownCustom, Name, Operator, Parser, Payload, TypeRef, Validator};
use xtask::order;
use xtask::profile::Hot;

const LEGACY: &str = "_ZN3hot4path17h0123456789abcdefE";
const LEGACY_TOO: &str = "_ZN3hot4path17hfedcba9876543210E";
/// By index. The imports come first, and so they stay.
const NAMES: [&str; 8] = [
    "host_a",
    "host_b",
    "start",
    LEGACY,
    "cold",
    "_RNvCs1_4core3hot",
    LEGACY_TOO,
    "entry",
];

/// `start` calls an import, `cold` too, `entry` and one `hot::path` other functions; cold and the v0 name are in the table.
/// Each body begins with a number of its own, and one function has another type.
fn sample(extra: Option<CustomSection<'_>>) -> Vec<u8> {
    let mut module = Module::new();
    let mut types = TypeSection::new();
    types.ty().function([], []);
    types.ty().function([ValType::I32], []);
    module.section(&types);
    let mut imports = ImportSection::new();
    imports.import("host", "a", EntityType::Function(0));
    imports.import("host", "b", EntityType::Function(0));
    module.section(&imports);
    let bodies: [(u32, &[u32]); 6] = [
        (0, &[1]),
        (0, &[5]),
        (0, &[0]),
        (1, &[]),
        (0, &[4]),
        (0, &[3, 6]),
    ];
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    for (number, (kind, calls)) in (100..).zip(bodies) {
        functions.function(kind);
        let mut body = Function::new([(1, ValType::I64)]);
        body.instruction(&Instruction::I32Const(number));
        body.instruction(&Instruction::Drop);
        for callee in calls {
            if *callee == 5 {
                body.instruction(&Instruction::I32Const(7));
            }
            body.instruction(&Instruction::Call(*callee));
        }
        body.instruction(&Instruction::RefFunc(4));
        body.instruction(&Instruction::Drop);
        body.instruction(&Instruction::End);
        code.function(&body);
    }
    module.section(&functions);
    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: 2,
        maximum: None,
        shared: false,
    });
    module.section(&tables);
    let mut globals = GlobalSection::new();
    let constant = GlobalType {
        val_type: ValType::Ref(RefType {
            nullable: true,
            heap_type: HeapType::FUNC,
        }),
        mutable: false,
        shared: false,
    };
    globals.global(constant, &ConstExpr::ref_func(6));
    module.section(&globals);
    let mut exports = ExportSection::new();
    exports.export("entry", ExportKind::Func, 7);
    exports.export("v0", ExportKind::Func, 5);
    exports.export("imported", ExportKind::Func, 1);
    module.section(&exports);
    module.section(&StartSection { function_index: 2 });
    let mut elements = ElementSection::new();
    elements.active(
        None,
        &ConstExpr::i32_const(0),
        Elements::Functions([5, 4].as_slice().into()),
    );
    module.section(&elements);
    module.section(&code);
    let mut functions = NameMap::new();
    let mut locals = IndirectNameMap::new();
    for (index, name) in (0..).zip(NAMES) {
        functions.append(index, name);
        let mut of = NameMap::new();
        of.append(0, "local");
        locals.append(index, &of);
    }
    let mut names = NameSection::new();
    names.module("sample");
    names.functions(&functions);
    names.locals(&locals);
    module.section(&names);
    if let Some(extra) = extra {
        module.section(&extra);
    }
    module.finish()
}

/// A module with every function's index read as its name.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    imports: Vec<String>,
    /// Names by index.
    order: Vec<String>,
    exports: BTreeMap<String, String>,
    start: String,
    elements: Vec<String>,
    global: String,
    /// Type and instructions by name.
    bodies: BTreeMap<String, (u32, Vec<String>)>,
}

fn seen(wasm: &[u8]) -> Seen {
    Validator::new().validate_all(wasm).expect("valid");
    let mut names = BTreeMap::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CustomSection(section) = payload.unwrap()
            && let KnownCustom::Name(subsections) = section.as_known()
        {
            for subsection in subsections {
                if let Name::Function(map) = subsection.unwrap() {
                    for naming in map {
                        let naming = naming.unwrap();
                        names.insert(naming.index, naming.name.to_owned());
                    }
                }
            }
        }
    }
    let named = |index: u32| names[&index].clone();
    let operator = |operator: Operator<'_>| match operator {
        Operator::Call { function_index } => format!("call {}", named(function_index)),
        Operator::RefFunc { function_index } => format!("ref {}", named(function_index)),
        other => format!("{other:?}"),
    };
    let mut seen = Seen {
        order: names.values().cloned().collect(),
        ..Seen::default()
    };
    let (mut types, mut bodies) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.unwrap();
                    assert!(matches!(import.ty, TypeRef::Func(0)));
                    seen.imports.push(import.name.to_owned());
                }
            }
            Payload::FunctionSection(section) => {
                types.extend(section.into_iter().map(Result::unwrap))
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    let mut reader = global.unwrap().init_expr.get_operators_reader();
                    seen.global = operator(reader.read().unwrap());
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.unwrap();
                    seen.exports
                        .insert(export.name.to_owned(), named(export.index));
                }
            }
            Payload::StartSection { func, .. } => seen.start = named(func),
            Payload::ElementSection(section) => {
                for element in section {
                    if let ElementItems::Functions(items) = element.unwrap().items {
                        seen.elements
                            .extend(items.into_iter().map(|item| named(item.unwrap())));
                    }
                }
            }
            Payload::CodeSectionEntry(body) => bodies.push(
                body.get_operators_reader()
                    .unwrap()
                    .into_iter()
                    .map(|read| operator(read.unwrap()))
                    .collect(),
            ),
            _ => {}
        }
    }
    seen.bodies = (2..)
        .map(named)
        .zip(types.into_iter().zip(bodies))
        .collect();
    seen
}

/// Of no known code.
fn named(names: &[&str]) -> Vec<Hot> {
    names
        .iter()
        .map(|name| Hot {
            name: (*name).to_owned(),
            shape: 0,
            taken: Vec::new(),
        })
        .collect()
}

fn ordered(hot: &[&str]) -> order::Ordered {
    order::functions(&sample(None), &named(hot)).unwrap()
}

#[test]
fn the_named_come_first_in_the_order_of_the_list() {
    let ordered = ordered(&["entry", "_RNvCs1_4core3hot", "hot::path"]);
    assert_eq!(ordered.found, 3);
    let expected = [
        "host_a",
        "host_b",
        "entry",
        "_RNvCs1_4core3hot",
        LEGACY,
        LEGACY_TOO,
        "start",
        "cold",
    ];
    assert_eq!(seen(&ordered.wasm).order, expected);
}

#[test]
fn everything_still_means_the_same_function() {
    let before = seen(&sample(None));
    assert_eq!(before.exports["entry"], "entry");
    assert_eq!(before.elements, ["_RNvCs1_4core3hot", "cold"]);
    assert_eq!(before.start, "start");
    assert_eq!(before.global, format!("ref {LEGACY_TOO}"));
    assert_eq!(before.bodies.len(), 6);
    assert!(before.bodies["entry"].1.contains(&format!("call {LEGACY}")));
    let after = seen(&ordered(&["entry", "_RNvCs1_4core3hot", "hot::path"]).wasm);
    assert_ne!(after.order, before.order);
    let order = before.order.clone();
    assert_eq!(Seen { order, ..after }, before);
}

#[test]
fn imports_stay_where_they_are() {
    let after = seen(&ordered(&["host_b", "cold"]).wasm);
    assert_eq!(after.imports, ["a", "b"]);
    assert_eq!(after.order[..3], ["host_a", "host_b", "cold"]);
    assert_eq!(ordered(&["host_b"]).found, 0, "an import cannot be first");
}

#[test]
fn without_a_list_the_order_stays() {
    let same = ordered(&[]);
    assert_eq!(same.found, 0);
    assert_eq!(seen(&same.wasm), seen(&sample(None)));
}

#[test]
fn a_name_that_is_not_there_is_not_missed() {
    let with = ordered(&["gone", "entry", LEGACY, "hot"]);
    assert_eq!(with.found, 1);
    assert_eq!(with.wasm, ordered(&["entry"]).wasm);
}

#[test]
fn a_second_run_changes_nothing() {
    let hot = ["hot::path", "entry"];
    let once = ordered(&hot).wasm;
    assert_eq!(order::functions(&once, &named(&hot)).unwrap().wasm, once);
    assert_eq!(ordered(&hot).wasm, once);
}

#[test]
fn a_section_that_counts_functions_or_code_is_an_error() {
    let extra = |name: &'static str| CustomSection {
        name: name.into(),
        data: [1, 2, 3].as_slice().into(),
    };
    for name in [".debug_line", "metadata.code.branch_hint", "reloc.CODE"] {
        let error = order::functions(&sample(Some(extra(name))), &[]).unwrap_err();
        assert_eq!(
            error,
            format!("what the custom section `{name}` says may be wrong after ordering")
        );
    }
    let kept =
        order::functions(&sample(Some(extra("target_features"))), &named(&["cold"])).unwrap();
    assert!(kept.wasm.ends_with(b"\x0ftarget_features\x01\x02\x03"));
}

#[test]
fn what_is_no_module_is_an_error() {
    let whole = sample(None);
    for bytes in [&b""[..], b"\0asm", b"no module", &whole[..60]] {
        let error = order::functions(bytes, &[]).unwrap_err();
        assert!(error.starts_with("not a WebAssembly module: "), "{error}");
    }
}
