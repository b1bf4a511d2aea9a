//! What is checked, in order.

use crate::client::{Came, Client, Dialer, Outcome, CLOSE, OPEN, WAIT};
use serde_json::{json, Value};
use std::fmt::Debug;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Of one byte, two, three and four in UTF-8, and of two units in UTF-16.
const TEXT: &str = "plain \"quoted\" \\ ä € 😀 \u{2028} \0 end";

pub type Check = fn(&mut Scenario) -> Outcome<()>;

pub const CHECKS: [(&str, Check); 30] = [
    ("connect", connect),
    ("greeting", greeting),
    ("transport", transport),
    ("ack", ack),
    ("ack_of_several", ack_of_several),
    ("asked", |_| {
        no_way("no event tells that an answer is wanted, and nothing sends one")
    }),
    ("asked_for_several", |_| {
        no_way("no event tells that an answer is wanted, and nothing sends one")
    }),
    ("text", text),
    ("bytes_up", bytes_up),
    ("bytes_down", bytes_down),
    ("bytes_empty", bytes_empty),
    ("nested_up", |_| {
        no_way("a payload is either JSON or one attachment")
    }),
    ("nested_down", |_| {
        no_way("a payload is either JSON or one attachment")
    }),
    ("ack_with_bytes", ack_with_bytes),
    ("asked_for_bytes", |_| {
        no_way("no event tells that an answer is wanted, and nothing sends one")
    }),
    ("large_text", large_text),
    ("large_bytes", large_bytes),
    ("many_up", many_up),
    ("many_down", many_down),
    ("broadcast", broadcast),
    ("namespace", namespace),
    ("two_namespaces", |_| no_way("a client is in one namespace")),
    ("refused", refused),
    ("refused_plainly", refused_plainly),
    ("kicked", kicked),
    ("hung_up_on", hung_up_on),
    ("leaves", leaves),
    ("heartbeat", heartbeat),
    ("returns", returns),
    ("gone", gone),
];

/// The clients of one run: one that most checks share, and a second that sees how the others end.
pub struct Scenario {
    dialer: Box<dyn Dialer>,
    transport: String,
    main: Option<Client>,
    witness: Option<Client>,
}

impl Scenario {
    pub fn new(dialer: Box<dyn Dialer>, transport: &str) -> Self {
        Scenario {
            dialer,
            transport: transport.to_owned(),
            main: None,
            witness: None,
        }
    }

    fn connected(&self, namespace: &str) -> Outcome<Client> {
        let client = self.dialer.dial(namespace, "s3cret")?;
        client.received(OPEN)?;
        Ok(client)
    }

    fn main(&self) -> Outcome<&Client> {
        self.main
            .as_ref()
            .ok_or_else(|| "it did not connect".to_owned())
    }

    fn witness(&self) -> Outcome<&Client> {
        self.witness
            .as_ref()
            .ok_or_else(|| "it did not connect".to_owned())
    }

    fn reason(&self, label: &str) -> Outcome<Vec<Value>> {
        self.witness()?.call("reason", vec![json!(label)])
    }
}

fn no_way(reason: &str) -> Outcome<()> {
    Err(format!("cannot: {reason}"))
}

fn expect<T: PartialEq + Debug>(found: T, wanted: T) -> Outcome<()> {
    if found == wanted {
        return Ok(());
    }
    let shown = |value: T| format!("{value:?}").chars().take(300).collect::<String>();
    Err(format!(
        "{} was expected, {} came",
        shown(wanted),
        shown(found)
    ))
}

fn values(wanted: Value) -> Came {
    Came::Values(wanted.as_array().expect("an array").clone())
}

fn hex(data: &[u8]) -> String {
    let digits: String = data.iter().map(|each| format!("{each:02x}")).collect();
    format!("hex:{digits}")
}

fn all_bytes() -> Vec<u8> {
    (0..=255).collect()
}

