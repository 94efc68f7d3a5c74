import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { Problem } from '../errors.js';
import { requestTrailers } from './request-headers.js';
import { Silence } from './silence.js';

/** Bodies of up to this many bytes are sent in one piece, which is cheaper than a stream. */
const onePieceBytes = 64 * 1024;

/** The body to send: none, in one piece, or a stream; and its length where the caller said it. */
export type RequestBody = Readonly<{ content: Buffer | BoundedBody | null; length: number | undefined }>;

/** The largest body, and how long the caller may be silent in the middle of one. */
export type BodyLimits = { maxBytes: number; silenceMs: number };

/**
 * Takes a request's body for sending on, and calls `ready` with it: at once, or for a short body when all of it has come.
 * `failed` gets 413 `payload_too_large` for a declared length over `maxBytes`, 400 `invalid_request` for a transfer coding other
 * than chunked, which would be lost on the way (RFC 9112 §6.1); a stream that turns out longer breaks with
 * the same problem, one that stops coming with 408 `request_timeout`. Nothing is called when the caller goes away first.
 */
export function takeBody(request: IncomingMessage, { maxBytes, silenceMs }: BodyLimits, ready: (body: RequestBody) => void, failed: (problem: Problem) => void): void {
  const declared = request.headers['content-length'];
  const length = declared === undefined ? undefined : Number(declared);
  if (length !== undefined && length > maxBytes) return failed(tooLarge(maxBytes));
  const coding = request.headers['transfer-encoding'];
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') return failed(notChunked());
  if (coding === undefined && !length) return ready({ content: null, length });
  if (length !== undefined && length <= onePieceBytes) return collect(request, length, silenceMs, (content) => ready({ content, length }), failed);
  ready({ content: new BoundedBody(request, { maxBytes, silenceMs }), length });
}

function collect(request: IncomingMessage, length: number, silenceMs: number, done: (content: Buffer) => void, failed: (problem: Problem) => void): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const silence = new Silence(silenceMs, () => {
    if (!request.closed) failed(silent());
  });
  request.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    bytes += chunk.length;
    silence.heard();
    if (bytes < length) return;
    silence.end();
    done(chunks.length === 1 ? chunk : Buffer.concat(chunks));
  });
}

/**
 * A request's body that may be destroyed without taking the caller's connection with it: an answer can arrive before the
 * upload ends, and must still reach the caller. What is left of the upload is then read and thrown away.
 */
export class BoundedBody extends Readable {
  /** Sees every chunk; set it before the first read. */
  observe: ((chunk: Buffer) => void) | undefined;
  /** Judges every chunk before it passes, and with undefined the end; what it throws breaks the body off. Set it before the first read. */
  guard: ((chunk: Buffer | undefined) => void) | undefined;
  #bytes = 0;
  readonly #silence: NodeJS.Timeout;

  /** What followed the body, as far as it may go upstream; known when the body has ended. */
  get trailers(): string[] {
    return requestTrailers(this.source.rawTrailers);
  }

  constructor(private readonly source: IncomingMessage, private readonly limits: BodyLimits) {
    super({ highWaterMark: onePieceBytes });
    // It may break while nobody sends it: before the call is, between two attempts, or after it was refused.
    this.on('error', ignore);
    source.on('data', this.#onData).on('end', this.#onEnd).on('close', this.#onClose);
    source.pause();
    this.#silence = setTimeout(this.#onSilence, limits.silenceMs);
  }

  override _read(): void {
    this.#silence.refresh();
    this.source.resume();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearTimeout(this.#silence);
    this.source.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onClose).resume();
    done(error);
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#bytes += chunk.length;
    this.#silence.refresh();
    if (this.#bytes > this.limits.maxBytes) return void this.destroy(tooLarge(this.limits.maxBytes));
    if (!this.#passesGuard(chunk)) return;
    this.observe?.(chunk);
    if (!this.push(chunk)) this.source.pause();
  };

  // While the upstream is what is slow, the caller has to wait: its silence means nothing then.
  readonly #onSilence = (): void => {
    if (this.source.isPaused()) this.#silence.refresh();
    else this.destroy(silent());
  };

  readonly #onEnd = (): void => {
    clearTimeout(this.#silence);
    if (this.#passesGuard(undefined)) this.push(null);
  };

  #passesGuard(chunk: Buffer | undefined): boolean {
    try {
      this.guard?.(chunk);
      return true;
    } catch (error) {
      this.destroy(error as Error);
      return false;
    }
  }

  readonly #onClose = (): void => {
    if (!this.source.complete) this.destroy(new Error('the caller went away'));
  };
}

/** All of a body; 413 `payload_too_large` when it has more bytes than that. */
export async function collectBody(body: BoundedBody, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw tooLarge(maxBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function ignore(): void {}

/** 413 `payload_too_large`. */
export function tooLarge(maxBytes: number): Problem {
  return new Problem('payload_too_large', `This request's body may have ${maxBytes} bytes.`);
}

function notChunked(): Problem {
  return new Problem('invalid_request', 'A body is taken with a length, or chunked.', { errors: [{ field: 'header.transfer-encoding', message: 'must be chunked' }] });
}

function silent(): Problem {
  return new Problem('request_timeout', 'The request body stopped coming.');
}
