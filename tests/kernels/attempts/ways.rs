// How Rust tries: run in a child kernel. Each way returns "gained: …" or "refused: …".

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::fs::{symlink, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

unsafe extern "C" {
    fn syscall(number: i64, ...) -> i64;
    fn fork() -> i32;
    fn kill(process: i32, signal: i32) -> i32;
    fn setsid() -> i32;
    fn pause() -> i32;
    fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
}

fn report(number: &str, said: String) {
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    println!("#{} {}", number, line.chars().take(2000).collect::<String>());
}

fn tried<T: Debug>(result: io::Result<T>) -> String {
    match result {
        Ok(gained) => format!("gained: {:?}", gained),
        Err(error) => format!("refused: {:?}", error),
    }
}

fn checked(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

// -- files, networks, processes --

fn start_of(path: &str) -> io::Result<String> {
    let mut start = Vec::new();
    File::open(path)?.take(1000).read_to_end(&mut start)?;
    Ok(String::from_utf8_lossy(&start).into_owned())
}

fn try_read(path: &str) -> String { tried(start_of(path)) }

fn make_new(path: &str) -> io::Result<()> {
    if Path::new(path).is_dir() {
        let file = format!("{}/new", path);
        OpenOptions::new().write(true).create_new(true).open(&file)?;
        fs::remove_file(&file)
    } else {
        OpenOptions::new().append(true).create(true).open(path).map(|_| ())
    }
}

fn try_write(path: &str) -> String { tried(make_new(path)) }

fn try_list(path: &str) -> String {
    tried(fs::read_dir(path).map(|found| found.flatten().map(|entry| entry.file_name()).collect::<Vec<_>>()))
}

fn try_remove(path: &str) -> String { tried(fs::remove_file(path)) }

fn try_rename(path: &str) -> String { tried(fs::rename(path, format!("{}.moved", path))) }

fn try_chmod(path: &str) -> String { tried(fs::set_permissions(path, fs::Permissions::from_mode(0o777))) }

fn try_truncate(path: &str) -> String { tried(OpenOptions::new().write(true).truncate(true).open(path)) }

fn follow(target: &str) -> io::Result<String> {
    let _ = fs::remove_file("/tmp/work/link");
    symlink(target, "/tmp/work/link")?;
    start_of("/tmp/work/link")
}

fn try_symlink(target: &str) -> String { tried(follow(target)) }

fn try_hardlink(path: &str) -> String {
    let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    tried(fs::hard_link(path, format!("/tmp/work/hard-{}", name)))
}

fn try_link_in(folder: &str) -> String { tried(symlink("/etc/passwd", format!("{}/new-link", folder))) }

fn addresses(host: &str, port: &str) -> io::Result<Vec<std::net::SocketAddr>> {
    Ok((host, port.parse::<u16>().unwrap()).to_socket_addrs()?.collect())
}

fn try_tcp(host: &str, port: &str) -> String {
    tried(addresses(host, port).and_then(|found| TcpStream::connect_timeout(&found[0], Duration::from_secs(3))))
}

fn try_udp(host: &str, port: &str) -> String {
    tried(UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"out", format!("{}:{}", host, port))))
}

fn try_resolve(host: &str) -> String { tried(addresses(host, "80")) }

fn try_unix(path: &str) -> String { tried(UnixStream::connect(path)) }

fn try_abstract(name: &str) -> String {
    use std::os::linux::net::SocketAddrExt;
    tried(std::os::unix::net::SocketAddr::from_abstract_name(name).and_then(|place| UnixStream::connect_addr(&place)))
}

fn try_listen(port: &str) -> String { tried(TcpListener::bind(format!("0.0.0.0:{}", port))) }

fn try_socket(family: &str, kind: &str, protocol: &str) -> String {
    let number: i64 = if cfg!(target_arch = "x86_64") { 41 } else { 198 };
    let words: Vec<i64> = [family, kind, protocol].iter().map(|word| word.parse().unwrap()).collect();
    tried(checked(unsafe { syscall(number, words[0], words[1], words[2]) }))
}

fn try_signal(process: &str, number: &str) -> String {
    tried(checked(unsafe { kill(process.parse().unwrap(), number.parse().unwrap()) } as i64))
}

fn try_environment() -> String { format!("gained: {:?}", std::env::vars().collect::<Vec<_>>()) }

fn try_processes() -> String {
    let mut found = String::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        for file in ["cmdline", "environ"] {
            if let Ok(text) = fs::read(entry.path().join(file)) {
                found += &String::from_utf8_lossy(&text).replace('\0', " ");
            }
        }
    }
    format!("gained: {}", found)
}

fn run(command: &[&str]) -> io::Result<String> {
    let done = Command::new(command[0]).args(&command[1..]).stdin(std::process::Stdio::null()).output()?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() { Ok(said(&done.stdout)) } else { Err(io::Error::other(said(&done.stderr))) }
}

fn try_run(words: &[&str]) -> String { tried(run(words)) }

fn call(words: &[&str]) -> io::Result<i64> {
    let mut all: Vec<i64> = words.iter().map(|word| word.parse().unwrap()).collect();
    let number = all.remove(0);
    all.resize(6, 0);
    let result = unsafe { syscall(number, all[0], all[1], all[2], all[3], all[4], all[5]) };
    if result == 0 && (number == 56 || number == 220) { std::process::exit(0) } // the child of a clone
    checked(result)
}

