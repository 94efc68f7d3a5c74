import type { FastifyRequest } from 'fastify';
import { Problem } from '../errors.js';
import { isBrowserCredential, type Principal } from './principal.js';

type Headers = FastifyRequest['headers'];

/**
 * Whether a browser sent this request: browsers add `Origin` (Fetch §3.2) to every cross-origin request, and
 * `Sec-Fetch-Site` (Fetch Metadata §2.3) to the others; scripts in a page can set neither. (`Sec-Fetch-Mode` tells nothing:
 * Node's own fetch sends it.)
 */
export function isFromBrowser(headers: Headers): boolean {
  return headers.origin !== undefined || headers['sec-fetch-site'] !== undefined;
}

/** Whether what a request says was chosen by a browser: by where it comes from, or by the credential it carries. */
export function isBrowsersWord(principal: Principal, headers: Headers): boolean {
  return isBrowserCredential(principal) || isFromBrowser(headers);
}

/**
 * 403 `origin_not_allowed` unless the credential may be used from where the request comes from. A request without an
 * origin passes only as a page's read of its own server, for which browsers send none.
 */
export function checkOrigin({ allowedOrigins }: Principal, headers: Headers): void {
  if (allowedOrigins.length === 0) return;
  const { origin, host } = headers;
  const sameOrigin = origin === undefined && headers['sec-fetch-site'] === 'same-origin';
  const allowed = sameOrigin ? allowedOrigins.some((some) => new URL(some).host === host) : origin !== undefined && allowedOrigins.includes(origin);
  if (!allowed) throw new Problem('origin_not_allowed', 'This credential is for other origins than the one the request comes from.');
}
