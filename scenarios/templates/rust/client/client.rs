//! The beginning of a chat client. It shows what comes, sends what is typed, and ends in order.
//! PROTOCOL.md has the rules; `conformance next` shows which rule to implement next.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::{env, process, thread};

extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(status: i32) -> !;
}

static TYPING: AtomicBool = AtomicBool::new(true);

/// Ctrl+C: the end of the program closes the connection (CLIENT-2).
extern "C" fn stop(_: i32) {
    unsafe { _exit(0) }
}

fn option(name: &str, otherwise: &str) -> String {
    let found = env::args().skip_while(|word| word != name).nth(1);
    found.unwrap_or(otherwise.to_string())
}

/// Copies everything at once, incomplete lines and prompts, too.
fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut data = [0; 65536];
    loop {
        match from.read(&mut data)? {
            0 => return Ok(()),
            count => to.write_all(&data[..count]).and_then(|()| to.flush())?,
        }
    }
}

fn main() -> io::Result<()> {
    let (host, port) = (option("--host", "localhost"), option("--port", "8080"));
    // TODO: the other options of PROG-2.
    for number in [2, 15] {
        unsafe { signal(number, stop) }; // SIGINT, SIGTERM
    }
    let server = TcpStream::connect(format!("{host}:{port}")).unwrap_or_else(|error| {
        eprintln!("cannot connect to {host}:{port}: {error}"); // CLIENT-4
        process::exit(1)
    });
    server.set_nodelay(true)?;
    let ours = server.try_clone()?;
    thread::spawn(move || {
        let _ = copy(io::stdin(), &ours);
        TYPING.store(false, SeqCst);
        ours.shutdown(Shutdown::Write) // CLIENT-3
    });
    // TODO: replace control characters (CLIENT-6).
    copy(&server, io::stdout())?;
    // TODO: the last line decides the exit status (CLIENT-5).
    if TYPING.load(SeqCst) {
        eprintln!("Disconnected");
    }
    Ok(())
}
