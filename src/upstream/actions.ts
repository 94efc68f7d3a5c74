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
  /** Whether it takes its credential from `connectionKey` in the JSON body (tag `custom`); undefined where no list tells its tags. */
  custom: boolean | undefined;
}>;

const Text = Type.Optional(Type.Union([Type.String(), Type.Null()]));
const Row = Type.Object({
  title: Type.String(), method: Type.String(), platform: Text, connectionPlatform: Text, _id: Text, systemId: Text, path: Text, key: Text, modelName: Text,
  // Not judged here: one odd row must not hide a platform's actions.
  tags: Type.Optional(Type.Unknown()),
});
const Page = Type.Object({ rows: Type.Array(Row), total: Type.Optional(Type.Integer()), pages: Type.Optional(Type.Integer()) });

const pageSize = 100;
const maxPages = 100;
const pagesAtOnce = 3;

/**
 * Every action of a platform (upstream.md, "Catalogue"): the knowledge rows, which have ids and paths, joined with the
 * rows of available-actions. Either may be unknown to the upstream (404): then it has none. Available-actions may fail where
 * there is knowledge; knowledge that fails rejects, unless the other rows have ids and paths: actions that cannot be called
 * must not take the place of those that can. Rows of other platforms are dropped: their ids would send this platform's credential to another's host.
 */
export async function fetchActions(upstream: UpstreamClient, platform: string): Promise<Action[]> {
  const [knowledge, available] = await Promise.allSettled([
    allRows(upstream, '/v1/knowledge', { connectionPlatform: platform }),
    allRows(upstream, `/v1/available-actions/${encodeURIComponent(platform)}`, {}),
  ]);
  const actions = new Map<string, Action>();
  for (const result of [knowledge, available]) {
    if (result.status === 'rejected' || !result.value) continue;
    for (const row of result.value) {
      if ((row.connectionPlatform ?? row.platform) !== platform) continue;
      const found = toAction(row, platform);
      // One operation may have several ids; the two lists know it by method and title.
      const name = `${found.method} ${found.title}`;
      const known = actions.get(name);
      if (!known) actions.set(name, found);
      else if (result === available) {
        actions.set(name, { ...found, id: known.id ?? found.id, path: known.path ?? found.path, custom: eitherCustom(known.custom, found.custom) });
      }
      else actions.set(`${name} ${found.id}`, found);
    }
  }
  const found = agreeOnCustom([...actions.values()]);
  if (knowledge.status === 'rejected' && !found.some(({ id }) => id !== undefined)) throw knowledge.reason;
  if (available.status === 'rejected' && knowledge.status === 'fulfilled' && !knowledge.value) throw available.reason;
  return found;
}

/** The rows of all pages; undefined where there are none to be had (404). */
async function allRows(upstream: UpstreamClient, path: string, query: Record<string, string>): Promise<Static<typeof Row>[] | undefined> {
  const pageOf = async (page: number, accept: readonly number[] = []): Promise<Static<typeof Page> | undefined> => {
    const { status, body } = await upstream.call('GET', path, { query: { ...query, limit: pageSize, page }, accept });
    if (accept.includes(status)) return undefined;
    if (!Value.Check(Page, body)) throw invalidResponse('it is not a page of actions');
    return body;
  };
  const first = await pageOf(1, [404]);
  if (!first) return undefined;
  const { rows, total = 0, pages } = first;
  const last = Math.min(maxPages, pages ?? maxPages);
  // How many there are is known only where the upstream says so.
  const atOnce = pages === undefined ? 1 : pagesAtOnce;
  for (let page = 2; page <= last && (pages !== undefined || rows.length < total); page += atOnce) {
    const found = await Promise.all(Array.from({ length: Math.min(atOnce, last - page + 1) }, (_, i) => pageOf(page + i)));
    const more = found.flatMap((each) => each!.rows);
    if (more.length === 0) break;
    rows.push(...more);
  }
  return rows;
}

/** The upstream goes by the id alone: where one of its rows says `custom`, all are. */
function agreeOnCustom(actions: Action[]): Action[] {
  const byId = new Map<string, boolean | undefined>();
  for (const { id, custom } of actions) if (id !== undefined) byId.set(id, byId.has(id) ? eitherCustom(byId.get(id), custom) : custom);
  return actions.map((action) => (action.id === undefined ? action : { ...action, custom: byId.get(action.id) }));
}

function eitherCustom(one: boolean | undefined, other: boolean | undefined): boolean | undefined {
  return one === true || other === true ? true : one ?? other;
}

/** Whether tags say `custom`, in any case; undefined where they are no list of texts. */
function saysCustom(tags: unknown): boolean | undefined {
  if (!Array.isArray(tags)) return undefined;
  return tags.some((tag) => typeof tag === 'string' && tag.trim().toLowerCase() === 'custom');
}

function toAction({ title, method, _id, systemId, path, key, modelName, tags }: Static<typeof Row>, platform: string): Action {
  const id = _id ?? systemId ?? undefined;
  const known = id !== undefined && /^[\x21-\x7e]{1,256}$/.test(id) && typeof path === 'string';
  return {
    title, method: method.toUpperCase(), platform, key: key ?? undefined, modelName: modelName ?? undefined, custom: saysCustom(tags),
    id: known ? id : undefined, path: known ? `/${path.split('?', 1)[0]!.replace(/^\/+/, '')}` : undefined,
  };
}
