import t from 'tap';
import type { UpstreamClient } from '../../src/upstream/client.js';
import { createVault } from '../../src/upstream/vault.js';

const ada = { identity: 'ada', identityType: 'user' as const };
const rows = (count: number, extra: Record<string, unknown> = {}) => Array.from({ length: count }, (_, index) => ({
  _id: `conn::${index}`, key: `test::gmail::default::${index}|ada`, platform: 'gmail', environment: 'test', identity: 'ada', identityType: 'user', type: { api: {} }, createdAt: 1, ...extra,
}));

/** A vault whose upstream answers a page as `answer` says; `asked` collects the queries. */
function vaultOf(answer: (query: Record<string, any>) => unknown) {
  const asked: Record<string, any>[] = [];
  const upstream: UpstreamClient = {
    call: async (_method, _path, request) => {
      asked.push(request!.query!);
      return { status: 200, body: answer(request!.query!) };
    },
    rateLimit: () => undefined,
    close: async () => {},
  };
  const logged: any[] = [];
  const log = { warn: (...line: unknown[]) => void logged.push(line) };
  return { vault: createVault(upstream, log as never), asked, logged };
}

t.test('a server that skips rows instead of numbering pages is read to its end, each row once', async (t) => {
  const all = rows(250);
  const { vault, asked } = vaultOf(({ skip = 0, limit }) => ({ type: 'read', rows: all.slice(skip, skip + limit), total: 250, skip, limit }));
  const listing = await vault.listOf(ada);
  t.equal(listing.rows.length, 250);
  t.equal(listing.complete, true);
  t.same(asked.filter(({ skip }) => skip !== undefined).map(({ skip }) => skip), [100, 200]);
});

t.test('pages that do not add up make the listing incomplete, so that nothing is taken for gone', async (t) => {
  const { vault } = vaultOf(({ page = 1 }) => ({ rows: page === 1 ? rows(100) : [], total: 150, pages: 2, page }));
  t.match(await vault.listOf(ada), { rows: { length: 100 }, complete: false });
});

t.test('rows of other identities, types or no identity are dropped, should the upstream ignore the filter', async (t) => {
  const foreign = [{ identity: 'bob' }, { identityType: 'team' }, { identity: null }, { identity: undefined }];
  const { vault } = vaultOf(() => ({
    rows: [...rows(1), ...foreign.map((extra, index) => ({ ...rows(1, extra)[0]!, key: `test::gmail::default::x${index}` }))], total: 5, pages: 1, page: 1,
  }));
  t.same((await vault.listOf(ada)).rows.map(({ key }) => key), ['test::gmail::default::0|ada']);
});

t.test('a row whose key is none, or contradicts the row, is dropped; names and tags are cut to what can be stored', async (t) => {
  const good = rows(1, { name: `${'x'.repeat(300)}\0`, tags: ['a\0\ud800', ...Array<string>(60).fill('y'.repeat(100))] })[0]!;
  const bad = ['short', '', 'test::gmail::default::x\r\ny', 'test::slack::default::1', 'live::gmail::default::1', 'test::gmail::default::\ud800'];
  const { vault } = vaultOf(() => ({ rows: [...bad.map((key) => ({ ...good, key })), good], total: bad.length + 1, pages: 1, page: 1 }));
  const listing = await vault.listOf(ada);
  t.same(listing.rows.map(({ key }) => key), [good.key]);
  t.equal(listing.complete, true, 'a row that cannot be used was listed all the same');
  t.match(listing.rows[0], { name: 'x'.repeat(256), tags: { length: 50, 0: 'a\ufffd', 1: 'y'.repeat(64) } });
});

t.test('a row without state is operational while active, an unknown state is unknown', async (t) => {
  const states = [{ active: true }, { active: false }, { state: 'degraded' }, { state: 'on fire' }, { state: null }];
  const { vault } = vaultOf(() => ({ rows: states.map((extra, index) => ({ ...rows(1, extra)[0]!, key: `test::gmail::default::${index}` })), total: 5, pages: 1, page: 1 }));
  t.same((await vault.listOf(ada)).rows.map(({ state }) => state), ['operational', 'failed', 'degraded', 'unknown', 'operational']);
});

