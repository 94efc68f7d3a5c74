import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';
import { Problem } from '../errors.js';

const staleMs = 5 * 60_000;
const timeoutMs = 5_000;
// Once the provider has failed, known keys are not held up by asking it again with every call.
const failedMs = 30_000;
const maxBytes = 1024 * 1024;
// Unknown key ids make us ask again, so whoever makes some up could make us ask without end: this many at once, then slowly.
const burst = 5;
const refillMs = 2_000;
// A key id that the provider did not have a moment ago is not asked for again: a client may go on with a withdrawn key's token.
const absentMs = 5_000;
const maxAbsent = 1_000;

/**
 * The identity provider's public keys (RFC 7517), found by the `kid` of a token. An unknown one is looked for at the
 * provider, so that a rotation needs no restart; what is older than a few minutes is renewed first, so that a withdrawn key stops.
 * While the provider is away, known keys go on working, and unknown ones are 503 `identity_provider_unavailable`.
 */
export function createKeySet(url: string, now: () => number = Date.now): JWTVerifyGetKey {
  let known: { find: JWTVerifyGetKey; fetchedAt: number } | undefined;
  let loading: Promise<void> | undefined;
  let failedAt = -Infinity;
  let budget = burst;
  let refilledAt = now();
  const absent = new Map<string | undefined, number>();

  const load = (): Promise<void> => {
    loading ??= fetchKeys(url)
      .then((keys) => void (known = { find: createLocalJWKSet(keys), fetchedAt: now() }))
      .catch((error: unknown) => {
        failedAt = now();
        throw error;
      })
      .finally(() => (loading = undefined));
    return loading;
  };

  const mayAsk = (): boolean => {
    const refills = Math.floor((now() - refilledAt) / refillMs);
    budget = Math.min(burst, budget + refills);
    refilledAt += refills * refillMs;
    if (loading) return true;
    if (budget === 0) return false;
    budget -= 1;
    return true;
  };

  return async (header, token) => {
    if (known) {
      // Its failure costs nothing: the known keys go on.
      if (now() - known.fetchedAt > staleMs && now() - failedAt > failedMs) await load().catch(() => {});
      try {
        return await known.find(header, token);
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey) || now() - (absent.get(header.kid) ?? -Infinity) < absentMs) throw error;
      }
    }
    if (!mayAsk()) throw unavailable(undefined);
    await load().catch((cause: unknown) => {
      throw unavailable(cause);
    });
    try {
      return await known!.find(header, token);
    } catch (error) {
      if (absent.size >= maxAbsent) absent.clear();
      absent.set(header.kid, now());
      throw error;
    }
  };
}

async function fetchKeys(url: string): Promise<JSONWebKeySet> {
  const answer = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(timeoutMs), headers: { accept: 'application/json' } });
  if (!answer.ok) {
    await answer.body?.cancel();
    throw new Error(`AUTH_JWKS_URL answered with status ${answer.status}`);
  }
  return JSON.parse(await readText(answer)) as JSONWebKeySet;
}

/** Reads a body as far as it may be a key set; leaving the loop closes its connection. */
async function readText(answer: Response): Promise<string> {
  if (!answer.body) return '';
  // Node's types of fetch lack it, the stream has it.
  const body = answer.body as unknown as AsyncIterable<Uint8Array>;
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new Error('AUTH_JWKS_URL answered with more than a key set');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function unavailable(cause: unknown): Problem {
  return new Problem('identity_provider_unavailable', 'The keys of the identity provider cannot be had right now.', { cause, headers: { 'retry-after': '2' } });
}
