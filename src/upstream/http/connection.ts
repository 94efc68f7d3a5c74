import type { AnswerHead } from './answer-head.js';
import { type AnswerListener, AnswerParser } from './answer-parser.js';
import type { Dial, Wire } from './dial.js';
import { HttpError } from './errors.js';
import type { Exchange } from './exchange.js';
import type { UploadListener } from './upload.js';

/** Who a connection belongs to. */
export type ConnectionOwner = {
  /** How many ticks have passed; each is `tickMs` long. */
  readonly ticks: number;
  readonly connectTimeoutMs: number;
  /** Silence between two parts of a body. */
  readonly bodyTimeoutMs: number;
  /** How long a body may wait to be read. */
  readonly unreadTimeoutMs: number;
  /** After how long a connection takes no further exchange, in ticks. */
  readonly maxAgeTicks: number;
  /** The connection can take another exchange. */
  released(connection: Connection): void;
  /** It is of no more use. */
  gone(connection: Connection): void;
};

/** How often deadlines are looked at: the resolution of every one of them, in milliseconds. */
export const tickMs = 50;
const defaultIdleMs = 4_000;

/** A socket, and one exchange after the other on it. */
export class Connection implements AnswerListener, UploadListener {
  /** When it was last released, by the owner's clock, and how long it may then be kept. */
  idleSince = 0;
  idleMs = defaultIdleMs;
  #exchange: Exchange | undefined;
  readonly #parser = new AnswerParser(this);
  #state: 'connecting' | 'idle' | 'waiting' | 'body' | 'gone' = 'connecting';
  /** An exchange before this one succeeded. */
  #used = false;
  /** A byte of an answer has come. */
  #heard = false;
  #paused = false;
  #keep = true;
  /** When something last happened, in ticks. */
  #since: number;
  /** Of the age, a part is left to chance: connections that were opened together do not close together. */
  readonly #bestBefore: number;
  readonly #giveUpDialing: () => void;
  #wire: Wire | undefined;

  /** @param first what is sent as soon as it is connected, or fails with it */
  constructor(private readonly owner: ConnectionOwner, dial: Dial, first: Exchange) {
    this.#exchange = first;
    this.#since = first.waitsSince;
    this.#bestBefore = owner.ticks + owner.maxAgeTicks * (1 - Math.random() / 5);
    this.#giveUpDialing = dial(this.#onConnected, this.#onUnconnected);
  }

  /** Whether it has been open for so long that it should make room for one to where the name points by now. */
  get isOld(): boolean {
    return this.owner.ticks >= this.#bestBefore;
  }

  /** Sends a request on a connection that was released. */
  start(exchange: Exchange): void {
    this.#exchange = exchange;
    this.#send(exchange);
  }

