import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyServerFactory } from 'fastify';
import { Problem } from '../errors.js';
import { hasBody } from '../json-bodies.js';
import { Caller, callerOf } from './caller.js';
import { linger, lingerOnBody } from './linger.js';
import { type Refusal, problemOfParser, writeProblem } from './unparsed.js';

/** Requests of one connection that may be under way at once. */
const mostAhead = 32;
/** Requests that may wait for their turn: on one connection, and on all of them. */
const mostWaiting = 1_000;
const mostWaitingInAll = 10_000;
const unreadMs = 120_000;
/** At a full house, so many connections are looked at for an idle one. */
const candidates = 200;
const idleCheckMs = 25;
/** How long a connection that was accepted just before the listener closed may take to send its request. */
const graceMs = 500;

/** What the front of the server is set up with. */
export type FrontOptions = {
  /** Connections at once; beyond it an idle one gives way, or the new one is closed. */
  maxConnections: number;
  /** Whether a request may begin before the answers ahead of it on its connection are out. */
  mayOverlap(request: IncomingMessage): boolean;
  /** How long a client may take nothing of an answer, 120 seconds unless given. */
  unreadMs?: number;
};

/** `draining`: everything is served, each answer ends its connection. `closing`: nothing new is served. */
export type Phase = 'open' | 'draining' | 'closing';

/** The server's side of client connections, before there is a request for Fastify and after there was one. */
export type Front = {
  readonly phase: Phase;
  connections(): number;
  /** Connections closed because there were too many. */
  refusedConnections(): number;
  /** Fastify's `serverFactory`. */
  serverFactory: FastifyServerFactory;
  /** Fastify's `clientErrorHandler`: what Node could not read is answered with a problem document, after all that is owed. */
  refuseUnread(error: Error & { code?: string }, socket: Socket): void;
  /** Calls `listener` with every refusal of which no route and no hook hears. */
  onRefusal(listener: (refusal: Refusal) => void): void;
  report(refusal: Refusal): void;
  /** From now on every answer ends its connection. */
  drain(): void;
  /** Closes the listener; resolves when connections accepted just before have sent their requests, at most half a second later. */
  stopListening(): Promise<void>;
  /** Refuses what comes from now on, and ends connections as soon as no answer is owed on them. */
  close(): void;
};

/**
 * Bounds what one client connection can hold: requests are served in turn, as RFC 9112 §9.3.2 allows, except that up to 32
 * for which `mayOverlap` holds run at once; an answer to a request that has not come in whole ends the connection, in
 * bounded time; a client that takes nothing of its answer for two minutes is disconnected.
 */
