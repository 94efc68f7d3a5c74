import type { IdentityType } from '../auth/identity.js';
import { Problem } from '../errors.js';
import { keysAtOnce } from '../upstream/vault-keys.js';
import { type PagePosition, type Vault, type VaultConnection, type VaultPage } from '../upstream/vault.js';
import type { ComparisonStore } from './comparison-store.js';
import { tryToDiscardReplaced } from './reconnect.js';
import type { ConnectionStore } from './store.js';
import { type Drift, isInLine, settleMissing, type SyncResult, takeOver } from './sync.js';

/**
 * Where a walk is: at a page of the vault (undefined: the first), or behind its last one, among the rows of ours that no page
 * showed, after the one of this id.
 */
export type WalkPosition = PagePosition | { after: string } | undefined;

/**
 * How far a walk is: what its comparisons found, of how many identities, how many pages and questions the vault left
 * unanswered, how many rows the vault says it has (null: not known yet), and where it continues.
 */
export type WalkProgress = SyncResult & { identities: number; failed: number; total: number | null; position: WalkPosition };

/** The progress of a walk that has not begun. */
export const nowhere: WalkProgress = {
  identities: 0, created: 0, updated: 0, removed: 0, unchanged: 0, skipped: 0, failed: 0, total: null, position: undefined,
};

/** A walk ends when everything was compared, or pauses because the upstream fails (with the last of its problems). */
export type WalkResult = { progress: WalkProgress; pausedBy: Problem | undefined };

/** What to walk, from where, until when, and who is told. */
export type WalkOptions = {
  store: ConnectionStore;
  comparisons: ComparisonStore;
  vault: Vault;
  environment: string;
  /** When the walk began: a row that was compared since is not compared again for having been on no page. */
  startedAt: Date;
  from: WalkProgress;
  signal: AbortSignal;
  onProgress(progress: WalkProgress): void | Promise<void>;
  onDrift(drift: Drift): void;
};

/** What a part of a walk found, or why the upstream gave no answer, and where the next part begins (undefined: nowhere). */
type Part = { found: Found | Problem; next: WalkPosition };
/** `compared` are the ids of the rows it is about; `alive` is a key that the vault has. */
type Found = Drift & { skipped: number; total: number | null; compared: string[]; alive: string | undefined };

const attempts = 3;
// Rows carry the time of the replica that changed them, pages that of the database.
const clockSkewMs = 10_000;
const firstId = '00000000-0000-0000-0000-000000000000';

/**
 * Compares everything in the vault with everything stored, from where `from` ended: first page by page through the vault,
 * which shows states, owners and connections that have no row yet; then the rows of ours that were on no page, which are
 * asked for by key. A part that the upstream does not answer in three attempts is counted and left out; when the one after
 * it fails too, the upstream is down and the walk pauses. Rejects when `signal` fires, and with anything that is not the
 * upstream's.
 */
export async function walkVault(options: WalkOptions): Promise<WalkResult> {
  const { comparisons, startedAt, signal, onProgress, onDrift } = options;
  let progress = options.from;
  let beforeFailure: WalkProgress | undefined;
  let alive: string | undefined;
  for (;;) {
    signal.throwIfAborted();
    const { position, total } = progress;
    const { found, next } = await (isBehindPages(position) ? settleSome(options, position.after, alive) : comparePage(options, position, total));
    if (found instanceof Problem) {
      // Without a first page it is not known how the vault is paged.
      if (beforeFailure || position === undefined) return { progress: beforeFailure ?? progress, pausedBy: found };
      beforeFailure = progress;
      progress = { ...progress, failed: progress.failed + 1 };
    } else {
      beforeFailure = undefined;
      alive = found.alive ?? alive;
      const identities = await comparisons.note(found.compared, startedAt);
      progress = add(progress, found, identities);
      onDrift(found);
    }
    if (!next) break;
    progress = { ...progress, position: next };
    if (!beforeFailure) await onProgress(progress);
  }
  await comparisons.forget(startedAt);
  await onProgress(progress);
  return { progress, pausedBy: undefined };
}

/** The rows a walk has compared, and how many of them differed from the vault. */
export function summarize({ identities, created, updated, removed, unchanged, skipped, failed }: WalkProgress) {
  const drift = created + updated + removed;
  return { identities, checked: drift + unchanged, drift, created, updated, removed, failed, skipped };
}

