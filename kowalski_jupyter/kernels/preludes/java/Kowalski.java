package kowalski;

import java.io.*;
import java.math.*;
import java.net.*;
import java.nio.*;
import java.nio.channels.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import java.util.function.*;
import java.util.stream.*;

/** The run's functions, its socket, and JSON, which the JDK does not read: objects as Map, arrays as List. */
@SuppressWarnings("unchecked")
public final class Kowalski {
    private Kowalski() {}

    /** A model could not answer; the message says why. */
    public static class QueryError extends RuntimeException {
        QueryError(String reason) { super(reason); }
    }

    /** Ends a cell after FINAL. */
    static class Finished extends Error {
        Finished() { super("the answer has been given", null, false, false); }
    }

    public static void FINAL(Object value) {
        give("final", value, Map.of(), false);
        throw new Finished();
    }

    public static void share(String name, Object value) { give("share", value, Map.of("name", name), true); }

    public static <T> T shared(String name) {
        Reply reply = call("shared", Map.of("name", name), new byte[0]);
        if ("bytes".equals(((Map<String, Object>) reply.value()).get("kind"))) return (T) reply.data();
        return (T) parse(new String(reply.data(), StandardCharsets.UTF_8));
    }

    private static Map<String, Object> run = Map.of();

    /** Take what `Opening` says. */
    public static void begin(String opening) {
        run = (Map<String, Object>) parse(opening);
    }

    /** Return when no cell's code runs but what calls this: its kernel leaves that of an interrupted one to go on. */
    public static void stop() throws InterruptedException {
        for (Thread each : Thread.getAllStackTraces().keySet())
            for (int round = 0; each != Thread.currentThread() && runsCell(each); round++) {
                if (round >= 20) end(each); // until then it may end by itself, as what waits does
                Thread.sleep(5);
            }
    }

    /** Whether a thread runs a cell: JShell makes a cell's code a method of this name. */
    static boolean runsCell(Thread thread) {
        return Arrays.stream(thread.getStackTrace()).anyMatch(frame -> frame.getMethodName().equals("do_it$"));
    }

    /** End what a thread does, as JShell does, where Java can (before version 20). */
    static void end(Thread thread) {
        try {
            Thread.class.getMethod("stop").invoke(thread);
        } catch (ReflectiveOperationException error) {
            // who waits here for the thread's end ends the kernel
        }
    }

    record Reply(Object value, byte[] data) {}

    static Reply call(String name, Map<String, Object> fields, byte[] payload) {
        Map<String, Object> header = new LinkedHashMap<>();
        header.put("token", run.get("token"));
        header.put("call", name);
        header.put("size", payload.length);
        header.putAll(fields);
        try (SocketChannel channel = SocketChannel.open(UnixDomainSocketAddress.of((String) run.get("socket")))) {
            send(channel, (json(header, true) + "\n").getBytes(StandardCharsets.UTF_8));
            send(channel, payload);
            ByteArrayOutputStream line = new ByteArrayOutputStream();
            ByteBuffer piece = ByteBuffer.allocate(1 << 16);
            int end = -1;
            while (end < 0) {
                piece.clear();
                if (channel.read(piece) < 0) throw new QueryError("The run cannot be reached: it has ended");
                piece.flip();
                for (int i = 0; i < piece.limit() && end < 0; i++) if (piece.get(i) == '\n') end = i;
                line.write(piece.array(), 0, end < 0 ? piece.limit() : end);
            }
            Map<String, Object> reply = (Map<String, Object>) parse(line.toString(StandardCharsets.UTF_8));
            if (reply.containsKey("error")) throw new QueryError((String) reply.get("error"));
            ByteBuffer data = ByteBuffer.allocate(((Number) reply.getOrDefault("size", 0L)).intValue());
            piece.position(end + 1);
            data.put(piece);
            while (data.hasRemaining() && channel.read(data) >= 0) {}
            return new Reply(reply.get("reply"), data.array());
        } catch (IOException error) {
            throw new QueryError("The run cannot be reached: " + error.getMessage());
        }
    }

