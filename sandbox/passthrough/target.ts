import type { FastifyRequest } from 'fastify';
import { wireHeader, type Caller } from '../caller.js';
import { findAction, type Action } from '../catalogue/actions.js';
import { ApiError } from '../errors.js';
import type { SandboxState } from '../state.js';
import type { Connection } from '../vault/store.js';

/** Where the passthrough begins. */
export const PASSTHROUGH_ROOT = '/v1/passthrough/';

/** What a passthrough path means. */
export interface Target {
  connection: Connection;
  platform: string;
  action: Action | undefined;
  method: string;
  /** The provider's path as it arrived, byte for byte, with its leading slash and without the query. */
  path: string;
  /** The raw query without `?`. */
  query: string;
}

/**
 * Where a passthrough call goes. Native form (`x-pica-action-id`): the action alone decides method and platform, as the open-source
 * server does, even against the connection. Guide form: the first segment names the platform.
 * Throws the documented errors for a missing or foreign connection key and an unknown action.
 */
export function resolveTarget(state: SandboxState, request: FastifyRequest, caller: Caller): Target {
  const connection = findConnection(state, request, caller);
  const url = request.originalUrl.slice(PASSTHROUGH_ROOT.length);
  const queryAt = url.indexOf('?');
  const rest = queryAt === -1 ? url : url.slice(0, queryAt);
  const query = queryAt === -1 ? '' : url.slice(queryAt + 1);

  const actionId = wireHeader(request, 'action-id');
  if (actionId !== undefined) {
    const action = findAction(actionId);
    if (!action) throw new ApiError('NotFound', 'Connection model definition not found');
    return { connection, platform: action.platform, action, method: action.method, path: `/${rest}`, query };
  }
  if (state.settings.requireActionId) throw new ApiError('BadRequest', `Missing x-${caller.prefix}-action-id header`);

  const slash = rest.indexOf('/');
  const platform = slash === -1 ? rest : rest.slice(0, slash);
  if (platform !== connection.platform) throw new ApiError('NotFound', 'Connection not found');
  return { connection, platform, action: undefined, method: request.method, path: slash === -1 ? '/' : rest.slice(slash), query };
}

function findConnection(state: SandboxState, request: FastifyRequest, { environment, prefix }: Caller): Connection {
  const key = wireHeader(request, 'connection-key');
  if (key === undefined) throw new ApiError('BadRequest', `Missing x-${prefix}-connection-key header`);
  if (!key.startsWith(`${environment}::`)) throw new ApiError('NotFound', 'Invalid connection header');
  // Node reads header bytes as latin-1; keys may end in UTF-8 identity text.
  const connection = state.vault.byKey(key) ?? state.vault.byKey(Buffer.from(key, 'latin1').toString('utf8'));
  if (!connection) throw new ApiError('NotFound', 'Connection not found');
  return connection;
}
