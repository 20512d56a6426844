'use strict';

// A chat server that keeps "the chat protocol, version 1", with the features
// `log` and `rate-limit`. It needs only Node.js 20 and its standard library.
// Ids such as JOIN-3 in the comments are those of the protocol's rules.
//
// From top to bottom: constants, text helpers, input (LineReader), output
// (Outbox), the rate limit (Allowance), sinks for standard output and the log,
// one user's Connection, the ChatServer (the room), the operator's console,
// the command line, and main().

const fs = require('node:fs');
const net = require('node:net');
const tty = require('node:tty');
const dns = require('node:dns');
const util = require('node:util');
const { isUtf8 } = require('node:buffer');

const VERSION = '1.0.0';
const MAX_LINE = 1024; // bytes in a line, its end not counted
const MAX_REFUSALS = 5; // refused names on one connection
const INPUT_PAUSE = 64 * 1024; // held-back input at which reading pauses ...
const INPUT_RESUME = 32 * 1024; // ... and at which it continues
const LINES_PER_TURN = 256; // lines of one user in one turn of the event loop
const FLUSH_MS = 10_000; // to send the queue of a user who leaves
const LINGER_MS = 1_000; // to wait for the client's end of file
const STOP_MS = 1_300; // for all connections to end at a shutdown
const SINK_MS = 300; // to write the rest of standard output and the log then
const PROBE_MS = 1_000; // between checks of what reports no change by itself
const SINK_LIMIT = 1024 * 1024; // bytes waiting for standard output or the log
const MAX_TIMER_MS = 2 ** 31 - 1; // the longest time that setTimeout takes

const LF = 0x0a;
const CR = 0x0d;
const EMPTY = Buffer.alloc(0);
const CONTROL = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/;
const VALID_NAME = /^[A-Za-z0-9_-]{1,32}$/;
const RESERVED_NAMES = new Set(['server', 'password']);

const PROMPT = 'Enter your screen name: ';
const SHUTDOWN_NOTICE = 'Server is shutting down';
const INVALID_NAME = '! invalid name: use 1 to 32 letters, digits, "_" or "-"';
const USER_HELP = 'Commands: /help, /who, /msg NAME TEXT, /nick NAME, /quit (// to begin a message with /)';
const OPERATOR_HELP = 'Commands: /help, /who, /kick NAME, /shutdown (// to begin an announcement with /)';

// ---------------------------------------------------------------------------
// Text helpers

// ASCII case only: toLowerCase() would also turn the Kelvin sign into a `k`.
function lower(text) {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

const isBlank = (char) => char === ' ' || char === '\t';

// Removes spaces and tabs, and nothing else, from both ends.
function trim(text) {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text[start])) start++;
  while (end > start && isBlank(text[end - 1])) end--;
  return text.slice(start, end);
}

// `/WORD rest`: the word ends at the first space.
function parseCommand(line) {
  const space = line.indexOf(' ');
  if (space < 0) return { word: line.slice(1), rest: '' };
  return { word: line.slice(1, space), rest: line.slice(space + 1) };
}

// `NAME TEXT`; null if either is missing.
function parsePrivate(rest) {
  const parts = /^ *([^ ]+) +(.*)$/.exec(rest);
  if (!parts || trim(parts[2]) === '') return null;
  return { name: parts[1], text: parts[2] };
}

const isCommand = (line) => line.startsWith('/') && !line.startsWith('//');

// The text of a message: `//` at its beginning stands for `/` (CHAT-5).
const messageText = (line) => (line.startsWith('//') ? line.slice(1) : line);

const unknownCommand = (word) => `! unknown command: /${word} (try /help)`;