fn connect(run: &mut Scenario) -> Outcome<()> {
    run.main = Some(run.connected("/")?);
    run.witness = Some(run.connected("/")?);
    Ok(())
}

fn greeting(run: &mut Scenario) -> Outcome<()> {
    expect(
        run.main()?.received("welcome")?,
        values(json!(["héllo", [1, 2.5, null, true]])),
    )
}

fn transport(run: &mut Scenario) -> Outcome<()> {
    let mut name = run.transport.as_str();
    if name == "upgrade" {
        name = "websocket";
        expect(run.main()?.call("upgraded", vec![])?, vec![json!(name)])?;
    }
    expect(
        run.main()?.call("transport", vec![])?,
        vec![json!(name), json!(4)],
    )
}

fn ack(run: &mut Scenario) -> Outcome<()> {
    expect(
        run.main()?.call("add", vec![json!(2), json!(3)])?,
        vec![json!(5)],
    )
}

fn ack_of_several(run: &mut Scenario) -> Outcome<()> {
    let wanted = vec![json!(1), json!("two"), json!([3]), json!({"four": null})];
    expect(run.main()?.call("echo", wanted.clone())?, wanted)
}

fn text(run: &mut Scenario) -> Outcome<()> {
    expect(
        run.main()?.call("echo", vec![json!(TEXT)])?,
        vec![json!(TEXT)],
    )?;
    run.main()?.emit(
        "send me",
        vec![json!("text"), json!(TEXT), json!("and more")],
    )?;
    expect(
        run.main()?.received("text")?,
        values(json!([TEXT, "and more"])),
    )
}

/// Without asking for an acknowledgement: with bytes, the client sends what asks for one as an answer.
fn bytes_up(run: &mut Scenario) -> Outcome<()> {
    run.main()?.emit("keep", all_bytes())?;
    expect(
        run.main()?.call("kept", vec![])?,
        vec![json!([hex(&all_bytes())])],
    )
}

fn bytes_down(run: &mut Scenario) -> Outcome<()> {
    for count in [20, 256] {
        run.main()?
            .emit("bytes please", vec![json!("bytes"), json!(count)])?;
        let came = run
            .main()?
            .received("bytes")
            .map_err(|error| format!("of {count}: {error}"))?;
        expect(came, Came::Bytes(all_bytes()[..count].to_vec()))?;
    }
    Ok(())
}

fn bytes_empty(run: &mut Scenario) -> Outcome<()> {
    run.main()?.emit("keep", Vec::<u8>::new())?;
    expect(run.main()?.call("kept", vec![])?, vec![json!(["hex:"])])
}

fn ack_with_bytes(_: &mut Scenario) -> Outcome<()> {
    no_way("what asks for an acknowledgement of bytes is sent as an answer, packet 6")
}

fn large_text(run: &mut Scenario) -> Outcome<()> {
    let text = "äbc€😀".repeat(30_000);
    let answer = run.main()?.call("large", vec![json!(text)])?;
    expect(&answer[0], &json!(150_000))?;
    expect(answer[1] == json!(text), true)
}

fn large_bytes(run: &mut Scenario) -> Outcome<()> {
    let data = all_bytes().repeat(600);
    run.main()?.emit("keep", data.clone())?;
    expect(
        run.main()?.call("kept", vec![])? == vec![json!([hex(&data)])],
        true,
    )
}

fn many_up(run: &mut Scenario) -> Outcome<()> {
    let items: Vec<Value> = (0..100)
        .map(|index| json!([index, index.to_string()]))
        .collect();
    for item in &items {
        run.main()?
            .emit("item", item.as_array().expect("an array").clone())?;
    }
    expect(run.main()?.call("items", vec![])?, vec![json!(items)])
}

fn many_down(run: &mut Scenario) -> Outcome<()> {
    run.main()?
        .emit("burst please", vec![json!(100), json!(false)])?;
    for index in 0..100 {
        expect(
            run.main()?.received("item")?,
            values(json!([index, index.to_string()])),
        )?;
    }
    Ok(())
}

