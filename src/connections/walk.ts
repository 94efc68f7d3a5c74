import type { Identity } from '../auth/identity.js';
import { Problem } from '../errors.js';
import type { Vault } from '../upstream/vault.js';
import type { ConnectionStore } from './store.js';
import { syncConnections, type SyncResult } from './sync.js';

/** How far a walk over all identities is: the sums of their syncs, how many failed, and where it continues. */
export type WalkProgress = SyncResult & { identities: number; failed: number; last: Identity | undefined };

/** The progress of a walk that has not begun. */
export const nowhere: WalkProgress = { identities: 0, created: 0, updated: 0, removed: 0, unchanged: 0, failed: 0, last: undefined };

/** A walk ends at the last identity, or pauses because the upstream fails (with the last of its problems). */
export type WalkResult = { progress: WalkProgress; pausedBy: Problem | undefined };

/** What to walk, from where, until when, and who is told. */
export type WalkOptions = {
  store: ConnectionStore;
  vault: Vault;
  environment: string;
  from: WalkProgress;
  signal: AbortSignal;
  onProgress(progress: WalkProgress): void | Promise<void>;
};

const failuresInARow = 3;

/**
 * Syncs every identity that has connections, in a stable order, from where `from` ended. An identity whose sync fails
 * upstream is counted and left for the next walk; three in a row mean that the upstream is down, and pause the walk.
 * Rejects when `signal` fires, and with anything that is not the upstream's.
 */
export async function walkIdentities({ store, vault, environment, from, signal, onProgress }: WalkOptions): Promise<WalkResult> {
  let progress = from;
  let failures = 0;
  for (;;) {
    const owners = await store.identities(environment, progress.last, 100);
    if (owners.length === 0) return { progress, pausedBy: undefined };
    for (const owner of owners) {
      signal.throwIfAborted();
      const outcome = await attempt(() => syncConnections(store, vault, environment, owner), signal);
      failures = outcome instanceof Problem ? failures + 1 : 0;
      progress = { ...add(progress, outcome), last: owner };
      await onProgress(progress);
      if (outcome instanceof Problem && failures === failuresInARow) return { progress, pausedBy: outcome };
    }
  }
}

/** The rows a walk has compared, and how many of them differed from the vault. */
export function summarize({ identities, created, updated, removed, unchanged, failed }: WalkProgress) {
  const drift = created + updated + removed;
  return { identities, checked: drift + unchanged, drift, created, updated, removed, failed };
}

async function attempt(sync: () => Promise<SyncResult>, signal: AbortSignal): Promise<SyncResult | Problem> {
  try {
    return await sync();
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof Problem && error.code.startsWith('upstream_')) return error;
    throw error;
  }
}

function add(progress: WalkProgress, outcome: SyncResult | Problem): WalkProgress {
  const identities = progress.identities + 1;
  if (outcome instanceof Problem) return { ...progress, identities, failed: progress.failed + 1 };
  const { created, updated, removed, unchanged } = outcome;
  return {
    ...progress, identities,
    created: progress.created + created, updated: progress.updated + updated, removed: progress.removed + removed, unchanged: progress.unchanged + unchanged,
  };
}