// An IPv4 address that IPv6 has mapped is written as IPv4.
function formatAddress(address, port) {
  const mapped = address.replace(/^::ffff:/i, '');
  const host = net.isIPv4(mapped) ? mapped : address;
  return net.isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

// The system's own words for an error ("address already in use").
function reasonOf(error) {
  const entry = util.getSystemErrorMap().get(error.errno);
  return entry ? entry[1] : error.message;
}

// The checks of FRAME-4, 5 and 6, in this order. `bytes` is null for a line
// that was too long to be kept. The result holds either `text` or `error`.
function checkLine(bytes) {
  if (bytes === null) return { error: `! line too long (limit ${MAX_LINE} bytes)` };
  if (!isUtf8(bytes)) return { error: '! not valid UTF-8' };
  const text = bytes.toString('utf8');
  if (CONTROL.test(text)) return { error: '! control characters are not allowed' };
  return { text };
}

// ---------------------------------------------------------------------------
// Input: bytes to lines

// Keeps input that was not handled yet, and splits it into lines. Of a line
// that is too long, it keeps only this fact (LIMIT-4).
class LineReader {
  constructor() {
    this.bytes = EMPTY;
    this.newline = -1; // where the first line ends, once that is known
    this.tooLong = false; // the beginning of the current line was thrown away
  }

  get held() {
    return this.bytes.length;
  }

  push(chunk) {
    this.bytes = this.held > 0 ? Buffer.concat([this.bytes, chunk]) : chunk;
  }

  hasLine() {
    if (this.newline < 0) this.newline = this.bytes.indexOf(LF);
    if (this.newline >= 0) return true;
    this.keepOnlyWhatCounts();
    return false;
  }

  // Takes the first line, without its end; null for one that is too long.
  // hasLine() must have said that there is one.
  take() {
    const end = this.newline > 0 && this.bytes[this.newline - 1] === CR ? this.newline - 1 : this.newline;
    const line = this.tooLong || end > MAX_LINE ? null : this.bytes.subarray(0, end);
    this.bytes = this.bytes.subarray(this.newline + 1);
    this.newline = -1;
    this.tooLong = false;
    return line;
  }

  clear() {
    this.bytes = EMPTY;
    this.newline = -1;
  }

  // Without a line end in sight: drops the beginning of an endless line (one
  // byte more than the limit may be the `\r` of the end), and copies a short
  // rest, so that it does not keep the large block alive that it came in.
  keepOnlyWhatCounts() {
    if (this.tooLong || this.held > MAX_LINE + 1) {
      this.tooLong = true;
      this.bytes = EMPTY;
    } else if (this.held < this.bytes.buffer.byteLength) {
      const copy = Buffer.allocUnsafeSlow(this.held);
      this.bytes.copy(copy);
      this.bytes = copy;
    }
  }
}

// ---------------------------------------------------------------------------
// Output: what waits to be sent to one user

// Gives the socket one block at a time, so that the size of the queue is known
// almost to the byte. Small lines are collected in blocks, so that a long queue
// needs little more memory than its bytes.
class Outbox {
  constructor(socket, blockSize, onWritten) {
    this.socket = socket;
    this.blockSize = blockSize;
    this.onWritten = onWritten;
    this.blocks = [];
    this.lines = []; // the block that is still growing
    this.lineBytes = 0;
    this.queued = 0; // bytes in the blocks and in the growing one
  }

  // All that has not been given to the kernel yet.
  get waiting() {
    return this.queued + this.socket.writableLength;
  }

  push(bytes) {
    this.lines.push(bytes);
    this.lineBytes += bytes.length;
    this.queued += bytes.length;
    if (this.lineBytes >= this.blockSize || this.lines.length >= 128) this.closeBlock();
  }

  closeBlock() {
    this.blocks.push(this.lines.length === 1 ? this.lines[0] : Buffer.concat(this.lines, this.lineBytes));
    this.lines = [];
    this.lineBytes = 0;
  }

  // Writes until the kernel takes no more.
  flush() {
    while (this.queued > 0 && this.socket.writable && this.socket.writableLength === 0) {
      if (this.blocks.length === 0) this.closeBlock();
      const block = this.blocks.shift();
      this.queued -= block.length;
      this.socket.write(block, this.onWritten);
    }
  }
}

// ---------------------------------------------------------------------------
// LIMIT-5: `rate` lines a second on average, up to `rate` of them at once

class Allowance {
  constructor(rate) {
    this.rate = rate;
    this.left = rate;
    this.updated = performance.now();
  }

  take() {
    const now = performance.now();
    this.left = Math.min(this.rate, this.left + ((now - this.updated) / 1000) * this.rate);
    this.updated = now;
    if (this.left < 1) return false;
    this.left -= 1;
    return true;
  }

  // How long until the next line may be taken.
  wait() {
    return Math.ceil(((1 - this.left) / this.rate) * 1000);
  }
}

// ---------------------------------------------------------------------------
// Sinks: standard output, standard error and the log. They never block, end
// or delay the server; lines that cannot be written are lost, with one notice.

class Sink {
  constructor(name, report) {
    this.name = name;
    this.report = report;
    this.reported = false;
  }

  lose(reason) {
    if (this.reported) return;
    this.reported = true;
    this.report(`cannot write ${this.name}: ${reason}; lines are lost`);
  }
}

// For pipes and sockets, which the event loop can watch.
class StreamSink extends Sink {
  constructor(fd, name, report) {
    super(name, report);
    this.stream = new net.Socket({ fd, readable: false, writable: true });
    this.stream.on('error', (error) => this.lose(reasonOf(error)));
  }

  get isEmpty() {
    return !this.stream.writable || this.stream.writableLength === 0;
  }

  write(text) {
    if (!this.stream.writable) this.lose('it is closed');
    else if (this.stream.writableLength > SINK_LIMIT) this.lose('it is not read');
    else this.stream.write(text);
  }
}

// For files and terminals. The descriptor is non-blocking; if a write would
// block (a FIFO, a terminal stopped by Ctrl+S), lines wait.
class FileSink extends Sink {
  constructor(fd, name, report) {
    super(name, report);
    this.fd = fd;
    this.queue = [];
    this.queued = 0;
    this.done = 0; // bytes of the first line in the queue that are written
    this.timer = null;
  }

  get isEmpty() {
    return this.queue.length === 0;
  }

  write(text) {
    const bytes = Buffer.from(text);
    if (this.queued + bytes.length > SINK_LIMIT) {
      this.lose('it is not read');
      return;
    }
    this.queue.push(bytes);
    this.queued += bytes.length;
    if (!this.timer) this.flush();
  }

  flush() {
    this.timer = null;
    while (this.queue.length > 0) {
      try {
        this.done += fs.writeSync(this.fd, this.queue[0], this.done);
        if (this.done >= this.queue[0].length) this.nextLine();
      } catch (error) {
        if (error.code === 'EAGAIN') {
          this.timer = setTimeout(() => this.flush(), 50);
          return;
        }
        this.undoTornLine();
        this.nextLine();
        this.lose(reasonOf(error));
      }
    }
  }

  nextLine() {
    this.queued -= this.queue.shift().length;
    this.done = 0;
  }

  // A full disk may take the beginning of a line, which is removed again.
  undoTornLine() {
    if (this.done === 0) return;
    try {
      fs.ftruncateSync(this.fd, fs.fstatSync(this.fd).size - this.done);
    } catch {
      // Not a file: nothing can be removed.
    }
  }

  replaceFd(fd) {
    const old = this.fd;
    this.fd = fd;
    if (this.done > 0) this.nextLine(); // its beginning is in the old one
    fs.closeSync(old);
  }
}

function standardSink(fd, name, report) {
  try {
    const stat = fs.fstatSync(fd);
    if (stat.isFIFO() || stat.isSocket()) return new StreamSink(fd, name, report);
    if (tty.isatty(fd)) return new FileSink(openTerminal(fd), name, report);
  } catch {
    // It cannot be opened again: use it as it is.
  }
  return new FileSink(fd, name, report);
}

// Opens a terminal again without blocking, leaving the shared one as it is.
function openTerminal(fd) {
  const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = fs.constants;
  return fs.openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY);
}

