import { brotliDecompressSync, gunzipSync, inflateSync } from 'node:zlib';
import type { Problem } from '../errors.js';
import { isErrorBody } from '../upstream/client.js';
import { problemForStatus } from '../upstream/errors.js';
import { parseJson } from './answers.js';
import { headerValue } from './header-names.js';
import { quotes } from './quoted-secrets.js';
import type { ResponseHead } from './response-headers.js';

/** What an answer of the upstream itself may have to be read as its error document. */
const readBytes = 64 * 1024;

const plainText = /^\s*text\/plain\b/i;

/** An answer of 400 and above that no provider's header came with, while it is read: is it the upstream that speaks of itself? */
export class OwnAnswer {
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(private readonly status: number, private readonly head: ResponseHead, private readonly secrets: readonly string[]) {}

  /** Reads on; false when there is more than an error document has. */
  add(chunk: Buffer): boolean {
    this.#bytes += chunk.length;
    if (this.#bytes > readBytes) return false;
    this.#chunks.push(chunk);
    return true;
  }

  /** What was read, to be passed on. */
  chunks(): readonly Buffer[] {
    return this.#chunks;
  }

  /**
   * Whether status and type alone say that it is the upstream's: these statuses, by which it refuses or fails, and plain text,
   * which is what its web framework answers with. Such an answer may quote the request, and our secret with it.
   */
  get certain(): boolean {
    const { status, head: { contentType } } = this;
    return status === 401 || status === 402 || status === 403 || status === 429 || status >= 500 || plainText.test(contentType ?? '');
  }

  /** The problem to answer with, by what has been read; undefined for what may pass as it is. */
  problem(): Problem | undefined {
    const { status, head: { headers, contentType } } = this;
    const text = decoded(Buffer.concat(this.#chunks), headerValue(headers, 'content-encoding'));
    const body = text === undefined ? undefined : parseJson(text) ?? text;
    const untyped = contentType === undefined && typeof body === 'string' && body !== '';
    const refused = this.certain || untyped || text === undefined || isErrorBody(body) || quotes(text, this.secrets);
    return refused ? problemForStatus(status, (name) => headerValue(headers, name), body) : undefined;
  }
}

/** A body without its coding (RFC 9110 §8.4), as text; undefined when that cannot be had. */
function decoded(body: Buffer, coding: string | undefined): string | undefined {
  const options = { maxOutputLength: readBytes };
  try {
    switch (coding?.trim().toLowerCase()) {
      case undefined: case '': case 'identity': return body.toString();
      case 'gzip': case 'x-gzip': return gunzipSync(body, options).toString();
      case 'deflate': return inflateSync(body, options).toString();
      case 'br': return brotliDecompressSync(body, options).toString();
      default: return undefined;
    }
  } catch {
    return undefined;
  }
}
