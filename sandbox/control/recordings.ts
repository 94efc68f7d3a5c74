import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { urlMatcher } from '../url-matcher.js';

const KEPT_BODY_BYTES = 64 * 1024;
const MAX_RECORDINGS = 1000;
const MAX_TOTAL_BODY_BYTES = 16 * 1024 * 1024;

/** What the passthrough received, as it came. */
export interface Recording {
  order: number;
  time: string;
  method: string;
  url: string;
  httpVersion: string;
  rawHeaders: [string, string][];
  /** Base64 of the first 64 KiB that arrived. */
  body: string;
  length: number;
  /** Of the whole body; null when it has not arrived completely. */
  sha256: string | null;
  /** The connection ended before the answer was out: the caller left, or a fault cut it. */
  aborted: boolean;
  status: number | null;
}

interface Entry extends Omit<Recording, 'body'> {
  chunks: Buffer[];
  kept: number;
}

/** Pairs up Node's flat raw header list. */
export function headerPairs(rawHeaders: readonly string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) pairs.push([rawHeaders[index] ?? '', rawHeaders[index + 1] ?? '']);
  return pairs;
}

/** Everything received, newest last, bounded in number and in bytes. */
export class Recordings {
  #entries: Entry[] = [];
  #bytes = 0;
  #order = 0;

  /** Starts recording a request. Call it synchronously when the request arrives, before any of its body was delivered. */
  observe(url: string, request: IncomingMessage, response: ServerResponse): void {
    const entry: Entry = {
      order: (this.#order += 1),
      time: new Date().toISOString(),
      method: request.method ?? '',
      url,
      httpVersion: request.httpVersion,
      rawHeaders: headerPairs(request.rawHeaders),
      chunks: [],
      kept: 0,
      length: 0,
      sha256: null,
      aborted: false,
      status: null,
    };
    this.#entries.push(entry);
    this.#tap(entry, request, response);
    response.once('close', () => {
      entry.aborted = !response.writableFinished;
      entry.status = response.headersSent ? response.statusCode : null;
    });
    this.#shrink();
  }

  list(path?: string): Recording[] {
    const matches = path === undefined ? () => true : urlMatcher(path);
    return this.#entries
      .filter(({ url }) => matches(url))
      .map(({ chunks, kept: _kept, ...rest }) => ({ ...rest, body: Buffer.concat(chunks).toString('base64') }));
  }

  clear(): void {
    this.#entries = [];
    this.#bytes = 0;
  }

  // A 'data' listener would start the flow before the route reads; watching push() sees the same bytes and changes nothing.
  #tap(entry: Entry, request: IncomingMessage, response: ServerResponse): void {
    const hash = createHash('sha256');
    const push = request.push.bind(request);
    request.push = (chunk: Buffer | null, encoding?: BufferEncoding) => {
      if (chunk === null) {
        // Node throws away, unseen, what is left of a body once the answer is out.
        if (!response.writableFinished) entry.sha256 = hash.digest('hex');
      } else {
        hash.update(chunk);
        entry.length += chunk.length;
        this.#keep(entry, chunk);
      }
      return push(chunk, encoding);
    };
  }

  #keep(entry: Entry, chunk: Buffer): void {
    const part = Buffer.from(chunk.subarray(0, KEPT_BODY_BYTES - entry.kept));
    if (part.length === 0) return;
    entry.chunks.push(part);
    entry.kept += part.length;
    this.#bytes += part.length;
    this.#shrink();
  }

  #shrink(): void {
    while (this.#entries.length > MAX_RECORDINGS || (this.#bytes > MAX_TOTAL_BODY_BYTES && this.#entries.length > 1)) {
      this.#bytes -= this.#entries.shift()?.kept ?? 0;
    }
  }
}
