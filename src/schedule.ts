import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';

/**
 * Work that repeats: `work` after every `everyMs`, and with `atOnce` before that too, until the returned function is called,
 * which waits for the last one.
 */
export function repeat(everyMs: number, work: () => Promise<unknown>, log: Pick<Logger, 'warn'>, { atOnce = false } = {}): () => Promise<void> {
  const stopping = new AbortController();
  const loop = (async () => {
    for (let first = atOnce; !stopping.signal.aborted; first = false) {
      if (!first) await sleep(everyMs, undefined, { signal: stopping.signal, ref: false }).catch(() => {});
      if (stopping.signal.aborted) return;
      await work().catch((error: unknown) => {
        if (!stopping.signal.aborted) log.warn({ err: error }, 'background work failed; it is tried again');
      });
    }
  })();
  return async () => {
    stopping.abort();
    await loop;
  };
}