// The log (LOG-2): one JSON object a line. Without a file it does nothing.
class Journal {
  constructor(path, report) {
    this.path = path;
    this.sink = path === null ? null : new FileSink(Journal.open(path), 'the log', report);
  }

  static open(path) {
    const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK } = fs.constants;
    return fs.openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, 0o600);
  }

  write(level, msg, fields) {
    if (!this.sink) return;
    this.sink.write(`${JSON.stringify({ time: new Date().toISOString(), level, msg, ...fields })}\n`);
  }

  info(msg, fields) {
    this.write('INFO', msg, fields);
  }

  refuse(addr, reason) {
    this.write('WARN', 'refuse', { addr, reason });
  }

  error(error) {
    this.write('ERROR', 'error', { error });
  }

  // SIGHUP: if the file cannot be opened again, the old one stays in use.
  reopen() {
    this.sink.replaceFd(Journal.open(this.path));
  }
}

// ---------------------------------------------------------------------------
// One client's connection

class Connection {
  constructor(server, socket) {
    this.server = server;
    this.socket = socket;
    this.addr = formatAddress(socket.remoteAddress ?? 'unknown', socket.remotePort ?? 0);
    this.name = null; // set while joined
    this.closing = false; // input is ignored
    this.told = false; // the server ended it, and has said why
    this.atPrompt = false;
    this.refusals = 0;
    this.reader = new LineReader();
    this.allowance = null;
    this.replies = []; // lines of a /who that still have to be queued
    this.inputEnded = false;
    this.paused = false;
    this.wakeSet = false;
    this.flushSet = false;
    this.overflowed = false;
    this.timer = null; // the join timeout, later the limit for closing
    const blockSize = Math.min(16 * 1024, server.options.maxQueue / 8);
    this.outbox = new Outbox(socket, blockSize, () => this.onWritten());
    this.listen();
  }

