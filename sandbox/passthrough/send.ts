import type { ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { HeaderPrefix } from '../errors.js';
import type { ProviderAnswer } from './provider.js';

/** How an answer is sent. */
export interface SendOptions {
  prefix: HeaderPrefix;
  /** Headers of the simulated API itself: the rate limit. */
  own: Record<string, number | string | string[] | undefined>;
  /** The answer to a HEAD. */
  bodiless: boolean;
}

/**
 * Writes a provider's answer as the open-source server does: every header `h` as `x-pica-passthrough-h`, only `content-length` under its
 * own name, and a content type that says nothing. Resolves when the body is out or the caller has gone.
 */
export async function sendAnswer(response: ServerResponse, answer: ProviderAnswer, { prefix, own, bodiless }: SendOptions): Promise<void> {
  const { status, headers, body } = answer;
  const lines: string[] = [];
  for (const [name, value] of Object.entries(own)) lines.push(name, String(value));
  for (const [name, value] of headers) {
    lines.push(name === 'content-length' ? name : `x-${prefix}-passthrough-${name}`, value);
  }
  const empty = status === 204 || status === 304;
  if (Buffer.isBuffer(body) && !empty) lines.push('content-length', String(body.length));
  lines.push('content-type', 'application/octet-stream');
  response.writeHead(status, lines);
  response.flushHeaders();
  if (Buffer.isBuffer(body)) {
    response.end(bodiless || empty ? undefined : body);
  } else if (bodiless) {
    body.destroy();
    response.end();
  } else {
    // A caller that hangs up mid-stream is no failure of ours; recordings show it as aborted.
    await pipeline(body, response).catch(() => undefined);
  }
}
