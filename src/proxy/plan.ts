import type { FastifyRequest } from 'fastify';
import { opens } from '../auth/scopes.js';
import type { Choose } from '../connections/cached-choice.js';
import { noneOnPlatform } from '../connections/refusals.js';
import type { Connection } from '../connections/store.js';
import { Problem } from '../errors.js';
import { platformSegment, providerTarget } from './path.js';
import type { Resolution, ResolveAction } from './resolve-action.js';

/** What a request will be sent as. */
export type Plan = Readonly<{
  connection: Connection;
  resolution: Resolution;
  /** What follows `/v1/passthrough`, query included. */
  target: string;
}>;

/** How a plan finds its connection and its action. */
export type PlanDependencies = {
  /** Which connection? See ConnectionService.choose. */
  choose: Choose;
  resolveAction: ResolveAction;
};

const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Decides how a request goes out: its connection, its action, its path. A promise only where something must be looked up. */
export function planCall({ choose, resolveAction }: PlanDependencies, request: FastifyRequest): Plan | Promise<Plan> {
  const platform = platformSegment((request.params as { platform: string }).platform);
  const target = providerTarget(request.originalUrl);
  refuseUpgrade(request);
  const query = target.indexOf('?');
  const question = { platform, method: request.method, path: query < 0 ? target : target.slice(0, query), given: actionId(request) };

  const connection = choose(platform, connectionId(request), request.identity);
  if (connection instanceof Promise) {
    return connection.then(async (found) => finish(found, await resolveAction(question)), (error: unknown) => {
      throw narrowed(error, request);
    });
  }
  const resolution = resolveAction(question);
  return resolution instanceof Promise ? resolution.then((found) => finish(connection, found)) : finish(connection, resolution);

  function finish(found: Connection, resolved: Resolution): Plan {
    return { connection: found, resolution: resolved, target: resolved.match ? resolved.match.path + (query < 0 ? '' : target.slice(query)) : `/${platform}${target}` };
  }
}

/** A refusal that names an identity's platforms, less those that the request's credential may not call. */
function narrowed(error: unknown, { identity, principal }: FastifyRequest): unknown {
  if (!(error instanceof Problem) || !identity) return error;
  const { platform, platforms } = error.extras.members ?? {};
  if (error.code !== 'connection_not_found' || !Array.isArray(platforms)) return error;
  const scopes = principal?.scopes ?? [];
  return noneOnPlatform(identity, String(platform), (platforms as string[]).filter((name) => opens(scopes, 'proxy', name)));
}

function connectionId(request: FastifyRequest): string | undefined {
  const id = request.headers['x-connection-id'];
  if (id === undefined) return undefined;
  if (typeof id === 'string' && uuid.test(id)) return id;
  throw new Problem('invalid_request', 'x-connection-id is not a connection\'s id.', { errors: [{ field: 'header.x-connection-id', message: 'must be a UUID' }] });
}

/** The action id that the caller itself sent. */
export function actionId(request: FastifyRequest): string | undefined {
  const id = request.headers['x-pica-action-id'] ?? request.headers['x-one-action-id'];
  return id === undefined ? undefined : String(id);
}

// An offer of another protocol, such as h2c, is ignored with all that it nominates (RFC 9110 §7.8); one of a WebSocket means
// that nothing but a WebSocket is of use.
function refuseUpgrade({ headers }: FastifyRequest): void {
  if (headers.upgrade === undefined || !/\bwebsocket\b/i.test(headers.upgrade) || !/\bupgrade\b/i.test(headers.connection ?? '')) return;
  throw new Problem('upgrade_not_supported', 'The proxy carries HTTP requests and answers; a connection cannot become a WebSocket here.', {
    headers: { connection: 'close' }, expected: true,
  });
}