  listen() {
    this.socket.on('data', (chunk) => this.onData(chunk));
    this.socket.on('end', () => this.onEnd());
    this.socket.on('error', () => this.onLost());
    this.socket.on('close', () => this.onClose());
  }

  get joined() {
    return this.name !== null;
  }

  // ---- Sending

  sendLine(text) {
    this.sendBytes(Buffer.from(`${text}\n`));
  }

  // Queues bytes, which are sent at the end of the event. A user with too long
  // a queue is dropped (LIMIT-1) after the event, so that all others see this
  // line before the leave notice.
  sendBytes(bytes) {
    if (this.overflowed || (this.server.stopping && this.outbox.waiting > this.server.options.maxQueue)) return;
    this.outbox.push(bytes);
    if (this.outbox.queued >= this.outbox.blockSize) this.outbox.flush();
    if (this.outbox.waiting > this.server.options.maxQueue) this.overflow();
    else this.flushSoon();
  }

  flushSoon() {
    if (this.flushSet) return;
    this.flushSet = true;
    process.nextTick(() => {
      this.flushSet = false;
      this.outbox.flush();
    });
  }

  overflow() {
    this.overflowed = true;
    process.nextTick(() => {
      this.leave('slow');
      this.socket.destroy();
    });
  }

  prompt() {
    this.atPrompt = true;
    this.sendBytes(Buffer.from(PROMPT));
  }

  // A line that must begin on a row of its own.
  sendNotice(text) {
    this.outbox.push(Buffer.from(this.atPrompt ? `\n${text}\n` : `${text}\n`));
    this.atPrompt = false;
  }

  isCrowded() {
    this.outbox.flush();
    return this.outbox.waiting > this.server.options.maxQueue / 2;
  }

  onWritten() {
    this.outbox.flush();
    if (this.closing) this.endWhenFlushed();
    else if (this.reader.held > 0 || this.replies.length > 0) this.takeUp();
  }

  // ---- Receiving

  onData(chunk) {
    if (this.closing) return; // read and discarded (LEAVE-4)
    this.reader.push(chunk);
    this.takeUp();
  }

  onEnd() {
    if (this.closing) return;
    this.inputEnded = true;
    this.endedAt = performance.now();
    this.startTimer(FLUSH_MS, () => this.finish());
    this.takeUp();
  }

  onLost() {
    this.leave('reset');
  }

  onClose() {
    this.leave('reset');
    this.stopTimer();
    this.server.forget(this);
  }

  // Handles the lines that have come and may be handled now.
  takeUp() {
    let turn = LINES_PER_TURN;
    while (!this.closing && this.sendReplies() && this.reader.hasLine()) {
      if (turn-- === 0) {
        this.wakeIn(0); // let the other users have their turn
        break;
      }
      if (this.isCrowded() || !this.isAllowed()) break;
      this.onLine(this.reader.take());
    }
    if (!this.closing) this.afterTakingUp();
  }

  afterTakingUp() {
    if (!this.inputEnded) this.regulateReading();
    else if (!this.reader.hasLine() && this.replies.length === 0) this.finish();
  }

  // At a shutdown: lines that were read before it are handled, even if the user
  // is slow, but not lines that the rate limit delays (STOP-2).
  takeUpRest() {
    this.replies = [];
    while (!this.closing && this.reader.hasLine()) {
      if (this.allowance && !this.allowance.take()) return;
      this.onLine(this.reader.take());
    }
  }

  isAllowed() {
    if (!this.allowance || this.allowance.take()) return true;
    this.wakeIn(this.allowance.wait());
    return false;
  }

  wakeIn(ms) {
    if (this.wakeSet) return;
    this.wakeSet = true;
    const wake = () => {
      this.wakeSet = false;
      this.takeUp();
    };
    if (ms === 0) setImmediate(wake);
    else setTimeout(wake, ms);
  }

  // If much input waits, stop reading, so that TCP makes the sender wait.
  regulateReading() {
    if (!this.paused && this.reader.held >= INPUT_PAUSE) this.pauseReading(true);
    else if (this.paused && this.reader.held < INPUT_RESUME) this.pauseReading(false);
  }

  pauseReading(paused) {
    this.paused = paused;
    if (paused) this.socket.pause();
    else this.socket.resume();
  }

  // A connection that is not read does not report a reset; writing zero bytes
  // reveals it.
  probe() {
    if (this.paused && this.socket.writableLength === 0) this.socket.write(EMPTY);
  }

  onLine(bytes) {
    const { text, error } = checkLine(bytes);
    if (error) this.refuseLine(error);
    else if (this.joined) this.onText(text);
    else this.onName(trim(text));
  }

