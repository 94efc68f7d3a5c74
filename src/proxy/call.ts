import type { FastifyReply, FastifyRequest } from 'fastify';
import { identityName } from '../auth/identity.js';
import type { Connection } from '../connections/store.js';
import { Problem } from '../errors.js';
import type { Admission, Slot } from './admission.js';
import { customHeaders } from './custom-body.js';
import { explain, wantsExplanation } from './explain.js';
import { type GuardedBody, guardBody } from './guard-body.js';
import type { Idempotency, Replay } from './idempotency.js';
import type { ProxyMetrics } from './metrics.js';
import { providerTarget } from './path.js';
import { actionId, type Plan, planCall, type PlanDependencies } from './plan.js';
import { secretsOfCall } from './quoted-secrets.js';
import { Relay, type RelayCall, type RelayDependencies } from './relay.js';
import { BoundedBody, type RequestBody, takeBody } from './request-body.js';
import { explicitHeaders, requestHeaders } from './request-headers.js';
import { responseHead } from './response-headers.js';
import { Silence } from './silence.js';

/** What serving a proxied call takes. */
export type ProxyDependencies = PlanDependencies & Omit<RelayDependencies, 'metrics'> & {
  admission: Admission;
  metrics: ProxyMetrics;
  idempotency: Idempotency;
  maxBodyBytes: number;
  /** How long a call may last, from being let in to its answer's end; undefined: for ever. */
  maxDurationMs: number | undefined;
  /** Rejects with 401 `unauthorized` when the request's credential is no longer live. */
  confirm(request: FastifyRequest): Promise<void>;
  /** Counts a call on its connection's owner where the request named no identity; absent while calls are not limited. */
  limitOwner: ((request: FastifyRequest, reply: FastifyReply, owner: Connection) => Promise<void>) | undefined;
  /** The secret that the upstream knows us by: no answer may quote it. */
  upstreamSecret: string;
  /** Told which connection a call used. */
  noteUse(connectionId: string): void;
};

/** A small body that comes later than this finds its credential checked again: a revocation takes effect within a second. */
const promptMs = 1_000;

