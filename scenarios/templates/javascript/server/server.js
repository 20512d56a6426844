'use strict';

// The beginning of a chat server. It asks each user for a name, and ends in order.
// PROTOCOL.md has the rules; `conformance next` shows which rule to implement next.

const net = require('node:net');
const readline = require('node:readline');
const { parseArgs } = require('node:util');

const PROMPT = 'Enter your screen name: '; // JOIN-1
const NOTICE = 'Server is shutting down\n'; // STOP-1

const users = new Set();

function talk(socket) {
  users.add(socket);
  socket.write(PROMPT);
  const lines = readline.createInterface({ input: socket, crlfDelay: Infinity });
  lines.on('line', (line) => onLine(socket, line));
  socket.on('close', () => users.delete(socket));
  socket.on('error', () => {}); // 'close' follows.
}

// TODO: the first line is the name (JOIN-2 to JOIN-4).
function onLine(user, line) {}

const { values: options } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '8080' },
  },
  strict: false, // TODO: the other options of PROG-1.
});

const server = net.createServer({ noDelay: true }, talk);
server.on('error', (error) => {
  console.error(`cannot listen on ${options.host}:${options.port}: ${error.message}`);
  process.exit(1);
});
server.listen(Number(options.port), options.host, () => {
  const { address, port } = server.address();
  console.log(`Listening on ${address}:${port}`); // PROG-3
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    server.close(); // The program ends with the last connection.
    // TODO: send the first line end only if a prompt is pending.
    for (const user of users) user.end(`\n${NOTICE}`, () => user.destroySoon());
  });
}