  refuseLine(error) {
    this.server.journal.refuse(this.addr, 'line');
    if (this.joined) this.sendLine(error);
    else this.askAgain(error);
  }

  // ---- Joining

  onName(name) {
    const error = this.server.nameError(name, this);
    if (error) {
      this.server.journal.refuse(this.addr, 'name');
      this.askAgain(error);
      return;
    }
    this.atPrompt = false;
    if (!this.inputEnded) this.stopTimer();
    if (this.server.options.rate) this.allowance = new Allowance(this.server.options.rate);
    this.server.join(this, name);
  }

  askAgain(error) {
    this.atPrompt = false;
    this.refusals++;
    this.sendLine(error);
    if (this.refusals >= MAX_REFUSALS) this.endWith('! too many attempts');
    else this.prompt();
  }

  startJoinTimeout() {
    const deadline = performance.now() + this.server.options.joinTimeout * 1000;
    const check = () => {
      const left = deadline - performance.now();
      if (left > 0) this.startTimer(Math.min(left, MAX_TIMER_MS), check);
      else this.timeOut();
    };
    check();
  }

  timeOut() {
    this.server.journal.refuse(this.addr, 'timeout');
    this.endWith('! timed out');
  }

  // ---- Messages and commands

  onText(line) {
    if (trim(line) === '') return;
    if (isCommand(line)) this.onCommand(parseCommand(line));
    else this.server.say(this, messageText(line));
  }

  onCommand({ word, rest }) {
    switch (lower(word)) {
      case 'help': return this.sendLine(USER_HELP);
      case 'who': return this.onWho();
      case 'msg': return this.onPrivate(parsePrivate(rest));
      case 'nick': return this.onNick(trim(rest));
      case 'quit': return this.onQuit();
      default: return this.sendLine(unknownCommand(word));
    }
  }

  onWho() {
    this.replies = this.server.whoLines().slice();
    this.sendReplies();
  }

  // A long answer is queued as fast as the user reads it, so that it never
  // exceeds the limit. True when all of it is queued.
  sendReplies() {
    while (this.replies.length > 0 && !this.isCrowded()) this.sendLine(this.replies.shift());
    return this.replies.length === 0;
  }

  onPrivate(parts) {
    if (!parts) return this.sendLine('! usage: /msg NAME TEXT');
    const target = this.server.find(parts.name);
    if (!target) return this.sendLine(`! no such user: ${parts.name}`);
    if (target === this) return this.sendLine('! cannot message yourself');
    this.server.journal.info('private', { name: this.name, to: target.name });
    target.sendLine(`(private) ${this.name}: ${parts.text}`);
  }

  onNick(name) {
    const error = this.server.nameError(name, this);
    if (!error) return this.server.rename(this, name);
    this.server.journal.refuse(this.addr, 'name');
    this.sendLine(error);
  }

  onQuit() {
    const goodbye = `Goodbye, ${this.name}`;
    this.leave('quit');
    this.endWith(goodbye);
  }

  // ---- Leaving and closing

  // The user leaves the room; the connection may stay open for a while.
  leave(reason) {
    if (this.closing) return;
    this.closing = true;
    this.reader.clear();
    this.replies = [];
    this.server.deactivate(this, reason);
  }

  // After the client's end of file: send the queue.
  finish() {
    this.leave('eof');
    const left = this.endedAt + FLUSH_MS - performance.now();
    this.startTimer(Math.max(left, LINGER_MS), () => this.socket.destroy());
    this.endWhenFlushed();
  }

  // The server ends the connection and says why (LEAVE-4).
  endWith(text) {
    this.leave('quit');
    if (this.told || this.socket.writableEnded) return;
    this.told = true;
    this.sendNotice(text);
    this.startTimer(FLUSH_MS, () => this.socket.destroy());
    this.socket.once('finish', () => this.startTimer(LINGER_MS, () => this.socket.destroy()));
    this.pauseReading(false); // from now on, input is discarded
    this.endWhenFlushed();
  }

  endWhenFlushed() {
    this.outbox.flush();
    if (this.outbox.queued === 0 && !this.socket.writableEnded) this.socket.end();
  }

  // One timer for each connection; a new use cancels the old one.
  startTimer(ms, action) {
    this.stopTimer();
    this.timer = setTimeout(action, ms);
  }

  stopTimer() {
    clearTimeout(this.timer);
  }
}

// ---------------------------------------------------------------------------
// The room

