//! `tollgate`, the command line: checks configurations and makes keys with the code that the filters run.
#![forbid(unsafe_code)]

mod check;
mod finding;
mod keys;
mod output;
mod tree;
mod yaml;

use check::{Options, RootId};
use clap::{Parser, Subcommand, ValueEnum};
use output::Checked;
use std::io::{self, Read, Write};
use std::process::ExitCode;

/// Tools for Tollgate, the WebAssembly filters for Envoy and Istio.
#[derive(Parser)]
#[command(name = "tollgate", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Check(Check),
    Keys(keys::Keys),
}

/// Check configurations as the filter will, before a proxy sees them.
///
/// A FILE is a plugin configuration (YAML or JSON), an Envoy file (bootstrap, LDS, ECDS), or Kubernetes manifests
/// (WasmPlugin, TrafficExtension, EnvoyFilter); `-` is the standard input. Every Tollgate filter in it is
/// found and checked, and so is what it needs from the proxy around it.
///
/// Exit status: 0 without errors, 1 with errors, 2 when a file cannot be read or the command is wrong.
#[derive(clap::Args)]
struct Check {
    /// Files to check.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Root id of a file that is a plugin configuration alone [default: by its fields].
    #[arg(long, value_name = "ROOT_ID")]
    root: Option<RootId>,
    /// How to print what was found.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// An environment variable that a configuration names and that is not set here is an error
    /// [default: a note, so that CI can check without secrets].
    #[arg(long)]
    require_env: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// `FILE:LINE: path: problem`.
    Text,
    /// One JSON object.
    Json,
}

fn main() -> ExitCode {
    let mut out = io::stdout().lock();
    let done = match Cli::parse().verb {
        Verb::Check(args) => run(&args, &mut out),
        Verb::Keys(args) => keys::run(&args, &mut io::stdin().lock(), &mut out),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        // The reader of a pipe went away (`| head`): not worth a message.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(2),
        Err(e) => {
            let _ = writeln!(io::stderr(), "tollgate: {e}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Check, out: &mut impl Write) -> io::Result<u8> {
    let options = Options {
        root: args.root,
        require_env: args.require_env,
    };
    let mut all = Vec::new();
    let mut unreadable = false;
    for file in &args.files {
        match read(file) {
            Ok(text) => all.push(Checked {
                file: file.clone(),
                findings: check::check(&text, options),
            }),
            Err(e) => {
                unreadable = true;
                writeln!(io::stderr(), "tollgate: {file}: {e}")?;
            }
        }
    }
    match args.format {
        Format::Text => output::text(&all, out)?,
        Format::Json => output::json(&all, out)?,
    }
    Ok(match output::summary(&all).errors {
        _ if unreadable => 2,
        0 => 0,
        _ => 1,
    })
}

fn read(file: &str) -> io::Result<String> {
    if file == "-" {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file)
}