/** Serves one proxied request: plans it, forwards, streams the answer. Every failure is answered; nothing is thrown. */
export function proxyCall(dependencies: ProxyDependencies, request: FastifyRequest, reply: FastifyReply): void {
  let slot: Slot | undefined;
  let limit: Silence | undefined;
  let platform: string | undefined;
  let explained = false;
  let replayed = false;
  let body: RequestBody['content'] = null;
  const relay = new Relay(dependencies, request, reply, ended);
  try {
    const plan = planCall(dependencies, request);
    if (!(plan instanceof Promise)) return enter(plan);
    plan.then(enter).catch((error: unknown) => relay.fail(error));
  } catch (error) {
    relay.fail(error);
  }

  function ended(): void {
    slot?.leave();
    limit?.end();
    // Refused, nobody else may have read it.
    if (body instanceof BoundedBody) body.destroy();
    if (explained) return;
    const { attempts, outcome, ownMs } = relay;
    dependencies.metrics.record({ platform, method: request.method, outcome, attempts, upstreamMs: request.upstreamMs, ownMs, replayed });
  }

  function enter(plan: Plan): void {
    const { limitOwner } = dependencies;
    if (limitOwner === undefined || request.identity !== undefined) return follow(plan);
    limitOwner(request, reply, plan.connection).then(() => follow(plan)).catch((error: unknown) => relay.fail(error));
  }

  function follow({ connection, target, resolution }: Plan): void {
    if (relay.over) return;
    relay.planned();
    platform = connection.platform;
    const { passthrough, admission, idempotency, maxBodyBytes, maxDurationMs, timeoutMs, noteUse, confirm, upstreamSecret } = dependencies;
    const key = idempotencyKey(request);
    const owner = ownerOf(connection);
    const callOf = (headers: string[], body: RequestBody['content']): RelayCall => ({
      owner, platform: connection.platform, secrets: secretsOf(connection, upstreamSecret), connectionId: connection.id,
      method: request.method, target, headers, connectionKey: connection.key, actionId: resolution.match?.action.id, body,
      trace: request.trace,
    });
    const headers = requestHeaders(request.raw.rawHeaders);
    const custom = resolution.match?.action.custom;
    if (wantsExplanation(request)) {
      const upstream = passthrough.describe(callOf(custom ? customHeaders(headers) : headers, null));
      explained = true;
      relay.leave();
      return explain(reply, { connection, target, resolution }, upstream);
    }
    slot = admission.enter(owner, connection.platform);
    if (maxDurationMs !== undefined) limit = new Silence(maxDurationMs, () => relay.expire());
    noteUse(connection.id);
    const forward = (guarded: GuardedBody): void => {
      const { content, length, original } = guarded;
      body = content;
      if (length !== undefined && content !== null && !Buffer.isBuffer(content)) guarded.headers.push('content-length', String(length));
      if (key === undefined) return relay.send(callOf(guarded.headers, content));
      const write = {
        owner, key, method: request.method, connectionId: connection.id, target: providerTarget(request.originalUrl), actionId: actionId(request),
        contentType: request.headers['content-type'], explicitHeaders: explicitHeaders(request.raw.rawHeaders), body: original,
      };
      const began = reply.elapsedTime;
      idempotency.begin(write).then((found) => {
        relay.ownMs += reply.elapsedTime - began;
        if ('recorder' in found) return relay.send(callOf(guarded.headers, content), found.recorder);
        replayed = true;
        relay.leave();
        replayAnswer(reply, found.replay, relay);
      }).catch(fail);
    };
    const confirmed = (guarded: GuardedBody): void => {
      if (!Buffer.isBuffer(guarded.content) || reply.elapsedTime < promptMs) return forward(guarded);
      confirm(request).then(() => forward(guarded)).catch(fail);
    };
    takeBody(request.raw, { maxBytes: maxBodyBytes, silenceMs: timeoutMs }, (taken) => {
      body = taken.content;
      try {
        const guarded = guardBody(taken, { method: request.method, target, headers, connection, custom });
        if (guarded instanceof Promise) guarded.then(confirmed).catch(fail);
        else confirmed(guarded);
      } catch (error) {
        fail(error);
      }
    }, fail);
  }

  function fail(error: unknown): void {
    relay.fail(error);
  }
}

const owners = new WeakMap<Connection, string>();

/** Whose a connection is, in one word; made once for each connection in memory. */
function ownerOf(connection: Connection): string {
  let owner = owners.get(connection);
  if (owner === undefined) owners.set(connection, owner = identityName(connection));
  return owner;
}

const secrets = new WeakMap<Connection, readonly string[]>();

/** What no answer over a connection may quote; made once for each connection in memory. */
function secretsOf(connection: Connection, upstreamSecret: string): readonly string[] {
  let found = secrets.get(connection);
  if (found === undefined) secrets.set(connection, found = secretsOfCall(upstreamSecret, connection.key));
  return found;
}

function idempotencyKey(request: FastifyRequest): string | undefined {
  const key = request.headers['idempotency-key'];
  if (key === undefined || (request.method !== 'POST' && request.method !== 'PATCH')) return undefined;
  if (typeof key === 'string' && /^[\x20-\x7e]{1,255}$/.test(key)) return key;
  throw new Problem('invalid_request', 'Idempotency-Key must have 1–255 printable ASCII characters.', {
    errors: [{ field: 'header.idempotency-key', message: 'must have 1–255 printable ASCII characters' }],
  });
}

function replayAnswer(reply: FastifyReply, { status, headers, body }: Replay, relay: Relay): void {
  reply.hijack();
  // Translated again: it may have been stored by a version that knew fewer rules.
  reply.raw.writeHead(status, [...relay.withOwn(responseHead(status, headers).headers), 'idempotency-replayed', 'true']);
  reply.raw.end(body);
}