class ChatServer {
  constructor(options, output, journal) {
    this.options = options;
    this.output = output;
    this.journal = journal;
    this.users = new Map(); // the lower-cased names of those who have joined
    this.active = new Set(); // connections that are not being closed
    this.all = new Set(); // and those that are
    this.who = null; // the answer to /who, until someone comes or goes
    this.stopping = false;
    this.listener = net.createServer({
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
    });
  }

  // ---- Connections

  listen(host, port, onReady, onError) {
    this.listener.once('error', onError);
    this.listener.on('connection', (socket) => this.accept(socket));
    this.listener.listen({ host, port, backlog: 4096 }, () => {
      this.listener.off('error', onError);
      this.listener.on('error', (error) => this.journal.error(`accept: ${reasonOf(error)}`));
      this.addr = formatAddress(this.listener.address().address, this.listener.address().port);
      this.journal.info('start', { addr: this.addr });
      setInterval(() => this.probeAll(), PROBE_MS);
      onReady(this.addr);
    });
  }

  accept(socket) {
    if (this.stopping) {
      socket.destroy();
      return;
    }
    const connection = new Connection(this, socket);
    const isFull = this.isFull();
    this.all.add(connection);
    this.journal.info('connect', { addr: connection.addr });
    if (isFull) {
      this.journal.refuse(connection.addr, 'full');
      connection.endWith('! server full');
      return;
    }
    this.active.add(connection);
    connection.prompt();
    connection.startJoinTimeout();
  }

  // A connection counts until everything that was queued for it is sent (LIMIT-2).
  isFull() {
    if (this.all.size < this.options.maxClients) return false;
    const unsent = [...this.all].filter(({ socket }) => !socket.writableFinished);
    return unsent.length >= this.options.maxClients;
  }

  probeAll() {
    for (const connection of this.active) connection.probe();
  }

  // The connection is being closed; its user leaves the room. No leave notice
  // is sent during a shutdown (STOP-2).
  deactivate(connection, reason) {
    this.active.delete(connection);
    if (!connection.joined) return;
    const { name, addr } = connection;
    this.users.delete(lower(name));
    connection.name = null;
    this.who = null;
    if (this.stopping) return;
    this.journal.info('leave', { name, addr, reason });
    this.tellRoom(`${name} has left the chat`);
  }

  forget(connection) {
    this.all.delete(connection);
    if (this.stopping && this.all.size === 0) this.exit();
  }

  // ---- Names

  find(name) {
    return this.users.get(lower(name));
  }

  // Why `asker` may not have this name; null if it may. Changing only the
  // case of one's own name is allowed (CMD-4).
  nameError(name, asker) {
    if (!VALID_NAME.test(name)) return INVALID_NAME;
    const holder = this.find(name);
    const taken = RESERVED_NAMES.has(lower(name)) || (holder && holder !== asker) || name === asker.name;
    return taken ? `! name in use: ${name}` : null;
  }

  // The lines that answer /who, each as long as possible (CMD-2).
  whoLines() {
    if (this.who) return this.who;
    const start = `Online (${this.users.size}): `;
    const lines = [start];
    for (const key of [...this.users.keys()].sort()) {
      const { name } = this.users.get(key);
      const last = lines[lines.length - 1];
      const longer = last === start ? last + name : `${last}, ${name}`;
      if (longer.length <= MAX_LINE) lines[lines.length - 1] = longer;
      else lines.push(start + name);
    }
    this.who = lines;
    return lines;
  }

  // ---- What the room sees. Each line is queued for all users at once, so that
  // all see the same order (CHAT-3).

  tellRoom(text, except = null) {
    if (!this.options.quiet) this.output.write(`${text}\n`);
    const bytes = Buffer.from(`${text}\n`);
    for (const user of this.users.values()) {
      if (user !== except) user.sendBytes(bytes);
    }
  }

  join(connection, name) {
    connection.name = name;
    this.users.set(lower(name), connection);
    this.who = null;
    this.journal.info('join', { name, addr: connection.addr });
    connection.sendLine(`Welcome, ${name} (${this.users.size} online). Type /help for commands.`);
    this.tellRoom(`${name} has joined the chat`, connection);
  }

  say(connection, text) {
    this.journal.info('message', { name: connection.name, text });
    this.tellRoom(`${connection.name}: ${text}`, connection);
  }

  announce(text) {
    this.journal.info('message', { name: 'server', text });
    this.tellRoom(`server: ${text}`);
  }

  rename(connection, name) {
    const old = connection.name;
    this.users.delete(lower(old));
    this.users.set(lower(name), connection);
    connection.name = name;
    this.who = null;
    this.journal.info('rename', { name: old, to: name });
    this.tellRoom(`${old} is now known as ${name}`);
  }

  kick(connection) {
    connection.leave('kick');
    connection.endWith('! kicked by the operator');
  }

