import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { ownAnswerHeaders } from '../answer-headers.js';
import { Problem, problemDocument } from '../errors.js';
import { linger } from './linger.js';

/** A refusal that no route and no hook has seen. `method` is undefined where the request could not be read. */
export type Refusal = { requestId: string; status: number; code: string; method: string | undefined };

/** What Node's parser refused, as a problem of the catalogue. */
export function problemOfParser({ code }: { code?: string }): Problem {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW': return headersTooLarge('The request line and the headers, or the trailers, may have 16 KiB together.');
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW': return new Problem('payload_too_large', 'The chunk extensions of a body may have 16 KiB.');
    case 'ERR_HTTP_REQUEST_TIMEOUT': return new Problem('request_timeout', 'The request did not arrive in time.');
    default: return new Problem('invalid_request', 'This is no HTTP/1.1 request, or a malformed one.');
  }
}

/** 431, for a head with more bytes or lines than are taken (RFC 6585 §5). */
export function headersTooLarge(detail: string): Problem {
  return new Problem('headers_too_large', detail);
}

/** Writes a problem to a socket that has no request to answer, and closes it once the client had time to read. */
export function writeProblem(socket: Socket, problem: Problem, requestId: string): void {
  const body = JSON.stringify(problemDocument(problem, requestId));
  const headers = {
    ...ownAnswerHeaders, 'content-type': 'application/problem+json', 'content-length': Buffer.byteLength(body),
    'x-authkit-error': problem.code, 'x-request-id': requestId, date: new Date().toUTCString(), ...problem.extras.headers, connection: 'close',
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('');
  socket.write(`HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\n${lines}\r\n${body}`);
  linger(socket);
}
