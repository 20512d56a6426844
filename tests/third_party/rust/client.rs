//! A client for the chat protocol, version 1: only the standard library, one file, one poll loop.
//!
//! The main thread owns all data and blocks only in `poll` (a second thread only looks up
//! the host and connects). Signals and that thread wake the loop through a socket pair.
//! Features: accounts, reconnect. The numbers of signals and flags below are those of Linux.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::mem::{self, ManuallyDrop};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::raw::{c_int, c_ulong, c_void};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::io::{AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::process;
use std::ptr;
use std::str;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

const VERSION: &str = "1.0.0";
const NAME_PROMPT: &[u8] = b"Enter your screen name: ";
const PASSWORD_PROMPT: &[u8] = b"Password: ";
/// If more than this waits to be sent or shown, its source is not read.
const SEND_LIMIT: usize = 1 << 20;
const SCREEN_LIMIT: usize = 1 << 16;
/// Bytes kept of a line: of the input (the server refuses a longer one), and of the server.
const INPUT_LINE_LIMIT: usize = 1 << 20;
const SERVER_LINE_LIMIT: usize = 4096;
/// Lines kept that were sent before the welcome: one of them may be the password.
const ANSWERS_KEPT: usize = 32;
const SECOND: u64 = 1_000_000_000; // in nanoseconds
const MAX_DELAY: u64 = 30 * SECOND;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30); // for all addresses, and for the welcome
const NEXT_ADDRESS: Duration = Duration::from_secs(2); // by which an address may delay the next one
const LOOK_TIME: c_int = 200; // ms, between two checks whether the terminal is ours again
const NOTICE_TIME: c_int = 500; // ms, to wait if nobody reads standard error
const PIPE_BUF: usize = 4096; // bytes that a pipe that is ready takes at once
const CLOSING_TIME: Duration = Duration::from_millis(500);

// ---------------------------------------------------------------- the operating system

const STDIN: c_int = 0;
const STDOUT: c_int = 1;
const STDERR: c_int = 2;
const POLLIN: i16 = 1;
const POLLOUT: i16 = 4;
const POLL_BROKEN: i16 = 8 | 16 | 32; // POLLERR, POLLHUP, POLLNVAL
const SIGINT: c_int = 2;
const SIGTERM: c_int = 15;
const SIGCONT: c_int = 18;
const SIGSTOP: c_int = 19;
const SIGTSTP: c_int = 20;
const SIGTTOU: c_int = 22;
const SIGXFSZ: c_int = 25;
/// Signals that are not fatal, cannot be caught, or (SIGPIPE) are ignored by the Rust runtime.
const OTHER_SIGNALS: [c_int; 8] = [9, 13, 17, SIGSTOP, 21, SIGTTOU, 23, 28];
const SIG_DFL: usize = 0;
const SIG_IGN: usize = 1;
const ECHO: u32 = 0o10;
const ECHONL: u32 = 0o100;
const TCSANOW: c_int = 0;
const TCIFLUSH: c_int = 0;

