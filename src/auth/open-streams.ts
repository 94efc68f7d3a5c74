import { Problem } from '../errors.js';
import type { Authenticator } from './authenticator.js';

/** Told that the credential of a stream is no longer live, with the 401 that a new request would get. */
export type OnRevoked = (problem: Problem) => void;

/** Answers and uploads that go on while their credential may be revoked, rotated away, ended or expire. */
export type OpenStreams = {
  /** Calls `end` once `credential` is no longer live; the returned function stops watching. */
  watch(credential: string, end: OnRevoked): () => void;
  close(): void;
};

const everyMs = 1_000;

/**
 * Asks for each credential with open streams once a second whether it is live: from memory for keys, which forget what was
 * revoked on any replica. While that cannot be found out the streams go on.
 */
export function createOpenStreams(authenticator: Pick<Authenticator, 'authenticate'>, intervalMs = everyMs): OpenStreams {
  const streams = new Map<string, Set<OnRevoked>>();
  let timer: NodeJS.Timeout | undefined;

  const check = async (credential: string, ends: Set<OnRevoked>): Promise<void> => {
    try {
      await authenticator.authenticate(credential);
    } catch (error) {
      if (error instanceof Problem && error.code === 'unauthorized') for (const end of [...ends]) end(error);
    }
  };
  const checkAll = (): void => {
    for (const [credential, ends] of streams) void check(credential, ends);
  };
  const stop = (): void => {
    clearInterval(timer);
    timer = undefined;
  };

  return {
    watch(credential, end) {
      let ends = streams.get(credential);
      if (!ends) streams.set(credential, ends = new Set());
      const watched = ends.add(end);
      timer ??= setInterval(checkAll, intervalMs).unref();
      return () => {
        watched.delete(end);
        if (watched.size === 0 && streams.get(credential) === watched) streams.delete(credential);
        if (streams.size === 0) stop();
      };
    },
    close: stop,
  };
}
