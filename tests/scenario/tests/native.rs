//! The scenario table through the pure policies: on the host, and as WebAssembly under Node.

// As WebAssembly, `#[test]` means wasm_bindgen_test: see tests/wasm-test.
#[cfg(all(test, target_arch = "wasm32", target_os = "unknown"))]
#[macro_use(test)]
extern crate tollgate_wasm_test;

use tollgate_scenario::{EngineKind, Native, load_all, run};

#[test]
fn every_scenario_holds_for_the_pure_policies() {
    let mut failed = Vec::new();
    let mut passed = 0;
    for scenario in load_all().expect("the table is well-formed") {
        if !scenario.engines.contains(&EngineKind::Native) {
            continue;
        }
        match run(&mut Native::default(), &scenario) {
            Ok(()) => passed += 1,
            Err(problems) => failed.push(format!(
                "{}: {}\n  {}",
                scenario.file,
                scenario.name,
                problems.join("\n  ")
            )),
        }
    }
    println!("{passed} scenarios hold natively");
    assert!(
        failed.is_empty(),
        "{} of {} scenarios fail:\n{}",
        failed.len(),
        passed + failed.len(),
        failed.join("\n")
    );
    assert!(passed > 0, "no scenario ran");
}