fn broadcast(run: &mut Scenario) -> Outcome<()> {
    for client in [run.main()?, run.witness()?] {
        expect(
            client.call("enter", vec![json!("room")])?,
            vec![json!(true)],
        )?;
    }
    run.witness()?
        .emit("tell", vec![json!("room"), json!("news"), json!(TEXT)])?;
    for client in [run.main()?, run.witness()?] {
        expect(client.received("told")?, values(json!(["news", TEXT])))?;
    }
    Ok(())
}

fn namespace(run: &mut Scenario) -> Outcome<()> {
    let client = run.connected("/members")?;
    expect(
        client.call("whoami", vec![json!("müller")])?,
        vec![json!("anna müller")],
    )?;
    client.disconnect()
}

fn refused(run: &mut Scenario) -> Outcome<()> {
    refused_at(
        run,
        "/members",
        json!({"message": "Who are you?", "data": {"code": 7, "retry": false}}),
    )
}

fn refused_plainly(run: &mut Scenario) -> Outcome<()> {
    refused_at(run, "/closed", json!({"message": "Closed today"}))
}

fn refused_at(run: &mut Scenario, namespace: &str, wanted: Value) -> Outcome<()> {
    let client = run.dialer.dial(namespace, "wrong")?;
    let Came::Values(error) = client.received("error")? else {
        return Err("bytes came".to_owned());
    };
    let text = error[0].as_str().unwrap_or_default();
    let refusal = text
        .split_once("frame: ")
        .map(|(_, refusal)| refusal)
        .unwrap_or(text);
    let refusal: Value = serde_json::from_str(refusal).map_err(|_| text.to_owned())?;
    expect(refusal, wanted)?;
    expect(client.has(OPEN), false)
}

fn kicked(run: &mut Scenario) -> Outcome<()> {
    ended(run, "kicked", "/members", false)
}

fn hung_up_on(run: &mut Scenario) -> Outcome<()> {
    ended(run, "hung_up_on", "/", true)
}

fn ended(run: &mut Scenario, label: &str, namespace: &str, close: bool) -> Outcome<()> {
    let client = run.connected(namespace)?;
    client.emit("label", vec![json!(label)])?;
    client.emit("kick", vec![json!(close)])?;
    client.received(CLOSE)?;
    expect(
        run.reason(label)?,
        vec![json!("server namespace disconnect")],
    )
}

fn leaves(run: &mut Scenario) -> Outcome<()> {
    let client = run.connected("/members")?;
    client.emit("label", vec![json!("leaves")])?;
    expect(
        client.call("whoami", vec![json!("x")])?,
        vec![json!("anna x")],
    )?;
    client.disconnect()?;
    expect(
        run.reason("leaves")?,
        vec![json!("client namespace disconnect")],
    )
}

fn heartbeat(run: &mut Scenario) -> Outcome<()> {
    expect(run.main()?.call("linger", vec![])?, vec![json!(true)])
}

fn returns(run: &mut Scenario) -> Outcome<()> {
    let client = run.connected("/")?;
    client.emit("restart", Vec::<Value>::new())?;
    client.received(OPEN)?;
    expect(
        client.call("add", vec![json!(6), json!(7)])?,
        vec![json!(13)],
    )
}

fn gone(run: &mut Scenario) -> Outcome<()> {
    let mut dialled = run.connected("/");
    let start = Instant::now();
    // The server may still be on its way back.
    while dialled.is_err() && start.elapsed() < WAIT {
        sleep(Duration::from_millis(200));
        dialled = run.connected("/");
    }
    let client = dialled?;
    client.emit("label", vec![json!("gone")])?;
    expect(
        client.call("add", vec![json!(1), json!(1)])?,
        vec![json!(2)],
    )
}