    static void send(SocketChannel channel, byte[] bytes) throws IOException {
        for (ByteBuffer buffer = ByteBuffer.wrap(bytes); buffer.hasRemaining(); ) channel.write(buffer);
    }

    static void give(String name, Object value, Map<String, Object> fields, boolean plain) {
        Map<String, Object> all = new LinkedHashMap<>(fields);
        boolean bytes = value instanceof byte[];
        String text = bytes ? ((byte[]) value).length + " bytes" : String.valueOf(value);
        if (text.length() > 20000) text = text.substring(0, 10000) + "…" + text.substring(text.length() - 10000);
        all.put("kind", bytes ? "bytes" : "json");
        all.put("type", value == null ? "null" : value.getClass().getSimpleName());
        all.put("text", text);
        call(name, all, bytes ? (byte[]) value : json(value, plain).getBytes(StandardCharsets.UTF_8));
    }

    /** JSON in which {"$": tag, "v": …} stands for what it lacks; with `plain`, as every language reads it. */
    static String json(Object value, boolean plain) {
        StringBuilder out = new StringBuilder();
        write(out, value, plain, 0);
        return out.toString();
    }

    static void write(StringBuilder out, Object value, boolean plain, int depth) {
        if (depth > 200) throw new IllegalArgumentException("The value contains itself or is nested too deeply.");
        if (value instanceof Optional<?> optional) value = optional.orElse(null);
        if (value == null || value instanceof Boolean) out.append(value);
        else if (value instanceof Double || value instanceof Float) {
            double number = ((Number) value).doubleValue();
            if (Double.isFinite(number)) out.append(value);
            else if (plain) out.append("null");
            else {
                String tag = Double.isNaN(number) ? "nan" : number > 0 ? "inf" : "-inf";
                out.append("{\"$\":\"float\",\"v\":\"").append(tag).append("\"}");
            }
        } else if (value instanceof BigInteger number && number.bitLength() > 63 && !plain)
            out.append("{\"$\":\"int\",\"v\":\"").append(number.signum() < 0 ? "-" : "").append("0x")
                .append(number.abs().toString(16)).append("\"}");
        else if (value instanceof BigDecimal number && !plain)
            out.append("{\"$\":\"decimal\",\"v\":\"").append(number).append("\"}");
        else if (value instanceof Number) out.append(value);
        else if (value instanceof Map<?, ?> map) {
            boolean pairs = !plain && map.containsKey("$");
            if (pairs) {
                write(out.append("{\"$\":\"dict\",\"v\":"), map.entrySet().stream()
                    .map(entry -> Arrays.asList(entry.getKey(), entry.getValue())).toList(), false, depth + 1);
                out.append('}');
                return;
            }
            String comma = "{";
            for (Map.Entry<?, ?> entry : map.entrySet()) {
                quote(out.append(comma), String.valueOf(entry.getKey()));
                write(out.append(':'), entry.getValue(), plain, depth + 1);
                comma = ",";
            }
            out.append(map.isEmpty() ? "{}" : "}");
        } else if (value instanceof Set<?> set && !plain) {
            write(out.append("{\"$\":\"set\",\"v\":"), new ArrayList<>(set), false, depth + 1);
            out.append('}');
        } else if (value instanceof Iterable<?> items && !(value instanceof Path)) {
            String comma = "[";
            for (Object item : items) {
                write(out.append(comma), item, plain, depth + 1);
                comma = ",";
            }
            out.append(comma.equals("[") ? "[]" : "]");
        } else if (value.getClass().isArray()) {
            List<Object> items = new ArrayList<>();
            for (int i = 0; i < java.lang.reflect.Array.getLength(value); i++)
                items.add(java.lang.reflect.Array.get(value, i));
            write(out, items, plain, depth + 1);
        } else if (value instanceof Record record) {
            Map<String, Object> parts = new LinkedHashMap<>();
            for (var part : record.getClass().getRecordComponents())
                try {
                    part.getAccessor().setAccessible(true);
                    parts.put(part.getName(), part.getAccessor().invoke(record));
                } catch (ReflectiveOperationException error) {
                    throw new IllegalArgumentException(error);
                }
            write(out, parts, plain, depth + 1);
        } else quote(out, value.toString());
    }