export function createFront({ maxConnections, mayOverlap, ...options }: FrontOptions): Front {
  const callers = new Set<Caller>();
  const servers: Server[] = [];
  const listeners: ((refusal: Refusal) => void)[] = [];
  let phase: Phase = 'open';
  let waiting = 0;
  let refused = 0;
  let idleCheck: NodeJS.Timeout | undefined;
  const patience = options.unreadMs ?? unreadMs;
  const stallCheck = setInterval(endStalled, Math.ceil(patience / 24)).unref();

  /** An answer that ends its connection while the gateway stops, and where it comes before its request is there. */
  class Answer extends ServerResponse {
    override writeHead(status: number, reason?: unknown, headers?: unknown): this {
      if (!this.req.complete && hasBody(this.req)) {
        this.shouldKeepAlive = false;
        this.prependOnceListener('finish', endEarly);
      } else if (phase !== 'open') {
        this.shouldKeepAlive = false;
      }
      return super.writeHead(status, reason as never, headers as never);
    }
  }

  function endEarly(this: ServerResponse): void {
    const { req, socket } = this;
    if (req.complete || !socket) return;
    callerOf(req).over = true;
    lingerOnBody(socket, req);
  }

  function accept(socket: Socket): void {
    const caller = new Caller(socket);
    callers.add(caller);
    socket.once('close', () => {
      callers.delete(caller);
      waiting -= caller.waiting;
      caller.waiting = 0;
    });
    if (callers.size > maxConnections) makeRoom(caller);
  }

  function makeRoom(newest: Caller): void {
    let looked = 0;
    for (const caller of callers) {
      looked += 1;
      if (caller !== newest && caller.idle) return void caller.socket.destroy();
      if (looked >= candidates) break;
    }
    refused += 1;
    newest.socket.destroy();
  }

  function endStalled(): void {
    const now = performance.now();
    for (const caller of callers) if (caller.hasStalled(now, patience)) caller.socket.destroy();
  }

  function endIdle(): void {
    // Those that are over close by themselves, once their clients have read.
    for (const { idle, over, socket } of callers) if (idle && !over) socket.destroy();
    if (callers.size > 0) return;
    clearInterval(idleCheck);
    clearInterval(stallCheck);
  }

  function inTurn(handle: (request: IncomingMessage, response: ServerResponse) => void) {
    return (request: IncomingMessage, response: ServerResponse): void => {
      const caller = callerOf(request);
      if (caller.over) return;
      const { last } = caller;
      caller.last = response;
      if (response.socket !== null || last === undefined) return handle(request, response);
      standInLine(caller, last, request, response, handle);
    };
  }

  function standInLine(caller: Caller, last: ServerResponse, request: IncomingMessage, response: ServerResponse, handle: (request: IncomingMessage, response: ServerResponse) => void): void {
    if (caller.waiting === 0 && caller.ahead < mostAhead - 1 && mayOverlap(request) && mayOverlap(last.req)) {
      caller.ahead += 1;
      response.once('close', () => (caller.ahead -= 1));
      return handle(request, response);
    }
    if (caller.waiting >= mostWaiting || waiting >= mostWaitingInAll) return endAfter(caller, last);
    caller.waiting += 1;
    waiting += 1;
    const { socket } = caller;
    // No more is read than what came with these; not at once, because Node reads on at the end of a message.
    if (caller.waiting === mostAhead) process.nextTick(() => void (caller.waiting >= mostAhead && socket.pause()));
    // Node gives a response its socket when the one before it is out.
    response.once('socket', () => {
      caller.waiting -= 1;
      waiting -= 1;
      if (caller.waiting === mostAhead - 1) socket.resume();
      // What the response holds is flushed when this event is over.
      process.nextTick(handle, request, response);
    });
  }

  /** Serves nothing beyond `last`: the client learns from its `connection: close` where to go on. */
  function endAfter(caller: Caller, last: ServerResponse): void {
    caller.over = true;
    caller.last = last;
    last.shouldKeepAlive = false;
    last.prependOnceListener('finish', () => {
      const { socket } = caller;
      socket.destroySoon = () => linger(socket);
    });
  }

  function refuse(socket: Socket, problem: Problem, method?: string): void {
    const requestId = randomUUID();
    writeProblem(socket, problem, requestId);
    front.report({ requestId, status: problem.status, code: problem.code, method });
  }

  const front: Front = {
    get phase() {
      return phase;
    },
    connections: () => callers.size,
    refusedConnections: () => refused,
    onRefusal: (listener) => void listeners.push(listener),
    report: (refusal) => listeners.forEach((listener) => listener(refusal)),

    serverFactory: (handler, { keepAliveTimeout, requestTimeout }) => {
      const serve = inTurn(handler);
      // Of a head with more lines Node would silently drop the rest; requests with too many are refused by request-head.ts.
      const server = Object.assign(createServer({ ServerResponse: Answer as typeof ServerResponse, requireHostHeader: false }), {
        maxHeadersCount: 0, keepAliveTimeout: keepAliveTimeout ?? 72_000, requestTimeout: requestTimeout ?? 0,
      });
      server.on('connection', accept);
      server.on('request', serve);
      server.on('checkExpectation', serve);
      server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
        continueWhenRead(request, response);
        serve(request, response);
      });
      server.on('connect', ({ method }: IncomingMessage, socket: Socket) => refuse(socket.on('error', () => {}), new Problem(
        'method_not_allowed', 'This is no forward proxy.', { headers: { allow: 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS' } },
      ), method));
      servers.push(server);
      return server;
    },

    refuseUnread(error, socket) {
      const caller = callerOf({ socket });
      // A client that is gone, or never spoke, needs no answer; of a connection that ends, the rest is of no interest.
      if (error.code === 'ECONNRESET' || !socket.writable || socket.bytesRead === 0 || caller.over) return void socket.destroy();
      caller.over = true;
      const { last } = caller;
      const answer = (): void => refuse(socket, problemOfParser(error));
      if (caller.idle) return answer();
      // In its turn: what was asked before is answered before, unless that ends the connection.
      if (last!.req.complete) return void last!.once('finish', () => void (socket.writable && answer()));
      // The body of the request that is being served is what cannot be read.
      if (last!.socket === null || last!.headersSent) return void socket.destroy();
      answer();
    },

    drain() {
      if (phase === 'open') phase = 'draining';
    },

    async stopListening() {
      for (const server of servers) if (server.listening) server.close();
      const fresh = new Set([...callers].filter(({ last }) => last === undefined));
      for (let waited = 0; waited < graceMs; waited += idleCheckMs) {
        for (const caller of fresh) if (caller.last !== undefined || caller.socket.destroyed) fresh.delete(caller);
        if (fresh.size === 0) return;
        await sleep(idleCheckMs);
      }
    },

    close() {
      if (phase === 'closing') return;
      phase = 'closing';
      idleCheck = setInterval(endIdle, idleCheckMs);
      endIdle();
    },
  };
  return front;
}

/** Sends `100 Continue` when the body is first read, and not where the head alone decides the answer (RFC 9110 §10.1.1). */
function continueWhenRead(request: IncomingMessage, response: ServerResponse): void {
  const read = request._read.bind(request);
  request._read = (size) => {
    request._read = read;
    if (!response.headersSent) response.writeContinue();
    read(size);
  };
}