async function comparePage({ store, comparisons, vault, environment, signal }: WalkOptions, position: PagePosition | undefined, total: number | null): Promise<Part> {
  const readAt = await comparisons.now();
  const page = await attempt(() => readPage(vault, position), signal);
  if (page instanceof Problem) return { found: page, next: position && pageAfter(position, total) };
  const inVault = new Map(page.rows.filter((row) => row.environment === environment).map((row) => [row.key, row]));
  const known = await store.findByKeys([...inVault.keys()]);
  for (const row of known.values()) await tryToDiscardReplaced(store, vault, row);

  // A page may be older than what became of a connection here since it was read: one that has no row may just have been
  // deleted, one that was just changed may have another state. The vault is asked about those once more.
  const isDecided = (row: VaultConnection): boolean => {
    const existing = known.get(row.key);
    return existing !== undefined && (isInLine(existing, row) || existing.updatedAt.getTime() < readAt.getTime() - clockSkewMs);
  };
  const decided = [...inVault.values()].filter(isDecided);
  const doubtful = [...inVault.values()].filter((row) => !isDecided(row) && (known.has(row.key) || row.identity !== undefined));
  const again = await attempt(() => readAgain(vault, position, doubtful, decided[0]?.key), signal);
  if (again instanceof Problem) return { found: again, next: position && pageAfter(position, total) };
  const compared = [...decided, ...again];
  const drift = await takeOver(store, compared, known);
  const ids = compared.flatMap(({ key }) => known.get(key)?.id ?? []);
  return {
    found: {
      ...drift, skipped: page.skipped, total: page.total ?? null, alive: page.rows[0]?.key, compared: [...ids, ...drift.created.map(({ id }) => id)],
    },
    next: page.next ?? { after: firstId },
  };
}

async function settleSome({ store, comparisons, vault, environment, startedAt, signal }: WalkOptions, after: string, alive: string | undefined): Promise<Part> {
  const { rows, next } = await comparisons.missing(environment, startedAt, after, keysAtOnce);
  for (const row of rows) await tryToDiscardReplaced(store, vault, row);
  const drift = await attempt(() => settleMissing(store, vault, rows, alive), signal);
  return {
    found: drift instanceof Problem ? drift : { ...drift, skipped: 0, total: null, alive: undefined, compared: rows.map(({ id }) => id) },
    next: next === undefined ? undefined : { after: next },
  };
}

/** Reads a page; an empty one, which would end the walk, counts when it is empty three times. */
async function readPage(vault: Vault, position: PagePosition | undefined): Promise<VaultPage> {
  for (let reading = 1; ; reading += 1) {
    const page = await vault.page(position);
    if (page.count > 0 || reading === attempts) return page;
  }
}

/** These rows as the vault shows them now, without those that it does not show: by their keys, or many by the whole page. */
async function readAgain(vault: Vault, position: PagePosition | undefined, rows: readonly VaultConnection[], alive: string | undefined): Promise<VaultConnection[]> {
  if (rows.length === 0) return [];
  const now = rows.length > keysAtOnce
    ? new Map((await vault.page(position)).rows.map((row) => [row.key, row]))
    : await vault.findByKeys(rows.map(({ key, identity = '', identityType = 'user' }) => ({ key, owner: { identity, identityType: identityType as IdentityType } })), alive);
  return rows.flatMap(({ key }) => now.get(key) ?? []);
}

function pageAfter({ page, seen, skips }: PagePosition, total: number | null): WalkPosition {
  // As many rows as the pages before had: a vault may serve fewer than were asked for.
  const passed = seen + Math.ceil(seen / (page - 1));
  return total !== null && passed >= total ? { after: firstId } : { page: page + 1, seen: passed, skips };
}

function isBehindPages(position: WalkPosition): position is { after: string } {
  return position !== undefined && 'after' in position;
}

async function attempt<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T | Problem> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof Problem && error.code.startsWith('upstream_'))) throw error;
      if (tries === attempts) return error;
    }
  }
}

function add(progress: WalkProgress, { created, updated, removed, unchanged, skipped, total }: Found, identities: number): WalkProgress {
  return {
    ...progress,
    identities: progress.identities + identities,
    created: progress.created + created.length,
    updated: progress.updated + updated.length,
    removed: progress.removed + removed.length,
    unchanged: progress.unchanged + unchanged,
    skipped: progress.skipped + skipped,
    total: total ?? progress.total,
  };
}
