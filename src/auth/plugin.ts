import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify';
import fp from 'fastify-plugin';
import { Problem } from '../errors.js';
import { hasBody } from '../json-bodies.js';
import { type Authenticator, unauthorized } from './authenticator.js';
import { checkOrigin } from './browser.js';
import { type Identity, resolveIdentity } from './identity.js';
import { createOpenStreams, type OnRevoked } from './open-streams.js';
import { isBrowserCredential, type Principal } from './principal.js';
import { refuseRepeated } from './repeated-headers.js';
import { opens, type Scope } from './scopes.js';

/**
 * What a route asks of its caller: a scope, or nothing. Every route declares one; a route without it stops the boot.
 * `sessions`: AuthKit sessions and the identity provider's JWTs, which carry no scope, may use it too.
 */
export type Access = 'public' | { scope: Scope; sessions?: true };

declare module 'fastify' {
  interface FastifyInstance {
    /** Calls `end` once the request's credential is no longer live, for what goes on longer than a moment; the returned function stops watching. */
    watchCredential(request: Pick<FastifyRequest, 'headers'>, end: OnRevoked): () => void;
  }
  interface FastifyContextConfig {
    access?: Access;
  }
  interface FastifyRequest {
    /** Set on every route that asks for a scope. */
    principal: Principal | null;
    /** Whom the credential or the headers name, on those routes; a body may name the identity too (see resolveIdentity). */
    identity: Identity | undefined;
  }
}

/** Whether a route's declared access asks for `scope`. */
export function asks(access: Access | undefined, scope: Scope): boolean {
  return typeof access === 'object' && access.scope === scope;
}

/** The caller of a route that asks for a scope. */
export function principalOf(request: FastifyRequest): Principal {
  if (!request.principal) throw new Error(`${request.route} reads a principal but declares no scope`);
  return request.principal;
}

/** The caller, narrowed to the identity that the request names: an unbound key that acts as somebody reaches no further than they do. */
export function actorOf(request: FastifyRequest): Principal {
  return { ...principalOf(request), identity: request.identity };
}

/**
 * Enforces each route's declared access, and writes the same declaration into its OpenAPI schema, so that the two cannot
 * drift. Unknown, expired and revoked keys answer the same 401; a missing scope 403 `insufficient_scope`. Where a body came
 * the credential must also be live when all of it has arrived.
 */
export const authPlugin = fp<{ authenticator: Authenticator; noteUse: (keyId: string) => void }>(async (app, { authenticator, noteUse }) => {
  const streams = createOpenStreams(authenticator);
  app.decorate('watchCredential', (request, end) => streams.watch(credentialOf(request), end));
  app.addHook('onClose', async () => streams.close());
  app.decorateRequest('principal', null);
  app.decorateRequest('identity', undefined);
  app.addHook('onRoute', declareAccess);
  // Not an async function: a credential that is known already costs the proxy no promise.
  app.addHook('onRequest', (request, _reply, done) => {
    const { access } = request.endpoint;
    let found: Principal | Promise<Principal>;
    try {
      refuseKeyInQuery(request, access, authenticator);
      if (access === undefined || access === 'public') return done();
      refuseRepeated(request.raw.rawHeaders);
      if (access.scope !== 'proxy') refuseUnreadableQuery(request.url);
      found = authenticator.authenticate(credentialOf(request), request);
      if (!(found instanceof Promise)) enter(request, access, found);
    } catch (error) {
      return done(error as Error);
    }
    if (found instanceof Promise) found.then((principal) => enter(request, access, principal)).then(() => done(), done);
    else done();
  });

  // A sender may let its body wait for as long as it likes to act with what was revoked meanwhile.
  app.addHook('preValidation', async (request) => {
    if (request.principal && hasBody(request.raw)) await authenticator.authenticate(credentialOf(request), request);
  });

  function enter(request: FastifyRequest, access: Exclude<Access, string>, principal: Principal): void {
    request.principal = principal;
    if (principal.kind === 'api-key') noteUse(principal.id);
    if (isBrowserCredential(principal)) {
      if (request.headers['x-api-key'] !== undefined) throw unauthorized('Only API keys are sent as x-api-key.');
      if (!access.sessions) throw new Problem('insufficient_scope', 'This route is not for browser sessions; it needs an API key.');
    } else if (!opens(principal.scopes, access.scope, (request.params as { platform?: string } | undefined)?.platform)) {
      throw new Problem('insufficient_scope', `This route needs the scope ${access.scope}.`);
    }
    checkOrigin(principal, request.headers);
    // Malformed or contradicting identity headers are refused on every route, also where no identity is needed.
    request.identity = resolveIdentity(principal, request.headers);
  }
}, { name: 'auth', dependencies: ['request-log'] });

/** The credential a request presents: `x-api-key` or `Authorization: Bearer`; both only when they are the same. */
export function credentialOf(request: Pick<FastifyRequest, 'headers'>): string {
  const apiKey = request.headers['x-api-key'];
  const bearer = /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '')?.[1];
  if (typeof apiKey === 'string' && bearer !== undefined && bearer !== apiKey) throw unauthorized('Two different credentials were sent.');
  const credential = typeof apiKey === 'string' ? apiKey : bearer;
  if (!credential) throw unauthorized('Send a key as x-api-key or Authorization: Bearer.');
  return credential;
}

function declareAccess(this: FastifyInstance, route: RouteOptions): void {
  const access = route.config?.access;
  if (access === undefined) throw new Error(`${String(route.method)} ${route.url} declares no access`);
  if (access === 'public') {
    route.schema = { ...route.schema, security: [] };
    return;
  }
  const { scope, sessions } = access;
  const security: Record<string, string[]>[] = [{ apiKey: [scope] }, { bearer: [scope] }, ...(sessions ? [{ session: [] }] : [])];
  route.schema = { ...route.schema, security, 'x-scope': scope } as typeof route.schema;
}

/** 400 for a query of ours that has two readings: percent-encoded bytes that are no UTF-8, or a stray `%`, which parsers leave as they are. */
function refuseUnreadableQuery(url: string): void {
  const query = url.indexOf('?');
  if (query < 0) return;
  try {
    decodeURIComponent(url.slice(query));
  } catch {
    throw new Problem('invalid_request', 'The query is not percent-encoded UTF-8.', { errors: [{ field: 'query', message: 'is not percent-encoded UTF-8' }] });
  }
}

const credentialNames = /[?&](?:x-)?(?:api[-_]?key|authkit[-_]?key|access[-_]?token)=/i;

function refuseKeyInQuery(request: FastifyRequest, access: Access | undefined, authenticator: Authenticator): void {
  const query = request.url.indexOf('?');
  if (query < 0) return;
  const text = request.url.slice(query);
  // A provider's own parameters pass through the proxy under any name; only our credentials never do.
  const proxied = asks(access, 'proxy');
  if (authenticator.mentionsCredential(text) || (!proxied && credentialNames.test(text))) {
    throw new Problem('key_in_query', 'A query string ends up in logs and histories: send the key as x-api-key or Authorization: Bearer.');
  }
}
