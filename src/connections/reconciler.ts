import { Problem } from '../errors.js';
import type { HeldLock } from '../persistence/locks.js';
import type { Vault } from '../upstream/vault.js';
import type { ComparisonStore } from './comparison-store.js';
import type { ProgressStore, Run } from './progress-store.js';
import type { ConnectionStore } from './store.js';
import type { Drift } from './sync.js';
import { nowhere, summarize, type WalkProgress, type WalkResult, walkVault } from './walk.js';

/** What one run did; see {@link summarize}. */
export type RunSummary = ReturnType<typeof summarize>;

/** Who is told of runs. */
export type RunObserver = {
  /** Of every run of this replica: its outcome, how long it took, what it did since it (re)started, and what made it pause. */
  ended(run: {
    outcome: 'finished' | 'paused' | 'stopped'; milliseconds: number; resumed: boolean; summary: RunSummary; cause?: unknown;
  }): void;
  /** Of what every part of a run found. */
  drifted(drift: Drift): void;
  /** Of how far the run is that the replicas share, whichever of them does it. */
  progressed(run: Run): void;
};

/** What a reconciler works with, and how often (milliseconds). */
export type ReconcilerOptions = {
  store: ConnectionStore;
  comparisons: ComparisonStore;
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
export function createReconciler({ store, comparisons, progress, vaultFor, tryLock, environment, intervalMs, observe }: ReconcilerOptions): Reconciler {
  const stopping = new AbortController();
  const running = new Set<Promise<unknown>>();
  const track = <T>(work: Promise<T>): Promise<T> => {
    running.add(work);
    void work.catch(() => {}).finally(() => running.delete(work));
    return work;
  };

  const walk = async (
    startedAt: Date, from: WalkProgress, signal: AbortSignal, resumed: boolean, onProgress: (now: WalkProgress) => void | Promise<void>,
  ): Promise<WalkResult> => {
    const started = performance.now();
    let reached = from;
    const report = (outcome: 'finished' | 'paused' | 'stopped', cause?: unknown): void => observe.ended({
      outcome, milliseconds: Math.round(performance.now() - started), resumed, summary: summarize(difference(reached, from)), cause,
    });
    try {
      const result = await walkVault({
        store, comparisons, vault: vaultFor(signal), environment, startedAt, from, signal, onDrift: observe.drifted,
        onProgress: (now) => onProgress(reached = now),
      });
      reached = result.progress;
      report(result.pausedBy ? 'paused' : 'finished', result.pausedBy);
      return result;
    } catch (error) {
      report('stopped', error);
      throw error;
    }
  };

  const save = async (run: Run): Promise<void> => {
    observe.progressed(run);
    await progress.save(run);
  };

  const scheduled = async (saved: Run | undefined, signal: AbortSignal): Promise<void> => {
    const unfinished = saved && saved.finishedAt === null ? saved : undefined;
    const startedAt = unfinished?.startedAt ?? await progress.now();
    const run = { startedAt, finishedAt: null, pausedUntil: null, completeSince: saved?.completeSince ?? null };
    let latest = unfinished?.progress ?? nowhere;
    let savedAt = 0;
    const saveLatest = async (): Promise<void> => {
      savedAt = performance.now();
      await save({ ...run, progress: latest });
    };
    await saveLatest();
    try {
      const result = await walk(startedAt, latest, signal, unfinished !== undefined, async (now) => {
        latest = now;
        if (performance.now() - savedAt > saveEveryMs && !signal.aborted) await saveLatest();
      });
      const now = Date.now();
      await save(result.pausedBy
        ? { ...run, pausedUntil: new Date(now + Math.min(pauseMs, intervalMs)), progress: result.progress }
        : { ...run, finishedAt: new Date(now), completeSince: startedAt, progress: result.progress });
    } catch (error) {
      // Asked to stop while the lock is still ours: the next one can begin exactly here.
      if (stopping.signal.aborted) await saveLatest();
      throw error;
    }
  };

  const byHand = async (signal: AbortSignal, onProgress: (summary: RunSummary) => void): Promise<RunSummary> => {
    const startedAt = await progress.now();
    const { progress: reached, pausedBy } = await walk(startedAt, nowhere, signal, false, (now) => onProgress(summarize(now)));
    if (pausedBy) throw pausedBy;
    // It compared everything that a scheduled run, even one that is half done, would have.
    await save({ startedAt, finishedAt: new Date(), pausedUntil: null, completeSince: startedAt, progress: reached });
    return summarize(reached);
  };

  return {
    async runDue() {
      if (stopping.signal.aborted) return false;
      const last = await progress.read();
      if (last) observe.progressed(last);
      if (!isDue(last, intervalMs)) return false;
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
          return await byHand(AbortSignal.any([signal, stopping.signal, held.lost]), onProgress);
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
    ...now,
    identities: now.identities - then.identities,
    created: now.created - then.created,
    updated: now.updated - then.updated,
    removed: now.removed - then.removed,
    unchanged: now.unchanged - then.unchanged,
    skipped: now.skipped - then.skipped,
    failed: now.failed - then.failed,
  };
}
