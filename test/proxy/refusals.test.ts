import t from 'tap';
import { startSandbox } from '../../sandbox/start.js';
import { startGateway } from '../helpers/gateway.js';
import { until } from '../helpers/receiver.js';
import { recordings, seed } from '../helpers/sandbox.js';

t.test('a provider\'s 401 or 403 has the connection\'s state re-read from the vault at once', async (t) => {
  const sandbox = await startSandbox();
  t.teardown(() => sandbox.close());
  const gateway = await startGateway(t, sandbox.url);
  const { id: inVault, key } = await seed(sandbox.url, { identity: 'ada', platform: 'gmail' });
  await gateway.request('POST', '/connections', { headers: { 'x-user-id': 'ada' }, json: { key, platform: 'gmail' } });
  const call = (path: string) => gateway.request('GET', `/proxy/gmail/__provider/${path}`, { headers: { 'x-user-id': 'ada' } });
  const asked = async () => (await recordings(sandbox.url, '/v1/vault')).length;
  const state = async () => (await gateway.request('GET', '/connections')).json.rows[0].state;

  const before = await asked();
  for (const status of [200, 404, 500]) t.equal((await call(`status/${status}`)).status, status);
  t.equal(await asked(), before, 'other answers say nothing about the connection');

  t.equal((await call('status/403')).status, 403);
  await until(async () => await asked() === before + 1);
  t.equal(await state(), 'operational', 'the vault still thinks well of it');

  await fetch(`${sandbox.url}/__control/connections/${encodeURIComponent(inVault)}`, {
    method: 'PATCH', headers: { 'content-type': 'application/json' }, body: '{"state":"failed"}',
  });
  const refused = await call('status/401');
  t.equal(refused.status, 401);
  t.equal(refused.headers.get('x-authkit-error'), null);
  await until(async () => await state() === 'failed');
  t.pass('the next look at the connection says so');
});
