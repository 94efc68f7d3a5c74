import { Problem } from '../errors.js';
import type { HeldLock } from '../persistence/locks.js';
import type { Vault } from '../upstream/vault.js';
import type { ProgressStore, Run } from './progress-store.js';
import type { ConnectionStore } from './store.js';
import { nowhere, summarize, walkIdentities, type WalkProgress, type WalkResult } from './walk.js';

/** What one run did; see {@link summarize}. */
export type RunSummary = ReturnType<typeof summarize>;

/** Told of every run: its outcome, how long it took, what it did since it (re)started, and what made it pause. */
export type RunObserver = (run: {
  outcome: 'finished' | 'paused' | 'stopped'; milliseconds: number; resumed: boolean; summary: RunSummary; cause?: unknown;
}) => void;

/** What a reconciler works with, and how often (milliseconds). */
export type ReconcilerOptions = {
  store: ConnectionStore;
  progress: ProgressStore;
  /** A vault whose calls keep the pace of background work and end with the signal. */
  vaultFor(signal: AbortSignal): Vault;
  /** Takes {@link reconcilerLock}, which whoever runs holds: one replica at a time. */
  tryLock(): Promise<HeldLock | undefined>;
  environment: string;
  /** 0: only by hand. */
  intervalMs: number;
  observe: RunObserver;
};

/** Keeps our connections in line with the vault. */
export type Reconciler = {
  /** Runs what is due: a walk every interval, or the rest of one that some replica left unfinished. True when it ran. */
  runDue(): Promise<boolean>;
  /**
   * Starts a walk over everything by hand; `finished` resolves with what it did and rejects with what stopped it. 409
   * `sync_in_progress` while a run is going on, here or on another replica.
   */
  start(signal: AbortSignal, onProgress: (summary: RunSummary) => void): Promise<{ finished: Promise<RunSummary> }>;
  /** Ends what is running, and waits for that. */
  stop(): Promise<void>;
};

/** The number of the lock that replicas share. */
export const reconcilerLock = 4_711_002;

const saveEveryMs = 1_000;
const pauseMs = 60_000;

/** A reconciler that runs nothing yet. */
export function createReconciler({ store, progress, vaultFor, tryLock, environment, intervalMs, observe }: ReconcilerOptions): Reconciler {
  const stopping = new AbortController();
  const running = new Set<Promise<unknown>>();
  const track = <T>(work: Promise<T>): Promise<T> => {
    running.add(work);
    void work.catch(() => {}).finally(() => running.delete(work));
    return work;
  };

  const walk = async (
    from: WalkProgress, signal: AbortSignal, resumed: boolean, onProgress: (now: WalkProgress) => void | Promise<void>,
  ): Promise<WalkResult> => {
    const started = performance.now();
    let reached = from;
    const report = (outcome: 'finished' | 'paused' | 'stopped', cause?: unknown): void => observe({
      outcome, milliseconds: Math.round(performance.now() - started), resumed, summary: summarize(difference(reached, from)), cause,
    });
    try {
      const result = await walkIdentities({
        store, vault: vaultFor(signal), environment, from, signal, onProgress: (now) => onProgress(reached = now),
      });
      report(result.pausedBy ? 'paused' : 'finished', result.pausedBy);
      return result;
    } catch (error) {
      report('stopped', error);
      throw error;
    }
  };

  const scheduled = async (saved: Run | undefined, signal: AbortSignal): Promise<void> => {
    const unfinished = saved && saved.finishedAt === null ? saved : undefined;
    const run = { startedAt: unfinished?.startedAt ?? new Date(), finishedAt: null, pausedUntil: null };
    let latest = unfinished?.progress ?? nowhere;
    let savedAt = 0;
    const save = async (): Promise<void> => {
      savedAt = performance.now();
      await progress.save({ ...run, progress: latest });
    };
    await save();
    try {
      const { pausedBy } = await walk(latest, signal, unfinished !== undefined, async (now) => {
        latest = now;
        if (performance.now() - savedAt > saveEveryMs && !signal.aborted) await save();
      });
      const now = Date.now();
      await progress.save(pausedBy
        ? { ...run, pausedUntil: new Date(now + Math.min(pauseMs, intervalMs)), progress: latest }
        : { ...run, finishedAt: new Date(now), progress: latest });
    } catch (error) {
      // Asked to stop while the lock is still ours: the next one can begin exactly here.
      if (stopping.signal.aborted) await save();
      throw error;
    }
  };

  return {
    async runDue() {
      if (stopping.signal.aborted || !isDue(await progress.read(), intervalMs)) return false;
      const held = await tryLock();
      if (!held) return false;
      return track((async () => {
        try {
          // Another replica may have finished the run between the first look and the lock.
          const saved = await progress.read();
          if (!isDue(saved, intervalMs)) return false;
          await scheduled(saved, AbortSignal.any([stopping.signal, held.lost]));
          return true;
        } finally {
          await held.release();
        }
      })());
    },

    async start(signal, onProgress) {
      const held = await tryLock();
      if (!held) throw new Problem('sync_in_progress', 'A sync of everything is already running; wait for it to end.');
      const finished = track((async () => {
        try {
          const { progress: reached, pausedBy } = await walk(
            nowhere, AbortSignal.any([signal, stopping.signal, held.lost]), false, (now) => onProgress(summarize(now)),
          );
          if (pausedBy) throw pausedBy;
          return summarize(reached);
        } finally {
          await held.release();
        }
      })());
      return { finished };
    },

    async stop() {
      stopping.abort(new Problem('service_unavailable', 'The gateway is stopping.'));
      await Promise.allSettled(running);
    },
  };
}

function isDue(run: Run | undefined, intervalMs: number, now = Date.now()): boolean {
  if (!run) return true;
  if (run.finishedAt === null) return (run.pausedUntil?.getTime() ?? 0) <= now;
  return run.startedAt.getTime() + intervalMs <= now;
}

function difference(now: WalkProgress, then: WalkProgress): WalkProgress {
  return {
    last: now.last,
    identities: now.identities - then.identities,
    created: now.created - then.created,
    updated: now.updated - then.updated,
    removed: now.removed - then.removed,
    unchanged: now.unchanged - then.unchanged,
    failed: now.failed - then.failed,
  };
}
