import io.socket.client.IO;
import io.socket.client.Socket;
import java.util.Map;

/** What the 2.x client does otherwise than the 1.x client. */
final class Dialect {
    static final int ENGINE = 4;
    static final String REFUSED = Socket.EVENT_CONNECT_ERROR;
    static final String REFUSAL = "[{\"data\":{\"code\":7,\"retry\":false},\"message\":\"Who are you?\"}]";
    static final String PLAIN_REFUSAL = "[{\"message\":\"Closed today\"}]";

    static void authenticate(IO.Options options, String token) {
        options.auth = Map.of("token", token);
    }

    private Dialect() {}
}