  /** Called with every tick: ends what has been silent for too long. What we do not read ourselves is not silent, but ends too when that lasts. */
  check(): void {
    const { owner } = this;
    const exchange = this.#exchange;
    if (!exchange) return;
    const upload = this.#state === 'connecting' ? undefined : exchange.upload;
    // Whoever sends the body has a deadline of their own.
    if (upload && !upload.done && !upload.blocked) this.#since = owner.ticks;
    const bodyLimitMs = this.#paused ? owner.unreadTimeoutMs : owner.bodyTimeoutMs;
    const limitMs = this.#state === 'connecting' ? Math.min(owner.connectTimeoutMs, exchange.headersTimeoutMs) : this.#state === 'body' ? bodyLimitMs : exchange.headersTimeoutMs;
    // The tick under way when it began counts for nothing.
    if ((owner.ticks - this.#since - 1) * tickMs >= limitMs) this.fail(this.#timeout());
  }

  /** Ends the exchange, if there is one, with an error, and the connection. */
  fail(error: Error): void {
    const exchange = this.#exchange;
    this.destroy();
    if (!exchange) return;
    exchange.upload?.stop();
    exchange.handler.onError(error);
  }

  destroy(): void {
    if (this.#state === 'gone') return;
    this.#state = 'gone';
    this.#exchange = undefined;
    this.#parser.stop();
    if (this.#wire) this.#wire.socket.destroy();
    else this.#giveUpDialing();
    this.owner.gone(this);
  }

  onHead(head: AnswerHead): void {
    const exchange = this.#exchange!;
    if (head.status === 100) return;
    if (head.status >= 200) {
      this.#since = this.owner.ticks;
      this.#state = 'body';
      this.#keep = head.keepAlive && (head.idleMs === undefined || head.idleMs > 0);
      this.idleMs = head.idleMs ?? defaultIdleMs;
    }
    exchange.handler.onHeaders(head.status, head.headers, () => this.#resume(exchange));
  }

  onBody(chunk: Buffer): void {
    this.#since = this.owner.ticks;
    if (this.#exchange!.handler.onData(chunk) || this.#paused || this.#state !== 'body') return;
    this.#paused = true;
    this.#wire!.socket.pause();
  }

  onEnd(trailers: string[], reusable: boolean): void {
    const { handler, upload, keeps } = this.#exchange!;
    this.#exchange = undefined;
    if (reusable && keeps && this.#keep && (!upload || upload.done) && !this.isOld) this.#release();
    else this.destroy();
    upload?.stop();
    try {
      handler.onComplete(trailers);
    } catch (error) {
      handler.onError(error as Error);
    }
  }

  onUploading(): void {
    this.#since = this.owner.ticks;
  }

  onUploadFailed(error: Error): void {
    this.fail(error);
  }

  #release(): void {
    this.#state = 'idle';
    this.#used = true;
    if (this.#paused) this.#wire!.socket.resume();
    this.#paused = false;
    this.owner.released(this);
  }

  #send(exchange: Exchange): void {
    const { socket } = this.#wire!;
    this.#state = 'waiting';
    this.#heard = false;
    this.#since = exchange.waitsSince;
    this.#parser.begin(exchange.isHead);
    exchange.handler.onConnect((error) => this.#abort(exchange, error));
    if (this.#exchange !== exchange) return;
    if (exchange.rest) socket.cork();
    socket.write(exchange.text, 'latin1');
    if (exchange.rest) {
      socket.write(exchange.rest);
      socket.uncork();
    }
    exchange.upload?.start(socket, this);
  }

  #abort(exchange: Exchange, error = new HttpError('aborted', 'the call was given up') as Error): void {
    if (this.#exchange === exchange) this.fail(error);
  }

  #resume(exchange: Exchange): void {
    if (this.#exchange !== exchange || !this.#paused) return;
    this.#paused = false;
    this.#since = this.owner.ticks;
    this.#wire!.socket.resume();
  }

  readonly #onConnected = (wire: Wire): void => {
    this.#wire = wire;
    wire.socket.on('data', this.#onData).on('drain', this.#onDrain).on('end', this.#onEnd).on('error', this.#onError).on('close', this.#onClose);
    this.#send(this.#exchange!);
  };

  readonly #onUnconnected = (error: Error): void => {
    this.fail(new HttpError('unreachable', `no connection: ${error.message}`, { cause: error, unheard: true }));
  };

  readonly #onData = (chunk: Buffer): void => {
    // Nobody asked: to read this as the answer to the next request would be to believe whoever planted it.
    if (!this.#exchange) return this.destroy();
    this.#heard = true;
    try {
      this.#parser.feed(chunk);
    } catch (error) {
      this.fail(error as Error);
    }
  };

  readonly #onDrain = (): void => {
    this.#exchange?.upload?.drained();
  };

  readonly #onEnd = (): void => {
    if (!this.#exchange || !this.#wire!.endedCleanly() || !this.#parser.finish()) this.fail(this.#broken());
  };

  readonly #onError = (error: Error): void => this.fail(this.#broken(error));

  readonly #onClose = (): void => this.fail(this.#broken());

  #broken(cause?: Error): HttpError {
    return new HttpError('unreachable', 'the other side closed the connection before the answer was complete', {
      cause, stale: this.#used && !this.#heard, unheard: !this.#heard,
    });
  }

  #timeout(): HttpError {
    if (this.#state === 'connecting') return new HttpError('timeout', 'no connection in time', { unheard: true });
    if (this.#state === 'body') return new HttpError('timeout', this.#paused ? 'the answer was not read' : 'the answer stopped coming');
    return new HttpError('timeout', 'no answer in time', { unheard: !this.#heard });
  }
}
