//! Every Envoy configuration that ships is accepted by Envoy, with the module and its configuration in it.
//!
//! A shipped file names its module where users put it; here `.../X.wasm` becomes the built one. Environment variables under
//! `host_env_keys` get a dummy secret, or the value of a comment `# e2e-env: NAME=value`. A file whose comment says
//! `# envoy: 1.39 and newer` is left out where the Envoy is older.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::engine::Setting;
use crate::envoy::{major_minor, traps, validate, version};
use crate::{Options, Tally};

const DUMMY: &str = "only-for-validation-0123456789abcdef0123456789abcdef";

pub(super) fn run(setting: &Setting, options: &Options, tally: &Tally) {
    let engine = format!("envoy {}", setting.binary.label);
    let mut files = Vec::new();
    collect(&options.configs, &mut files);
    files.sort();
    for file in files {
        let name = format!("validate {}", file.display());
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        // Other YAML (compose, Istio, Prometheus) is not for Envoy itself.
        if !text
            .lines()
            .any(|line| line.starts_with("static_resources:"))
            || !name.contains(&options.filter)
        {
            continue;
        }
        if needs(&text).is_some_and(|needed| version(&setting.binary).is_some_and(|it| it < needed))
        {
            println!("skipped {name} ({engine}): it needs a newer Envoy");
            continue;
        }
        tally.note(
            &name,
            &engine,
            one(setting, &file, &text).map_err(|problem| vec![problem]),
        );
    }
}

/// What the comment `# envoy: 1.39 and newer` says.
fn needs(text: &str) -> Option<(u32, u32)> {
    let comment = text
        .lines()
        .find_map(|line| line.strip_prefix("# envoy: "))?;
    major_minor(comment.split(" and newer").next()?)
}

fn one(setting: &Setting, file: &Path, text: &str) -> Result<(), String> {
    let local = local_modules(text, &setting.dist);
    let flat = file.display().to_string().replace('/', "_");
    let copy = setting
        .dir
        .join(format!("validate-{}-{flat}", setting.binary.label));
    fs::write(&copy, local).map_err(|error| error.to_string())?;
    let (accepted, said) = validate(&setting.binary, &copy, &environment(text))?;
    match (accepted, traps(&said).is_empty()) {
        (true, true) => Ok(()),
        _ => Err(said),
    }
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            files.push(path);
        }
    }
}

/// Lets every `filename: /somewhere/X.wasm` point to `dist/X.wasm`.
fn local_modules(text: &str, dist: &Path) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let start = line.find("filename:").map(|at| at + "filename:".len());
        let end = line.find(".wasm");
        match (start, end) {
            (Some(start), Some(end)) if start < end => {
                let stem = line[start..end]
                    .rsplit(['/', ' ', '"'])
                    .next()
                    .unwrap_or("");
                let module = dist.join(stem);
                let rest = line[end + ".wasm".len()..].trim_start_matches('"');
                out.push_str(&format!(
                    "{} \"{}.wasm\"{rest}",
                    &line[..start],
                    module.display()
                ));
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

fn environment(text: &str) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some((_, list)) = line.split_once("host_env_keys:") {
            let mut names: Vec<&str> = list.trim().trim_matches(['[', ']']).split(',').collect();
            while let Some(item) = lines.peek().and_then(|line| line.trim().strip_prefix("- ")) {
                if item.contains(':') {
                    break;
                }
                names.push(item);
                lines.next();
            }
            let names = names
                .into_iter()
                .map(|name| name.trim_matches([' ', '"', '}', ']']));
            env.extend(
                names
                    .filter(|name| !name.is_empty())
                    // Different ones: two consumers with one key are refused.
                    .map(|name| (name.to_owned(), format!("{DUMMY}-{name}"))),
            );
        }
    }
    for comment in text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("# e2e-env:"))
    {
        if let Some((name, value)) = comment.trim().split_once('=') {
            env.insert(name.to_owned(), value.to_owned());
        }
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_environment_of_a_file() {
        let text = "code: {local: {filename: /etc/envoy/gateway.wasm}}\nfilename: \"x/cost.wasm\"\n# e2e-env: B=c\nhost_env_keys: [A, B]\nhost_env_keys:\n- C\n- {name: x}\n";
        let local = local_modules(text, Path::new("/d"));
        assert!(
            local.starts_with(
                "code: {local: {filename: \"/d/gateway.wasm\"}}\nfilename: \"/d/cost.wasm\"\n"
            ),
            "{local}"
        );
        let env = environment(text);
        assert_eq!(env.keys().collect::<Vec<_>>(), ["A", "B", "C"]);
        assert_eq!(env["B"], "c");
    }

    #[test]
    fn a_file_says_which_envoy_it_needs() {
        assert_eq!(
            needs("# envoy: 1.39 and newer (why)\nadmin: {}\n"),
            Some((1, 39))
        );
        assert_eq!(needs("# any envoy\n"), None);
    }
}
