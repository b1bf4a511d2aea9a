//! The two clients of rust_socketio behind one face, so that the checks are written once.

use futures_util::FutureExt;
use rust_socketio::asynchronous::{Client as AsyncClient, ClientBuilder as AsyncBuilder};
use rust_socketio::client::Client as BlockingClient;
use rust_socketio::{ClientBuilder, Payload, TransportType};
use serde_json::{json, Value};
use std::collections::HashMap;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::Duration;
use tokio::runtime::Runtime;

pub const WAIT: Duration = Duration::from_secs(9);
/// The names of its own under which the client tells that it is connected, and that it no longer is.
pub const OPEN: &str = "open";
pub const CLOSE: &str = "close";
const EVENTS: [&str; 8] = [
    "welcome", "told", "item", "bytes", "text", OPEN, CLOSE, "error",
];

pub type Outcome<T> = Result<T, String>;

/// What an answer to `emit_with_ack`, or an event, came with.
#[derive(Debug, PartialEq)]
pub enum Came {
    Values(Vec<Value>),
    Bytes(Vec<u8>),
}

impl From<Payload> for Came {
    #[allow(deprecated)]
    fn from(payload: Payload) -> Came {
        match payload {
            Payload::Binary(bytes) => Came::Bytes(bytes.to_vec()),
            Payload::Text(values) => Came::Values(values),
            Payload::String(text) => Came::Values(vec![json!(text)]),
        }
    }
}

enum Connected {
    Blocking(BlockingClient),
    Async(AsyncClient, tokio::runtime::Handle),
}

/// A client and what has come to it: a queue for each event.
pub struct Client {
    connected: Connected,
    inbox: HashMap<&'static str, Receiver<Came>>,
}

impl Client {
    /// What the next event of this name came with.
    pub fn received(&self, event: &str) -> Outcome<Came> {
        self.inbox[event]
            .recv_timeout(WAIT)
            .map_err(|_| format!("no {event}"))
    }

    pub fn has(&self, event: &str) -> bool {
        self.inbox[event].try_recv().is_ok()
    }

    pub fn emit<P: Into<Payload>>(&self, event: &str, payload: P) -> Outcome<()> {
        match &self.connected {
            Connected::Blocking(client) => client.emit(event, payload),
            Connected::Async(client, runtime) => runtime.block_on(client.emit(event, payload)),
        }
        .map_err(|error| format!("emit {event}: {error}"))
    }

    /// The arguments that the server acknowledges with.
    pub fn call(&self, event: &str, values: Vec<Value>) -> Outcome<Vec<Value>> {
        let (sender, answers) = channel();
        match &self.connected {
            Connected::Blocking(client) => {
                client.emit_with_ack(event, values, WAIT, move |payload, _| {
                    send(&sender, payload)
                })
            }
            Connected::Async(client, runtime) => {
                runtime.block_on(
                    client.emit_with_ack(event, values, WAIT, move |payload, _| {
                        send(&sender, payload);
                        async {}.boxed()
                    }),
                )
            }
        }
        .map_err(|error| format!("emit_with_ack {event}: {error}"))?;
        // The client hands over the arguments as one array.
        match answers.recv_timeout(WAIT) {
            Ok(Came::Values(values)) if values.len() == 1 && values[0].is_array() => {
                Ok(values[0].as_array().expect("an array").clone())
            }
            Ok(came) => Err(format!("{event} was answered with {came:?}")),
            Err(_) => Err(format!("no answer to {event}")),
        }
    }

    pub fn disconnect(&self) -> Outcome<()> {
        match &self.connected {
            Connected::Blocking(client) => client.disconnect(),
            Connected::Async(client, runtime) => runtime.block_on(client.disconnect()),
        }
        .map_err(|error| format!("disconnect: {error}"))
    }
}

fn send(sender: &Sender<Came>, payload: Payload) {
    let _ = sender.send(payload.into()); // nobody waits for it any more: then it is not wanted
}

pub trait Dialer {
    fn dial(&self, namespace: &str, token: &str) -> Outcome<Client>;
}

pub struct BlockingDialer {
    url: String,
    transport: TransportType,
}

impl BlockingDialer {
    pub fn new(url: &str, transport: TransportType) -> Self {
        BlockingDialer {
            url: url.to_owned(),
            transport,
        }
    }
}

impl Dialer for BlockingDialer {
    fn dial(&self, namespace: &str, token: &str) -> Outcome<Client> {
        let mut inbox = HashMap::new();
        let mut builder = ClientBuilder::new(&self.url)
            .namespace(namespace)
            .auth(json!({"token": token}))
            .reconnect_delay(100, 500)
            .transport_type(self.transport.clone());
        for event in EVENTS {
            let (sender, receiver) = channel();
            inbox.insert(event, receiver);
            builder = builder.on(event, move |payload, _| send(&sender, payload));
        }
        let client = builder.connect().map_err(|error| format!("{error:?}"))?;
        Ok(Client {
            connected: Connected::Blocking(client),
            inbox,
        })
    }
}

pub struct AsyncDialer {
    url: String,
    transport: TransportType,
    runtime: Runtime,
}

impl AsyncDialer {
    pub fn new(url: &str, transport: TransportType) -> Self {
        let runtime = Runtime::new().expect("threads can be started");
        AsyncDialer {
            url: url.to_owned(),
            transport,
            runtime,
        }
    }
}

impl Dialer for AsyncDialer {
    fn dial(&self, namespace: &str, token: &str) -> Outcome<Client> {
        let mut inbox = HashMap::new();
        let mut builder = AsyncBuilder::new(&self.url)
            .namespace(namespace)
            .auth(json!({"token": token}))
            .reconnect_delay(100, 500)
            .transport_type(self.transport.clone());
        for event in EVENTS {
            let (sender, receiver) = channel();
            inbox.insert(event, receiver);
            builder = builder.on(event, move |payload, _| {
                send(&sender, payload);
                async {}.boxed()
            });
        }
        let client = self
            .runtime
            .block_on(builder.connect())
            .map_err(|error| format!("{error:?}"))?;
        Ok(Client {
            connected: Connected::Async(client, self.runtime.handle().clone()),
            inbox,
        })
    }
}
