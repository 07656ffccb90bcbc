//! `tollgate-upstream --port N --name stable`: see the library for what it answers.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tollgate_upstream::Upstream;

const USAGE: &str =
    "usage: tollgate-upstream --port N --name NAME [--address 127.0.0.1] [--tls no]
       tollgate-upstream --probe N       whether one listens on 127.0.0.1:N, for a container's health check";

#[tokio::main(worker_threads = 1)]
async fn main() -> ExitCode {
    let mut port = None;
    let mut name = "stable".to_owned();
    // Only a container, which has a network of its own, has a reason for another one.
    let mut address = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().unwrap_or_default();
        match arg.as_str() {
            "--port" => port = value.parse::<u16>().ok(),
            "--name" => name = value,
            "--address" => address = value.parse().ok(),
            "--probe" => return probe(value.parse().unwrap_or(0)),
            "--tls" if value == "no" => {}
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let (Some(port), Some(address)) = (port, address) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let address = SocketAddr::new(address, port);
    match Upstream::listen(&name, address).await {
        Ok(upstream) => println!("tollgate-upstream {name} listening on {}", upstream.address),
        Err(error) => {
            eprintln!("tollgate-upstream {name}: cannot listen on {address}: {error}");
            return ExitCode::FAILURE;
        }
    }
    // The first process of a container gets no default action for SIGTERM.
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return ExitCode::FAILURE;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    ExitCode::SUCCESS
}

fn probe(port: u16) -> ExitCode {
    let ready = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(
            b"GET /_control/ready HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n",
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200 "))
    };
    if ready().unwrap_or(false) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