fn try_call(words: &[&str]) -> String { tried(call(words)) }

fn speak(path: &str, start: &str, piece: &str, times: &str) -> io::Result<String> {
    let mut connection = UnixStream::connect(path)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let _ = connection.write_all(start.as_bytes());
    for _ in 0..times.parse::<usize>().unwrap() {
        if connection.write_all(piece.as_bytes()).is_err() { break; }
    }
    let _ = connection.write_all(b"\n");
    let mut reply = String::new();
    BufReader::new(connection).read_line(&mut reply)?;
    if reply.is_empty() || reply.contains("\"error\"") { Err(io::Error::other(reply)) } else { Ok(reply) }
}

fn try_speak(path: &str, start: &str, piece: &str, times: &str) -> String { tried(speak(path, start, piece, times)) }

fn try_crowd(path: &str, number: &str) -> String {
    let wanted: usize = number.parse().unwrap();
    let crowd: Vec<UnixStream> = (0..wanted).map_while(|_| UnixStream::connect(path).ok()).collect();
    let mut left = 0;
    for mut connection in crowd {
        let _ = connection.set_read_timeout(Some(Duration::from_millis(10)));
        if let Err(error) = connection.read(&mut [0]) {
            left += (error.kind() == io::ErrorKind::WouldBlock) as usize;
        }
    }
    if left < wanted { format!("refused: all but {}", left) } else { format!("gained: {}", left) }
}

// -- using everything up --

// In a process of its own, whose end leaves the kernel what it has compiled.
fn alone(way: fn()) {
    match unsafe { fork() } {
        0 => {
            way();
            std::process::exit(0)
        }
        child => unsafe { waitpid(child, std::ptr::null_mut(), 0) },
    };
    println!("made 0");
}

fn hoard() {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop { hoard.push(vec![1; 1 << 26]); }
}

fn use_memory() { alone(hoard); }

fn use_memory_by_many() {
    for _ in 0..20 {
        if unsafe { fork() } == 0 {
            let hoard: Vec<Vec<u8>> = (0..6).map(|_| vec![1; 1 << 26]).collect();
            unsafe { pause() };
            std::process::exit(hoard.len() as i32);
        }
    }
    unsafe { pause() };
}

fn use_processes() {
    let mut made = 0;
    while made < 3000 {
        match unsafe { fork() } {
            0 => loop { unsafe { pause() }; },
            -1 => break,
            _ => made += 1,
        }
    }
    println!("made {}", made);
}

fn use_threads() {
    let mut made = 0;
    let nap = || std::thread::sleep(Duration::from_secs(60));
    while made < 3000 && std::thread::Builder::new().spawn(nap).is_ok() { made += 1; }
    println!("made {}", made);
}

fn fill(folder: &str, made: &mut usize) -> io::Result<()> {
    for number in 0..64 {
        let mut file = File::create(format!("{}/fill-{}", folder, number))?;
        for _ in 0..64 { *made += file.write(&vec![0; 1 << 20])?; }
    }
    Ok(())
}

fn use_disk(folder: &str) {
    let mut made = 0;
    let _ = fill(folder, &mut made);
    println!("made {}", made >> 20);
    for number in 0..64 { let _ = fs::remove_file(format!("{}/fill-{}", folder, number)); } // the compiler needs room
}

fn use_inodes(folder: &str) {
    let mut made = 0;
    while made < 3_000_000 && File::create(format!("{}/{}", folder, made)).is_ok() { made += 1; }
    println!("made {}", made);
}

fn use_descriptors() {
    let mut kept = Vec::new();
    while kept.len() < 100_000 {
        match File::open("/dev/null") {
            Ok(file) => kept.push(file),
            Err(_) => break,
        }
    }
    let made = kept.len();
    drop(kept);
    println!("made {}", made);
}

fn use_depth() {
    let mut made = 0;
    let mut path = String::from("/tmp/work/d");
    while made < 100_000 && fs::create_dir(&path).is_ok() {
        path += "/d";
        made += 1;
    }
    println!("made {}", made);
}

fn use_a_huge_file() {
    let refused = File::create("/tmp/work/huge").and_then(|file| file.set_len(1 << 44)).is_err();
    println!("made {}", if refused { 0 } else { 1 << 24 });
}

#[allow(unconditional_recursion)]
fn deeper(value: usize) -> usize { std::hint::black_box(deeper(value + 1)) + 1 }

fn deepest() { println!("{}", deeper(0)); }

fn use_stack() { alone(deepest); }

fn use_time() { loop { std::hint::spin_loop(); } }

fn use_time_by_many() {
    for _ in 0..24 { if unsafe { fork() } == 0 { use_time(); } }
    use_time();
}

fn use_output() { loop { println!("{}", "x".repeat(1000)); } }

fn kill_all() { unsafe { kill(-1, 9) }; }

fn leave_behind() {
    for _ in 0..5 {
        if unsafe { fork() } == 0 {
            unsafe { setsid() };
            loop { unsafe { pause() }; }
        }
    }
    println!("made 0");
}
