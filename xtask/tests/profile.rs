//! From what a module runs to hints in it: `instrument`, `write-profile`, `hint-branches`.

use std::collections::BTreeMap;
use std::process::Command;

use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, Instruction, Module, NameMap, NameSection, TypeSection, ValType,
};
use wasmparser::{KnownCustom, Operator, Parser, Payload};
use xtask::functions::Functions;
use xtask::profile::{self, Hot};
use xtask::{hints, instrument};

/// `count(n)` calls `odd` for n, n - 1, ... 1, by `br_if` at the end of a loop; `odd` has an `if` for odd numbers, and `never` is not called.
/// One global is there before.
fn sample(constant: i32) -> Vec<u8> {
    let mut module = Module::new();
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], []);
    module.section(&types);
    let mut functions = FunctionSection::new();
    functions.function(0).function(0).function(0);
    module.section(&functions);
    let mut globals = GlobalSection::new();
    let kind = GlobalType {
        val_type: ValType::I64,
        mutable: true,
        shared: false,
    };
    globals.global(kind, &ConstExpr::i64_const(5));
    module.section(&globals);
    let mut exports = ExportSection::new();
    exports.export("count", ExportKind::Func, 0);
    exports.export("never", ExportKind::Func, 2);
    module.section(&exports);
    let mut count = Function::new([(1, ValType::I64)]);
    count
        .instruction(&Instruction::Loop(BlockType::Empty))
        .instruction(&Instruction::LocalGet(0))
        .instruction(&Instruction::Call(1))
        .instruction(&Instruction::LocalGet(0))
        .instruction(&Instruction::I32Const(1))
        .instruction(&Instruction::I32Sub)
        .instruction(&Instruction::LocalTee(0))
        .instruction(&Instruction::BrIf(0))
        .instruction(&Instruction::End)
        .instruction(&Instruction::End);
    let mut odd = Function::new([]);
    odd.instruction(&Instruction::LocalGet(0))
        .instruction(&Instruction::I32Const(constant))
        .instruction(&Instruction::I32And)
        .instruction(&Instruction::If(BlockType::Empty))
        .instruction(&Instruction::LocalGet(0))
        .instruction(&Instruction::If(BlockType::Empty))
        .instruction(&Instruction::Nop)
        .instruction(&Instruction::End)
        .instruction(&Instruction::End)
        .instruction(&Instruction::End);
    let mut never = Function::new([]);
    never
        .instruction(&Instruction::LocalGet(0))
        .instruction(&Instruction::If(BlockType::Empty))
        .instruction(&Instruction::End)
        .instruction(&Instruction::End);
    let mut code = CodeSection::new();
    code.function(&count).function(&odd).function(&never);
    module.section(&code);
    let mut names = NameMap::new();
    for (index, name) in (0..).zip(["count", "_ZN3odd3one17h0123456789abcdefE", "never"]) {
        names.append(index, name);
    }
    let mut section = NameSection::new();
    section.functions(&names);
    module.section(&section);
    module.finish()
}

/// Exports all globals by their number.
struct Showing(u32);

impl Reencode for Showing {
    type Error = String;

    fn parse_export_section(
        &mut self,
        to: &mut ExportSection,
        from: wasmparser::ExportSectionReader<'_>,
    ) -> Result<(), Error<String>> {
        utils::parse_export_section(self, to, from)?;
        for global in 0..self.0 {
            to.export(&global.to_string(), ExportKind::Global, global);
        }
        Ok(())
    }
}

