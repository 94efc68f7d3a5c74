import type { Identity } from '../auth/identity.js';
import { Problem } from '../errors.js';
import type { Connection } from './store.js';

/** 409: another identity has this key stored. */
export function ownedByOther(): Problem {
  return new Problem('connection_owned_by_other', 'This connection key belongs to another identity.');
}

/** 403: not this identity's to claim. One text for every reason: a claim must not tell which keys exist. */
export function claimRejected(): Problem {
  return new Problem('connection_claim_rejected', 'The vault has no such connection of this identity.');
}

/** 404 for an id, or without saying whose: unknown and another identity's alike. */
export function noSuchConnection(): Problem {
  return new Problem('connection_not_found', 'There is no such connection.');
}

/** 404: what `owner` was looked for on, and on which `platforms` it has connections instead. */
export function noneOnPlatform({ identity, identityType }: Identity, platform: string, platforms: readonly string[]): Problem {
  const instead = platforms.length > 0 ? `it has connections on ${platforms.join(', ')}` : 'it has none on other platforms';
  return new Problem('connection_not_found', `The ${identityType} ${identity} has no such connection on ${platform}; ${instead}.`, {
    members: { identity, identityType, platform, platforms },
  });
}

/** 409: `count` connections fit, of which `shown` are the newest. */
export function ambiguous(shown: readonly Connection[], count: number): Problem {
  const some = count > shown.length ? `, of which the newest ${shown.length} are listed` : '';
  const dead = shown[0]?.state === 'failed' ? ', and all of them have failed' : '';
  // The account behind a connection is not known yet.
  const connections = shown.map(({ id, name, state, createdAt }) => ({ id, name, state, account: null, createdAt: createdAt.toISOString() }));
  return new Problem('connection_ambiguous', `${count} connections fit${dead}${some}; choose one by its id, in x-connection-id.`, {
    members: { count, connections },
  });
}

/** 409: the vault calls the connection failed, or no longer has it. Says how its owner authorises again. */
export function reconnectRequired({ id, platform, identity, identityType, state, stateReason }: Connection): Problem {
  const body = JSON.stringify({ identity, ...(identityType === 'user' ? {} : { identityType }), reconnect: { connectionId: id } });
  return new Problem(
    'reconnect_required',
    `The ${platform} connection ${stateReason === null ? 'has failed' : 'is no longer in the vault'}: its owner has to connect again. `
      + `Open the widget with a session made by POST /authkit/sessions with ${body}; the connection then keeps its id.`,
    { members: { connection: id, state, stateReason } },
  );
}
