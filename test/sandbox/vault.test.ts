import t from 'tap';
import { live, sandbox, test } from './fixtures/harness.js';

t.test('the hosted shape, its filters and pages', async (t) => {
  const { call, seed } = await sandbox(t);
  const first = await seed({ platform: 'gmail', identity: 'u1', tags: ['a', 'b'] });
  const second = await seed({ platform: 'slack', identity: 'u1', state: 'failed' });
  await seed({ platform: 'gmail', identity: 'u2', identityType: 'team' });
  await seed({ platform: 'gmail', identity: 'u1', environment: 'live' });
  const list = async (query: string) => (await call('GET', `/v1/vault/connections?${query}`, { headers: test })).json;

  t.match(await list('identity=u1&platform=gmail'), {
    rows: [{
      id: first.id, key: first.key, platform: 'gmail', platformVersion: 'v1', name: null, type: 'api', environment: 'test', identity: 'u1',
      identityType: 'user', state: 'operational', tags: ['a', 'b'], active: true, createdAt: /^\d{4}-.*Z$/,
    }],
    total: 1, pages: 1, page: 1,
  });
  t.equal((await list('')).total, 3);
  t.equal((await list('identityType=team')).total, 1);
  t.equal((await list('tags=x,b')).total, 1);
  t.equal((await list('active=false')).rows[0].id, second.id);
  t.equal((await list(`key=${encodeURIComponent(`${first.key},${second.key}`)}`)).total, 2);
  t.match(await list('limit=2&page=2'), { rows: { length: 1 }, total: 3, pages: 2, page: 2 });
  t.equal((await call('GET', '/v1/vault/connections', { headers: live })).json.total, 1);
});

t.test('get, patch and delete by id, inside the environment of the secret', async (t) => {
  const { call, seed } = await sandbox(t);
  const row = await seed({ platform: 'gmail', identity: 'u1' });
  const path = `/v1/vault/connections/${row.id}`;
  t.equal((await call('GET', path, { headers: test })).json.key, row.key);
  t.match(await call('GET', path, { headers: live }), { status: 404, json: { code: 2005, key: 'err::application::not_found' } });
  t.equal((await call('DELETE', path, { headers: live })).status, 404);
  t.same((await call('PATCH', path, { headers: test, json: { tags: ['x'] } })).json.tags, ['x']);
  t.match(await call('DELETE', path, { headers: test }), { status: 200, text: '' });
  t.equal((await call('GET', path, { headers: test })).status, 404);
});

t.test('the open-source shape', async (t) => {
  const { call, seed, settings } = await sandbox(t);
  await settings({ rowShape: 'oss' });
  const row = await seed({ platform: 'gmail', identity: 'u1' });
  await seed({ platform: 'gmail', identity: 'u1' });
  t.match((await call('GET', '/v1/vault/connections?limit=1&page=1', { headers: test })).json, { rows: [], total: 0 }, 'page is a filter there');
  const list = (await call('GET', '/v1/vault/connections?limit=1&skip=1', { headers: test })).json;
  t.match(list, { type: 'read', total: 2, skip: 1, limit: 1, rows: [{ _id: row.id, type: { api: {} }, createdAt: Number }] });
  t.notOk('tags' in list.rows[0]);
  t.notOk('pages' in list);
  t.equal((await call('GET', `/v1/vault/connections/${row.id}`, { headers: test })).status, 404);
});
