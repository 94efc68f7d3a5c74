import Type, { type Static } from 'typebox';
import Value from 'typebox/value';
import type { UpstreamClient } from './client.js';
import { invalidResponse } from './errors.js';

/** An operation of a platform, as the upstream's catalogue tells it. `id` and `path` are known together or not at all. */
export type Action = Readonly<{
  title: string;
  method: string;
  platform: string;
  /** What goes into the action id header. */
  id: string | undefined;
  /** The provider's path with `{{name}}` for each parameter, starting with a slash. */
  path: string | undefined;
  key: string | undefined;
  modelName: string | undefined;
}>;

const Text = Type.Optional(Type.Union([Type.String(), Type.Null()]));
const Row = Type.Object({
  title: Type.String(), method: Type.String(), platform: Text, connectionPlatform: Text, _id: Text, systemId: Text, path: Text, key: Text, modelName: Text,
});
const Page = Type.Object({ rows: Type.Array(Row), total: Type.Optional(Type.Integer()), pages: Type.Optional(Type.Integer()) });

const pageSize = 100;
const maxPages = 100;

/**
 * Every action of a platform (upstream.md, "Catalogue"): the knowledge rows, which have ids and paths, joined with the
 * rows of available-actions. One of the two may be missing; rejects when both are. Rows of other platforms are dropped:
 * their ids would send this platform's credential to another's host.
 */
export async function fetchActions(upstream: UpstreamClient, platform: string): Promise<Action[]> {
  const [knowledge, available] = await Promise.allSettled([
    allRows(upstream, '/v1/knowledge', { connectionPlatform: platform }),
    allRows(upstream, `/v1/available-actions/${encodeURIComponent(platform)}`, {}),
  ]);
  if (knowledge.status === 'rejected' && available.status === 'rejected') throw knowledge.reason;

  const actions = new Map<string, Action>();
  for (const result of [knowledge, available]) {
    if (result.status === 'rejected') continue;
    for (const row of result.value) {
      if ((row.connectionPlatform ?? row.platform) !== platform) continue;
      const found = toAction(row, platform);
      // One operation may have several ids; the two lists know it by method and title.
      const name = `${found.method} ${found.title}`;
      const known = actions.get(name);
      if (!known) actions.set(name, found);
      else if (result === available) actions.set(name, { ...found, id: known.id ?? found.id, path: known.path ?? found.path });
      else actions.set(`${name} ${found.id}`, found);
    }
  }
  return [...actions.values()];
}

async function allRows(upstream: UpstreamClient, path: string, query: Record<string, string>): Promise<Static<typeof Row>[]> {
  const rows: Static<typeof Row>[] = [];
  for (let page = 1; page <= maxPages; page += 1) {
    const { body } = await upstream.call('GET', path, { query: { ...query, limit: pageSize, page } });
    if (!Value.Check(Page, body)) throw invalidResponse('it is not a page of actions');
    rows.push(...body.rows);
    const more = body.pages === undefined ? rows.length < (body.total ?? 0) : page < body.pages;
    if (body.rows.length === 0 || !more) break;
  }
  return rows;
}

function toAction({ title, method, _id, systemId, path, key, modelName }: Static<typeof Row>, platform: string): Action {
  const id = _id ?? systemId ?? undefined;
  const known = id !== undefined && /^[\x21-\x7e]{1,256}$/.test(id) && typeof path === 'string';
  return {
    title, method: method.toUpperCase(), platform, key: key ?? undefined, modelName: modelName ?? undefined,
    id: known ? id : undefined, path: known ? `/${path.split('?', 1)[0]!.replace(/^\/+/, '')}` : undefined,
  };
}
