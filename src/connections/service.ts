import type { Identity } from '../auth/identity.js';
import { Problem } from '../errors.js';
import { decodeCursor, page } from '../persistence/keyset.js';
import { isOf, type Vault } from '../upstream/vault.js';
import type { StateRefresher } from './refresh.js';
import { discardReplaced, ownerOf } from './reconnect.js';
import { type Claimant, type ConnectionClaim, refuseOtherEnvironment, saveConnection, type Verification } from './save.js';
import type { Connection, ConnectionChange, ConnectionFilter, ConnectionStore } from './store.js';
import { syncConnections, type SyncResult, vanished } from './sync.js';

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
   * is no other, and with claims `always` verified those never that the vault does not have for their identity.
   * 404 `connection_not_found`, 409 `connection_ambiguous` with the ids, 422 `platform_mismatch`,
   * 422 `environment_mismatch`.
   */
  choose(platform: string, id: string | undefined, owner: Identity | undefined): Promise<Connection>;
};

/** The service over a store and the vault; `verification` says whose claims the vault has to confirm. */
export function createConnectionService(
  store: ConnectionStore, vault: Vault, environment: 'test' | 'live', verification: Verification, refreshState: StateRefresher,
): ConnectionService {
  const get = async (id: string, owner: Identity | undefined): Promise<Connection> => (await store.find(id, owner)) ?? notFound();

  const mayUse = ({ stateReason }: Connection): boolean => verification !== 'always' || stateReason !== vanished;

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
      return (await store.update(id, owner, change)) ?? notFound();
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
      const connection = id === undefined ? await theOnlyOne(store, platform, owner, mayUse) : await get(id, owner);
      // A key that was stored unverified may be somebody else's.
      if (!mayUse(connection)) throw new Problem('connection_not_found', 'The vault does not have this connection for its identity.');
      if (connection.platform !== platform) {
        throw new Problem('platform_mismatch', `The connection is of platform ${connection.platform}, the path says ${platform}.`, {
          errors: [{ field: 'path.platform', message: 'contradicts the connection' }],
        });
      }
      refuseOtherEnvironment(connection.environment, environment, {
        field: id === undefined ? 'path.platform' : 'header.x-connection-id', message: `must be a connection of the ${environment} environment`,
      });
      return connection;
    },
  };
}

async function theOnlyOne(
  store: ConnectionStore, platform: string, owner: Identity | undefined, mayUse: (connection: Connection) => boolean,
): Promise<Connection> {
  if (!owner) {
    throw new Problem('identity_required', 'Name an identity or an x-connection-id, so that the connection to use is known.', {
      errors: [{ field: 'header.x-identity', message: 'is required without x-connection-id' }],
    });
  }
  const rows = (await store.list({ ...owner, platform }, undefined, 100)).filter(mayUse);
  const working = rows.filter(({ state }) => state !== 'failed');
  const [connection, ...others] = working.length > 0 ? working : rows;
  if (!connection) return notFound();
  if (others.length > 0) {
    const connections = [connection, ...others].map(({ id }) => id);
    throw new Problem('connection_ambiguous', `${connections.length} connections fit; choose one with x-connection-id: ${connections.join(', ')}.`, {
      members: { connections },
    });
  }
  return connection;
}

function notFound(): never {
  throw new Problem('connection_not_found', 'There is no such connection.');
}
