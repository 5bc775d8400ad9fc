// How JavaScript tries: evaluated in a child kernel. Each way returns "gained: …" or "refused: …".

function report(number, said) {
  console.log(`#${number} ${String(said).replace(/\s+/g, " ").slice(0, 2000)}`);
}

async function tried(attempt) {
  try {
    return `gained: ${await attempt()}`;
  } catch (error) {
    return `refused: ${error}`;
  }
}

const HERE = "/tmp/work";

// -- files, networks, processes --

function try_read(path) {
  return tried(() => Deno.readTextFileSync(path).slice(0, 1000));
}

function isFolder(path) {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

function try_write(path) {
  return tried(() => {
    if (isFolder(path)) {
      Deno.openSync(`${path}/new`, { createNew: true, write: true }).close();
      Deno.removeSync(`${path}/new`);
    } else Deno.openSync(path, { append: true, create: true }).close();
  });
}

function try_list(path) {
  return tried(() => [...Deno.readDirSync(path)].map((entry) => entry.name).sort());
}

function try_remove(path) {
  return tried(() => Deno.removeSync(path));
}

function try_rename(path) {
  return tried(() => Deno.renameSync(path, `${path}.moved`));
}

function try_chmod(path) {
  return tried(() => Deno.chmodSync(path, 0o777));
}

function try_touch(path) {
  return tried(() => Deno.utimeSync(path, 1, 1));
}

function try_truncate(path) {
  return tried(() => Deno.truncateSync(path, 0));
}

function try_symlink(target) {
  return tried(() => {
    try {
      Deno.removeSync(`${HERE}/link`);
    } catch { /* there is none yet */ }
    Deno.symlinkSync(target, `${HERE}/link`);
    return Deno.readTextFileSync(`${HERE}/link`).slice(0, 1000);
  });
}

function try_hardlink(path) {
  return tried(() => Deno.linkSync(path, `${HERE}/hard-${path.split("/").pop()}`));
}

function try_link_in(folder) {
  return tried(() => Deno.symlinkSync("/etc/passwd", `${folder}/new-link`));
}

function try_tcp(hostname, port) {
  return tried(async () => (await Deno.connect({ hostname, port: Number(port) })).close());
}

function try_resolve(host) {
  return tried(() => Deno.resolveDns(host, "A"));
}

function try_unix(path) {
  return tried(async () => (await Deno.connect({ transport: "unix", path })).close());
}

function try_listen(port) {
  return tried(() => Deno.listen({ port: Number(port) }).close());
}

function try_signal(process, number) {
  return tried(() => Deno.kill(Number(process), number === "9" ? "SIGKILL" : "SIGCONT"));
}

function try_environment() {
  return tried(() => JSON.stringify(Deno.env.toObject()));
}

function try_processes() {
  return tried(() => processes());
}

function processes() {
  const found = [];
  for (const { name } of Deno.readDirSync("/proc")) {
    for (const file of /^\d+$/.test(name) ? ["cmdline", "environ"] : []) {
      try {
        found.push(Deno.readTextFileSync(`/proc/${name}/${file}`).replaceAll("\0", " "));
      } catch { /* not ours to see */ }
    }
  }
  return found;
}

function try_run(program, ...args) {
  return tried(() => {
    const { success, stderr } = new Deno.Command(program, { args }).outputSync();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
  });
}

function try_call(number, ...args) {
  return tried(() => {
    const parameters = ["i64", ...args.map(() => "i64")];
    const { syscall } = Deno.dlopen("libc.so.6", { syscall: { parameters, result: "i64" } }).symbols;
    const result = syscall(BigInt(number), ...args.map(BigInt));
    if (result < 0) throw new Error("refused");
    return result;
  });
}

// -- using everything up --

function use_memory() {
  const hoard = [];
  while (true) hoard.push(new Uint8Array(1 << 26).fill(1));
}

function use_threads() {
  let made = 0;
  try {
    const source = URL.createObjectURL(new Blob(["self.onmessage = () => {}"]));
    for (; made < 3000; made++) new Worker(source, { type: "module" });
  } catch { /* no more */ }
  console.log("made", made);
}

function use_disk(folder) {
  let made = 0;
  try {
    for (let number = 0; number < 64; number++) {
      const file = Deno.openSync(`${folder}/fill-${number}`, { create: true, write: true });
      try {
        for (let piece = 0; piece < 64; piece++) made += file.writeSync(new Uint8Array(1 << 20)) / (1 << 20);
      } finally {
        file.close();
      }
    }
  } catch { /* no more */ }
  console.log("made", Math.ceil(made));
}

function use_inodes(folder) {
  let made = 0;
  try {
    for (; made < 3000000; made++) Deno.openSync(`${folder}/${made}`, { create: true, write: true }).close();
  } catch { /* no more */ }
  console.log("made", made);
}

function use_descriptors() {
  const kept = [];
  try {
    while (kept.length < 100000) kept.push(Deno.openSync("/dev/null"));
  } catch { /* no more */ }
  for (const file of kept) file.close();
  console.log("made", kept.length);
}

function use_depth() {
  let made = 0;
  let path = HERE;
  try {
    for (; made < 100000; made++) Deno.mkdirSync((path += "/d"));
  } catch { /* no more */ }
  console.log("made", made);
}

function use_a_huge_file() {
  try {
    Deno.writeTextFileSync(`${HERE}/huge`, "");
    Deno.truncateSync(`${HERE}/huge`, 2 ** 44);
    console.log("made", 2 ** 24);
  } catch {
    console.log("made", 0);
  }
}

function use_stack() {
  return use_stack() + 1;
}

function use_time() {
  while (true);
}

function use_output() {
  while (true) console.log("x".repeat(1000));
}

function ignore_all() {
  while (true) {
    try {
      while (true);
    } catch { /* go on */ }
  }
}