  // ---- Shutting down

  stop() {
    if (this.stopping) return;
    this.stopping = true;
    for (const connection of this.active) connection.takeUpRest();
    this.journal.info('shutdown', { addr: this.addr });
    this.listener.close();
    if (!this.options.quiet) this.output.write(`${SHUTDOWN_NOTICE}\n`);
    for (const connection of this.all) connection.endWith(SHUTDOWN_NOTICE);
    setTimeout(() => this.exit(), STOP_MS);
    if (this.all.size === 0) this.exit();
  }

  // Ends the process after standard output and the log have been written.
  exit() {
    if (this.exiting) return;
    this.exiting = true;
    this.journal.info('stop', { addr: this.addr });
    const deadline = performance.now() + SINK_MS;
    const sinks = [this.output, this.journal.sink].filter(Boolean);
    const check = () => {
      const left = sinks.filter((sink) => !sink.isEmpty);
      if (performance.now() > deadline) left.forEach((sink) => sink.lose('it is not read'));
      if (performance.now() > deadline || left.length === 0) process.exit(0);
      setTimeout(check, 10);
    };
    check();
  }
}

// ---------------------------------------------------------------------------
// The operator's console (OPER): standard input

class OperatorConsole {
  constructor(server, output) {
    this.server = server;
    this.output = output;
    this.reader = new LineReader();
    this.input = null;
  }

  // A process in the background must not read its terminal: SIGTTIN would
  // stop it. `bg` sends SIGCONT; `fg` of a running process sends no signal, so
  // the terminal is checked repeatedly.
  start() {
    if (!tty.isatty(0)) {
      this.open();
      return;
    }
    process.on('SIGCONT', () => this.followTerminal());
    setInterval(() => this.followTerminal(), PROBE_MS);
    this.followTerminal();
  }

  followTerminal() {
    const background = inBackground();
    if (!this.input && !background) this.open();
    else if (this.input && background) this.input.pause();
    else if (this.input && this.input.isPaused()) this.input.resume();
  }

  // After any error of standard input, the server continues (OPER-2).
  open() {
    try {
      this.input = process.stdin;
      this.input.on('error', () => {});
      this.input.on('data', (chunk) => this.onData(chunk));
    } catch {
      this.input = null;
    }
  }

  onData(chunk) {
    this.reader.push(chunk);
    while (!this.server.stopping && this.reader.hasLine()) this.onLine(this.reader.take());
  }

  print(line) {
    this.output.write(`${line}\n`);
  }

  onLine(bytes) {
    const { text, error } = checkLine(bytes);
    if (error) this.print(error);
    else if (trim(text) === '') return;
    else if (isCommand(text)) this.onCommand(parseCommand(text));
    else this.server.announce(messageText(text));
  }

  onCommand({ word, rest }) {
    switch (lower(word)) {
      case 'help': return this.print(OPERATOR_HELP);
      case 'who': return this.server.whoLines().forEach((line) => this.print(line));
      case 'kick': return this.onKick(trim(rest));
      case 'shutdown': return this.server.stop();
      default: return this.print(unknownCommand(word));
    }
  }

  onKick(name) {
    if (name === '') return this.print('! usage: /kick NAME');
    const user = this.server.find(name);
    if (!user) return this.print(`! no such user: ${name}`);
    this.server.kick(user);
  }
}

