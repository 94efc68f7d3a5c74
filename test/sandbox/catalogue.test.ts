import t from 'tap';
import { sandbox, test } from './fixtures/harness.js';

t.test('connectors: filters, pages and marks', async (t) => {
  const { call } = await sandbox(t);
  const list = async (query: string) => (await call('GET', `/v1/available-connectors?${query}`, { headers: test })).json;
  const all = await list('authkit=true&limit=300');
  t.ok(all.rows.length >= 60);
  t.equal((await list('')).rows.length, 20);
  const [others, both] = [await list('authkit=false&limit=300'), await list('limit=300')];
  t.ok(others.total > 0, 'some are not for AuthKit');
  t.same([...all.rows, ...others.rows].map(({ platform }) => platform).sort(), both.rows.map(({ platform }: { platform: string }) => platform).sort());
  t.same((await list('authkit=true&platform=gumroad')).rows, []);
  t.match(await list('platform=gmail'), { total: 1, rows: [{ name: 'Gmail', oauth: true, tools: Number, category: 'Communication', active: true }] });
  t.ok((await list('category=CRM')).rows.every((row: { category: string }) => row.category === 'CRM'));
  t.equal((await list('name=google%20cal')).rows[0].platform, 'google-calendar');
  t.same((await list('platform=nothing')).rows, []);

  for (const { platform, image } of both.rows) {
    const mark = await call('GET', new URL(image).pathname);
    t.match(mark, { status: 200, headers: { 'content-type': 'image/svg+xml' }, text: /^<svg .*<\/svg>$/ }, platform);
  }
  t.equal((await call('GET', '/marks/nothing.svg')).status, 404);
});

t.test('actions and knowledge', async (t) => {
  const { call } = await sandbox(t);
  const actions = (await call('GET', '/v1/available-actions/gmail?method=GET', { headers: test })).json;
  t.match(actions.rows[0], { title: String, key: /^api::gmail/, method: 'GET', platform: 'gmail' });
  t.notOk('path' in actions.rows[0], 'the path is One’s field');
  const knowledge = (await call('GET', '/v1/knowledge?connectionPlatform=gmail', { headers: test })).json;
  t.match(knowledge.rows[0], { _id: /^conn_mod_def::/, connectionPlatform: 'gmail', baseUrl: /^https/, path: /^\// });
  t.equal((await call('GET', '/v1/available-connectors')).status, 401);
});
