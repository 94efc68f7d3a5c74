import { createHash, hash } from 'node:crypto';
import { Problem } from '../errors.js';
import { BoundedBody } from './request-body.js';
import type { IdempotencyStore, StoredWrite } from './idempotency-store.js';

/** What is kept of an answer; a larger one passes, but cannot be replayed. */
const maxAnswerBytes = 1024 * 1024;
const heartbeatMs = 5_000;

/** A write that carries an Idempotency-Key, as the caller sent it: what it resolves to may change with the catalogue. */
export type Write = {
  owner: string;
  key: string;
  method: string;
  connectionId: string;
  target: string;
  actionId: string | undefined;
  contentType: string | undefined;
  /** The `x-upstream-*` headers, as lines in an order of their own. */
  explicitHeaders: readonly string[];
  body: Buffer | BoundedBody | null;
};

/** Follows a write that is being sent, and keeps its answer. */
export type Recorder = {
  head(status: number, headers: readonly string[]): void;
  chunk(chunk: Buffer): void;
  /** Resolves when the answer is kept, or could not be. */
  end(): Promise<void>;
  /** There is no answer to keep. `sent`: whether the write may have taken place. */
  abandon(sent: boolean): Promise<void>;
};

/** The first answer, given again. */
export type Replay = { status: number; headers: string[]; body: Buffer };

/**
 * Writes exactly once (Idempotency-Key on POST and PATCH). `begin` says how a write goes on: send it and let the recorder
 * follow, or answer with the first one's answer. Throws 422 `idempotency_key_reused` when the key came with another
 * request, 409 `idempotency_in_progress` while the first is running, 409 `idempotency_outcome_unknown` when nobody knows
 * whether it took place, and 409 `idempotency_answer_not_kept` when its answer was too large, or came before all of its
 * body had been sent, which then cannot be compared with the new one.
 */
export type Idempotency = { begin(write: Write): Promise<{ recorder: Recorder } | { replay: Replay }>; close(): Promise<void> };

/** @param failed told when the database could not be written to; the row's lease then ends and its outcome counts as unknown */
export function createIdempotency(store: IdempotencyStore, failed: (error: unknown) => void): Idempotency {
  const running = new Set<string>();
  const settling = new Set<Promise<void>>();
  const settle = (claim: string, work: Promise<void>): Promise<void> => {
    const settled = work.catch(failed).finally(() => {
      running.delete(claim);
      settling.delete(settled);
    });
    settling.add(settled);
    return settled;
  };
  const heartbeat = setInterval(() => {
    if (running.size > 0) store.extend([...running]).catch(failed);
  }, heartbeatMs);
  heartbeat.unref();

  const record = (claim: string, digest: () => string | undefined): Recorder => {
    let status = 0;
    let headers: readonly string[] = [];
    let chunks: Buffer[] = [];
    let bytes = 0;
    running.add(claim);
    return {
      head(code, list) {
        status = code;
        headers = [...list];
      },
      chunk(chunk) {
        bytes += chunk.length;
        if (bytes <= maxAnswerBytes) chunks.push(chunk);
        else chunks = [];
      },
      end: () => settle(claim, store.answered(claim, {
        status, headers, body: bytes <= maxAnswerBytes ? Buffer.concat(chunks) : undefined, bodyDigest: digest(),
      })),
      abandon: (sent) => settle(claim, sent ? store.unknown(claim) : store.release(claim)),
    };
  };

  return {
    async begin(write) {
      const fingerprint = fingerprintOf(write);
      const found = await store.claim(write.owner, write.key, fingerprint);
      if ('claim' in found) return { recorder: record(found.claim, digestOf(write.body)) };
      const { existing, leaseOver } = found;
      if (existing.fingerprint !== fingerprint) throw reused();
      if (existing.state === 'running' && !leaseOver) {
        throw new Problem('idempotency_in_progress', 'The first request with this key is still running.', { headers: { 'retry-after': '1' } });
      }
      if (existing.state !== 'answered') {
        throw new Problem('idempotency_outcome_unknown', 'The first request with this key was sent, but its answer is not known: look at the provider, then use a new key.');
      }
      return { replay: await replay(existing, write.body) };
    },
    async close() {
      clearInterval(heartbeat);
      await Promise.all(settling);
    },
  };
}

async function replay(existing: StoredWrite, body: Buffer | BoundedBody | null): Promise<Replay> {
  if (existing.bodyDigest === null) throw notKept(existing, 'before all of its body had been sent, so that the two cannot be compared');
  const digest = digestOf(body);
  if (body instanceof BoundedBody) for await (const _chunk of body) { /* read for its digest */ }
  if (existing.bodyDigest !== digest()) throw reused();
  if (existing.body === null) throw notKept(existing, 'with more than is kept');
  return { status: existing.status!, headers: existing.headers as string[], body: Buffer.from(existing.body) };
}

function fingerprintOf({ method, connectionId, target, actionId = '', contentType = '', explicitHeaders }: Write): string {
  return hash('sha256', [method, connectionId, target, actionId, contentType, ...explicitHeaders].join('\n'));
}

/** A function that gives the digest of a body once it has been read, which is somebody else's doing; undefined before. */
function digestOf(body: Buffer | BoundedBody | null): () => string | undefined {
  if (!(body instanceof BoundedBody)) {
    const digest = hash('sha256', body ?? '');
    return () => digest;
  }
  const sum = createHash('sha256');
  body.observe = (chunk) => void sum.update(chunk);
  return () => (body.readableEnded ? sum.digest('hex') : undefined);
}

function notKept({ status }: StoredWrite, how: string): Problem {
  return new Problem('idempotency_answer_not_kept', `The first request with this key was answered ${status}, ${how}: look at the provider, then use a new key.`);
}

function reused(): Problem {
  return new Problem('idempotency_key_reused', 'This Idempotency-Key came with another request before: another method, path, connection, action, content type, x-upstream header or body.', {
    errors: [{ field: 'header.idempotency-key', message: 'belongs to another request' }],
  });
}