// Is another process group in the terminal's foreground? Node has no
// tcgetpgrp(); without /proc, the answer is no.
function inBackground() {
  try {
    const stat = fs.readFileSync('/proc/self/stat', 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [group, foreground] = [Number(fields[2]), Number(fields[5])];
    return foreground > 0 && group !== foreground;
  } catch {
    return false;
  }
}

// ---------------------------------------------------------------------------
// The command line (PROG)

const HELP = `Usage: node server.js [OPTION]...
A chat server. Lines typed here are announced to all; /help lists the commands.

  --host HOST             the address to listen on (default 127.0.0.1)
  --port PORT             the port, 0 to 65535 (default 8080; 0 picks a free one)
  --max-clients N         connections at a time (default 10000)
  --max-queue BYTES       what may wait to be sent to one user (default 1048576)
  --join-timeout SECONDS  the time to give a name (default 60)
  --rate N                lines a second taken from each user (default: no limit)
  --log FILE              append a log in JSON to FILE
  --quiet                 do not print what the room sees
  --help                  print this, and end
  --version               print the version, and end
`;

class UsageError extends Error {}

function wholeNumber(least, most = 999_999_999) {
  return (word) => {
    const value = /^[0-9]{1,9}$/.test(word) ? Number(word) : NaN;
    return value >= least && value <= most ? value : null;
  };
}

function seconds(word) {
  const value = /^[0-9]{1,9}(\.[0-9]{1,9})?$/.test(word) ? Number(word) : NaN;
  return value > 0 ? value : null;
}

const nonEmpty = (word) => (word === '' ? null : word);
const oneHost = (word) => (word === '' || word === '*' ? null : word);

// `parse` returns the value, or null for an invalid one; options without
// `parse` take no value.
const OPTIONS = {
  '--host': { key: 'host', parse: oneHost },
  '--port': { key: 'port', parse: wholeNumber(0, 65_535) },
  '--max-clients': { key: 'maxClients', parse: wholeNumber(1) },
  '--max-queue': { key: 'maxQueue', parse: wholeNumber(4096) },
  '--join-timeout': { key: 'joinTimeout', parse: seconds },
  '--rate': { key: 'rate', parse: wholeNumber(1) },
  '--log': { key: 'log', parse: nonEmpty },
  '--quiet': { key: 'quiet' },
  '--help': { key: 'help' },
  '--version': { key: 'version' },
};

const DEFAULTS = {
  host: '127.0.0.1',
  port: 8080,
  maxClients: 10_000,
  maxQueue: 1024 * 1024,
  joinTimeout: 60,
  rate: null,
  log: null,
};

function parseOptions(words) {
  const options = { ...DEFAULTS };
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    if (!Object.hasOwn(OPTIONS, word)) {
      throw new UsageError(word.startsWith('-') ? `unknown option: ${word}` : `unexpected argument: ${word}`);
    }
    const { key, parse } = OPTIONS[word];
    options[key] = parse ? optionValue(word, parse, words, ++i) : true;
  }
  return options;
}

function optionValue(option, parse, words, index) {
  if (index >= words.length) throw new UsageError(`a value is missing: ${option}`);
  const value = parse(words[index]);
  if (value === null) throw new UsageError(`bad value for ${option}: ${words[index]}`);
  return value;
}

// Prints on standard output (1) or error (2) and ends the process.
function endProcess(status, fd, text) {
  try {
    fs.writeSync(fd, text);
  } catch {
    // There is nowhere to report it.
  }
  process.exit(status);
}

// Of several addresses, the first of IPv4, otherwise the first (PROG-1).
async function resolve(host) {
  const found = await dns.promises.lookup(host, { all: true, verbatim: true });
  const chosen = found.find(({ family }) => family === 4) ?? found[0];
  if (!chosen) throw new Error('no address');
  return chosen.address;
}

function openJournal(path, report) {
  try {
    return new Journal(path, report);
  } catch (error) {
    return endProcess(1, 2, `cannot open log ${path}: ${reasonOf(error)}\n`);
  }
}

// ---------------------------------------------------------------------------

// A second signal ends the process at once (STOP-5).
function handleSignals(server, report) {
  const stop = () => (server.stopping ? process.exit(1) : server.stop());
  const reopen = () => {
    try {
      server.journal.reopen();
    } catch (error) {
      report(`cannot open log ${server.options.log}: ${reasonOf(error)}`);
      server.journal.error(`cannot open log: ${reasonOf(error)}`);
    }
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  process.on('SIGHUP', server.journal.sink ? reopen : stop);
}

// A bug must not end the chat for everyone.
function surviveFaults(server, report) {
  process.on('uncaughtException', (error) => {
    server.journal.error(String(error && error.stack));
    report(`internal error: ${error && error.message}`);
  });
}

async function serve(options) {
  const errors = standardSink(2, 'standard error', () => {});
  const report = (text) => errors.write(`${text}\n`);
  const output = standardSink(1, 'standard output', report);
  const server = new ChatServer(options, output, openJournal(options.log, report));
  const onError = (error) => {
    const address = formatAddress(options.host, options.port);
    endProcess(1, 2, `cannot listen on ${address}: ${reasonOf(error)}\n`);
  };
  const onReady = (address) => {
    handleSignals(server, report);
    surviveFaults(server, report);
    output.write(`Listening on ${address}\n`);
    new OperatorConsole(server, output).start();
  };
  try {
    server.listen(await resolve(options.host), options.port, onReady, onError);
  } catch (error) {
    onError(error);
  }
}

function main() {
  let options;
  try {
    options = parseOptions(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    endProcess(2, 2, `${error.message}\n`);
  }
  if (options.help) endProcess(0, 1, HELP);
  if (options.version) endProcess(0, 1, `chat-server ${VERSION} (JavaScript, protocol 1)\n`);
  serve(options);
}

main();
