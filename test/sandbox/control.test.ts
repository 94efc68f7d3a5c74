import t from 'tap';
import { sandbox, test } from './fixtures/harness.js';

t.test('the rate limit counts down and ends in 429', async (t) => {
  const { call, settings } = await sandbox(t);
  await settings({ rateLimit: 2 });
  const send = () => call('GET', '/v1/users/flags', { headers: test });
  t.match((await send()).headers, { 'x-pica-rate-limit-limit': '2', 'x-pica-rate-limit-remainings': '1', 'x-pica-rate-limit-reset': /^\d+$/ });
  t.equal((await send()).headers['x-pica-rate-limit-remainings'], '0');
  const refused = await send();
  t.match(refused, { status: 429, json: { type: 'TooManyRequests', code: 2009 }, headers: { 'x-pica-rate-limit-remainings': '0' } });
  t.notOk('retry-after' in refused.headers);
  await call('POST', '/__control/reset');
  t.equal((await send()).status, 200);
});

t.test('recordings show each request in order, and neither control nor the vault’s answers', async (t) => {
  const { call } = await sandbox(t);
  await call('POST', '/v1/authkit?page=1', { headers: { ...test, 'X-Odd': 'Yes' }, json: { identity: 'u1' } });
  await call('GET', '/nowhere');
  const { rows, total } = (await call('GET', '/__control/requests')).json;
  t.equal(total, 2);
  t.match(rows, [
    { order: 1, method: 'POST', url: '/v1/authkit?page=1', status: 200, aborted: false, length: 17, sha256: /^[0-9a-f]{64}$/ },
    { order: 2, method: 'GET', url: '/nowhere', status: 404, length: 0 },
  ]);
  t.equal(Buffer.from(rows[0].body, 'base64').toString(), '{"identity":"u1"}');
  t.ok(rows[0].rawHeaders.some(([name, value]: [string, string]) => name === 'X-Odd' && value === 'Yes'));
  t.equal((await call('GET', '/__control/requests?path=/nowhere')).json.total, 1);
  await call('DELETE', '/__control/requests');
  t.equal((await call('GET', '/__control/requests')).json.total, 0);
});

t.test('seeding, changing and removing connections', async (t) => {
  const { call, seed } = await sandbox(t);
  const row = await seed({ platform: 'gmail', identity: 'u1', name: 'Work', key: 'test::gmail::default::mine' });
  t.match(row, { key: 'test::gmail::default::mine', name: 'Work', active: true });
  t.match(await call('PATCH', `/__control/connections/${row.id}`, { json: { state: 'failed' } }), { json: { state: 'failed', active: false } });
  t.equal((await call('DELETE', `/__control/connections/${row.id}`)).status, 204);
  t.equal((await call('DELETE', `/__control/connections/${row.id}`)).status, 404);
  t.equal((await seed({ platform: 'slack', identity: 'u1', count: 120 })).total, 120);
  t.match(await call('POST', '/__control/connections', { json: { platform: 'nothing' } }), { status: 400 });
  t.equal((await call('GET', '/__control/connections')).json.total, 120);
});

t.test('a reset brings everything back to the start', async (t) => {
  const { call, seed, fault, settings } = await sandbox(t);
  await seed({ platform: 'gmail', identity: 'u1' });
  await fault({ path: '/', kind: 'status' });
  await settings({ rowShape: 'oss' });
  t.equal((await settings({ rowShape: 'sideways' })).status, 422);
  const { requestId } = (await call('POST', '/v1/authkit', { headers: test, json: { identity: 'u1' } })).json;
  t.equal((await call('POST', '/__control/reset')).status, 204);
  t.equal((await call('GET', '/__control/requests')).json.total, 0);
  t.equal((await call('GET', '/__control/settings')).json.rowShape, 'hosted');
  t.equal((await call('GET', '/v1/vault/connections', { headers: test })).json.total, 0);
  t.equal((await call('POST', '/widget/connections', { json: { proof: `${requestId}`, platform: 'gmail' } })).status, 401);
});

t.test('unknown routes', async (t) => {
  const { call } = await sandbox(t);
  t.match(await call('GET', '/v1/nowhere'), { status: 404, json: { type: 'error', error: 'Not found' } });
  t.match(await call('POST', '/__control/nowhere'), { status: 404 });
});
