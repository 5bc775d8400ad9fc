// How Java tries: run in a child kernel. Each way returns "gained: …" or "refused: …".

import java.nio.channels.*;
import java.nio.file.attribute.*;

interface Attempt { Object make() throws Exception; }

void report(String number, String said) {
    String line = said.replaceAll("\\s+", " ");
    System.out.println("#" + number + " " + line.substring(0, Math.min(2000, line.length())));
}

String tried(Attempt attempt) {
    try {
        return "gained: " + attempt.make();
    } catch (Exception | Error error) {
        return "refused: " + error;
    }
}

// -- files, networks, processes --

String start(Path path) throws IOException {
    try (var stream = Files.newInputStream(path)) {
        return new String(stream.readNBytes(1000), StandardCharsets.UTF_8);
    }
}

String try_read(String path) { return tried(() -> start(Path.of(path))); }

String try_write(String path) {
    return tried(() -> {
        if (Files.isDirectory(Path.of(path))) {
            Files.delete(Files.createFile(Path.of(path, "new")));
        } else {
            new FileOutputStream(path, true).close();
        }
        return "";
    });
}

String try_list(String path) { return tried(() -> { try (var found = Files.list(Path.of(path))) { return found.toList(); } }); }

String try_remove(String path) { return tried(() -> { Files.delete(Path.of(path)); return ""; }); }

String try_rename(String path) { return tried(() -> Files.move(Path.of(path), Path.of(path + ".moved"))); }

String try_chmod(String path) {
    return tried(() -> Files.setPosixFilePermissions(Path.of(path), PosixFilePermissions.fromString("rwxrwxrwx")));
}

String try_touch(String path) { return tried(() -> Files.setLastModifiedTime(Path.of(path), FileTime.fromMillis(1000))); }

String try_truncate(String path) {
    return tried(() -> FileChannel.open(Path.of(path), StandardOpenOption.WRITE).truncate(0));
}

String try_symlink(String target) {
    return tried(() -> {
        Path link = Path.of("/tmp/work/link");
        Files.deleteIfExists(link);
        return start(Files.createSymbolicLink(link, Path.of(target)));
    });
}

String try_hardlink(String path) {
    return tried(() -> Files.createLink(Path.of("/tmp/work/hard-" + Path.of(path).getFileName()), Path.of(path)));
}

String try_link_in(String folder) {
    return tried(() -> Files.createSymbolicLink(Path.of(folder, "new-link"), Path.of("/etc/passwd")));
}

String try_tcp(String host, String port) {
    return tried(() -> {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(host, Integer.parseInt(port)), 3000);
        }
        return "";
    });
}

String try_udp(String host, String port) {
    return tried(() -> {
        try (DatagramSocket socket = new DatagramSocket()) {
            socket.send(new DatagramPacket(new byte[3], 3, InetAddress.getByName(host), Integer.parseInt(port)));
        }
        return "";
    });
}

String try_resolve(String host) { return tried(() -> InetAddress.getByName(host)); }

String try_unix(String path) { return tried(() -> SocketChannel.open(UnixDomainSocketAddress.of(path))); }

String try_listen(String port) { return tried(() -> new ServerSocket(Integer.parseInt(port))); }

String try_signal(String process, String number) {
    return tried(() -> {
        ProcessHandle found = ProcessHandle.of(Long.parseLong(process)).orElseThrow();
        if (number.equals("9") && !found.destroyForcibly()) throw new IOException("not permitted");
        return found.isAlive();
    });
}

String try_environment() { return "gained: " + System.getenv(); }

String try_processes() {
    StringBuilder found = new StringBuilder("gained: ");
    for (String process : new File("/proc").list((folder, name) -> name.matches("[0-9]+"))) {
        for (String file : List.of("cmdline", "environ")) {
            try {
                found.append(Files.readString(Path.of("/proc", process, file), StandardCharsets.ISO_8859_1).replace('\0', ' '));
            } catch (IOException error) {
                // not ours to see
            }
        }
    }
    return found.toString();
}

String try_run(String... command) {
    return tried(() -> {
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        process.getOutputStream().close();
        String said = new String(process.getInputStream().readAllBytes());
        if (process.waitFor() != 0) throw new IOException(said);
        return said;
    });
}

String said(SocketChannel channel) throws IOException {
    return new BufferedReader(Channels.newReader(channel, StandardCharsets.UTF_8)).readLine();
}

void say(SocketChannel channel, String text) throws IOException {
    var piece = java.nio.ByteBuffer.wrap(text.getBytes());
    while (piece.hasRemaining()) channel.write(piece);
}

