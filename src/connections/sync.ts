import type { Identity } from '../auth/identity.js';
import type { Vault, VaultConnection } from '../upstream/vault.js';
import { ownerOf, tryToDiscardReplaced } from './reconnect.js';
import type { Connection, ConnectionStore, NewConnection } from './store.js';

/** How many connections a sync created, updated, marked as gone from the vault, and found as they were. */
export type SyncResult = { created: number; updated: number; removed: number; unchanged: number };

/** Why a connection that the vault no longer lists is `failed`. */
export const vanished = 'not_in_vault';

/**
 * Brings one identity's stored connections in line with the vault, which decides: unknown ones are stored, states are
 * taken over, and those the vault no longer has become `failed`. Names and tags are the caller's once a row exists.
 */
export async function syncConnections(store: ConnectionStore, vault: Vault, environment: string, owner: Identity): Promise<SyncResult> {
  // Ours first: what is stored after the vault was read cannot be missing from it, and what is deleted then must not return.
  const mine = await allOf(store, owner, environment);
  for (const row of mine) await tryToDiscardReplaced(store, vault, row);
  const known = new Map(mine.map((row) => [row.key, row]));
  const replaced = new Set(mine.map(({ replacedKey }) => replacedKey));
  const listing = await vault.listOf(owner);
  const inVault = listing.rows.filter((row) => row.environment === environment && !replaced.has(row.key));
  const result: SyncResult = { created: 0, updated: 0, removed: 0, unchanged: 0 };

  for (const row of inVault) result[await takeOver(store, owner, row, known.get(row.key))] += 1;
  if (!listing.complete) return result;
  const keys = new Set(inVault.map(({ key }) => key));
  for (const row of mine) {
    if (!keys.has(row.key)) result[await takeOverState(store, row, undefined) ? 'removed' : 'unchanged'] += 1;
  }
  return result;
}

/**
 * Gives a stored connection the vault's state (undefined: the vault no longer has it). Answers whether that changed
 * anything; a row that is gone, or got another key or owner meanwhile, stays as it is.
 */
export async function takeOverState(store: ConnectionStore, known: Connection, inVault: VaultConnection | undefined): Promise<boolean> {
  const state = inVault?.state ?? 'failed';
  const stateReason = inVault ? null : vanished;
  if (known.state === state && known.stateReason === stateReason) return false;
  return (await store.update(known.id, ownerOf(known), { state, stateReason }, known.key)) !== undefined;
}

/**
 * Makes somebody else's row the one that the vault says it is: whose a connection is, the vault knows better than whoever
 * once claimed it here. Nothing the other one wrote on it stays. Undefined when the row is gone or got another key.
 */
export function giveToOwner(store: ConnectionStore, row: Connection, { identity, identityType, state, name, tags }: NewConnection): Promise<Connection | undefined> {
  return store.update(row.id, ownerOf(row), { identity, identityType, state, stateReason: null, name, tags, metadata: {} }, row.key);
}

async function takeOver(store: ConnectionStore, owner: Identity, row: VaultConnection, known: Connection | undefined): Promise<keyof SyncResult> {
  if (known) return await takeOverState(store, known, row) ? 'updated' : 'unchanged';
  const { key, platform, environment, state, name, tags } = row;
  const connection = { ...owner, key, platform, environment, state, name: name ?? null, tags: [...tags] };
  if (await store.create(connection)) return 'created';
  const existing = await store.findByKey(key);
  if (!existing) return 'unchanged';
  if (existing.identity === owner.identity && existing.identityType === owner.identityType) {
    return await takeOverState(store, existing, row) ? 'updated' : 'unchanged';
  }
  return await giveToOwner(store, existing, connection) ? 'updated' : 'unchanged';
}

async function allOf(store: ConnectionStore, owner: Identity, environment: string): Promise<Connection[]> {
  const all: Connection[] = [];
  for (let rows: Connection[] | undefined; rows === undefined || rows.length === 100; all.push(...rows)) {
    rows = await store.list({ ...owner, environment }, all.at(-1), 100);
  }
  return all;
}
