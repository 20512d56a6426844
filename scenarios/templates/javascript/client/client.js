'use strict';

// The beginning of a chat client. It shows what comes, sends what is typed, and ends in order.
// PROTOCOL.md has the rules; `conformance next` shows which rule to implement next.

const net = require('node:net');
const { parseArgs } = require('node:util');

const { values: options } = parseArgs({
  options: {
    host: { type: 'string', default: 'localhost' },
    port: { type: 'string', default: '8080' },
  },
  strict: false, // TODO: the other options of PROG-2.
});

let typing = true;
const server = net.connect({ host: options.host, port: Number(options.port), noDelay: true });

server.on('connect', () => {
  process.stdin.on('data', (typed) => server.write(typed));
  process.stdin.on('end', () => {
    typing = false;
    server.end(); // CLIENT-3
  });
});

server.on('data', (data) => process.stdout.write(data)); // TODO: CLIENT-6.

// TODO: the last line decides the exit status (CLIENT-5).
server.on('end', () => {
  if (typing) console.error('Disconnected');
  process.exit(0);
});

server.on('error', (error) => {
  console.error(`cannot connect to ${options.host}:${options.port}: ${error.message}`); // CLIENT-4
  process.exit(1);
});

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0)); // CLIENT-2
