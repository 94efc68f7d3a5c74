import type { Identity } from '../auth/identity.js';
import { Problem } from '../errors.js';
import type { ConnectionState, Vault } from '../upstream/vault.js';
import { claimRejected } from './refusals.js';
import type { Connection, ConnectionStore } from './store.js';

/** A row whose owner re-authorises: its id, and when that began (what was stored before is a connection of its own). */
export type Reconnect = Readonly<{ connectionId: string; since: Date }>;

/**
 * Re-authorising mints a new upstream key (upstream.md, "Connection keys"): puts it on the row to reconnect, whose id,
 * name, tags and metadata stay, and then deletes the connection of the old key upstream. 404 `connection_not_found` when
 * `owner` has no such row (any more); 403 `connection_claim_rejected` for another platform than the row's, and for a key that
 * was stored as another connection before.
 */
export async function replaceKey(
  { store, vault }: { store: ConnectionStore; vault: Vault }, { connectionId, since }: Reconnect, owner: Identity,
  next: { key: string; platform: string; state: ConnectionState },
): Promise<Connection> {
  for (;;) {
    const current = await store.find(connectionId, owner);
    if (!current) throw new Problem('connection_not_found', 'The connection to reconnect is gone.');
    if (current.platform !== next.platform) throw claimRejected();
    await discardReplaced(store, vault, current);
    if (current.key === next.key) {
      const same = await store.update(connectionId, owner, { state: next.state, stateReason: null });
      if (same) return same;
      continue;
    }
    const outcome = await store.replaceKey(current, owner, next, since);
    if (outcome === 'taken') throw claimRejected();
    // Somebody changed or deleted the row since it was read.
    if (outcome === 'changed') continue;
    await discardReplaced(store, vault, outcome);
    return outcome;
  }
}

/**
 * Deletes the upstream connection that a row's new key replaced. A vault that is away does not fail the claim, which is
 * stored already: the row remembers the old key, and the next claim or sync tries again.
 */
export async function discardReplaced(store: ConnectionStore, vault: Vault, row: Connection): Promise<void> {
  if (row.replacedKey === null) return;
  try {
    const replaced = await vault.findByKey(row.replacedKey, ownerOf(row));
    if (replaced && replaced.identity === row.identity) await vault.remove(replaced.id);
  } catch {
    return;
  }
  await store.forgetReplaced(row.id, row.replacedKey);
}

/** Whose a row is. */
export function ownerOf({ identity, identityType }: Connection): Identity {
  return { identity, identityType: identityType as Identity['identityType'] };
}
