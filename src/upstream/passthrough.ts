import type { RequestTrace } from '../observability/trace.js';
import { connectionKeyHeader } from './connection-key.js';
import { type FailureKind, HttpError, InvalidRequest } from './http/errors.js';
import type { AnswerHandler } from './http/exchange.js';
import { Pool } from './http/pool.js';
import type { StreamedBody } from './http/upload.js';

export { HttpError, InvalidRequest };
export type { AnswerHandler, FailureKind };

/** Where the upstream is, and how it is spoken to. */
export type PassthroughOptions = {
  /** Root of the upstream, without a trailing slash. */
  baseUrl: string;
  secretKey: string;
  headerPrefix: 'x-pica' | 'x-one';
  /** Time to connect, to response headers, and between body chunks, in milliseconds. */
  timeoutMs: number;
  /** Sockets at most; as many as calls may be in flight, so that none waits for another's. */
  connections: number;
};

/**
 * A caller that takes nothing for so long holds its sockets for no good. The system tells of what it took in steps as large as
 * its buffers, megabytes at times: a reader of 64 KiB/s seems to stand still for most of a minute.
 */
const unreadMs = 120_000;

/** One call through the upstream to a provider. */
export type PassthroughCall = {
  method: string;
  /** What follows `/v1/passthrough`, byte for byte, query included. */
  target: string;
  /** Flat list of names and values; credentials are added here. */
  headers: readonly string[];
  connectionKey: string;
  actionId: string | undefined;
  body: Buffer | StreamedBody | null;
  /** The trace that the call belongs to; undefined without a collector. */
  trace?: RequestTrace | undefined;
};

/** What is special about a call that is sent again: the time that is left to headers, and whether to trust no connection used before. */
export type Again = { headersTimeoutMs: number; fresh: boolean };

/** The way to providers: `/v1/passthrough` of the upstream, on a pool of sockets of its own (upstream.md, "Passthrough"). */
export type Passthrough = {
  send(call: PassthroughCall, handler: AnswerHandler, again?: Again): void;
  /** What `send` would put on the wire, secrets included. */
  describe(call: Omit<PassthroughCall, 'body'>): { path: string; headers: string[] };
  close(): Promise<void>;
};

/** A passthrough with sockets of its own. */
export function createPassthrough({ baseUrl, secretKey, headerPrefix, timeoutMs, connections }: PassthroughOptions): Passthrough {
  const { origin, pathname } = new URL(baseUrl);
  const root = `${pathname.replace(/\/+$/, '')}/v1/passthrough`;
  const secretName = `${headerPrefix}-secret`;
  const keyName = `${headerPrefix}-connection-key`;
  const actionName = `${headerPrefix}-action-id`;
  const withCredentials = ({ headers, connectionKey, actionId }: Omit<PassthroughCall, 'body'>): string[] => {
    const all = [...headers, secretName, secretKey, keyName, connectionKeyHeader(connectionKey)];
    if (actionId !== undefined) all.push(actionName, actionId);
    return all;
  };
  const pool = new Pool(origin, { connections, connectTimeoutMs: timeoutMs, bodyTimeoutMs: timeoutMs, unreadTimeoutMs: Math.max(timeoutMs, unreadMs) });
  const first: Again = { headersTimeoutMs: timeoutMs, fresh: false };

  return {
    send(call, handler, again = first) {
      pool.send({ method: call.method, path: root + call.target, headers: withCredentials(call), body: call.body, ...again }, handler);
    },
    describe: (call) => ({ path: root + call.target, headers: withCredentials(call) }),
    close: async () => pool.close(),
  };
}
