import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { Test } from 'tap';
import type { AnswerHandler, HttpRequest } from '../../src/upstream/http/exchange.js';
import { Pool, type PoolOptions } from '../../src/upstream/http/pool.js';

/** A server of bytes. `sockets` are those that were ever accepted. */
export type RawServer = { url: string; server: Server; sockets: Socket[] };

/** A server on a port of its own; `accept` gets every connection, with its number from 1. Closed with the test. */
export async function startRaw(t: Test, accept: (socket: Socket, number: number) => void): Promise<RawServer> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    socket.setNoDelay(true).on('error', () => {});
    accept(socket, sockets.push(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    sockets.forEach((socket) => void socket.destroy());
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server, sockets };
}

/** A server that answers request number 1, 2, … of all connections with `answers` in turn, the last one from then on. */
export function startAnswering(t: Test, ...answers: (string | ((socket: Socket) => void))[]): Promise<RawServer> {
  let number = 0;
  return startRaw(t, (socket) => {
    socket.on('data', () => {
      const answer = answers[Math.min(number, answers.length - 1)]!;
      number += 1;
      if (typeof answer === 'string') socket.write(answer, 'latin1');
      else answer(socket);
    });
  });
}

export function openPool(t: Test, url: string, options: Partial<PoolOptions> = {}): Pool {
  const pool = new Pool(url, { connections: 8, connectTimeoutMs: 2_000, bodyTimeoutMs: 2_000, ...options });
  t.teardown(() => pool.close());
  return pool;
}

/** What a call brought; `ends` counts how often it was told to be over. */
export type Call = {
  connected: boolean;
  informational: number[];
  status: number | undefined;
  headers: string[];
  body: string;
  trailers: string[] | undefined;
  error: (Error & { kind?: string; code?: string; stale?: boolean; unheard?: boolean }) | undefined;
  ends: number;
  abort: (error?: Error) => void;
  resume: () => void;
};

/** Sends a request and resolves when it is over. `watch` sees the call at each of its steps; false from it pauses. */
export function send(pool: Pool, request: Partial<HttpRequest> = {}, watch: (step: keyof AnswerHandler, call: Call) => boolean | void = () => {}): Promise<Call> {
  return new Promise((resolve) => {
    const call: Call = { connected: false, informational: [], status: undefined, headers: [], body: '', trailers: undefined, error: undefined, ends: 0, abort() {}, resume() {} };
    pool.send({ method: 'GET', path: '/', headers: [], body: null, headersTimeoutMs: 2_000, ...request }, {
      onConnect(abort) {
        call.connected = true;
        call.abort = abort;
        watch('onConnect', call);
      },
      onHeaders(status, headers, resume) {
        if (status < 200) call.informational.push(status);
        else Object.assign(call, { status, headers, resume });
        watch('onHeaders', call);
      },
      onData(chunk) {
        call.body += chunk.toString('latin1');
        return watch('onData', call) !== false;
      },
      onComplete(trailers) {
        call.trailers = trailers;
        call.ends += 1;
        watch('onComplete', call);
        // Whoever is told twice, is told by then.
        setImmediate(() => resolve(call));
      },
      onError(error) {
        call.error = error;
        call.ends += 1;
        watch('onError', call);
        setImmediate(() => resolve(call));
      },
    });
  });
}
