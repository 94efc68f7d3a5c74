import Type, { type Static } from 'typebox';
import type { UpstreamClient } from './client.js';
import { allRows } from './pages.js';

/** An operation of a platform, as the upstream's catalogue tells it. `id` and `path` are known together or not at all. */
export type Action = Readonly<{
  title: string;
  method: string;
  platform: string;
  /** What goes into the action id header. */
  id: string | undefined;
  /** The provider's path behind `baseUrl`, with `{{name}}` or `{name}` for each parameter, starting with a slash. */
  path: string | undefined;
  /** The provider's base URL, which may hold a path. */
  baseUrl: string | undefined;
  key: string | undefined;
  modelName: string | undefined;
  /** Whether it takes its credential from `connectionKey` in the JSON body (tag `custom`); undefined where no list tells its tags. */
  custom: boolean | undefined;
}>;

const Text = Type.Optional(Type.Union([Type.String(), Type.Null()]));
const Row = Type.Object({
  title: Type.String(), method: Type.String(), platform: Text, connectionPlatform: Text, _id: Text, systemId: Text, path: Text, baseUrl: Text, key: Text, modelName: Text,
  // Not judged here: one odd row must not hide a platform's actions.
  tags: Type.Optional(Type.Unknown()),
});

const list = { row: Row, limit: 100, name: 'actions', mayBeMissing: true };

/**
 * Every action of a platform (upstream.md, "Catalogue"): the knowledge rows, which have ids and paths, joined with the
 * rows of available-actions. Either may be unknown to the upstream (404): then it has none. Available-actions may fail where
 * there is knowledge; knowledge that fails rejects, unless the other rows have ids and paths: actions that cannot be called
 * must not take the place of those that can. Rows of other platforms are dropped: their ids would send this platform's credential to another's host.
 */
export async function fetchActions(upstream: UpstreamClient, platform: string): Promise<Action[]> {
  const [knowledge, available] = await Promise.allSettled([
    allRows(upstream, { ...list, path: '/v1/knowledge', query: { connectionPlatform: platform } }),
    allRows(upstream, { ...list, path: `/v1/available-actions/${encodeURIComponent(platform)}` }),
  ]);
  const actions = new Map<string, Action>();
  for (const result of [knowledge, available]) {
    if (result.status === 'rejected' || !result.value) continue;
    for (const row of result.value) {
      const named = row.connectionPlatform ?? row.platform ?? undefined;
      // The path of available-actions names the platform: its rows need not.
      if (named !== platform && !(named === undefined && result === available)) continue;
      const found = toAction(row, platform);
      // One operation may have several ids; the two lists know it by method and title.
      const name = `${found.method} ${found.title}`;
      const known = actions.get(name);
      if (!known) actions.set(name, found);
      else if (result === available) {
        actions.set(name, {
          ...found, id: known.id ?? found.id, path: known.path ?? found.path, baseUrl: known.baseUrl ?? found.baseUrl,
          custom: eitherCustom(known.custom, found.custom),
        });
      } else actions.set(`${name} ${found.id}`, found);
    }
  }
  const found = agreeOnCustom([...actions.values()]);
  if (knowledge.status === 'rejected' && !found.some(({ id }) => id !== undefined)) throw knowledge.reason;
  if (available.status === 'rejected' && knowledge.status === 'fulfilled' && !knowledge.value) throw available.reason;
  return found;
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

function toAction({ title, method, _id, systemId, path, baseUrl, key, modelName, tags }: Static<typeof Row>, platform: string): Action {
  const id = _id ?? systemId ?? undefined;
  const known = id !== undefined && /^[\x21-\x7e]{1,256}$/.test(id) && typeof path === 'string';
  return {
    title, method: method.toUpperCase(), platform, key: key ?? undefined, modelName: modelName ?? undefined, custom: saysCustom(tags), baseUrl: baseUrl ?? undefined,
    id: known ? id : undefined, path: known ? `/${path.split('?', 1)[0]!.replace(/^\/+/, '')}` : undefined,
  };
}
