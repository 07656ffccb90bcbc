//! Embeds `tests/scenarios/*.yaml`, so that the table also runs where there is no file system.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

fn main() {
    let here = env::var("CARGO_MANIFEST_DIR").unwrap();
    let table = Path::new(&here).join("../scenarios");
    println!("cargo:rerun-if-changed={}", table.display());
    let mut files: Vec<_> = fs::read_dir(&table)
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    files.retain(|path: &std::path::PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    let mut code = String::from(
        "/// Every scenario file: its name and its text.\npub static FILES: &[(&str, &str)] = &[\n",
    );
    for path in files {
        println!("cargo:rerun-if-changed={}", path.display());
        let path = fs::canonicalize(path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        writeln!(
            code,
            "    ({name:?}, include_str!({:?})),",
            path.display().to_string()
        )
        .unwrap();
    }
    code.push_str("];\n");
    fs::write(
        Path::new(&env::var("OUT_DIR").unwrap()).join("files.rs"),
        code,
    )
    .unwrap();
}
