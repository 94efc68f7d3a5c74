import t from 'tap';
import { fetchActions } from '../../src/upstream/actions.js';
import type { UpstreamClient, UpstreamRequest } from '../../src/upstream/client.js';

type Rows = { rows: unknown[]; pages?: number; total?: number };
/** What an endpoint answers a page with; a number is a status. */
type Told = (page: number) => Rows | number | Promise<Rows>;

const upstreamOf = (knowledge: Told, available: Told): UpstreamClient => ({
  async call(_method, path, { query, accept = [] }: UpstreamRequest = {}) {
    const told = await (path === '/v1/knowledge' ? knowledge : available)(Number(query!.page ?? 1));
    if (typeof told !== 'number') return { status: 200, body: told };
    if (accept.includes(told)) return { status: told, body: undefined };
    throw new Error(`status ${told}`);
  },
  rateLimit: () => undefined,
  close: async () => {},
});
const known = { _id: 'list', title: 'List', method: 'GET', path: '/messages', connectionPlatform: 'gmail' };
const named = { title: 'List', key: 'k', method: 'GET', platform: 'gmail' };
const one = (row: unknown) => (): Rows => ({ rows: [row], pages: 1 });

t.test('the two lists are joined; either may fail, but not both', async (t) => {
  t.match(await fetchActions(upstreamOf(one(known), one(named)), 'gmail'), [{ id: 'list', path: '/messages', key: 'k' }]);
  t.match(await fetchActions(upstreamOf(one(known), () => 500), 'gmail'), [{ id: 'list', key: undefined }]);
  t.match(await fetchActions(upstreamOf(() => 404, one(named)), 'gmail'), [{ id: undefined, key: 'k' }]);
  t.same(await fetchActions(upstreamOf(() => 404, () => 404), 'gmail'), [], 'unknown to both, it has none, and nobody need be told');
  for (const status of [404, 500]) await t.rejects(fetchActions(upstreamOf(() => status, () => 500), 'gmail'), { message: 'status 500' });
});

t.test('without the knowledge, which failed, rows that cannot be called are not all there is', async (t) => {
  await t.rejects(fetchActions(upstreamOf(() => 503, one(named)), 'gmail'), { message: 'status 503' });
  await t.rejects(fetchActions(upstreamOf(() => 503, () => ({ rows: [] })), 'gmail'), { message: 'status 503' });
  t.match(await fetchActions(upstreamOf(() => 503, one({ ...named, systemId: 'one', path: '/messages' })), 'gmail'), [{ id: 'one' }]);
});

t.test('pages are fetched three at a time where their number is told, and one after the other where it is not', async (t) => {
  const row = (page: number) => ({ ...known, _id: `i${page}`, title: `Page ${page}` });
  let running = 0;
  let most = 0;
  const told = (answer: (page: number) => Rows) => async (page: number): Promise<Rows> => {
    most = Math.max(most, running += 1);
    await new Promise(setImmediate);
    running -= 1;
    return answer(page);
  };
  const ids = async (knowledge: Told) => (await fetchActions(upstreamOf(knowledge, () => 500), 'gmail')).map(({ id }) => id);
  t.strictSame(await ids(told((page) => ({ rows: [row(page)], pages: 8 }))), [1, 2, 3, 4, 5, 6, 7, 8].map((page) => `i${page}`));
  t.equal(most, 3);
  most = 0;
  t.strictSame(await ids(told((page) => ({ rows: [row(page)], total: 3 }))), ['i1', 'i2', 'i3']);
  t.equal(most, 1);
  t.strictSame(await ids(told((page) => ({ rows: page < 3 ? [row(page)] : [], total: 9 }))), ['i1', 'i2']);
  await t.rejects(ids((page) => (page === 5 ? 502 : { rows: [row(page)], pages: 8 })), { message: 'status 502' });
});

t.test('rows of available-actions need not name their platform, those of the knowledge must', async (t) => {
  const row = { systemId: 'list', title: 'List', key: 'k', method: 'GET', path: '/messages', tags: ['custom'] };
  t.match(await fetchActions(upstreamOf(() => 404, one(row)), 'gmail'), [{ id: 'list', path: '/messages', platform: 'gmail', custom: true }]);
  t.same(await fetchActions(upstreamOf(() => 404, one({ ...row, platform: 'github' })), 'gmail'), [], 'another\'s are dropped');
  t.same(await fetchActions(upstreamOf(one({ ...row, connectionPlatform: undefined }), () => 404), 'gmail'), []);
});

t.test('an action is custom when one of its rows says so, and not known to be where none tells its tags', async (t) => {
  const custom = async (knowledge: unknown, available: unknown = named) => (await fetchActions(upstreamOf(one(knowledge), one(available)), 'gmail'))[0]!.custom;
  t.equal(await custom(known), undefined);
  t.equal(await custom({ ...known, tags: null }), undefined);
  t.equal(await custom({ ...known, tags: [] }), false);
  t.equal(await custom({ ...known, tags: ['mail', ' Custom'] }), true);
  t.equal(await custom(known, { ...named, tags: ['custom'] }), true);
  t.equal(await custom({ ...known, tags: ['custom'] }, { ...named, tags: [] }), true);
  const twice = await fetchActions(upstreamOf(() => ({ rows: [{ ...known, tags: [] }, { ...known, title: 'Again', tags: ['custom'] }] }), () => 404), 'gmail');
  t.same(twice.map((action) => action.custom), [true, true], 'the upstream goes by the id alone');
});

t.test('the first page is asked for without its number, and the others as the upstream pages', async (t) => {
  const asked: unknown[] = [];
  const upstream = (answer: (query: Record<string, number>) => unknown): UpstreamClient => ({
    async call(_method, path, { query } = {}) {
      if (path !== '/v1/knowledge') return { status: 404, body: undefined };
      asked.push(query);
      return { status: 200, body: answer(query as Record<string, number>) };
    },
    rateLimit: () => undefined,
    close: async () => {},
  });
  const rows = Array.from({ length: 5 }, (_, i) => ({ ...known, _id: `i${i}`, title: `T${i}` }));
  // As the open-source server does, which takes `page` for a filter.
  const skipping = upstream(({ page, skip = 0 }) => (page === undefined ? { type: 'read', rows: rows.slice(skip, skip + 2), total: 5, skip, limit: 2 } : { rows: [], total: 0, skip, limit: 2 }));
  t.equal((await fetchActions(skipping, 'gmail')).length, 5);
  t.same(asked.map((query) => (query as { skip?: number }).skip), [undefined, 2, 4]);
  asked.length = 0;
  t.equal((await fetchActions(upstream(({ page = 1 }) => ({ rows: rows.slice(page * 2 - 2, page * 2), total: 5, pages: 3, page })), 'gmail')).length, 5);
  t.same(asked.map((query) => (query as { page?: number }).page), [undefined, 2, 3]);
});