    static void quote(StringBuilder out, String text) {
        out.append('"');
        for (int i = 0; i < text.length(); i++) {
            char letter = text.charAt(i);
            if (letter == '"' || letter == '\\') out.append('\\').append(letter);
            else if (letter < ' ' || Character.isSurrogate(letter) && !paired(text, i))
                out.append(String.format("\\u%04x", (int) letter));
            else out.append(letter);
        }
        out.append('"');
    }

    static boolean paired(String text, int i) {
        return Character.isHighSurrogate(text.charAt(i))
            ? i + 1 < text.length() && Character.isLowSurrogate(text.charAt(i + 1))
            : i > 0 && Character.isHighSurrogate(text.charAt(i - 1));
    }

    public static Object parse(String text) {
        Reader reader = new Reader(text);
        Object value = reader.value();
        reader.space();
        if (reader.at < text.length()) throw reader.wrong();
        return value;
    }

    static final class Reader {
        final String text;
        int at = 0;

        Reader(String text) { this.text = text; }

        RuntimeException wrong() { return new IllegalArgumentException("not JSON at character " + at); }

        void space() { while (at < text.length() && text.charAt(at) <= ' ') at++; }

        char next() {
            space();
            if (at >= text.length()) throw wrong();
            return text.charAt(at);
        }

        Object value() {
            switch (next()) {
                case '{': {
                    Map<String, Object> map = new LinkedHashMap<>();
                    for (at++; next() != '}'; ) {
                        String key = string();
                        if (next() != ':') throw wrong();
                        at++;
                        map.put(key, value());
                        if (next() == ',') at++;
                    }
                    at++;
                    return map;
                }
                case '[': {
                    List<Object> list = new ArrayList<>();
                    for (at++; next() != ']'; ) {
                        list.add(value());
                        if (next() == ',') at++;
                    }
                    at++;
                    return list;
                }
                case '"': return string();
                default: {
                    int start = at;
                    while (at < text.length() && ",]} \n\r\t".indexOf(text.charAt(at)) < 0) at++;
                    return word(text.substring(start, at));
                }
            }
        }

        Object word(String word) {
            switch (word) {
                case "null": return null;
                case "true": return true;
                case "false": return false;
            }
            try {
                if (!word.matches("-?\\d+")) return Double.valueOf(word);
                BigInteger number = new BigInteger(word);
                return number.bitLength() < 64 ? (Object) number.longValue() : number;
            } catch (NumberFormatException error) {
                throw wrong();
            }
        }

        String string() {
            if (next() != '"') throw wrong();
            int end = ++at;
            while (end < text.length() && text.charAt(end) != '"' && text.charAt(end) != '\\') end++;
            if (end < text.length() && text.charAt(end) == '"') {
                String plain = text.substring(at, end);
                at = end + 1;
                return plain;
            }
            StringBuilder out = new StringBuilder();
            while (true) {
                if (at >= text.length()) throw wrong();
                char letter = text.charAt(at++);
                if (letter == '"') return out.toString();
                if (letter != '\\') {
                    out.append(letter);
                    continue;
                }
                letter = text.charAt(at++);
                switch (letter) {
                    case 'n': out.append('\n'); break;
                    case 't': out.append('\t'); break;
                    case 'r': out.append('\r'); break;
                    case 'b': out.append('\b'); break;
                    case 'f': out.append('\f'); break;
                    case 'u':
                        out.append((char) Integer.parseInt(text.substring(at, at + 4), 16));
                        at += 4;
                        break;
                    default: out.append(letter);
                }
            }
        }
    }

    public static String read(String path) {
        try {
            return new String(Files.readAllBytes(Path.of(path)), StandardCharsets.UTF_8);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
