import { InvalidRequest } from './errors.js';
import type { HttpRequest } from './exchange.js';
import { fieldName, isFieldValue } from './fields.js';

/** Methods whose requests are expected to have content, so that a length is said even for none (RFC 9110 §8.6). */
const withContent = new Set(['POST', 'PUT', 'PATCH', 'QUERY', 'PROPFIND', 'PROPPATCH']);
/** An origin-form target (RFC 9112 §3.2.1) without what could end the request line. */
const target = /^\/[\x21-\x7e\x80-\xff]*$/;

/** A head as text, up to and with the empty line; the length that it says the body has; whether it lets the connection be kept. */
export type RequestHead = Readonly<{ text: string; length: number | undefined; keeps: boolean }>;

/**
 * The head of a request (RFC 9112 §3). It asks to keep only connections that are sure to be in a known state afterwards: after
 * HEAD, and after content with a method that expects none, those of some servers are not.
 *
 * @throws InvalidRequest for anything that would break out of its place: CR, LF and NUL, spaces in the
 *   target, characters beyond Latin-1, names that are no tokens, headers that frame the request, and a length that is not the body's
 */
export function requestHead({ method, path, headers, body }: HttpRequest, host: string): RequestHead {
  if (fieldName(method) === undefined || method === 'CONNECT') throw invalid('method');
  if (!target.test(path)) throw invalid('target');
  const expected = withContent.has(method);
  const keeps = method !== 'HEAD' && (body === null || expected);
  let text = `${method} ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: ${keeps ? 'keep-alive' : 'close'}\r\n`;
  let length: number | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    const name = fieldName(headers[i]!);
    const value = headers[i + 1]!;
    if (name === undefined) throw invalid('header name');
    if (!isFieldValue(value)) throw invalid('header value');
    if (name.kind === 'length') {
      if (length !== undefined || !/^\d{1,15}$/.test(value)) throw invalid('content-length');
      length = Number(value);
    } else if (name.kind === 'coding' || name.kind === 'connection' || name.kind === 'host') {
      throw invalid('framing');
    } else {
      text += `${name.text}: ${value}\r\n`;
    }
  }
  return { text: `${text}${framing(body, length, expected)}\r\n`, length, keeps };
}

function framing(body: HttpRequest['body'], length: number | undefined, expected: boolean): string {
  const size = body === null ? 0 : body instanceof Uint8Array ? body.length : undefined;
  if (size === undefined) return length === undefined ? 'transfer-encoding: chunked\r\n' : `content-length: ${length}\r\n`;
  if (length !== undefined && length !== size) throw invalid('content-length');
  return size > 0 || expected ? `content-length: ${size}\r\n` : '';
}

function invalid(what: string): InvalidRequest {
  return new InvalidRequest(`a request with this ${what} cannot be sent`);
}
