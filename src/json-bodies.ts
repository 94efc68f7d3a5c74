import type { IncomingMessage } from 'node:http';
import fp from 'fastify-plugin';
import { Problem } from './errors.js';

const utf8 = new TextDecoder('utf-8', { fatal: true });
const maxDepth = 64;
/** The largest JSON body of our own routes: what is read whole, parsed and judged must not hold the event loop. */
export const maxJsonBytes = 64 * 1024;
const deadlineMs = 30_000;

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The part of a body in which unpaired surrogates are refused; all of it unless a route ignores the rest, or mends it. */
    judgedPart?: (body: unknown) => unknown;
  }
}

/** `deadlineMs`: how long a body may take altogether, 30 seconds unless given. */
export type JsonBodyOptions = { deadlineMs?: number };

/**
 * JSON bodies, with one leniency: a request that says `application/json` and sends nothing has no body, instead of a
 * malformed one (fetch wrappers set the header on every call), and no body counts as `{}`. `__proto__` and `constructor.prototype`
 * are refused, and so are unpaired surrogates: neither UTF-8 nor the database holds them (RFC 8259 §8.2). So is what a server
 * before us may have read otherwise: a member named twice (RFC 8259 §4), and with 415 another charset or a content coding.
 * A body that is not all there by the deadline is 408 `request_timeout`.
 */
export const jsonBodies = fp<JsonBodyOptions>(async (app, options) => {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeContentTypeParser(['application/json', 'text/plain']);
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    if (body.length === 0) return done(null, undefined);
    const unread = unreadableForm(request.headers);
    if (unread) return done(new Problem('unsupported_media_type', unread));
    const text = decode(body as Buffer);
    if (text === undefined) return done(refused('is not UTF-8'));
    return parse(request, text, (error, value) => {
      if (error) return done(error);
      if (isDeeperThan(maxDepth, text, value)) return done(refused(`must not be nested deeper than ${maxDepth} levels`));
      if (membersIn(text) !== countMembers(value)) return done(refused('must not name a member twice'));
      const { judgedPart } = request.routeOptions.config;
      return done(hasUnpairedSurrogate(text, judgedPart ? judgedPart(value) : value) ? refused('must not contain unpaired surrogates') : null, value);
    });
  });
  // Not the server's own requestTimeout: that would end the proxy's long uploads, which are never parsed and do not come here.
  app.addHook('preParsing', (request, _reply, payload, done) => {
    if (!hasBody(request.raw)) return done(null, payload);
    const timer = setTimeout(() => payload.emit('error', late()), options.deadlineMs ?? deadlineMs);
    const settled = (): void => clearTimeout(timer);
    payload.on('end', settled).on('close', settled).on('error', settled);
    done(null, payload);
  });
  app.addHook('preValidation', (request, _reply, done) => {
    // No body reads as an empty object: where members are required, the answer then names them.
    if (request.body === undefined && request.routeOptions.schema?.body) request.body = {};
    done();
  });
}, { name: 'json-bodies' });

/** Whether a request has a body, by what its header says (RFC 9112 §6.3). */
export function hasBody({ headers }: Pick<IncomingMessage, 'headers'>): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

function unreadableForm(headers: IncomingMessage['headers']): string | undefined {
  const charset = /;\s*charset\s*=\s*"?([^\s;"]*)/i.exec(headers['content-type'] ?? '')?.[1];
  if (charset !== undefined && !/^(?:utf-?8|us-ascii)$/i.test(charset)) return 'JSON is UTF-8; another charset is not read.';
  const coding = headers['content-encoding'];
  return coding === undefined || coding.toLowerCase() === 'identity' ? undefined : 'This route takes bodies without a content coding.';
}

// Strings are told apart from names of members by the colon after them.
const strings = /"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?/g;

function membersIn(text: string): number {
  let names = 0;
  for (const match of text.matchAll(strings)) if (match[1] !== undefined) names += 1;
  return names;
}

function countMembers(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  let members = Array.isArray(value) ? 0 : Object.keys(value).length;
  for (const child of Object.values(value)) members += countMembers(child);
  return members;
}

function hasUnpairedSurrogate(text: string, value: unknown): boolean {
  // Only an escape can bring one in, and JSON.stringify writes it as an escape again.
  return /\\ud[89a-f]/i.test(text) && /(?<!\\)(?:\\\\)*\\ud[89a-f]/.test(JSON.stringify(value));
}

function decode(body: Buffer): string | undefined {
  try {
    // Not leniently: bytes that are no UTF-8 (RFC 8259 §8.1) would all become U+FFFD, and two identities one.
    return utf8.decode(body);
  } catch {
    return undefined;
  }
}

// What recurses over a body later (JSON.stringify, the database's own parser) has a stack that runs out.
function isDeeperThan(depth: number, text: string, value: unknown): boolean {
  if ((text.match(/[[{]/g)?.length ?? 0) <= depth) return false;
  let level = [value];
  for (let passed = 0; level.length > 0; passed += 1) {
    if (passed > depth) return true;
    level = level.flatMap((item) => (typeof item === 'object' && item !== null ? Object.values(item) : []));
  }
  return false;
}

function late(): Problem {
  return new Problem('request_timeout', 'The request body did not arrive in time.');
}

function refused(message: string): Problem {
  return new Problem('invalid_request', `The request body ${message}.`, { errors: [{ field: 'body', message }] });
}