#[repr(C)]
struct PollFd {
    fd: c_int,
    events: i16,
    revents: i16,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Termios {
    input_flags: u32,
    output_flags: u32,
    control_flags: u32,
    local_flags: u32,
    line_discipline: u8,
    control_chars: [u8; 32],
    speeds: [u32; 2],
    spare: [u32; 8], // for systems whose struct is larger
}

#[repr(C)]
struct SignalSet([c_ulong; 16]); // as large as glibc and musl have it

const SIG_SETMASK: c_int = 2;

extern "C" {
    fn poll(fds: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
    fn signal(number: c_int, handler: usize) -> usize;
    fn siginterrupt(number: c_int, flag: c_int) -> c_int;
    fn raise(number: c_int) -> c_int;
    fn sigemptyset(set: *mut SignalSet) -> c_int;
    fn sigprocmask(how: c_int, set: *const SignalSet, before: *mut SignalSet) -> c_int;
    fn write(fd: c_int, bytes: *const c_void, count: usize) -> isize;
    fn isatty(fd: c_int) -> c_int;
    fn tcgetattr(fd: c_int, state: *mut Termios) -> c_int;
    fn tcsetattr(fd: c_int, when: c_int, state: *const Termios) -> c_int;
    fn tcflush(fd: c_int, queue: c_int) -> c_int;
    fn tcgetpgrp(fd: c_int) -> c_int;
    fn getpgrp() -> c_int;
}

fn is_terminal(fd: c_int) -> bool {
    unsafe { isatty(fd) == 1 }
}

/// Waits for one of `fds`; a signal makes it return early, with no events.
fn wait_for(fds: &mut [PollFd], timeout: c_int) {
    if unsafe { poll(fds.as_mut_ptr(), fds.len() as c_ulong, timeout) } < 0 {
        for fd in fds.iter_mut() {
            fd.revents = 0;
        }
    }
}

/// The events to wait for on `fd`; without events, it is not watched at all.
fn watch(fd: c_int, events: i16) -> PollFd {
    PollFd { fd: if events == 0 { -1 } else { fd }, events, revents: 0 }
}

fn is_ready(fd: c_int, events: i16) -> bool {
    let mut fds = [watch(fd, events)];
    wait_for(&mut fds, 0);
    fds[0].revents != 0
}

/// A standard stream without a buffer, which the client never closes.
fn raw_stream(fd: c_int) -> ManuallyDrop<File> {
    ManuallyDrop::new(unsafe { File::from_raw_fd(fd) })
}

/// Does this error mean that the call would block or was interrupted?
fn is_temporary(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock || error.kind() == ErrorKind::Interrupted
}

// ---------------------------------------------------------------- signals

/// The end of the socket pair that signal handlers write to.
static WAKE_FD: AtomicI32 = AtomicI32::new(-1);

extern "C" fn note_signal(number: c_int) {
    let byte = number as u8;
    unsafe { write(WAKE_FD.load(Ordering::SeqCst), &byte as *const u8 as *const c_void, 1) };
}

/// A signal that ends the program: restores the terminal, then takes the signal's default action.
extern "C" fn restore_and_die(number: c_int) {
    restore_terminal(true);
    unsafe {
        signal(number, SIG_DFL);
        raise(number);
    }
}

/// Ctrl+Z: the shell gets a terminal that echoes; SIGCONT hides the typing again.
extern "C" fn restore_and_stop(_number: c_int) {
    restore_terminal(true);
    unsafe { raise(SIGSTOP) };
}

fn catch_signals(wake: &UnixStream) {
    WAKE_FD.store(wake.as_raw_fd(), Ordering::SeqCst);
    for number in 1..65 {
        let handler = match number {
            SIGINT | SIGTERM | SIGCONT => note_signal as *const () as usize,
            SIGTSTP => restore_and_stop as *const () as usize,
            SIGXFSZ => SIG_IGN, // a write beyond the limit of a file's size fails instead
            _ if OTHER_SIGNALS.contains(&number) => continue,
            _ => restore_and_die as *const () as usize,
        };
        unsafe {
            let before = signal(number, handler);
            siginterrupt(number, 1); // a write that blocks must return
            if before == SIG_IGN && number != SIGTERM {
                signal(number, SIG_IGN); // as with `nohup`
            }
        }
    }
    let mut none = SignalSet([0; 16]);
    unsafe {
        sigemptyset(&mut none);
        sigprocmask(SIG_SETMASK, &none, std::ptr::null_mut()); // they may have been blocked
    }
    unsafe { signal(SIGTTOU, SIG_IGN) }; // the terminal is restored from the background too
}

// ---------------------------------------------------------------- hiding what is typed

/// The state of the terminal before typing was hidden; null while typing is visible.
static SAVED: AtomicPtr<Termios> = AtomicPtr::new(ptr::null_mut());

fn is_hidden() -> bool {
    !SAVED.load(Ordering::SeqCst).is_null()
}

/// The shell has given the terminal to us (negative: it is not our controlling terminal).
fn is_foreground() -> bool {
    let foreground = unsafe { tcgetpgrp(STDIN) };
    foreground <= 0 || foreground == unsafe { getpgrp() }
}

/// Turns the echo off (but for the Enter key). Can be repeated.
fn hide_typing() {
    unsafe {
        if !is_terminal(STDIN) || !is_foreground() {
            return;
        }
        if !is_hidden() {
            let mut state: Termios = mem::zeroed();
            if tcgetattr(STDIN, &mut state) != 0 {
                return;
            }
            SAVED.store(Box::into_raw(Box::new(state)), Ordering::SeqCst);
        }
        let mut state = *SAVED.load(Ordering::SeqCst);
        if state.local_flags & ECHO != 0 {
            state.local_flags = (state.local_flags & !ECHO) | ECHONL;
        }
        tcsetattr(STDIN, TCSANOW, &state);
    }
}

/// Restores the terminal; safe in a signal handler. It can discard a half-typed line.
fn restore_terminal(drop_typing: bool) {
    let saved = SAVED.load(Ordering::SeqCst);
    if saved.is_null() {
        return;
    }
    unsafe {
        tcsetattr(STDIN, TCSANOW, saved);
        if drop_typing {
            tcflush(STDIN, TCIFLUSH);
        }
    }
}

/// Ends the hiding. (The few bytes of the old state stay: a handler may be reading them.)
fn show_typing(drop_typing: bool) {
    restore_terminal(drop_typing);
    SAVED.store(ptr::null_mut(), Ordering::SeqCst);
}

// ---------------------------------------------------------------- the command line

struct Options {
    host: String,
    port: u16,
    name: Option<Vec<u8>>,
    retries: u64,
    retry_delay: u64, // in nanoseconds
}

const USAGE: &str = "usage: chat-client [--host HOST] [--port PORT] [--name NAME]
                   [--retries N] [--retry-delay SECONDS] [--help] [--version]
";
const HELP: &str = "
  --host HOST            the server's host (default localhost)
  --port PORT            the server's port, 1 to 65535 (default 8080)
  --name NAME            the screen name, instead of being asked for it
  --retries N            how often to try again a lost connection (default 10; 0: never)
  --retry-delay SECONDS  the wait before the first try, doubled each time (default 1)
  --help                 show this text
  --version              show the version
";

/// Prints to standard output and ends the program with status 0.
fn print_and_exit(text: &str) -> ! {
    let _ = raw_stream(STDOUT).write_all(text.as_bytes());
    process::exit(0)
}

/// Reports a bad command line; `word` is shown as it was typed, byte for byte.
fn usage_error(what: &str, word: &OsString) -> ! {
    let mut text = format!("{}chat-client: {}: ", USAGE, what).into_bytes();
    text.extend_from_slice(word.as_bytes());
    text.push(b'\n');
    let _ = raw_stream(STDERR).write_all(&text);
    process::exit(2)
}

fn parse_options() -> Options {
    let mut options = Options {
        host: "localhost".to_string(),
        port: 8080,
        name: None,
        retries: 10,
        retry_delay: SECOND,
    };
    let mut args = env::args_os().skip(1);
    while let Some(option) = args.next() {
        match option.to_str() {
            Some("--help") => print_and_exit(&format!("{}{}", USAGE, HELP)),
            Some("--version") => print_and_exit(&format!("chat-client {} (Rust, protocol 1)\n", VERSION)),
            Some("--host") | Some("--port") | Some("--name") | Some("--retries") | Some("--retry-delay") => {}
            Some(text) if !text.starts_with('-') => usage_error("unexpected argument", &option),
            _ => usage_error("unknown option", &option),
        }
        let value = match args.next() {
            Some(value) => value,
            None => usage_error("a value is missing after", &option),
        };
        if set_option(&mut options, &option, &value).is_none() {
            usage_error(&format!("bad value for {}", option.to_string_lossy()), &value);
        }
    }
    options
}

/// Stores the value of a known option; `None` if the value is invalid.
fn set_option(options: &mut Options, option: &OsString, value: &OsString) -> Option<()> {
    let text = value.to_string_lossy();
    match option.to_str()? {
        "--host" if text.is_empty() || text == "*" => return None,
        "--host" => options.host = text.into_owned(),
        "--port" => {
            options.port = parse_digits(&text).filter(|&port| (1..65536).contains(&port))? as u16
        }
        "--retries" => options.retries = parse_digits(&text)?,
        "--retry-delay" => options.retry_delay = parse_seconds(&text).filter(|&delay| delay > 0)?,
        "--name" if value.len() > 1024 || text.contains(['\n', '\r']) => return None,
        _ => options.name = Some(value.clone().into_vec()),
    }
    Some(())
}

/// One to nine ASCII digits.
fn parse_digits(text: &str) -> Option<u64> {
    let good = (1..10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if good { text.parse().ok() } else { None }
}

/// Seconds, possibly with decimals, as nanoseconds.
fn parse_seconds(text: &str) -> Option<u64> {
    let mut parts = text.splitn(2, '.');
    let whole = parse_digits(parts.next()?)? * SECOND;
    match parts.next() {
        None => Some(whole),
        Some(decimals) => {
            parse_digits(decimals)?;
            Some(whole + parse_digits(&format!("{:0<9}", decimals))?)
        }
    }
}

/// Nanoseconds as seconds, without needless zeros: `1`, `0.5`, `30`.
fn format_seconds(nanoseconds: u64) -> String {
    let text = format!("{}.{:09}", nanoseconds / SECOND, nanoseconds % SECOND);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

// ---------------------------------------------------------------- what the server's bytes look like

/// The control characters of FRAME-6; the line end is not part of a line.
fn is_control(c: char) -> bool {
    match c {
        '\t' => false,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => true,
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => false,
    }
}

/// Standard output: turns bytes as they come into text that cannot harm a terminal.
struct Screen {
    waiting: Vec<u8>,  // to be written to standard output
    tail: Vec<u8>,     // the beginning of an incomplete character
    carriage: bool,    // a `\r` has come, and the next byte has not
    mid_line: bool,    // the cursor is not at the beginning of a line, as far as we know
}

impl Screen {
    fn new() -> Screen {
        Screen { waiting: Vec::new(), tail: Vec::new(), carriage: false, mid_line: false }
    }

    fn show(&mut self, bytes: &[u8]) {
        let mut input = mem::take(&mut self.tail);
        input.extend_from_slice(bytes);
        let mut rest: &[u8] = &input;
        while !rest.is_empty() {
            let (valid, bad) = match str::from_utf8(rest) {
                Ok(_) => (rest.len(), Some(0)),
                Err(error) => (error.valid_up_to(), error.error_len()),
            };
            self.show_text(&String::from_utf8_lossy(&rest[..valid]));
            match bad {
                Some(0) => return,
                Some(length) => {
                    self.show_char('\u{fffd}');
                    rest = &rest[valid + length..];
                }
                None => {
                    self.tail = rest[valid..].to_vec();
                    return;
                }
            }
        }
    }

    fn show_text(&mut self, text: &str) {
        for c in text.chars() {
            self.show_char(c);
        }
    }

    fn show_char(&mut self, c: char) {
        if mem::replace(&mut self.carriage, false) && c != '\n' {
            self.put('\u{fffd}');
        }
        match c {
            '\r' => self.carriage = true,
            '\n' => self.put('\n'),
            _ if is_control(c) => self.put('\u{fffd}'),
            _ => self.put(c),
        }
    }

    fn put(&mut self, c: char) {
        self.waiting.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        self.mid_line = c != '\n';
    }

    /// The connection has ended: incomplete characters and line ends stay incomplete.
    fn complete(&mut self) {
        if mem::replace(&mut self.carriage, false) | !mem::take(&mut self.tail).is_empty() {
            self.put('\u{fffd}');
        }
    }

    /// Writes a part, small enough for a pipe that is ready. False: nobody reads the output.
    fn write_some(&mut self) -> bool {
        let length = self.waiting.len().min(4096);
        match raw_stream(STDOUT).write(&self.waiting[..length]) {
            Ok(written) => {
                self.waiting.drain(..written);
                true
            }
            Err(error) => is_temporary(&error),
        }
    }

    /// Writes what it can without waiting.
    fn write_ready(&mut self) {
        while !self.waiting.is_empty() && is_ready(STDOUT, POLLOUT) && self.write_some() {}
    }
}

// ---------------------------------------------------------------- the parts of the client

/// Why the program ends. `patient`: first show what has come, however long this takes.
struct Ending {
    status: i32,
    message: Option<String>,
    patient: bool,
}

impl Ending {
    fn with_message(status: i32, message: String) -> Ending {
        Ending { status, message: Some(message), patient: true }
    }

    fn quiet(status: i32, patient: bool) -> Ending {
        Ending { status, message: None, patient }
    }
}

/// `Err` ends the program.
type Flow = Result<(), Ending>;

#[derive(Clone, Copy, PartialEq)]
enum Prompt {
    Name,
    Password,
}

/// What happens to a line of the input.
#[derive(Clone, Copy, PartialEq, Default)]
enum Gate {
    Open, // it is sent
    #[default]
    Closed, // it is kept
    Answers, // it is sent if it answers a prompt, otherwise kept until the welcome
}

/// All data of one connection.
#[derive(Default)]
struct Talk {
    gate: Gate,
    queue: Vec<u8>,            // whole lines to send; the first may be partly sent
    sent: usize,               // bytes of the queue that are sent: a part of its first line
    answers: Vec<Vec<u8>>,     // the lines sent before the welcome: the n-th answers the n-th prompt
    prompts: usize,            // prompts that have come
    prompt: Option<Prompt>,    // the last of them
    unanswered: bool,          // nothing was sent since then (for `Gate::Answers`)
    name_given: bool,          // the name prompt was answered by the client itself
    line: Vec<u8>,             // the server's line so far, without prompts
    last_line: Vec<u8>,        // the server's last whole line
    welcomed: bool,
    way_back: bool,            // a retry that has not succeeded yet
    refused: bool,             // ... and was refused
    half_closed: bool,         // our sending side is closed
    write_failed: bool,
    claims: VecDeque<Option<Vec<u8>>>, // passwords of /register and /passwd without a reply yet
}

type Attempt = Receiver<Result<TcpStream, String>>;

/// The client is connected (`socket`), connecting (`attempt`), or waiting for a retry (`retry_at`).
struct Client {
    options: Options,
    wake_read: UnixStream,
    wake_write: UnixStream,
    socket: Option<TcpStream>,
    attempt: Option<Attempt>,
    retry_at: Option<Instant>,
    tries: u64, // since the last welcome
    talk: Talk,
    screen: Screen,
    input_open: bool,
    half_line: Vec<u8>, // of the input
    kept: Vec<u8>,      // whole lines of the input that wait for the gate to open
    forgets: bool,      // the next one may be the answer to a password prompt of a lost connection
    unheard: bool,      // nobody has read standard error for some time
    quits: bool,        // `/quit` was typed while reconnecting
    hides_later: bool,  // a password is asked for, and the terminal may be another job's
    give_up_at: Option<Instant>, // while reconnecting: when to stop waiting for the welcome
    name: Option<String>, // known since the first welcome
    password: Option<(String, Vec<u8>)>, // the name and the password that was accepted last
}

// ---------------------------------------------------------------- the loop

impl Client {
    fn new(options: Options) -> io::Result<Client> {
        let (wake_read, wake_write) = UnixStream::pair()?;
        wake_read.set_nonblocking(true)?;
        wake_write.set_nonblocking(true)?;
        Ok(Client {
            options,
            wake_read,
            wake_write,
            socket: None,
            attempt: None,
            retry_at: None,
            tries: 0,
            talk: Talk::default(),
            screen: Screen::new(),
            input_open: true,
            half_line: Vec::new(),
            kept: Vec::new(),
            forgets: false,
            unheard: false,
            quits: false,
            hides_later: false,
            give_up_at: None,
            name: None,
            password: None,
        })
    }

    fn run(&mut self) -> i32 {
        let ending = match self.start_attempt() {
            Err(ending) => ending,
            Ok(()) => loop {
                if let Err(ending) = self.step() {
                    break ending;
                }
            },
        };
        self.finish(ending)
    }

    /// Waits for an event, and handles it.
    fn step(&mut self) -> Flow {
        let mut fds = [
            watch(self.wake_read.as_raw_fd(), POLLIN),
            watch(STDIN, self.input_events()),
            PollFd { fd: STDOUT, events: if self.screen.waiting.is_empty() { 0 } else { POLLOUT }, revents: 0 },
            self.watch_socket(),
        ];
        wait_for(&mut fds, self.timeout());
        self.read_wakes()?;
        self.write_screen(fds[2].revents)?;
        if fds[1].revents != 0 {
            self.read_input();
        }
        if fds[3].revents & POLLOUT != 0 {
            self.send();
        }
        if fds[3].revents & (POLLIN | POLL_BROKEN) != 0 {
            self.receive()?;
        }
        self.check_attempt()?;
        self.close_after_input();
        self.hide_again();
        if self.quits {
            return Err(Ending::with_message(0, "Disconnected".to_string()));
        }
        Ok(())
    }

    /// After a stop, or in the background: no signal tells when the terminal is ours again.
    fn hide_again(&mut self) {
        self.hides_later &= is_hidden() || self.password_is_asked();
        if self.hides_later && is_foreground() {
            hide_typing();
            self.hides_later = false;
        }
    }

    fn input_events(&self) -> i16 {
        let full = self.kept.len() + self.talk.queue.len() >= SEND_LIMIT;
        if self.input_open && !full { POLLIN } else { 0 }
    }

    fn watch_socket(&self) -> PollFd {
        let socket = match self.socket {
            None => return watch(-1, 0),
            Some(ref socket) => socket,
        };
        let mut events = 0;
        if self.screen.waiting.len() < SCREEN_LIMIT {
            events |= POLLIN;
        }
        if !self.talk.queue.is_empty() && !self.talk.write_failed {
            events |= POLLOUT;
        }
        watch(socket.as_raw_fd(), events)
    }

    fn timeout(&self) -> c_int {
        let due = match self.retry_at.or(self.give_up_at) {
            None => -1,
            Some(time) => time.saturating_duration_since(Instant::now()).as_millis() as c_int + 1,
        };
        if self.hides_later && (due < 0 || due > LOOK_TIME) { LOOK_TIME } else { due }
    }

    /// Signals and the connecting thread write here; a 0 only wakes.
    fn read_wakes(&mut self) -> Flow {
        let mut bytes = [0; 64];
        let count = (&self.wake_read).read(&mut bytes).unwrap_or(0);
        for &byte in &bytes[..count] {
            match c_int::from(byte) {
                SIGINT | SIGTERM => return Err(Ending::quiet(0, false)),
                SIGCONT => self.hides_later = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn password_is_asked(&self) -> bool {
        let asked = self.talk.prompt == Some(Prompt::Password) && !self.talk.welcomed;
        asked && self.socket.is_some() && !self.on_way_back_by_name()
    }

    fn write_screen(&mut self, ready: i16) -> Flow {
        let gone = ready & POLL_BROKEN != 0;
        if gone || (ready & POLLOUT != 0 && !self.screen.write_some()) {
            return Err(Ending::quiet(1, false));
        }
        Ok(())
    }

    /// Writes a line to standard error, after the output that came before it.
    fn notice(&mut self, text: &str) {
        self.screen.write_ready();
        let break_line = self.screen.mid_line && is_terminal(STDOUT) && is_terminal(STDERR);
        let text = format!("{}{}\n", if break_line { "\n" } else { "" }, text);
        self.screen.mid_line &= !break_line;
        for part in text.as_bytes().chunks(PIPE_BUF) {
            let mut fds = [watch(STDERR, POLLOUT)];
            wait_for(&mut fds, if self.unheard { 0 } else { NOTICE_TIME });
            self.unheard = fds[0].revents == 0;
            if !self.unheard {
                let _ = raw_stream(STDERR).write(part);
            }
        }
    }

    /// Writes the kept lines, which will not be sent, and the final message.
    fn last_notice(&mut self, message: Option<String>) {
        let mut lines = Vec::new();
        if self.tries > 0 && !self.talk.welcomed {
            let kept = mem::take(&mut self.kept);
            lines.extend(String::from_utf8_lossy(&kept).lines().map(|line| format!("not sent: {}", line)));
        }
        lines.extend(message);
        if !lines.is_empty() {
            self.notice(&lines.join("\n"));
        }
    }

    /// Ends the connection and restores the terminal; returns the exit status.
    fn finish(&mut self, mut ending: Ending) -> i32 {
        self.end_hiding(true);
        while ending.patient && !self.screen.waiting.is_empty() {
            let mut fds = [watch(self.wake_read.as_raw_fd(), POLLIN), watch(STDOUT, POLLOUT)];
            wait_for(&mut fds, -1);
            let result = self.read_wakes().and_then(|_| self.write_screen(fds[1].revents));
            if let Err(sooner) = result {
                ending = sooner;
            }
        }
        self.last_notice(ending.message);
        if let Some(socket) = self.socket.take() {
            close_in_order(socket);
        }
        ending.status
    }
}

/// Ends our side and reads for a short time, so that the server sees no reset.
fn close_in_order(socket: TcpStream) {
    let deadline = Instant::now() + CLOSING_TIME;
    let _ = socket.shutdown(Shutdown::Write);
    let mut bytes = [0; 16384];
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).as_millis() as c_int;
        let mut fds = [watch(socket.as_raw_fd(), POLLIN)];
        wait_for(&mut fds, left);
        if left == 0 || fds[0].revents == 0 {
            return;
        }
        match (&socket).read(&mut bytes) {
            Ok(count) if count > 0 => {}
            _ => return,
        }
    }
}

// ---------------------------------------------------------------- connecting and losing the connection

/// Connects to the first address of the host that answers, in another thread: to look it up and to
/// connect may take long. If one does not answer, the next one is tried at the same time.
fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let found = (host, port).to_socket_addrs().map_err(|error| reason_of(&error))?;
    let mut addresses = found.collect::<VecDeque<_>>();
    let (sender, results) = channel();
    let mut reason = "no address found".to_string();
    let mut waiting = 0;
    while waiting > 0 || !addresses.is_empty() {
        if let Some(address) = addresses.pop_front() {
            connect_beside(address, sender.clone());
            waiting += 1;
        }
        let patience = if addresses.is_empty() { 2 * CONNECT_TIMEOUT } else { NEXT_ADDRESS };
        match results.recv_timeout(patience) {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => {
                reason = reason_of(&error);
                waiting -= 1;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Err(reason)
}

/// Connects to one address. TCP may connect a free port to itself: then nobody listens.
fn connect_beside(address: SocketAddr, results: Sender<io::Result<TcpStream>>) {
    thread::spawn(move || {
        let result = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).and_then(|socket| {
            if socket.local_addr()? == socket.peer_addr()? {
                return Err(io::Error::new(ErrorKind::ConnectionRefused, "Connection refused"));
            }
            Ok(socket)
        });
        let _ = results.send(result);
    });
}

/// The system's message for an error, without the number that Rust adds.
fn reason_of(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}

impl Client {
    fn start_attempt(&mut self) -> Flow {
        let (sender, receiver) = channel();
        let (host, port) = (self.options.host.clone(), self.options.port);
        let wake = self.wake_write.try_clone();
        let thread = thread::Builder::new().spawn(move || {
            let _ = sender.send(connect(&host, port));
            let _ = wake.map(|mut wake| wake.write(&[0]));
        });
        match thread {
            Ok(_) => {
                self.attempt = Some(receiver);
                Ok(())
            }
            Err(error) => self.attempt_failed(reason_of(&error)),
        }
    }

    /// Has the time for a retry come, or has the connecting thread finished?
    fn check_attempt(&mut self) -> Flow {
        if self.retry_at.map_or(false, |time| time <= Instant::now()) {
            self.retry_at = None;
            self.start_attempt()?;
        }
        if self.give_up_at.map_or(false, |time| time <= Instant::now()) {
            return self.refused(); // it was not welcomed in time
        }
        let result = self.attempt.as_ref().and_then(|attempt| attempt.try_recv().ok());
        match result {
            None => Ok(()),
            Some(Ok(socket)) => {
                self.attempt = None;
                self.connected(socket);
                Ok(())
            }
            Some(Err(reason)) => {
                self.attempt = None;
                self.attempt_failed(reason)
            }
        }
    }

    fn attempt_failed(&mut self, reason: String) -> Flow {
        if self.tries > 0 {
            return self.retry();
        }
        let Options { ref host, port, .. } = self.options;
        let host = if host.contains(':') { format!("[{}]", host) } else { host.clone() };
        Err(Ending::with_message(1, format!("cannot connect to {}:{}: {}", host, port, reason)))
    }

    fn connected(&mut self, socket: TcpStream) {
        let _ = socket.set_nodelay(true);
        let _ = socket.set_nonblocking(true);
        let gate = match self.tries {
            _ if self.name.is_some() => Gate::Closed,
            0 if self.options.name.is_some() => Gate::Closed,
            0 => Gate::Open,
            _ => Gate::Answers,
        };
        self.socket = Some(socket);
        self.give_up_at = if self.tries > 0 { Some(Instant::now() + CONNECT_TIMEOUT) } else { None };
        self.talk = Talk { gate, way_back: self.tries > 0, ..Talk::default() };
        if gate == Gate::Open {
            self.open_gate();
        }
    }

    /// The server has closed (`orderly`) or reset the connection.
    fn connection_ended(&mut self, orderly: bool) -> Flow {
        self.socket = None;
        self.screen.complete();
        self.end_hiding(true);
        if let Some(status) = self.status_of_last_line() {
            return Err(Ending::with_message(status, "Disconnected".to_string()));
        }
        if self.talk.half_closed && orderly {
            return Err(Ending::quiet(0, true));
        }
        if self.talk.half_closed || self.options.retries == 0 {
            return Err(Ending::with_message(1, "Connection lost".to_string()));
        }
        self.retry()
    }

    /// CLIENT-5: the end that the server's last whole line announces; none for most lines.
    fn status_of_last_line(&self) -> Option<i32> {
        let line: &[u8] = &self.talk.last_line;
        match line {
            b"Server is shutting down" => Some(0),
            _ if self.talk.way_back => None,
            b"! too many attempts" | b"! timed out" | b"! server full" | b"! kicked by the operator" => Some(1),
            _ if line.starts_with(b"Goodbye, ") => Some(0),
            _ => None,
        }
    }

    /// Waits for the next try, or gives up. Lines that were not sent completely are kept.
    fn retry(&mut self) -> Flow {
        let talk = mem::take(&mut self.talk);
        self.give_up_at = None;
        if talk.welcomed {
            let newer = mem::replace(&mut self.kept, talk.queue);
            self.kept.extend(newer);
        }
        self.forgets |= talk.prompt == Some(Prompt::Password) && talk.unanswered && !talk.welcomed;
        let retries = self.options.retries;
        if self.tries == retries {
            return Err(Ending::with_message(1, format!("Giving up after {} attempts", retries)));
        }
        let factor = 1 << self.tries.min(40);
        let delay = self.options.retry_delay.saturating_mul(factor).min(MAX_DELAY);
        self.tries += 1;
        let seconds = format_seconds(delay);
        self.notice(&format!("Connection lost, retrying in {} s ({} of {})", seconds, self.tries, retries));
        self.retry_at = Some(Instant::now() + Duration::from_nanos(delay));
        Ok(())
    }
}

// ---------------------------------------------------------------- from the input to the server

impl Client {
    fn read_input(&mut self) {
        let mut bytes = [0; 16384];
        match raw_stream(STDIN).read(&mut bytes) {
            Ok(count) if count > 0 => self.take_input(&bytes[..count]),
            Err(ref error) if is_temporary(error) => {}
            _ => self.input_ended(),
        }
    }

    fn take_input(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let whole = part.ends_with(b"\n");
            let text = if whole { &part[..part.len() - 1] } else { part };
            let room = INPUT_LINE_LIMIT.saturating_sub(self.half_line.len());
            self.half_line.extend_from_slice(&text[..text.len().min(room)]);
            if whole {
                self.take_line();
            }
        }
    }

    fn input_ended(&mut self) {
        self.input_open = false;
        if !self.half_line.is_empty() {
            self.take_line();
        }
    }

    /// A line of the input is complete.
    fn take_line(&mut self) {
        let mut line = mem::take(&mut self.half_line);
        line.push(b'\n');
        if is_terminal(STDIN) {
            self.screen.mid_line = false; // the Enter key was echoed
        }
        if mem::take(&mut self.forgets) {
            return;
        }
        let away = self.socket.is_none() || self.talk.way_back;
        if self.tries > 0 && away && is_quit(&line) {
            self.quits = true;
            return;
        }
        let answers = self.talk.unanswered || self.talk.prompt == Some(Prompt::Password);
        match self.talk.gate {
            Gate::Open => self.transmit(&line),
            Gate::Answers if answers && !self.talk.welcomed => self.transmit(&line),
            _ => self.kept.extend(line),
        }
    }

    /// Queues a whole line, `\n` included, for the server.
    fn transmit(&mut self, line: &[u8]) {
        self.talk.unanswered = false;
        self.talk.queue.extend_from_slice(line);
        if self.talk.welcomed {
            self.note_claim(line);
        } else if self.talk.answers.len() < ANSWERS_KEPT {
            self.talk.answers.push(line.to_vec());
        }
    }

    /// From now on, lines are sent as they come; first, the kept lines are sent.
    fn open_gate(&mut self) {
        self.talk.gate = Gate::Open;
        let kept = mem::take(&mut self.kept);
        for line in kept.split_inclusive(|&byte| byte == b'\n') {
            self.transmit(line);
        }
    }

    /// Writes what the connection takes. An error is left to `receive`, since input may be left.
    fn send(&mut self) {
        let talk = &mut self.talk;
        let result = match self.socket {
            Some(ref socket) => (&*socket).write(&talk.queue[talk.sent..]),
            None => return,
        };
        match result {
            Ok(count) => talk.sent += count,
            Err(ref error) if is_temporary(error) => {}
            Err(_) => talk.write_failed = true,
        }
        // Lines that are sent completely are removed.
        if let Some(end) = talk.queue[..talk.sent].iter().rposition(|&byte| byte == b'\n') {
            talk.queue.drain(..end + 1);
            talk.sent -= end + 1;
        }
    }

    /// After the end of the input, once everything is sent, closes the sending side.
    fn close_after_input(&mut self) {
        if self.input_open || self.socket.is_none() || self.talk.half_closed {
            return;
        }
        if self.talk.gate == Gate::Answers && self.talk.unanswered {
            self.open_gate(); // there is no input to ask, as on a first connection
        }
        if self.talk.gate == Gate::Open && self.talk.queue.is_empty() {
            self.talk.half_closed = true;
            let _ = self.socket.as_ref().map(|socket| socket.shutdown(Shutdown::Write));
        }
    }

    /// Typing is shown again; without a welcome, a half-typed line is discarded.
    /// Whole lines are read first: they are not half typed.
    fn end_hiding(&mut self, drop_typing: bool) {
        if !is_hidden() {
            return;
        }
        if drop_typing {
            while self.input_open && is_ready(STDIN, POLLIN) {
                self.read_input();
            }
            self.half_line.clear();
        }
        show_typing(drop_typing);
    }
}

/// `/quit`, as a server takes it.
fn is_quit(line: &[u8]) -> bool {
    let word = line.split(|byte| b" \r\n".contains(byte)).next().unwrap_or(line);
    word.eq_ignore_ascii_case(b"/quit")
}

// ---------------------------------------------------------------- from the server to the screen

impl Client {
    fn receive(&mut self) -> Flow {
        let mut bytes = [0; 16384];
        let result = match self.socket {
            Some(ref socket) => (&*socket).read(&mut bytes),
            None => return Ok(()),
        };
        match result {
            Ok(0) => self.connection_ended(true),
            Ok(count) => self.take_bytes(&bytes[..count]),
            Err(ref error) if is_temporary(error) => Ok(()),
            Err(_) => self.connection_ended(false),
        }
    }

    /// Byte by byte before the welcome, since a prompt has no line end; then line by line.
    fn take_bytes(&mut self, mut bytes: &[u8]) -> Flow {
        while !bytes.is_empty() {
            let line_end = bytes.iter().position(|&byte| byte == b'\n');
            let length = if self.talk.welcomed { line_end.map_or(bytes.len(), |end| end + 1) } else { 1 };
            let (part, rest) = bytes.split_at(length);
            self.take_part(part);
            if self.talk.refused {
                return self.refused();
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Shows a part of a line, and acts on the line or the prompt that it completes.
    fn take_part(&mut self, part: &[u8]) {
        let whole = part.ends_with(b"\n");
        let text = if whole { &part[..part.len() - 1] } else { part };
        let on_way_back = self.on_way_back_by_name(); // then the whole line is shown once it is there
        let limit = if on_way_back { usize::MAX } else { SERVER_LINE_LIMIT };
        let room = limit.saturating_sub(self.talk.line.len());
        self.talk.line.extend_from_slice(&text[..text.len().min(room)]);
        let prompt = self.prompt_here();
        if prompt == Some(Prompt::Password) && !self.on_way_back_by_name() {
            hide_typing(); // before the prompt can be seen
        }
        if !self.on_way_back_by_name() {
            self.screen.show(part);
        }
        if whole {
            let mut line = mem::take(&mut self.talk.line);
            if line.ends_with(b"\r") {
                line.pop();
            }
            self.take_server_line(&line);
            self.talk.last_line = line;
        } else if let Some(prompt) = prompt {
            self.talk.line.clear();
            self.prompted(prompt);
        }
    }

    /// A retry with the old name: prompts and welcome are not shown.
    fn on_way_back_by_name(&self) -> bool {
        self.talk.way_back && self.name.is_some()
    }

    fn prompt_here(&self) -> Option<Prompt> {
        match &self.talk.line[..] {
            _ if self.talk.welcomed => None,
            NAME_PROMPT => Some(Prompt::Name),
            PASSWORD_PROMPT => Some(Prompt::Password),
            _ => None,
        }
    }

    fn prompted(&mut self, prompt: Prompt) {
        self.talk.prompts += 1;
        self.talk.prompt = Some(prompt);
        self.talk.unanswered = true;
        self.forgets = false;
        if self.on_way_back_by_name() {
            self.answer_on_way_back(prompt);
            return;
        }
        self.talk.way_back = false; // the user answers, as on a first connection
        self.give_up_at = None;
        if prompt == Prompt::Name {
            self.end_hiding(true);
            self.answer_with_option();
        }
    }

    /// The old name, and the password that was accepted for it.
    fn answer_on_way_back(&mut self, prompt: Prompt) {
        let name = self.name.clone().unwrap_or_default();
        let answer = match prompt {
            Prompt::Name => Some(name.into_bytes()),
            Prompt::Password => match self.password {
                Some((ref owner, ref password)) if owner.eq_ignore_ascii_case(&name) => Some(password.clone()),
                _ => None,
            },
        };
        match answer {
            Some(mut line) => {
                line.push(b'\n');
                self.transmit(&line);
            }
            None => self.talk.refused = true,
        }
    }

    /// Answers the name prompt with `--name`, once on a connection; asked again, it was refused.
    fn answer_with_option(&mut self) {
        if mem::replace(&mut self.talk.name_given, true) {
            self.options.name = None;
        }
        if let Some(mut line) = self.options.name.clone() {
            // An answer is a single line; the server refuses the name with a replacement in it.
            line.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b'?');
            line.push(b'\n');
            self.screen.show(&line);
            self.transmit(&line);
            if self.talk.gate == Gate::Closed {
                self.open_gate();
            }
        }
    }

    /// A refusal while reconnecting is a failed try.
    fn refused(&mut self) -> Flow {
        if let Some(socket) = self.socket.take() {
            let _ = socket.shutdown(Shutdown::Write);
        }
        self.retry()
    }

    fn take_server_line(&mut self, line: &[u8]) {
        if self.talk.welcomed {
            self.follow_name(line);
            self.follow_accounts(line);
        } else if let Some(name) = welcomed_name(line) {
            self.take_welcome(name);
        } else if self.talk.way_back {
            if self.name.is_some() && !line.is_empty() {
                self.screen.show(line);
                self.screen.show(b"\n");
            }
            self.talk.refused = line.starts_with(b"! ");
        } else if !asks_password_again(line) {
            self.end_hiding(true);
        }
    }

    fn take_welcome(&mut self, name: String) {
        self.end_hiding(false);
        if self.talk.prompt == Some(Prompt::Password) {
            if let Some(line) = self.talk.answers.get(self.talk.prompts - 1) {
                self.password = Some((name.clone(), line[..line.len() - 1].to_vec()));
            }
        }
        if self.on_way_back_by_name() {
            self.notice(&format!("Reconnected as {}", name));
        }
        self.name = Some(name);
        self.tries = 0;
        self.give_up_at = None;
        self.talk.way_back = false;
        self.talk.welcomed = true;
        // Lines sent after the answers are already in the room.
        let answers = mem::take(&mut self.talk.answers);
        for line in answers.iter().skip(self.talk.prompts) {
            self.note_claim(line);
        }
        self.open_gate();
    }

    /// `OLD is now known as NEW`, where OLD is our name. (A message would begin with `NAME: `.)
    fn follow_name(&mut self, line: &[u8]) {
        let prefix = match self.name {
            Some(ref name) => format!("{} is now known as ", name),
            None => return,
        };
        if let Some(new) = line.strip_prefix(prefix.as_bytes()).and_then(valid_name) {
            self.name = Some(new);
        }
    }
}

/// The name in `Welcome, NAME (N online). Type /help for commands.`
fn welcomed_name(line: &[u8]) -> Option<String> {
    let rest = line.strip_prefix(b"Welcome, ")?.strip_suffix(b" online). Type /help for commands.")?;
    valid_name(&rest[..rest.iter().position(|&byte| byte == b' ')?])
}

/// A name as JOIN-2 defines it.
fn valid_name(bytes: &[u8]) -> Option<String> {
    let good = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte));
    if good && (1..33).contains(&bytes.len()) {
        String::from_utf8(bytes.to_vec()).ok()
    } else {
        None
    }
}

/// Is this an error after which the server asks `Password: ` again (except the last time)?
fn asks_password_again(line: &[u8]) -> bool {
    match line {
        b"! wrong password" | b"! not valid UTF-8" => true,
        b"! line too long (limit 1024 bytes)" | b"! control characters are not allowed" => true,
        _ => false,
    }
}

// ---------------------------------------------------------------- passwords of the account commands

/// The password of a `/register` or `/passwd` (none for `/unregister`) that gets a reply.
fn claim_of(line: &[u8]) -> Option<Option<Vec<u8>>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = str::from_utf8(line).ok()?;
    if text.len() > 1024 || text.chars().any(is_control) {
        return None; // the server does not handle such a line
    }
    let word = text.split(' ').next().unwrap_or("");
    let rest = text[word.len()..].trim_start_matches(' ');
    match &word.to_ascii_lowercase()[..] {
        "/register" | "/passwd" => Some(Some(rest.as_bytes().to_vec())),
        "/unregister" => Some(None),
        _ => None,
    }
}

/// Is this the refusal of one of these commands?
fn refuses_claim(line: &[u8]) -> bool {
    let errors = ["! already registered: ", "! not registered: ", "! password must be 8 to 72 bytes",
        "! accounts cannot be changed now"];
    let unknown = line.strip_prefix(b"! unknown command: ").and_then(claim_of);
    unknown.is_some() || errors.iter().any(|error| line.starts_with(error.as_bytes()))
}

impl Client {
    fn note_claim(&mut self, line: &[u8]) {
        if let Some(claim) = claim_of(line) {
            self.talk.claims.push_back(claim);
        }
    }

    /// Replies come in the order of the commands: each one is for the oldest claim.
    fn follow_accounts(&mut self, line: &[u8]) {
        let own = self.name.clone().unwrap_or_default();
        let (name, accepted) = if let Some(name) = line.strip_prefix(b"Registered ") {
            (name.to_vec(), true)
        } else if line == b"Password changed" {
            (own.into_bytes(), true)
        } else if let Some(name) = line.strip_prefix(b"Unregistered ") {
            (name.to_vec(), false)
        } else if refuses_claim(line) {
            self.talk.claims.pop_front();
            return;
        } else {
            return;
        };
        let name = String::from_utf8_lossy(&name).to_string();
        self.password = match self.talk.claims.pop_front() {
            Some(Some(password)) if accepted => Some((name, password)),
            _ if accepted => self.password.take(),
            _ => None,
        };
    }
}

/// Restores the terminal even if the program panics.
struct TerminalGuard;

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        show_typing(true);
    }
}

fn main() {
    let options = parse_options();
    let status = match Client::new(options) {
        Ok(mut client) => {
            let _guard = TerminalGuard;
            catch_signals(&client.wake_write);
            client.run()
        }
        Err(error) => {
            let _ = writeln!(raw_stream(STDERR), "chat-client: {}", reason_of(&error));
            1
        }
    };
    process::exit(status)
}
