import io.socket.client.IO;
import io.socket.client.Socket;

/** What the 1.x client does otherwise than the 2.x client: it knows no auth, and a refusal is its data alone. */
final class Dialect {
    static final int ENGINE = 3;
    static final String REFUSED = Socket.EVENT_ERROR;
    static final String REFUSAL = "[{\"code\":7,\"retry\":false}]";
    static final String PLAIN_REFUSAL = "[\"Closed today\"]";

    static void authenticate(IO.Options options, String token) {
        options.query = "token=" + token;
    }

    private Dialect() {}
}