t.test('anything that is no page of connections is an upstream problem', async (t) => {
  for (const body of [undefined, null, [], 'text', {}, { rows: 'x' }, { rows: [], total: -1 }]) {
    const { vault } = vaultOf(() => body);
    await t.rejects(vault.listOf(ada), { code: 'upstream_invalid_response' }, JSON.stringify(body));
    await t.rejects(vault.findByKey('test::gmail::default::0|ada', ada), { code: 'upstream_invalid_response' });
  }
});

t.test('a row that is no connection is left out of a listing and logged; asked for by key, it is an upstream problem', async (t) => {
  const [good] = rows(1, { key: 'test::gmail::default::good|ada' });
  for (const odd of [null, {}, { key: 1 }, 7, [], ...[{ _id: undefined }, { active: null }, { tags: [null] }, { state: 7 }].map((extra) => rows(1, extra)[0])]) {
    const { vault, logged } = vaultOf(() => ({ rows: [odd, good], total: 2 }));
    t.match(await vault.listOf(ada), { rows: { length: 1 }, complete: true, skipped: 1 }, JSON.stringify(odd));
    t.equal(logged.length, 1);
    t.notMatch(JSON.stringify(logged), /::gmail::/);
    await t.rejects(vault.findByKey('test::gmail::default::0|ada', ada), { code: 'upstream_invalid_response' });
    t.notOk((await vault.findByKeys([{ key: 'test::gmail::default::0|ada', owner: ada }])).size, 'undecided');
  }
});

t.test('a listing whose total changes is read again, three times at most', async (t) => {
  let reading = 0;
  const { vault, asked } = vaultOf(({ page = 1 }) => {
    if (page === 1) reading += 1;
    return { rows: page === 1 ? rows(100) : rows(150).slice(100), total: page === 2 && reading < 3 ? 149 : 150, pages: 2 };
  });
  t.match(await vault.listOf(ada), { rows: { length: 150 }, complete: true });
  t.equal(asked.length, 6);
  reading = -100;
  t.match(await vault.listOf(ada), { complete: false });
  t.equal(asked.length, 12);
});

t.test('many keys are asked for in few questions, and one by one where the upstream does not take lists', async (t) => {
  const all = rows(120);
  const wanted = [...all.slice(0, 110), ...rows(150).slice(140)].map(({ key }) => ({ key, owner: ada }));
  const alive = new Set(wanted.slice(0, 110).map(({ key }) => key));
  const isRight = (answers: Map<string, unknown>) => answers.size === wanted.length && wanted.every(({ key }) => (answers.get(key) !== undefined) === alive.has(key));

  const lists = vaultOf(({ key }) => ({ rows: all.filter((row) => key.split(',').includes(row.key)) }));
  t.ok(isRight(await lists.vault.findByKeys(wanted, all[115]!.key)));
  t.equal(lists.asked.length, 3);
  t.ok(lists.asked.every(({ key }) => encodeURIComponent(key).length < 4_500));

  const single = vaultOf(({ key }) => ({ rows: all.filter((row) => row.key === key) }));
  t.ok(isRight(await single.vault.findByKeys(wanted, all[115]!.key)));
  t.equal(single.asked.length, 121);
  for (const pick of [0, -1]) {
    const one = vaultOf(({ key }) => ({ rows: all.filter((row) => row.key === key.split(',').at(pick)) }));
    t.ok(isRight(await one.vault.findByKeys(wanted)), 'nor where it takes one of them');
  }
});

t.test('everything is read page by page, by numbers or by skipping', async (t) => {
  const all = rows(250);
  for (const answer of [
    ({ page = 1 }) => ({ rows: all.slice(page * 100 - 100, page * 100), total: 250, pages: 3 }),
    // An open-source server filters by what it does not know.
    ({ page, skip = 0 }: Record<string, any>) => ({ rows: page === undefined ? all.slice(skip, skip + 100) : [], total: page === undefined ? 250 : 0, skip }),
  ]) {
    const { vault, asked } = vaultOf(answer);
    const seen: string[] = [];
    let page = await vault.page(undefined);
    for (;;) {
      seen.push(...page.rows.map(({ key }) => key));
      if (!page.next) break;
      page = await vault.page(page.next);
    }
    t.same(seen, all.map(({ key }) => key));
    t.equal(asked.length, 3);
    t.notOk(asked.some((query) => 'identity' in query));
  }
});
