import type { Identity } from '../auth/identity.js';
import { Problem } from '../errors.js';
import { decodeCursor, page } from '../persistence/keyset.js';
import { isOf, type Vault } from '../upstream/vault.js';
import { createRecheck, type StateRefresher } from './refresh.js';
import { discardReplaced, ownerOf } from './reconnect.js';
import { ambiguous, noneOnPlatform, noSuchConnection, reconnectRequired } from './refusals.js';
import { type Claimant, type ConnectionClaim, refuseOtherEnvironment, saveConnection, type Verification } from './save.js';
import type { Connection, ConnectionChange, ConnectionFilter, ConnectionStore } from './store.js';
import { syncConnections, type SyncResult } from './sync.js';

/** Connections as their callers see them. `owner` is the identity the request acts as; undefined: any. */
export type ConnectionService = {
  /**
   * Stores a connection for `owner`, or updates it when `owner` stored it before. 422 for a key that is malformed, of the
   * other environment or of another platform than said; 403 `connection_claim_rejected` when the vault does not have it for
   * `owner`; 409 `connection_owned_by_other` when another identity has it stored and the vault does not say that it is `owner`'s; 403 `platform_not_allowed` when the
   * claimant's credential is not for the platform. A vault that is away is an upstream problem, and nothing is stored.
   */
  save(owner: Identity, claim: ConnectionClaim, claimant: Claimant): Promise<{ connection: Connection; created: boolean }>;
  list(filter: ConnectionFilter, cursor: string | undefined, limit: number): Promise<{ rows: Connection[]; nextCursor: string | null }>;
  /** 404 `connection_not_found` for unknown ids and other identities' alike. */
  get(id: string, owner: Identity | undefined): Promise<Connection>;
  change(id: string, owner: Identity | undefined, change: ConnectionChange): Promise<Connection>;
  /**
   * Deletes upstream first, what the row's last reconnect replaced included, then here: a failure in between leaves a row
   * that can be deleted again. 404 `connection_not_found` as `get`. Without `upstreamToo` the vault keeps the connection, and
   * the next sync stores it again.
   */
  remove(id: string, owner: Identity | undefined, upstreamToo: boolean): Promise<void>;
  sync(owner: Identity): Promise<SyncResult>;
  /** For a connection that its provider just refused. */
  refreshState: StateRefresher;
  /**
   * The connection a proxied call uses: `id`, or the only one of `owner` on `platform`; failed ones count only when there
   * is no other. 404 `connection_not_found`, 409 `connection_ambiguous`, 422 `platform_mismatch`, 422 `environment_mismatch`;
   * 409 `reconnect_required` for a failed one, unless the vault, asked again, calls it usable.
   */
  choose(platform: string, id: string | undefined, owner: Identity | undefined): Promise<Connection>;
  /** For a connection that the upstream did not know: compares it with the vault at once. Rejects as `choose` does for a failed one. */
  confirm(id: string): Promise<void>;
};

/** So many of the connections that fit are named where they are too many. */
const shownWhenAmbiguous = 20;

/** The service over a store and the vault; `verification` says whose claims the vault has to confirm. */
export function createConnectionService(
  store: ConnectionStore, vault: Vault, environment: 'test' | 'live', verification: Verification, refreshState: StateRefresher,
): ConnectionService {
  const recheck = createRecheck(store, vault);
  const get = async (id: string, owner: Identity | undefined): Promise<Connection> => {
    const connection = await store.find(id, owner);
    if (!connection) throw noSuchConnection();
    return connection;
  };

  const find = async (platform: string, id: string | undefined, owner: Identity | undefined): Promise<Connection> => {
    if (id === undefined) return theOnlyOne(store, environment, platform, owner);
    const connection = await store.find(id, owner);
    if (connection) return connection;
    throw owner ? noneOnPlatform(owner, platform, await platformsOf(store, owner)) : noSuchConnection();
  };

  /** The connection as the vault has it, or 409 `reconnect_required`. */
  const compared = async (stored: Connection): Promise<Connection> => {
    const { connection, inVault } = await recheck(stored);
    if (!connection) throw noSuchConnection();
    // Claims that were not verified may name what the vault has without an identity, or under another name of the same user.
    const usable = connection.state !== 'failed' || (verification !== 'always' && inVault !== undefined && inVault.state !== 'failed');
    if (!usable) throw reconnectRequired(connection);
    return connection;
  };

  const removeUpstream = async (row: Connection): Promise<void> => {
    await discardReplaced(store, vault, row);
    // The vault's own id, asked for by key: an id that a browser sent could name somebody else's connection.
    const inVault = await vault.findByKey(row.key, ownerOf(row));
    // With verification off a row may have been claimed that is somebody else's in the vault: that one stays there.
    if (inVault && (inVault.identity === undefined || isOf(inVault, ownerOf(row)))) await vault.remove(inVault.id);
  };

  return {
    get,
    refreshState,

    save: (owner, claim, claimant) => saveConnection({ store, vault, environment, verification }, owner, claim, claimant),

    async list(filter, cursor, limit) {
      return page(await store.list(filter, decodeCursor(cursor), limit + 1), limit);
    },

    async change(id, owner, change) {
      const changed = await store.update(id, owner, change);
      if (!changed) throw noSuchConnection();
      return changed;
    },

    async remove(id, owner, upstreamToo) {
      // Once more while a reconnect gives the row another key: that connection is to go as well.
      for (let row: Connection | undefined = await get(id, owner); row; row = await store.find(id, owner)) {
        if (upstreamToo) await removeUpstream(row);
        if (await store.remove(id, row.key)) return;
      }
    },

    sync: (owner) => syncConnections(store, vault, environment, owner),

    async choose(platform, id, owner) {
      const connection = await find(platform, id, owner);
      if (connection.platform !== platform) {
        throw new Problem('platform_mismatch', `The connection is of platform ${connection.platform}, the path says ${platform}.`, {
          errors: [{ field: 'path.platform', message: 'contradicts the connection' }],
        });
      }
      refuseOtherEnvironment(connection.environment, environment, {
        field: id === undefined ? 'path.platform' : 'header.x-connection-id', message: `must be a connection of the ${environment} environment`,
      });
      return connection.state === 'failed' ? compared(connection) : connection;
    },

    confirm: async (id) => void (await compared(await get(id, undefined))),
  };
}

async function theOnlyOne(store: ConnectionStore, environment: 'test' | 'live', platform: string, owner: Identity | undefined): Promise<Connection> {
  if (!owner) {
    throw new Problem('identity_required', 'Name an identity or an x-connection-id, so that the connection to use is known.', {
      errors: [{ field: 'header.x-identity', message: 'is required without x-connection-id' }],
    });
  }
  const other = environment === 'test' ? 'live' : 'test';
  // Those of the other environment can never be used: they are looked for only to say so.
  for (const wanted of [{ environment, failed: false }, { environment, failed: true }, { environment: other }]) {
    const { rows: [connection, ...others], count } = await store.fitting({ ...owner, platform, ...wanted }, shownWhenAmbiguous);
    if (connection && (others.length === 0 || wanted.environment === other)) return connection;
    if (connection) throw ambiguous([connection, ...others], count);
  }
  throw noneOnPlatform(owner, platform, await platformsOf(store, owner));
}

async function platformsOf(store: ConnectionStore, owner: Identity): Promise<string[]> {
  return (await store.platforms(owner)).sort();
}
