import { Connection, type ConnectionOwner, tickMs } from './connection.js';
import { createDialer, type Dial, type DialOptions } from './dial.js';
import { HttpError } from './errors.js';
import { type AnswerHandler, Exchange, type HttpRequest } from './exchange.js';

/** How many connections, and how patient (milliseconds). */
export type PoolOptions = {
  /** Connections at most; calls beyond wait in line. */
  connections: number;
  connectTimeoutMs: number;
  bodyTimeoutMs: number;
  /** How long a body may wait to be read by whoever asked for it; without it, for ever. */
  unreadTimeoutMs?: number;
  /** For how long a connection is used at most; five minutes where nothing is said. */
  maxAgeMs?: number;
} & DialOptions;

/** A busy connection would never be closed otherwise, and the name's new addresses never used. */
const defaultMaxAgeMs = 300_000;

/**
 * Keeps HTTP/1.1 connections to one origin (RFC 9112 §9.3) and sends one request at a time over each: no pipelining. The most
 * recently used one goes first, so that a quiet pool shrinks. Calls start at the end of the event loop's turn, when what was
 * already waiting to be read on idle connections has been: a request does not follow bytes that nobody asked for, or an end.
 */
export class Pool implements ConnectionOwner {
  ticks = 0;
  readonly connectTimeoutMs: number;
  readonly bodyTimeoutMs: number;
  readonly unreadTimeoutMs: number;
  readonly maxAgeTicks: number;
  readonly #dial: Dial;
  readonly #host: string;
  readonly #limit: number;
  readonly #all = new Set<Connection>();
  readonly #idle: Connection[] = [];
  /** Released in this turn: not to be used before the next. */
  #rested: Connection[] = [];
  #waiting: Exchange[] = [];
  #scheduled = false;
  #timer: NodeJS.Timeout | undefined;
  #holds = false;
  #clock = 0;
  #closed = false;

  /** @param origin `http:` or `https:`; a path is ignored */
  constructor(origin: string, { connections, connectTimeoutMs, bodyTimeoutMs, unreadTimeoutMs = Infinity, maxAgeMs = defaultMaxAgeMs, ...dialing }: PoolOptions) {
    const url = new URL(origin);
    this.#host = url.host;
    this.#limit = connections;
    this.connectTimeoutMs = connectTimeoutMs;
    this.bodyTimeoutMs = bodyTimeoutMs;
    this.unreadTimeoutMs = unreadTimeoutMs;
    this.maxAgeTicks = maxAgeMs / tickMs;
    this.#dial = createDialer(url, dialing);
  }

  /** Sends a request; everything that happens, its failure too, is told to the handler, and later. */
  send(request: HttpRequest, handler: AnswerHandler): void {
    let exchange: Exchange;
    try {
      if (this.#closed) throw new HttpError('aborted', 'the pool is closed');
      exchange = new Exchange(request, this.#host, handler);
    } catch (error) {
      return void setImmediate(() => handler.onError(error as Error));
    }
    exchange.waitsSince = this.ticks;
    this.#waiting.push(exchange);
    this.#schedule();
  }

  /** Ends every call with an HttpError of kind `aborted`, and every connection. */
  close(): void {
    this.#closed = true;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { handler } of waiting) handler.onError(destroyed());
    for (const connection of [...this.#all]) connection.fail(destroyed());
    this.#stopTicking();
  }

  released(connection: Connection): void {
    connection.idleSince = this.#clock;
    this.#rested.push(connection);
    this.#schedule();
  }

  gone(connection: Connection): void {
    this.#all.delete(connection);
    remove(this.#idle, connection);
    remove(this.#rested, connection);
    if (this.#waiting.length > 0) this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#serve);
  }

  readonly #serve = (): void => {
    this.#scheduled = false;
    if (this.#waiting.length > 0) this.#hold();
    let next = 0;
    while (next < this.#waiting.length) {
      const exchange = this.#waiting[next]!;
      // At the limit, one that was used before makes room.
      if (exchange.fresh && this.#all.size >= this.#limit) this.#idle[0]?.destroy();
      const idle = exchange.fresh ? undefined : this.#idle.pop();
      if (idle) idle.start(exchange);
      else if (this.#all.size < this.#limit && (exchange.fresh || this.#waiting.length - next > this.#rested.length)) this.#connect(exchange);
      else break;
      next += 1;
    }
    this.#waiting.splice(0, next);
    this.#idle.push(...this.#rested);
    this.#rested = [];
    if (this.#waiting.length > 0 && this.#idle.length > 0) this.#schedule();
  };

  #connect(first: Exchange): void {
    this.#all.add(new Connection(this, this.#dial, first));
  }

  /** Keeps time, and the process, while there are calls: the sockets themselves hold nothing. */
  #hold(): void {
    if (!this.#timer) {
      this.#clock = performance.now();
      this.#timer = setInterval(this.#tick, tickMs);
    } else if (!this.#holds) {
      this.#timer.ref();
    }
    this.#holds = true;
  }

  readonly #tick = (): void => {
    this.ticks += 1;
    this.#clock = performance.now();
    for (const connection of this.#all) connection.check();
    for (const exchange of this.#waiting.filter((each) => this.#isLate(each))) {
      this.#waiting.splice(this.#waiting.indexOf(exchange), 1);
      exchange.handler.onError(new HttpError('timeout', 'no connection became free in time'));
    }
    for (const connection of this.#idle.filter(({ idleSince, idleMs, isOld }) => isOld || this.#clock - idleSince >= idleMs)) connection.destroy();
    if (this.#waiting.length > 0 || this.#all.size > this.#idle.length + this.#rested.length) return;
    this.#holds = false;
    this.#timer?.unref();
    if (this.#all.size === 0) this.#stopTicking();
  };

  #isLate({ waitsSince, headersTimeoutMs }: Exchange): boolean {
    return (this.ticks - waitsSince - 1) * tickMs >= Math.min(this.connectTimeoutMs, headersTimeoutMs);
  }

  #stopTicking(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#holds = false;
  }
}

function remove(from: Connection[], connection: Connection): void {
  const at = from.indexOf(connection);
  if (at >= 0) from.splice(at, 1);
}

function destroyed(): HttpError {
  return new HttpError('aborted', 'the pool was closed');
}
