import io.socket.client.IO;
import io.socket.client.Manager;
import io.socket.client.Socket;
import java.io.PrintStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import org.json.JSONArray;
import org.json.JSONObject;

/** Runs every check and prints a line of JSON for each: {"name", "ok", "error"}. Arguments: the transport, the URL. */
public final class Interop {
    /** Of one byte, two, three and four in UTF-8, and of two units in UTF-16. */
    private static final String TEXT = "plain \"quoted\" \\ ä € 😀 \u2028 \0 end";

    private interface Check {
        void run() throws Exception;
    }

    private final Map<String, Check> checks = new LinkedHashMap<>();
    private final String transport;
    private final String url;
    private Client main;
    private Client witness;

    private Interop(String transport, String url) {
        this.transport = transport;
        this.url = url;
        checks.put("connect", this::connect);
        checks.put("greeting", () -> expect(main.received("welcome"), "[\"héllo\",[1,2.5,null,true]]"));
        checks.put("transport", this::transport);
        checks.put("ack", () -> expect(main.call("add", 2, 3), "[5]"));
        checks.put("ack_of_several", () -> expect(
            main.call("echo", 1, "two", new JSONArray().put(3), new JSONObject().put("four", JSONObject.NULL)),
            "[1,\"two\",[3],{\"four\":null}]"));
        checks.put("asked", () -> expect(main.call("ask me", "question", "text", 7), "[{\"heard\":[\"text\",7]}]"));
        checks.put("asked_for_several", () -> expect(main.call("ask me", "question for several"), "[[1,\"two\",[3]]]"));
        checks.put("text", this::text);
        checks.put("bytes_up", () -> expect(main.call("describe", (Object) Values.allBytes(1)), allBytes("[[", "]]")));
        checks.put("bytes_down", this::bytesDown);
        checks.put("bytes_empty", () -> expect(main.call("echo", new byte[0], 1), "[\"hex:\",1]"));
        checks.put("nested_up", this::nestedUp);
        checks.put("nested_down", this::nestedDown);
        checks.put("ack_with_bytes", () -> expect(
            main.call("echo", new JSONObject().put("x", new JSONArray().put(bytes(9)).put(bytes(8))), bytes(7)),
            "[{\"x\":[\"hex:09\",\"hex:08\"]},\"hex:07\"]"));
        checks.put("asked_for_bytes", () -> expect(
            main.call("ask me with bytes", "question in bytes"), "[{\"first\":\"hex:1000\",\"list\":[\"hex:20\",\"text\"]}]"));
        checks.put("large_text", this::largeText);
        checks.put("large_bytes", this::largeBytes);
        checks.put("many_up", this::manyUp);
        checks.put("many_down", this::manyDown);
        checks.put("broadcast", this::broadcast);
        checks.put("namespace", this::namespace);
        checks.put("two_namespaces", this::twoNamespaces);
        checks.put("refused", () -> refused("/members", Dialect.REFUSAL));
        checks.put("refused_plainly", () -> refused("/closed", Dialect.PLAIN_REFUSAL));
        checks.put("kicked", () -> ended("kicked", "/members", false));
        checks.put("hung_up_on", () -> ended("hung_up_on", "/", true));
        checks.put("leaves", this::leaves);
        checks.put("heartbeat", () -> expect(main.call("linger"), "[true]"));
        checks.put("returns", this::returns);
        checks.put("gone", this::gone);
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (Map.Entry<String, Check> check : new Interop(arguments[0], arguments[1]).checks.entrySet()) {
            String error = null;
            try {
                check.getValue().run();
            } catch (Exception | AssertionError failure) {
                error = failure.toString();
            }
            JSONObject line = new JSONObject().put("name", check.getKey()).put("ok", error == null);
            out.println(line.put("error", error == null ? JSONObject.NULL : error));
        }
        Runtime.getRuntime().halt(0); // what is still connected is gone at once, as a killed process is
    }

    private IO.Options options() {
        IO.Options options = new IO.Options();
        options.forceNew = true;
        options.reconnectionDelay = 100;
        options.reconnectionDelayMax = 500;
        if (!transport.equals("upgrade")) {
            options.transports = new String[] {transport};
        }
        return options;
    }

    private Client dial(String namespace, String token) throws Exception {
        IO.Options options = options();
        if (token != null) {
            Dialect.authenticate(options, token);
        }
        return new Client(IO.socket(URI.create(url + namespace), options));
    }

    private static void expect(Object found, String wanted) throws Exception {
        String text = Values.text(found);
        if (!text.equals(wanted)) {
            throw new AssertionError(shown(wanted) + " was expected, " + shown(text) + " came");
        }
    }

    private static String shown(String text) {
        return text.length() > 300 ? text.substring(0, 300) : text;
    }

    private static byte[] bytes(int... values) {
        byte[] data = new byte[values.length];
        for (int index = 0; index < values.length; index++) {
            data[index] = (byte) values[index];
        }
        return data;
    }

    private static String allBytes(String before, String after) {
        return before + "\"hex:" + Values.hex(Values.allBytes(1)) + "\"" + after;
    }

    private void connect() throws Exception {
        main = dial("/", null).connect();
        witness = dial("/", null).connect();
    }

    private void transport() throws Exception {
        if (transport.equals("upgrade")) {
            expect(main.call("upgraded"), "[\"websocket\"]");
        }
        String name = transport.equals("upgrade") ? "websocket" : transport;
        expect(main.call("transport"), "[\"" + name + "\"," + Dialect.ENGINE + "]");
    }

