import type { Identity } from '../auth/identity.js';
import { type FieldProblem, Problem } from '../errors.js';
import { parseConnectionKey } from '../upstream/connection-key.js';
import { type ConnectionState, isOf, type Vault } from '../upstream/vault.js';
import { type Reconnect, replaceKey } from './reconnect.js';
import { claimRejected, ownedByOther } from './refusals.js';
import type { Connection, ConnectionStore, NewConnection } from './store.js';
import { giveToOwner } from './sync.js';

/** What a caller says of a connection it wants stored. */
export type ConnectionClaim = {
  key: string;
  /** The member of the body that the key came in. */
  keyField: string;
  platform: string;
  environment: string | undefined;
  state: ConnectionState;
  name: string | undefined;
  tags: string[] | undefined;
};

/** What is known of whoever makes a claim, besides the identity it acts as. */
export type Claimant = {
  /** It came from a browser, so its word counts for less. */
  fromBrowser: boolean;
  /** Its credential acts as this one identity only, and so must not learn what others have. */
  bound: boolean;
  /** The platforms its credential is for; undefined: all. */
  platforms: readonly string[] | undefined;
  /** The connection whose key the claim replaces. */
  reconnect: Reconnect | undefined;
};

/** Whose claims are checked against the vault. */
export type Verification = 'always' | 'browser' | 'off';

/** Where claims are checked and kept. */
export type SaveDependencies = { store: ConnectionStore; vault: Vault; environment: 'test' | 'live'; verification: Verification };

/** What the stored connection will say besides its key and owner; undefined members leave a stored row as it is. */
export type ConnectionFacts = Pick<ConnectionClaim, 'state' | 'name' | 'tags'>;

/** Stores a claimed connection for `owner`; see `save` of ConnectionService for its answers. */
export async function saveConnection(deps: SaveDependencies, owner: Identity, claim: ConnectionClaim, claimant: Claimant): Promise<{ connection: Connection; created: boolean }> {
  const { store, verification } = deps;
  const { platform, environment } = readKey(claim, deps.environment);
  if (claimant.platforms && !claimant.platforms.includes(platform)) {
    throw new Problem('platform_not_allowed', `The session is for ${claimant.platforms.join(', ')}.`);
  }
  const verified = verification === 'always' || (verification === 'browser' && claimant.fromBrowser);
  const facts = verified ? await verify(deps, owner, claim.key, claimant) : claim;
  if (!verified) refuseForeignKey(claim.key, owner);

  if (claimant.reconnect) {
    const connection = await replaceKey(deps, claimant.reconnect, owner, { key: claim.key, platform, environment, state: facts.state });
    return { connection, created: false };
  }
  return upsert(store, { ...owner, key: claim.key, platform, environment, state: facts.state, name: facts.name ?? null, tags: facts.tags ?? [] }, facts, verified);
}

/** 422 `environment_mismatch` about `error`, unless `found` is the environment of the gateway's secret. */
export function refuseOtherEnvironment(found: string, environment: 'test' | 'live', error: FieldProblem): void {
  if (found === environment) return;
  throw new Problem('environment_mismatch', `The connection is of the ${found} environment, the gateway's secret of ${environment}: the upstream would not know it.`, {
    errors: [error],
  });
}

function readKey(claim: ConnectionClaim, environment: 'test' | 'live') {
  const key = parseConnectionKey(claim.key, claim.keyField);
  refuseOtherEnvironment(key.environment, environment, { field: claim.keyField, message: `must be of the ${environment} environment` });
  if (claim.environment !== undefined) {
    refuseOtherEnvironment(claim.environment, environment, { field: 'body.environment', message: `must be ${environment}` });
  }
  if (claim.platform !== key.platform) {
    throw new Problem('platform_mismatch', `The key is of platform ${key.platform}, the body says ${claim.platform}.`, {
      errors: [{ field: 'body.platform', message: 'contradicts the key' }],
    });
  }
  return key;
}

/**
 * What the vault says of the key; nothing of it comes from the caller, whose record passed through a browser (upstream.md,
 * "The widget"). 403 `connection_claim_rejected` for a key that is not there and for one of another identity alike: a
 * claim must not tell which keys exist.
 */
async function verify({ store, vault }: SaveDependencies, owner: Identity, key: string, { bound }: Claimant): Promise<ConnectionFacts> {
  const said = parseConnectionKey(key);
  const row = await vault.findByKey(key, owner);
  const genuine = row !== undefined && isOf(row, owner) && row.platform === said.platform && row.environment === said.environment;
  if (!genuine) {
    // A caller that may see everybody's rows gets the precise answer.
    const existing = bound ? undefined : await store.findByKey(key);
    throw existing && !isOwnedBy(existing, owner) ? ownedByOther() : claimRejected();
  }
  return { state: row.state, name: row.name, tags: row.tags.length > 0 ? [...row.tags] : undefined };
}

function refuseForeignKey(key: string, owner: Identity): void {
  const { identity } = parseConnectionKey(key);
  if (identity !== undefined && identity !== owner.identity) throw ownedByOther();
}

async function upsert(
  store: ConnectionStore, next: NewConnection, { state, name, tags }: ConnectionFacts, verified: boolean,
): Promise<{ connection: Connection; created: boolean }> {
  for (;;) {
    const created = await store.create(next);
    if (created) return { connection: created, created: true };
    const existing = await store.findByKey(next.key);
    if (!existing) {
      if (await store.isReplaced(next)) throw claimRejected();
      // Deleted between the two looks: it can be created now.
      continue;
    }
    const owned = isOwnedBy(existing, next);
    if (!owned && !verified) throw ownedByOther();
    const connection = owned
      ? await store.update(existing.id, next, { state, stateReason: null, ...(name === undefined ? {} : { name }), ...(tags === undefined ? {} : { tags }) })
      : await giveToOwner(store, existing, next);
    if (connection) return { connection, created: false };
  }
}

function isOwnedBy(connection: Connection, { identity, identityType }: Identity): boolean {
  return connection.identity === identity && connection.identityType === identityType;
}