/// What the globals of the counting module are after `count(n)`.
fn counted(n: u32) -> Vec<u64> {
    let counting = instrument::module(&sample(1)).unwrap();
    let globals = Functions::read(&counting).unwrap().globals;
    let mut shown = Module::new();
    Showing(globals)
        .parse_core_module(&mut shown, Parser::new(0), &counting)
        .unwrap();
    let bytes: Vec<_> = shown.finish().iter().map(u8::to_string).collect();
    let program = format!(
        "const {{exports}} = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array([{}])));
         exports.count({n});
         for (let i = 0; i < {globals}; i++) console.log(exports[i].value.toString());",
        bytes.join(",")
    );
    let output = Command::new("node")
        .args(["-e", &program])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn a_counting_module_counts_calls_and_branches_and_does_what_it_did() {
    let mut values = counted(40).into_iter();
    let [before, mark, too, size] = std::array::from_fn(|_| values.next().unwrap());
    assert_eq!((before, [mark, too]), (5, instrument::MARK));
    // Calls, then for each branch how often it was reached and taken.
    let count = [1, 40, 39];
    let odd = [40, 40, 20, 20, 20];
    let never = [0, 0, 0];
    let expected: Vec<u64> = count.into_iter().chain(odd).chain(never).collect();
    assert_eq!(values.collect::<Vec<_>>(), expected);
    assert_eq!(size, 11);
}

fn hot() -> Vec<Hot> {
    let functions = Functions::read(&sample(1)).unwrap();
    let counts: Vec<u64> = counted(40).into_iter().skip(4).collect();
    profile::of(&functions, &counts, 4).unwrap()
}

#[test]
fn what_every_fourth_request_runs_is_in_the_profile() {
    let hot = hot();
    let seen: Vec<_> = hot.iter().map(|h| (&*h.name, &*h.taken)).collect();
    assert_eq!(
        seen,
        [
            ("count", &[Some(true)][..]),
            ("odd::one", &[None, Some(true)][..])
        ]
    );
    let functions = Functions::read(&sample(1)).unwrap();
    let counts: Vec<u64> = counted(40).into_iter().skip(4).collect();
    assert_eq!(profile::of(&functions, &counts, 5).unwrap().len(), 1);
    assert!(profile::of(&functions, &counts[1..], 4).is_err());
    assert!(profile::of(&functions, &[counts, vec![0]].concat(), 4).is_err());
}

#[test]
fn a_way_is_known_if_nineteen_of_twenty_take_it() {
    let functions = Functions::read(&sample(1)).unwrap();
    let way = |runs, takes| {
        let counts = [1, runs, takes, 0, 0, 0, 0, 0, 0, 0, 0];
        profile::of(&functions, &counts, 1).unwrap()[0].taken[0]
    };
    assert_eq!(way(0, 0), None);
    assert_eq!(way(20, 1), Some(false));
    assert_eq!(way(20, 2), None);
    assert_eq!(way(20, 18), None);
    assert_eq!(way(20, 19), Some(true));
}

#[test]
fn a_profile_reads_as_it_was_written() {
    let mut all = BTreeMap::new();
    all.insert("gateway".to_owned(), hot());
    all.insert("empty".to_owned(), Vec::new());
    let text = profile::print(&all);
    assert_eq!(profile::parse(&text).unwrap(), all);
    assert!(text.contains("\nmodule gateway\n"));
    assert!(
        text.contains(" 1 count\n") && text.contains(" .1 odd::one\n"),
        "{text}"
    );
    let name = "a name with spaces";
    let read = profile::parse(&format!("module m\n0a - {name}\n")).unwrap();
    assert_eq!((&*read["m"][0].name, read["m"][0].shape), (name, 10));
    for (broken, line) in [
        ("0a - f\n", 1),
        ("module m\n0a 2 f\n", 2),
        ("module m\n# c\nx - f\n", 3),
    ] {
        let error = profile::parse(broken).unwrap_err();
        assert!(error.starts_with(&format!("line {line}: ")), "{error}");
    }
}

/// By function: the operators that have a hint, and the hints.
fn hints_in(wasm: &[u8]) -> BTreeMap<u32, Vec<(String, bool)>> {
    let (mut hints, mut bodies, mut before_code) = (BTreeMap::new(), Vec::new(), true);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::CustomSection(section) => {
                if let KnownCustom::BranchHints(functions) = section.as_known() {
                    assert!(before_code, "engines read it before the code");
                    for function in functions {
                        let function = function.unwrap();
                        let of: Vec<_> = function.hints.into_iter().map(Result::unwrap).collect();
                        hints.insert(function.func, of);
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                before_code = false;
                bodies.push(body);
            }
            _ => {}
        }
    }
    let operator = |function: u32, offset: u32| {
        let body = &bodies[function as usize];
        let at = body.range().start + offset as usize;
        let mut all = body
            .get_operators_reader()
            .unwrap()
            .into_iter_with_offsets();
        match all
            .find_map(|read| read.ok().filter(|(_, o)| *o == at))
            .unwrap()
            .0
        {
            Operator::BrIf { .. } => "br_if".to_owned(),
            Operator::If { .. } => "if".to_owned(),
            other => format!("{other:?}"),
        }
    };
    hints
        .into_iter()
        .map(|(function, of)| {
            let of = of
                .iter()
                .map(|h| (operator(function, h.func_offset), h.taken));
            (function, of.collect())
        })
        .collect()
}

#[test]
fn hints_are_at_the_branches_that_they_are_about() {
    let hinted = hints::branches(&sample(1), &hot()).unwrap();
    assert_eq!((hinted.found, hinted.hints), (2, 2));
    let expected = BTreeMap::from([
        (0, vec![("br_if".to_owned(), true)]),
        (1, vec![("if".to_owned(), true)]),
    ]);
    assert_eq!(hints_in(&hinted.wasm), expected);
    let again = hints::branches(&hinted.wasm, &hot()).unwrap();
    assert_eq!(again.wasm, hinted.wasm, "there is one section of them");
    let counting = instrument::module(&hinted.wasm).unwrap();
    assert!(
        hints_in(&counting).is_empty(),
        "they would be at other places"
    );
}

#[test]
fn of_other_code_nothing_is_known() {
    let mut stale = hot();
    for hot in &mut stale {
        hot.shape ^= 1;
    }
    let hinted = hints::branches(&sample(1), &stale).unwrap();
    assert_eq!((hinted.found, hinted.hints), (0, 0));
    // A constant may differ from build to build: addresses are constants.
    let other = hints::branches(&sample(3), &hot()).unwrap();
    assert_eq!((other.found, other.hints), (2, 2));
}

#[test]
fn of_twins_only_what_is_true_of_both_is_said() {
    let functions = Functions::read(&sample(1)).unwrap();
    let mut twins = Functions {
        own: vec![functions.own[1].clone(), functions.own[1].clone()],
        ..functions
    };
    let counts = [9, 20, 0, 20, 20, 9, 20, 0, 20, 0];
    let hot = profile::of(&twins, &counts, 9).unwrap();
    assert_eq!(hot.len(), 1);
    assert_eq!(hot[0].taken, [Some(false), None]);
    twins.own[0].name.clear();
    assert_eq!(
        profile::of(&twins, &counts, 9).unwrap().len(),
        1,
        "who has no name is not found again"
    );
}

#[test]
fn what_is_no_module_is_an_error() {
    for bytes in [&b""[..], b"\0asm", b"no module"] {
        assert!(hints::branches(bytes, &[]).is_err());
        assert!(instrument::module(bytes).is_err());
    }
    let mut other = sample(1);
    other.extend([0, 3, 1, b'x', 7]);
    let kept = hints::branches(&other, &[]).unwrap().wasm;
    assert!(kept.ends_with(&[0, 3, 1, b'x', 7]), "other sections stay");
}

#[test]
fn the_shipped_profile_knows_every_module() {
    let profile = profile::parse(profile::PROFILE).unwrap();
    let modules: Vec<_> = profile.keys().map(String::as_str).collect();
    assert_eq!(
        modules,
        [
            "canary",
            "cost",
            "gateway",
            "key-auth",
            "rate-limit",
            "webhook-signature"
        ]
    );
    for (module, hot) in profile {
        assert!(hot.len() > 20, "{module}: {}", hot.len());
        let known = hot
            .iter()
            .flat_map(|h| &h.taken)
            .filter(|t| t.is_some())
            .count();
        assert!(known > 100, "{module}: {known}");
    }
}