    private void text() throws Exception {
        expect(main.call("echo", TEXT), "[" + JSONObject.quote(TEXT) + "]");
        main.emit("send me", "text", TEXT, "and more");
        expect(main.received("text"), "[" + JSONObject.quote(TEXT) + ",\"and more\"]");
    }

    private void bytesDown() throws Exception {
        main.emit("bytes please", "bytes", 256);
        expect(main.received("bytes"), allBytes("[", "]"));
    }

    private void nestedUp() throws Exception {
        JSONObject deep = new JSONObject().put("deep", bytes(0xff));
        JSONObject first = new JSONObject().put("a", bytes(1)).put("list", new JSONArray().put(bytes(2, 3)).put(deep));
        expect(
            main.call("describe", first, "text", bytes(4)),
            "[[{\"a\":\"hex:01\",\"list\":[\"hex:0203\",{\"deep\":\"hex:ff\"}]},\"text\",\"hex:04\"]]");
    }

    private void nestedDown() throws Exception {
        main.emit("nested please");
        expect(
            main.received("nested"),
            "[{\"a\":\"hex:00ff\",\"list\":[\"hex:\",{\"deep\":\"hex:010203\"}],\"text\":\"ä\"},\"hex:6c617374\"]");
    }

    private void largeText() throws Exception {
        String text = "äbc€😀".repeat(30_000);
        Object[] answer = main.call("large", text);
        expect(answer[0], "150000");
        expect(text.equals(answer[1]), "true");
    }

    private void largeBytes() throws Exception {
        byte[] data = Values.allBytes(600);
        Object[] answer = main.call("large", (Object) data);
        expect(answer[0], String.valueOf(data.length));
        expect(Arrays.equals(data, (byte[]) answer[1]), "true");
    }

    private void manyUp() throws Exception {
        StringBuilder wanted = new StringBuilder();
        for (int index = 0; index < 100; index++) {
            boolean binary = index % 3 == 1;
            main.emit("item", index, binary ? bytes(index) : String.valueOf(index));
            String value = binary ? String.format("hex:%02x", index) : String.valueOf(index);
            wanted.append(index == 0 ? "" : ",").append("[").append(index).append(",\"").append(value).append("\"]");
        }
        expect(main.call("items"), "[[" + wanted + "]]");
    }

    private void manyDown() throws Exception {
        main.emit("burst please", 100, true);
        for (int index = 0; index < 100; index++) {
            String value = index % 3 == 1 ? String.format("hex:%02x", index) : String.valueOf(index);
            expect(main.received("item"), "[" + index + ",\"" + value + "\"]");
        }
    }

    private void broadcast() throws Exception {
        expect(main.call("enter", "room"), "[true]");
        expect(witness.call("enter", "room"), "[true]");
        witness.emit("tell", "room", "news", new JSONObject().put("bytes", bytes(0, 1)), TEXT);
        for (Client client : new Client[] {main, witness}) {
            expect(client.received("told"), "[\"news\",{\"bytes\":\"hex:0001\"}," + JSONObject.quote(TEXT) + "]");
        }
    }

    private void namespace() throws Exception {
        Client client = dial("/members", "s3cret").connect();
        expect(client.call("whoami", "müller"), "[\"anna müller\"]");
        client.socket.disconnect();
    }

    /** Over one connection; leaving one does not end the other. */
    private void twoNamespaces() throws Exception {
        IO.Options options = options();
        Dialect.authenticate(options, "s3cret");
        Manager manager = new Manager(URI.create(url), options);
        Client first = new Client(manager.socket("/", options)).connect();
        Client second = new Client(manager.socket("/members", options)).connect();
        expect(first.call("add", 4, 5), "[9]");
        expect(second.call("whoami", "x"), "[\"anna x\"]");
        second.emit("label", "two_namespaces");
        expect(second.call("whoami", "x"), "[\"anna x\"]");
        second.socket.disconnect();
        expect(witness.call("reason", "two_namespaces"), "[\"client namespace disconnect\"]");
        expect(first.call("add", 5, 6), "[11]");
        first.socket.disconnect();
    }

    private void refused(String namespace, String wanted) throws Exception {
        Client client = dial(namespace, "wrong");
        client.socket.connect();
        expect(client.received(Dialect.REFUSED), wanted);
        expect(client.has(Socket.EVENT_CONNECT), "false");
        client.socket.disconnect();
    }

    private void ended(String label, String namespace, boolean close) throws Exception {
        Client client = dial(namespace, "s3cret").connect();
        client.emit("label", label);
        client.emit("kick", close);
        expect(client.received(Socket.EVENT_DISCONNECT), "[\"io server disconnect\"]");
        expect(witness.call("reason", label), "[\"server namespace disconnect\"]");
        client.socket.disconnect();
    }

    private void leaves() throws Exception {
        Client client = dial("/members", "s3cret").connect();
        client.emit("label", "leaves");
        expect(client.call("whoami", "x"), "[\"anna x\"]");
        client.socket.disconnect();
        expect(client.received(Socket.EVENT_DISCONNECT), "[\"io client disconnect\"]");
        expect(witness.call("reason", "leaves"), "[\"client namespace disconnect\"]");
    }

    private void returns() throws Exception {
        Client client = dial("/", null).connect();
        client.emit("restart");
        client.received(Socket.EVENT_DISCONNECT);
        client.received(Socket.EVENT_CONNECT);
        expect(client.call("add", 6, 7), "[13]");
    }

    private void gone() throws Exception {
        Client client = dial("/", null).connect();
        client.emit("label", "gone");
        expect(client.call("add", 1, 1), "[2]");
    }
}
