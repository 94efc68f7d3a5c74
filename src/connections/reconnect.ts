import type { Identity } from '../auth/identity.js';
import { Problem } from '../errors.js';
import { type ConnectionState, isOf, type Vault } from '../upstream/vault.js';
import { claimRejected } from './refusals.js';
import type { Connection, ConnectionStore } from './store.js';

/** A row whose owner re-authorises: its id, and when that began (what was stored before is a connection of its own). */
export type Reconnect = Readonly<{ connectionId: string; since: Date }>;

/**
 * Re-authorising mints a new upstream key (upstream.md, "Connection keys"): puts it on the row to reconnect, whose id,
 * name, tags and metadata stay, and then deletes the connection of the old key upstream. 404 `connection_not_found` when
 * `owner` has no such row (any more); 403 `connection_claim_rejected` for another platform or environment than the row's, and
 * for a key that was stored as another connection before; an upstream problem, and nothing stored, while the connection that
 * the row's last reconnect replaced cannot be deleted upstream.
 */
export async function replaceKey(
  { store, vault }: { store: ConnectionStore; vault: Vault }, { connectionId, since }: Reconnect, owner: Identity,
  next: { key: string; platform: string; environment: string; state: ConnectionState },
): Promise<Connection> {
  for (;;) {
    const current = await store.find(connectionId, owner);
    if (!current) throw new Problem('connection_not_found', 'The connection to reconnect is gone.');
    if (current.platform !== next.platform || current.environment !== next.environment) throw claimRejected();
    if (current.key === next.key) {
      await tryToDiscardReplaced(store, vault, current);
      const same = await store.update(connectionId, owner, { state: next.state, stateReason: null });
      if (same) return same;
      continue;
    }
    // A row remembers one replaced key: a second one would make a sync store the first as a connection of its own again.
    await discardReplaced(store, vault, current);
    const outcome = await store.replaceKey(current, owner, next, since);
    if (outcome === 'taken') throw claimRejected();
    // Somebody changed or deleted the row since it was read.
    if (outcome === 'changed') continue;
    await tryToDiscardReplaced(store, vault, outcome);
    return outcome;
  }
}

/** Deletes the upstream connection that a row's new key replaced, if any. An upstream problem while the vault is away. */
export async function discardReplaced(store: ConnectionStore, vault: Vault, row: Connection): Promise<void> {
  if (row.replacedKey === null) return;
  const replaced = await vault.findByKey(row.replacedKey, ownerOf(row));
  if (replaced && isOf(replaced, ownerOf(row))) await vault.remove(replaced.id);
  await store.forgetReplaced(row.id, row.replacedKey);
}

/** The same where the vault's being away is to fail nothing: the row remembers the old key, and the next claim or sync tries again. */
export async function tryToDiscardReplaced(store: ConnectionStore, vault: Vault, row: Connection): Promise<void> {
  await discardReplaced(store, vault, row).catch((error: unknown) => {
    if (!(error instanceof Problem)) throw error;
  });
}

/** Whose a row is. */
export function ownerOf({ identity, identityType }: Connection): Identity {
  return { identity, identityType: identityType as Identity['identityType'] };
}
