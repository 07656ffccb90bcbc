//! `tollgate-upstream --port N --name stable`: see the library for what it answers.

use std::process::ExitCode;

use tollgate_upstream::Upstream;

const USAGE: &str = "usage: tollgate-upstream --port N --name NAME [--tls no]";

#[tokio::main(worker_threads = 1)]
async fn main() -> ExitCode {
    let mut port = None;
    let mut name = "stable".to_owned();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().unwrap_or_default();
        match arg.as_str() {
            "--port" => port = value.parse::<u16>().ok(),
            "--name" => name = value,
            "--tls" if value == "no" => {}
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let Some(port) = port else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match Upstream::start(&name, port).await {
        Ok(upstream) => println!("tollgate-upstream {name} listening on {}", upstream.address),
        Err(error) => {
            eprintln!("tollgate-upstream {name}: cannot listen on 127.0.0.1:{port}: {error}");
            return ExitCode::FAILURE;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
    ExitCode::SUCCESS
}
