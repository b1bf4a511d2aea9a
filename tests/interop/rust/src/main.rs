//! Runs every check and prints a line of JSON for each: {"name", "ok", "error"}.
//! Arguments: `blocking` or `async`, the transport, the URL.

mod client;
mod scenario;

use client::{AsyncDialer, BlockingDialer, Dialer};
use rust_socketio::TransportType;
use scenario::{Scenario, CHECKS};
use serde_json::json;
use std::io::Write;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, transport, url] = &arguments[..] else {
        panic!("interop blocking|async TRANSPORT URL");
    };
    let wanted = match transport.as_str() {
        "polling" => TransportType::Polling,
        "websocket" => TransportType::Websocket,
        _ => TransportType::WebsocketUpgrade,
    };
    let dialer: Box<dyn Dialer> = match kind.as_str() {
        "blocking" => Box::new(BlockingDialer::new(url, wanted)),
        _ => Box::new(AsyncDialer::new(url, wanted)),
    };
    let mut scenario = Scenario::new(dialer, transport);
    for (name, check) in CHECKS {
        let error = check(&mut scenario).err();
        println!(
            "{}",
            json!({"name": name, "ok": error.is_none(), "error": error})
        );
        std::io::stdout().flush().expect("standard output is read");
    }
    std::process::exit(0); // what is still connected is gone at once, as a killed process is
}
