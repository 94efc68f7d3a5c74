import type { IncomingMessage } from 'node:http';
import fp from 'fastify-plugin';
import { Problem } from '../errors.js';
import { hasBody } from '../json-bodies.js';
import type { Front } from './front.js';
import { headersTooLarge } from './unparsed.js';

const mostLines = 1_000;

/**
 * Refuses requests by their heads alone: too many lines, no `Host` or two (RFC 9112 §3.2), an expectation other than
 * `100-continue` (RFC 9110 §10.1.1), and everything once the gateway closes. Closing the app closes the front.
 */
export const guard = fp<{ front: Front }>(async (app, { front }) => {
  app.addHook('onRequest', (request, _reply, done) => {
    done(front.phase === 'closing' ? stopping() : faultOfHead(request.raw));
  });
  // A body that came in one piece with its head is there a moment later, and the connection can be kept.
  app.addHook('onSend', (request, _reply, payload, done) => {
    if (request.raw.complete || !hasBody(request.raw)) done(null, payload);
    else setImmediate(done, null, payload);
  });
  app.addHook('preClose', async () => front.close());
}, { name: 'guard', dependencies: ['request-log'] });

function stopping(): Problem {
  return new Problem('service_unavailable', 'This instance is stopping; send the request again.', { headers: { 'retry-after': '1' }, expected: true });
}

/** What is wrong with a request's head; undefined: nothing. */
export function faultOfHead({ rawHeaders, headers, httpVersion }: Pick<IncomingMessage, 'rawHeaders' | 'headers' | 'httpVersion'>): Problem | undefined {
  if (rawHeaders.length > 2 * mostLines) return headersTooLarge(`A request may have ${mostLines} header lines.`);
  let hosts = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (rawHeaders[i]!.length === 4 && rawHeaders[i]!.toLowerCase() === 'host') hosts += 1;
  }
  // HTTP/1.0 knows neither of them.
  const old = httpVersion === '1.0';
  if (hosts > 1 || (hosts === 0 && !old)) {
    return new Problem('invalid_request', 'A request names its host in one Host header.', {
      errors: [{ field: 'header.host', message: hosts > 1 ? 'was sent twice' : 'is required' }],
    });
  }
  if (headers.expect !== undefined && !old && !/^100-continue$/i.test(headers.expect)) {
    return new Problem('expectation_failed', 'The only expectation that can be met is 100-continue.');
  }
  return undefined;
}
