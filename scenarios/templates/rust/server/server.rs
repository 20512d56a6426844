//! The beginning of a chat server. It asks each user for a name, and ends in order.
//! PROTOCOL.md has the rules; `conformance next` shows which rule to implement next.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::{env, io, process, thread};

type Users = Arc<Mutex<HashMap<RawFd, TcpStream>>>;

extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn write(fd: RawFd, data: *const u8, size: usize) -> isize;
}
static WAKE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_signal(_: i32) {
    unsafe { write(WAKE.load(SeqCst), b"!".as_ptr(), 1) }; // few calls are allowed here
}

fn talk(mut user: TcpStream, users: Users) -> io::Result<()> {
    let id = user.as_raw_fd();
    user.set_nodelay(true)?;
    {
        let mut all = users.lock().unwrap(); // so that a shutdown comes before both or after both
        user.write_all(b"Enter your screen name: ")?; // JOIN-1
        all.insert(id, user.try_clone()?);
    }
    for line in BufReader::new(user).split(b'\n').map_while(Result::ok) {
        on_line(id, &line);
    }
    users.lock().unwrap().remove(&id);
    Ok(())
}

/// A line has arrived. TODO: the first line is the name (JOIN-2 to JOIN-4).
fn on_line(_id: RawFd, _line: &[u8]) {}

fn option(name: &str, otherwise: &str) -> String {
    let found = env::args().skip_while(|word| word != name).nth(1);
    found.unwrap_or(otherwise.to_string())
}

fn main() -> io::Result<()> {
    let (host, port) = (option("--host", "127.0.0.1"), option("--port", "8080"));
    // TODO: the other options of PROG-1.
    let listener = TcpListener::bind(format!("{host}:{port}"))?;
    let (wake, mut woken) = UnixStream::pair()?;
    WAKE.store(wake.as_raw_fd(), SeqCst);
    for number in [2, 15] {
        unsafe { signal(number, on_signal) }; // SIGINT, SIGTERM
    }
    println!("Listening on {}", listener.local_addr()?); // PROG-3
    let users = Users::default();
    let room = users.clone();
    thread::spawn(move || {
        for user in listener.incoming().flatten() {
            let users = room.clone();
            thread::spawn(move || talk(user, users));
        }
    });
    woken.read_exact(&mut [0])?;
    // STOP-1. TODO: send the first `\n` only if a prompt is pending.
    for user in users.lock().unwrap().values_mut() {
        let _ = user.write_all(b"\nServer is shutting down\n");
    }
    process::exit(0)
}
