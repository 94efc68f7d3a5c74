import { requestHead } from './request-head.js';
import { type StreamedBody, Upload } from './upload.js';

/** A request, and how long its answer may take to begin, connecting included. */
export type HttpRequest = {
  method: string;
  /** Path and query, as they go on the wire. */
  path: string;
  /** Flat list of names and values. `host`, `connection` and `transfer-encoding` are for the client to say. */
  headers: readonly string[];
  /** A stream is sent with the `content-length` given in the headers, which it must keep to, or else chunked. */
  body: Buffer | StreamedBody | null;
  headersTimeoutMs: number;
  /** Not on a connection that was used before. */
  fresh?: boolean;
};

/** Receives an answer piece by piece. After `onComplete` or `onError`, one of which is called once, it hears no more. */
export type AnswerHandler = {
  /** The request is about to be written. `abort` ends the call, which is reported as an error, and its connection. */
  onConnect(abort: (error?: Error) => void): void;
  /**
   * Also called for informational answers (1xx), before the final one. Headers are a flat list of names and values, as sent,
   * in Latin-1. `resume` goes on after an `onData` that returned false.
   */
  onHeaders(status: number, headers: string[], resume: () => void): void;
  /** Part of the body; the bytes stay as they are. False: no more for now. What was read already still comes. */
  onData(chunk: Buffer): boolean;
  /** The answer is whole. */
  onComplete(trailers: string[]): void;
  onError(error: Error): void;
};

/** Bodies of up to this many bytes are written as text with the head: one plain write costs half of a gathered one. */
const textBytes = 8 * 1024;

/** One request and who hears its answer. */
export class Exchange {
  /** What is written first: the head, and a short body. */
  readonly text: string;
  /** What is written next. */
  readonly rest: Buffer | undefined;
  /** What is then sent as it comes. */
  readonly upload: Upload | undefined;
  readonly isHead: boolean;
  /** Its connection may be used again afterwards. */
  readonly keeps: boolean;
  readonly headersTimeoutMs: number;
  readonly fresh: boolean;
  /** When it began to wait for a connection, in ticks of the pool. */
  waitsSince = 0;

  /** @throws InvalidRequest for what cannot be written as a request */
  constructor(request: HttpRequest, host: string, readonly handler: AnswerHandler) {
    const { body } = request;
    const { text, length, keeps } = requestHead(request, host);
    this.keeps = keeps;
    this.isHead = request.method === 'HEAD';
    this.headersTimeoutMs = request.headersTimeoutMs;
    this.fresh = request.fresh === true;
    if (body === null || body instanceof Uint8Array) {
      const inText = body !== null && body.length <= textBytes;
      this.text = inText ? text + body.toString('latin1') : text;
      this.rest = body === null || inText ? undefined : body;
    } else {
      this.text = text;
      this.upload = new Upload(body, length);
    }
  }
}
