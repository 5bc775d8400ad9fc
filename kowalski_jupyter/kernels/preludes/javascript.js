// Brings a run's functions and data into Deno's Jupyter kernel: evaluates to a function of what `Opening` says.
//
// Calls block, as in every other language: a model that forgets `await` gets a text and no promise, and one that
// writes it gets the same. Deno has no blocking sockets, so the system's own functions are called.
((run) => {
  const mac = Deno.build.os === "darwin";
  const system = Deno.dlopen(mac ? "libSystem.dylib" : "libc.so.6", {
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
    write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
    close: { parameters: ["i32"], result: "i32" },
  }).symbols;
  // The sandbox is the wall; what a run never needs is given away nevertheless.
  for (const name of ["run", "ffi", "env", "sys", ...(run.net ? [] : ["net"])]) Deno.permissions.revokeSync({ name });

  class QueryError extends Error {
    name = "QueryError";
  }
  class KowalskiFinished extends Error {
    name = "KowalskiFinished";
  }

  let connection = -1;
  const connect = () => {
    const path = new TextEncoder().encode(run.socket);
    const address = new Uint8Array(path.length + 3);
    address.set(mac ? [address.length, 1] : [1, 0]);
    address.set(path, 2);
    connection = system.socket(1, 1, 0);
    if (system.connect(connection, address, address.length) !== 0) fail("it does not listen");
  };
  const fail = (reason) => {
    system.close(connection);
    connection = -1;
    throw new QueryError(`The run cannot be reached: ${reason}`);
  };
  const send = (bytes) => {
    for (let done = 0; done < bytes.length; ) {
      const written = Number(system.write(connection, bytes.subarray(done), BigInt(bytes.length - done)));
      if (written <= 0) fail("it has ended");
      done += written;
    }
  };
  const receive = (buffer) => {
    const size = Number(system.read(connection, buffer, BigInt(buffer.length)));
    if (size <= 0) fail("it has ended");
    return size;
  };

  const call = (name, fields, payload = new Uint8Array()) => {
    if (connection < 0) connect();
    const header = { token: run.token, call: name, size: payload.length, ...fields };
    send(new TextEncoder().encode(JSON.stringify(header) + "\n"));
    send(payload);
    let held = new Uint8Array(1 << 16);
    let size = 0;
    let end = -1;
    while (end < 0) {
      if (size === held.length) {
        const larger = new Uint8Array(2 * held.length);
        larger.set(held);
        held = larger;
      }
      const start = size;
      size += receive(held.subarray(size));
      end = held.subarray(start, size).indexOf(10);
      end = end < 0 ? end : start + end;
    }
    const reply = JSON.parse(new TextDecoder().decode(held.subarray(0, end)));
    const data = new Uint8Array(reply.size ?? 0);
    data.set(held.subarray(end + 1, size));
    for (let done = size - end - 1; done < data.length; ) done += receive(data.subarray(done));
    if ("error" in reply) throw new QueryError(reply.error);
    return { value: reply.reply, data };
  };

  const text = (value, name) => {
    if (typeof value !== "string") throw new TypeError(`${name} takes a string, not ${kind(value)}`);
    return value;
  };
  const kind = (value) =>
    value === null ? "null" : typeof value === "object" ? (value.constructor?.name ?? "Object") : typeof value;

  // Values as the run keeps them: JSON in which {"$": tag, "v": …} stands for what JSON lacks. With `plain`, as every
  // language reads them.
  const tagged = (value, plain) => {
    if (value === null || value === undefined) return null;
    const tag = (name, v, otherwise) => (plain ? otherwise : { $: name, v });
    switch (typeof value) {
      case "boolean":
      case "string":
        return value;
      case "number":
        if (Number.isFinite(value)) return value;
        return tag("float", Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf", null);
      case "bigint": {
        if (value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER) return Number(value);
        const digits = value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
        return tag("int", digits, String(value));
      }
      case "object":
        break;
      default:
        throw new TypeError(`A ${typeof value} cannot be sent. Give text, numbers, arrays, objects, Map, Set or Date.`);
    }
    if (value instanceof Date) return tag("datetime", value.toISOString(), value.toISOString());
    if (value instanceof Uint8Array) return tag("bytes", value.toHex(), value.toHex());
    if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value, (item) => tagged(item, plain));
    if (value instanceof Set) {
      const items = Array.from(value, (item) => tagged(item, plain));
      return tag("set", items, items);
    }
    if (value instanceof Map && plain)
      return Object.fromEntries(Array.from(value, ([key, item]) => [String(key), tagged(item, plain)]));
    if (value instanceof Map)
      return { $: "dict", v: Array.from(value, ([key, item]) => [tagged(key), tagged(item)]) };
    if (typeof value.toJSON === "function") return tagged(value.toJSON(), plain);
    const items = Object.entries(value).filter(([, item]) => item !== undefined && typeof item !== "function");
    if ("$" in value && !plain) return { $: "dict", v: items.map(([key, item]) => [key, tagged(item)]) };
    return Object.fromEntries(items.map(([key, item]) => [key, tagged(item, plain)]));
  };
  const encode = (value, plain) =>
    value instanceof Uint8Array
      ? ["bytes", value]
      : ["json", new TextEncoder().encode(JSON.stringify(tagged(value, plain)))];
  const shown = (value) => {
    const said = typeof value === "string" ? value : Deno.inspect(value, { colors: false });
    return said.length > 20000 ? `${said.slice(0, 10000)}…${said.slice(-10000)}` : said;
  };
  const give = (name, value, fields, plain) => {
    const [form, data] = encode(value, plain);
    return call(name, { kind: form, type: kind(value), text: shown(value).toWellFormed(), ...fields }, data);
  };

  const given = {
    QueryError,
    FINAL: (value) => {
      give("final", value, {}, false);
      throw new KowalskiFinished("the answer has been given");
    },
    share: (name, value) => {
      give("share", value, { name: text(name, "share") }, true);
    },
    shared: (name) => {
      const { value, data } = call("shared", { name: text(name, "shared") });
      return value.kind === "bytes" ? data : JSON.parse(new TextDecoder().decode(data));
    },
  };
  if (run.functions.includes("llm_query")) {
    given.llm_query = (prompt, options = {}) => call("llm_query", { prompt: text(prompt, "llm_query"), options }).value;
    given.llm_query_batched = (prompts, options = {}) => {
      if (!Array.isArray(prompts)) throw new TypeError("llm_query_batched takes an array of strings");
      prompts.forEach((prompt) => text(prompt, "llm_query_batched"));
      const { value } = call("llm_query_batched", { prompts, options });
      return value.map((item) => ("error" in item ? new QueryError(item.error) : item.reply));
    };
  }
  // Deno sends a message for each line, and drops some when many come at once: lines are sent together.
  const format = globalThis.process.getBuiltinModule("node:util").format;
  const print = { log: console.log, error: console.error };
  let kept = [];
  let stream = "";
  let size = 0;
  let since = 0;
  const flush = () => {
    if (kept.length) print[stream](kept.join("\n"));
    kept = [];
    size = 0;
  };
  const write = (to) => (...values) => {
    if (to !== stream) flush();
    stream = to;
    if (!kept.length) {
      since = Date.now();
      queueMicrotask(flush);
    }
    const line = format(...values);
    kept.push(line);
    size += line.length + 1;
    if (size >= 1 << 16 || Date.now() - since > 50) flush();
  };
  for (const name of ["log", "info", "debug"]) console[name] = write("log");
  for (const name of ["warn", "error"]) console[name] = write("error");

  const refuse = () => {
    throw new Error("Nobody is there to answer: the data is in variables, and code must go on by itself.");
  };
  const exit = Deno.exit;
  Deno.exit = (status) => {
    flush();
    exit(status);
  };
  Object.assign(globalThis, given, { prompt: refuse, confirm: refuse, alert: refuse });

  const longest = 1 << 29; // characters of V8's strings
  const data = {};
  for (const item of run.items) {
    globalThis[`${item.name}_file`] = item.path;
    if (item.form === "path" || (item.form !== "bytes" && item.size >= longest)) data[item.name] = item.path;
    else if (item.form === "bytes") data[item.name] = Deno.readFileSync(item.path);
    else {
      const content = Deno.readTextFileSync(item.path);
      data[item.name] = item.form === "json" ? JSON.parse(content) : content;
    }
  }
  const values = Object.values(data);
  if (values.length) globalThis.context = values.length === 1 ? values[0] : data;
  Object.assign(globalThis, data);
})
