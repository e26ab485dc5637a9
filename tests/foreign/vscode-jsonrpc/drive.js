// Drives a server of the probe tools: `node drive.js unix PATH` or `node drive.js stdio COMMAND...`.
// Prints the name of each scenario that has passed; ends with 1 at the first that has not.
"use strict";

const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const { once } = require("node:events");
const net = require("node:net");
const rpc = require("vscode-jsonrpc/node");

const { byName, byPosition } = rpc.ParameterStructures;
const call = (connection, name, args, meta) =>
  connection.sendRequest("tools.call", { name, arguments: args, ...(meta && { _meta: meta }) });

async function failure(asked) {
  try {
    await asked;
  } catch (error) {
    assert.ok(error instanceof rpc.ResponseError);
    return error;
  }
  assert.fail("it should have failed");
}

const scenarios = {
  async "direct calls by name and by position"(connection) {
    assert.equal(await connection.sendRequest("add", byName, { a: 1, b: 2 }), 3);
    assert.equal(await connection.sendRequest("add", byPosition, 1, 2), 3);
    assert.equal(await call(connection, "add", { a: 5 }), 6);
    assert.equal((await connection.sendRequest("system.ping")).pong, true);
  },

  async "values"(connection) {
    for (const value of [null, true, 1.5, "grüße \u{1F600}\r\n", [], { a: [1, { b: null }] }, "x".repeat(1e6)]) {
      assert.deepEqual(await call(connection, "echo", { value }), value);
    }
    assert.deepEqual(await call(connection, "echo", { value: { $bytes: "AP8=" } }), { $bytes: "AP8=" });
  },

  async "errors have numbers and reasons"(connection) {
    const unknown = await failure(connection.sendRequest("nope"));
    assert.deepEqual([unknown.code, unknown.data.reason], [rpc.ErrorCodes.MethodNotFound, "METHOD_NOT_FOUND"]);
    const wrong = await failure(call(connection, "add", { a: "x" }));
    assert.equal(wrong.code, rpc.ErrorCodes.InvalidParams);
    assert.equal(wrong.data.violations[0].field, "$.a");
    assert.equal((await failure(call(connection, "fail", { kind: "tool" }))).data.reason, "NO_PLANET");
  },

  async "notifications are not answered"(connection) {
    await connection.sendNotification("nope", {});
    await connection.sendNotification("add", { a: "x" });
    assert.equal(await connection.sendRequest("add", { a: 1 }), 2);
  },

  async "slow then fast, and a cancel"(connection) {
    const source = new rpc.CancellationTokenSource();
    const slow = failure(connection.sendRequest("hang", {}, source.token));
    assert.equal(await connection.sendRequest("add", { a: 1 }), 2);
    source.cancel();
    assert.equal((await slow).code, -32800);
  },

  async "many at once"(connection) {
    const numbers = Array.from({ length: 200 }, (_, number) => number);
    const answers = await Promise.all(numbers.map((value) => connection.sendRequest("echo", { value })));
    assert.deepEqual(answers, numbers);
  },

  async "a stream and its progress"(connection) {
    const values = [];
    const notes = [];
    const chunks = connection.onNotification("tools.chunk", (chunk) => values.push(chunk.value));
    const progress = connection.onProgress(new rpc.ProgressType(), "mine", (note) => notes.push(note));
    const counted = await connection.sendRequest("tools.stream", { name: "count", arguments: { n: 100 } });
    assert.deepEqual([values, counted], [Array.from({ length: 100 }, (_, number) => number), { chunks: 100 }]);
    await connection.sendRequest("tools.stream", { name: "progress", _meta: { progressToken: "mine" } });
    assert.deepEqual(notes.at(-1), { fraction: 1, message: "whole" });
    chunks.dispose();
    progress.dispose();
  },

  async "a client that is a host"(connection) {
    const asked = [];
    connection.onRequest("host.get_many", (params) => {
      asked.push(params.session_id);
      return Object.fromEntries(params.names.map((name) => [name, { name, type: "string", version: 1, value: "mine" }]));
    });
    connection.onRequest("host.call", (params) => [params.name, params.arguments]);
    assert.equal((await connection.sendRequest("system.initialize", { host: true })).host, true);
    assert.equal(await call(connection, "read", { name: "x" }, { session_id: "s" }), "mine");
    assert.deepEqual(asked, ["s"]);
    assert.deepEqual(await call(connection, "ask_host", { tool: "t", value: 7 }), ["t", { value: 7 }]);
    const refused = await failure(call(connection, "write", { name: "x", value: 1 }, { session_id: "s" }));
    assert.equal(refused.data.reason, "NO_HOST");
  },
};

async function run(connection) {
  connection.onError(([error]) => {
    throw error;
  });
  connection.listen();
  for (const [name, scenario] of Object.entries(scenarios)) {
    await scenario(connection);
    console.log(name);
  }
}

async function overSocket(path) {
  const socket = net.connect(path);
  await once(socket, "connect");
  await run(rpc.createMessageConnection(new rpc.SocketMessageReader(socket), new rpc.SocketMessageWriter(socket)));
  socket.end();
  await once(socket, "close");
}

async function overStdio(command) {
  const server = spawn(command[0], command.slice(1), { stdio: ["pipe", "pipe", "inherit"] });
  const exited = once(server, "exit");
  await run(
    rpc.createMessageConnection(new rpc.StreamMessageReader(server.stdout), new rpc.StreamMessageWriter(server.stdin)),
  );
  server.stdin.end();
  assert.deepEqual(await exited, [0, null]);
  console.log("the server ends with its stdin");
}

const [transport, ...rest] = process.argv.slice(2);
(transport === "unix" ? overSocket(rest[0]) : overStdio(rest)).catch((error) => {
  console.error(error);
  process.exit(1);
});
