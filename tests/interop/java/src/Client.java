import io.socket.client.Ack;
import io.socket.client.Socket;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.json.JSONArray;
import org.json.JSONObject;

/** A socket and what has come to it: a queue for each event. */
final class Client {
    static final int SECONDS = 9;
    private static final String[] EVENTS = {
        "welcome", "told", "item", "bytes", "nested", "text", Socket.EVENT_CONNECT, Socket.EVENT_DISCONNECT, Dialect.REFUSED,
    };

    final Socket socket;
    private final Map<String, BlockingQueue<Object[]>> inbox = new ConcurrentHashMap<>();

    Client(Socket socket) {
        this.socket = socket;
        for (String event : EVENTS) {
            inbox.put(event, new LinkedBlockingQueue<>());
            socket.on(event, args -> inbox.get(event).add(args));
        }
        answer("question", (args, ack) -> ack.call(new JSONObject().put("heard", new JSONArray(args))));
        answer("question for several", (args, ack) -> ack.call(1, "two", new JSONArray(new int[] {3})));
        answer("question in bytes", (args, ack) -> {
            byte[] first = (byte[]) args[0];
            byte[] nested = (byte[]) ((JSONObject) args[1]).get("b");
            byte[] turned = {first[1], first[0]};
            ack.call(new JSONObject().put("first", turned).put("list", new JSONArray().put(nested).put("text")));
        });
    }

    private interface Answer {
        void to(Object[] args, Ack ack) throws Exception;
    }

    private void answer(String event, Answer answer) {
        socket.on(event, args -> {
            Object[] values = new Object[args.length - 1];
            System.arraycopy(args, 0, values, 0, values.length);
            try {
                answer.to(values, (Ack) args[args.length - 1]);
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        });
    }

    Client connect() throws Exception {
        socket.connect();
        received(Socket.EVENT_CONNECT);
        return this;
    }

    /** The arguments of the next event of this name. */
    Object[] received(String event) throws Exception {
        Object[] args = inbox.get(event).poll(SECONDS, TimeUnit.SECONDS);
        if (args == null) {
            throw new TimeoutException("no " + event);
        }
        return args;
    }

    boolean has(String event) {
        return !inbox.get(event).isEmpty();
    }

    void emit(String event, Object... args) {
        socket.emit(event, args);
    }

    /** What the server acknowledges with. */
    Object[] call(String event, Object... args) throws Exception {
        BlockingQueue<Object[]> answers = new LinkedBlockingQueue<>();
        socket.emit(event, args, answers::add);
        Object[] answer = answers.poll(SECONDS, TimeUnit.SECONDS);
        if (answer == null) {
            throw new TimeoutException("no answer to " + event);
        }
        return answer;
    }
}
