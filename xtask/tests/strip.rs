//! `strip-exports` on a module small enough to count.

use std::collections::BTreeSet;

use walrus::{FunctionBuilder, FunctionId, Module, ValType};
use xtask::strip;

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

fn function(module: &mut Module, name: &str, calls: &[FunctionId]) -> FunctionId {
    let mut builder = FunctionBuilder::new(&mut module.types, &[ValType::I32], &[]);
    builder.name(name.to_owned());
    let argument = module.locals.add(ValType::I32);
    for callee in calls {
        builder.func_body().local_get(argument).call(*callee);
    }
    builder.finish(vec![argument], &mut module.funcs)
}

/// `a` -> `shared` -> host.used; `b` -> `only_b` -> host.unused; memory.
fn sample() -> Vec<u8> {
    let mut module = Module::default();
    let kind = module.types.add(&[ValType::I32], &[]);
    let (used, _) = module.add_import_func("host", "used", kind);
    let (unused, _) = module.add_import_func("host", "unused", kind);
    let shared = function(&mut module, "shared", &[used]);
    let only_b = function(&mut module, "only_b", &[unused]);
    let a = function(&mut module, "a", &[shared]);
    let b = function(&mut module, "b", &[shared, only_b]);
    let memory = module.memories.add_local(false, false, 1, None, None);
    module.exports.add("a", a);
    module.exports.add("b", b);
    module.exports.add("memory", memory);
    module.emit_wasm()
}

fn names(wasm: &[u8]) -> (Vec<String>, Vec<String>, Vec<String>) {
    let module = Module::from_buffer(wasm).unwrap();
    let mut exports: Vec<_> = module.exports.iter().map(|e| e.name.clone()).collect();
    let mut functions: Vec<_> = module
        .funcs
        .iter_local()
        .filter_map(|(id, _)| module.funcs.get(id).name.clone())
        .collect();
    let mut imports: Vec<_> = module.imports.iter().map(|i| i.name.clone()).collect();
    exports.sort();
    functions.sort();
    imports.sort();
    (exports, functions, imports)
}

#[test]
fn what_only_a_removed_export_reached_is_gone() {
    let before = sample();
    assert_eq!(names(&before).1, ["a", "b", "only_b", "shared"]);
    let stripped = strip::exports(&before, &set(&["a", "memory"])).unwrap();
    assert_eq!(stripped.exports_before, 3);
    let (exports, functions, imports) = names(&stripped.wasm);
    assert_eq!(exports, ["a", "memory"]);
    assert_eq!(functions, ["a", "shared"]);
    assert_eq!(imports, ["used"]);
}

#[test]
fn keeping_everything_keeps_everything() {
    let before = sample();
    let stripped = strip::exports(&before, &set(&["a", "b", "memory"])).unwrap();
    assert_eq!(names(&stripped.wasm), names(&before));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let keep = set(&["a", "memory"]);
    let once = strip::exports(&sample(), &keep).unwrap().wasm;
    assert_eq!(once, strip::exports(&sample(), &keep).unwrap().wasm);
    assert_eq!(
        once,
        strip::exports(&once, &keep).unwrap().wasm,
        "a second run changes nothing"
    );
}

#[test]
fn a_misspelt_export_is_an_error_and_not_a_lost_callback() {
    let error = strip::exports(&sample(), &set(&["a", "memry", "z"])).unwrap_err();
    assert_eq!(error, "the module does not export memry, z");
}

#[test]
fn what_is_no_module_is_an_error() {
    for bytes in [&b""[..], b"\0asm", b"no module", &sample()[..60]] {
        let error = strip::exports(bytes, &set(&[])).unwrap_err();
        assert!(error.starts_with("not a WebAssembly module"), "{error}");
    }
}
