package kowalski;

import java.util.*;

/** The functions that ask models. */
@SuppressWarnings("unchecked")
public final class Queries {
    private Queries() {}

    public static String llm_query(String prompt) {
        return (String) Kowalski.call("llm_query", Map.of("prompt", prompt, "options", Map.of()), new byte[0]).value();
    }

    public static List<String> llm_query_batched(Collection<String> prompts) {
        Map<String, Object> fields = Map.of("prompts", prompts, "options", Map.of());
        List<String> replies = new ArrayList<>();
        for (Object item : (List<Object>) Kowalski.call("llm_query_batched", fields, new byte[0]).value()) {
            Map<String, Object> reply = (Map<String, Object>) item;
            if (reply.containsKey("error")) System.err.println("llm_query_batched: prompt " + replies.size() + ": " + reply.get("error"));
            replies.add((String) reply.get("reply"));
        }
        return replies;
    }
}
