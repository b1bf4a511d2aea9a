import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.TreeSet;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;

/** Values as texts that can be compared: JSON with its keys sorted, and bytes as "hex:00ff". */
final class Values {
    static String text(Object value) throws JSONException {
        if (value instanceof byte[]) {
            return "\"hex:" + hex((byte[]) value) + "\"";
        }
        if (value instanceof Object[]) {
            List<String> parts = new ArrayList<>();
            for (Object each : (Object[]) value) {
                parts.add(text(each));
            }
            return "[" + String.join(",", parts) + "]";
        }
        if (value instanceof JSONArray) {
            JSONArray array = (JSONArray) value;
            List<String> parts = new ArrayList<>();
            for (int index = 0; index < array.length(); index++) {
                parts.add(text(array.get(index)));
            }
            return "[" + String.join(",", parts) + "]";
        }
        if (value instanceof JSONObject) {
            JSONObject object = (JSONObject) value;
            TreeSet<String> keys = new TreeSet<>();
            for (Iterator<?> each = object.keys(); each.hasNext();) {
                keys.add((String) each.next());
            }
            List<String> parts = new ArrayList<>();
            for (String key : keys) {
                parts.add(JSONObject.quote(key) + ":" + text(object.get(key)));
            }
            return "{" + String.join(",", parts) + "}";
        }
        return value instanceof String ? JSONObject.quote((String) value) : String.valueOf(value);
    }

    static String hex(byte[] data) {
        StringBuilder digits = new StringBuilder();
        for (byte each : data) {
            digits.append(String.format("%02x", each));
        }
        return digits.toString();
    }

    static byte[] allBytes(int times) {
        byte[] data = new byte[256 * times];
        for (int index = 0; index < data.length; index++) {
            data[index] = (byte) index;
        }
        return data;
    }

    private Values() {}
}