String try_speak(String path, String start, String piece, String times) {
    return tried(() -> {
        try (SocketChannel channel = SocketChannel.open(UnixDomainSocketAddress.of(path))) {
            try {
                say(channel, start);
                for (int i = 0; i < Integer.parseInt(times); i++) say(channel, piece);
                say(channel, "\n");
            } catch (IOException closed) {
                // the reply says why
            }
            String reply = said(channel);
            if (reply == null || reply.contains("\"error\"")) throw new IOException(reply);
            return reply;
        }
    });
}

String try_crowd(String path, String number) {
    List<SocketChannel> crowd = new ArrayList<>();
    int left = 0;
    try {
        for (int i = 0; i < Integer.parseInt(number); i++) crowd.add(SocketChannel.open(UnixDomainSocketAddress.of(path)));
    } catch (IOException error) {
        // no more
    }
    for (SocketChannel channel : crowd) {
        try (channel) {
            channel.configureBlocking(false);
            boolean open = true;
            for (int i = 0; i < 10 && open; i++) {
                open = channel.read(java.nio.ByteBuffer.allocate(1)) == 0;
                if (open) Thread.sleep(1);
            }
            if (open) left++;
        } catch (IOException | InterruptedException error) {
            // closed
        }
    }
    return (left < Integer.parseInt(number) ? "refused: all but " : "gained: ") + left;
}

// -- using everything up --

void use_memory() {
    List<byte[]> hoard = new ArrayList<>();
    while (true) hoard.add(new byte[1 << 26]);
}

void use_memory_by_many() throws Exception {
    String hoard = "h=$(head -c 400000000 /dev/zero | tr '\\0' x); sleep 60";
    for (int i = 0; i < 20; i++) new ProcessBuilder("bash", "-c", hoard).start();
    Thread.sleep(60000);
}

void use_processes() {
    int made = 0;
    try {
        for (; made < 3000; made++) new ProcessBuilder("sleep", "60").start();
    } catch (IOException | Error error) {
        // no more
    }
    System.out.println("made " + made);
}

void use_threads() {
    int made = 0;
    try {
        for (; made < 3000; made++) {
            Thread thread = new Thread(() -> { try { Thread.sleep(60000); } catch (InterruptedException e) { } });
            thread.setDaemon(true);
            thread.start();
        }
    } catch (Error error) {
        // no more
    }
    System.out.println("made " + made);
}

void use_disk(String folder) {
    long made = 0;
    try {
        for (int number = 0; number < 64; number++) {
            try (var file = FileChannel.open(Path.of(folder, "fill-" + number), StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
                for (int piece = 0; piece < 64; piece++) made += file.write(java.nio.ByteBuffer.allocate(1 << 20));
            }
        }
    } catch (IOException error) {
        // no more
    }
    System.out.println("made " + (made >> 20));
}

void use_inodes(String folder) {
    int made = 0;
    try {
        for (; made < 3000000; made++) Files.createFile(Path.of(folder, "" + made));
    } catch (IOException error) {
        // no more
    }
    System.out.println("made " + made);
}

void use_descriptors() throws IOException {
    List<FileInputStream> kept = new ArrayList<>();
    try {
        while (kept.size() < 100000) kept.add(new FileInputStream("/dev/null"));
    } catch (IOException error) {
        // no more
    }
    for (FileInputStream file : kept) file.close();
    System.out.println("made " + kept.size());
}

void use_depth() {
    int made = 0;
    try {
        for (Path path = Path.of("/tmp/work/d"); made < 100000; made++, path = path.resolve("d")) Files.createDirectory(path);
    } catch (IOException error) {
        // no more
    }
    System.out.println("made " + made);
}

void use_a_huge_file() {
    try (var file = new RandomAccessFile("/tmp/work/huge", "rw")) {
        file.setLength(1L << 44);
        System.out.println("made " + (1 << 24));
    } catch (IOException error) {
        System.out.println("made 0");
    }
}

int use_stack() { return use_stack() + 1; }

void use_time() { while (true) { } }

void use_time_by_many() throws Exception {
    for (int i = 0; i < 24; i++) new ProcessBuilder("bash", "-c", "while :; do :; done").start();
    while (true) { }
}

void use_output() { while (true) System.out.println("x".repeat(1000)); }

void ignore_all() {
    while (true) {
        try {
            while (true) { }
        } catch (Throwable error) {
            // go on
        }
    }
}

void kill_all() throws Exception { new ProcessBuilder("bash", "-c", "kill -KILL -1").start().waitFor(); }

void leave_behind() throws Exception {
    for (int i = 0; i < 5; i++) new ProcessBuilder("setsid", "sleep", "600").start();
    System.out.println("made 0");
}
