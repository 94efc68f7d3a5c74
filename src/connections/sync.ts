import { asIdentity, type Identity } from '../auth/identity.js';
import { isOf, type Vault, type VaultConnection } from '../upstream/vault.js';
import { ownerOf, tryToDiscardReplaced } from './reconnect.js';
import type { Connection, ConnectionStore, NewConnection, StateChange } from './store.js';

/**
 * How many connections a sync created, updated, marked as gone from the vault, and found as they were, and how many rows of
 * the vault it skipped because they are not usable.
 */
export type SyncResult = { created: number; updated: number; removed: number; unchanged: number; skipped: number };

/** What differed from the vault, as it is stored now, and how many rows did not. */
export type Drift = { created: Connection[]; updated: Connection[]; removed: Connection[]; unchanged: number };

/** Why a connection that the vault no longer has is `failed`. */
export const vanished = 'not_in_vault';

/**
 * Brings one identity's stored connections in line with the vault, which decides: unknown ones are stored, states are
 * taken over, and those the vault no longer has become `failed`. Names and tags are the caller's once a row exists.
 */
export async function syncConnections(store: ConnectionStore, vault: Vault, environment: string, owner: Identity): Promise<SyncResult> {
  // Ours first: what is stored after the vault was read cannot be missing from it, and what is deleted then must not return.
  const mine = await allOf(store, owner, environment);
  for (const row of mine) await tryToDiscardReplaced(store, vault, row);
  const replaced = new Set(mine.map(({ replacedKey }) => replacedKey));
  const listing = await vault.listOf(owner);
  const inVault = listing.rows.filter((row) => row.environment === environment && !replaced.has(row.key));
  const listed = await takeOver(store, inVault, new Map(mine.map((row) => [row.key, row])));
  const seen = new Set([...inVault.map(({ key }) => key), ...listing.skippedKeys]);
  const missing = await settleMissing(store, vault, mine.filter(({ key }) => !seen.has(key)), inVault[0]?.key);
  const undecided = mine.filter(({ key }) => listing.skippedKeys.includes(key)).length;
  return {
    created: listed.created.length,
    updated: listed.updated.length + missing.updated.length,
    removed: listed.removed.length + missing.removed.length,
    unchanged: listed.unchanged + missing.unchanged + undecided,
    skipped: listing.skipped,
  };
}

/**
 * Takes over what the vault shows. `known` are the rows of ours by key, read before the vault was: what is not among them is
 * stored, unless it has been stored meanwhile. A row of another owner than the vault says becomes that owner's.
 */
export async function takeOver(store: ConnectionStore, inVault: readonly VaultConnection[], known: ReadonlyMap<string, Connection>): Promise<Drift> {
  const fresh = inVault.filter(({ key }) => !known.has(key));
  const created = await store.createAll(fresh.flatMap(toNew));
  const stored = new Set(created.map(({ key }) => key));
  const quicker = await store.findByKeys(fresh.map(({ key }) => key).filter((key) => !stored.has(key)));
  const updated: Connection[] = [];
  const states: StateChange[] = [];
  for (const row of inVault) {
    const existing = known.get(row.key) ?? quicker.get(row.key);
    if (!existing) continue;
    const [connection] = toNew(row);
    if (!connection || isOf(row, ownerOf(existing))) {
      states.push(...stateOf(existing, connection && row));
      continue;
    }
    const given = await giveToOwner(store, existing, connection);
    if (given) updated.push(given);
  }
  const changes = split(await store.takeStates(states));
  const drift = { created, updated: [...updated, ...changes.updated], removed: changes.removed };
  return { ...drift, unchanged: inVault.length - created.length - drift.updated.length - drift.removed.length };
}

/**
 * Settles rows that the vault's pages did not show. A page is no proof: rows move between pages while they are read, and a
 * page may be empty for no reason. So the vault is asked for each key, and only what it then does not have for its owner
 * becomes `failed`; what its answers do not decide stays. `alive` is a key that the vault is known to have.
 */
export async function settleMissing(store: ConnectionStore, vault: Vault, missing: readonly Connection[], alive: string | undefined): Promise<Drift> {
  const open = missing.filter(({ state, stateReason }) => state !== 'failed' || stateReason !== vanished);
  const answers = await vault.findByKeys(open.map((row) => ({ key: row.key, owner: ownerOf(row) })), alive);
  const states = open.flatMap((row) => {
    if (!answers.has(row.key)) return [];
    const inVault = answers.get(row.key);
    return stateOf(row, inVault && isOf(inVault, ownerOf(row)) ? inVault : undefined);
  });
  const changes = split(await store.takeStates(states));
  return { created: [], ...changes, unchanged: missing.length - changes.updated.length - changes.removed.length };
}

/**
 * Gives a stored connection the vault's state (undefined: the vault no longer has it). Answers whether that changed
 * anything; a row that is gone, or got another key or owner meanwhile, stays as it is.
 */
export async function takeOverState(store: ConnectionStore, known: Connection, inVault: VaultConnection | undefined): Promise<boolean> {
  const [change] = stateOf(known, inVault);
  if (!change) return false;
  return (await store.update(known.id, ownerOf(known), { state: change.state, stateReason: change.stateReason }, known.key)) !== undefined;
}

/**
 * Makes somebody else's row the one that the vault says it is: whose a connection is, the vault knows better than whoever
 * once claimed it here. Nothing the other one wrote on it stays. Undefined when the row is gone or got another key.
 */
export function giveToOwner(store: ConnectionStore, row: Connection, { identity, identityType, state, name, tags }: NewConnection): Promise<Connection | undefined> {
  return store.update(row.id, ownerOf(row), { identity, identityType, state, stateReason: null, name, tags, metadata: {} }, row.key);
}

/** Whether a stored connection already is what the vault says. */
export function isInLine(row: Connection, inVault: VaultConnection): boolean {
  return isOf(inVault, ownerOf(row)) && stateOf(row, inVault).length === 0;
}

/** The row that a connection in the vault becomes; none for one of no identity, or of one that could not be ours. */
function toNew({ key, platform, environment, identity, identityType = 'user', state, name, tags }: VaultConnection): NewConnection[] {
  const owner = identity === undefined ? undefined : asIdentity(identity, identityType);
  return owner ? [{ ...owner, key, platform, environment, state, name: name ?? null, tags: [...tags] }] : [];
}

function stateOf(row: Connection, inVault: VaultConnection | undefined): StateChange[] {
  const state = inVault?.state ?? 'failed';
  const stateReason = inVault ? null : vanished;
  return row.state === state && row.stateReason === stateReason ? [] : [{ row, state, stateReason }];
}

function split(changed: readonly Connection[]): Pick<Drift, 'updated' | 'removed'> {
  return {
    updated: changed.filter(({ stateReason }) => stateReason !== vanished), removed: changed.filter(({ stateReason }) => stateReason === vanished),
  };
}

async function allOf(store: ConnectionStore, owner: Identity, environment: string): Promise<Connection[]> {
  const all: Connection[] = [];
  const atOnce = 1_000;
  for (let rows: Connection[] | undefined; rows === undefined || rows.length === atOnce; all.push(...rows)) {
    rows = await store.list({ ...owner, environment }, all.at(-1), atOnce);
  }
  return all;
}
