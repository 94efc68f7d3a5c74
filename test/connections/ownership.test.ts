import t from 'tap';
import { startSandbox } from '../../sandbox/start.js';
import { startGateway } from '../helpers/gateway.js';
import { seed } from '../helpers/sandbox.js';

t.test('an identity never reaches another identity\'s connections, by id or by filter', async (t) => {
  const sandbox = await startSandbox();
  t.teardown(() => sandbox.close());
  const gateway = await startGateway(t, sandbox.url);
  const { key } = await seed(sandbox.url, { identity: 'ada', platform: 'gmail' });
  const mine = (await gateway.request('POST', '/connections', { headers: { 'x-user-id': 'ada' }, json: { key, platform: 'gmail' } })).json;
  const bob = await gateway.createKey(['connections:read', 'connections:write'], { identity: 'bob' });
  const unknown = '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87';

  for (const [method, json] of [['GET', undefined], ['PATCH', { name: 'x' }], ['DELETE', undefined]] as const) {
    const foreign = await gateway.request(method, `/connections/${mine.id}`, { key: bob, json });
    const missing = await gateway.request(method, `/connections/${unknown}`, { key: bob, json });
    t.same([foreign.status, foreign.json.code], [404, 'connection_not_found'], method);
    t.same({ ...foreign.json, requestId: '' }, { ...missing.json, requestId: '' }, 'the same answer as for an unknown id');
  }
  t.equal((await gateway.request('GET', `/connections/${mine.id}`, { headers: { 'x-user-id': 'bob' } })).status, 404, 'a header narrows an unbound key too');
  t.same((await gateway.request('GET', '/connections', { key: bob })).json.rows, []);
  t.equal((await gateway.request('GET', '/connections?identity=ada', { key: bob })).json.code, 'identity_conflict');
  t.equal((await gateway.request('GET', '/connections?identityType=team', { key: bob })).json.code, 'identity_conflict');
  t.equal((await gateway.request('GET', '/connections', { key: bob, headers: { 'x-user-id': 'ada' } })).json.code, 'identity_conflict');
  t.equal((await gateway.request('POST', '/connections/sync', { key: bob, json: { identity: 'ada' } })).json.code, 'identity_conflict');
  t.equal((await gateway.request('GET', `/connections/${mine.id}`)).status, 200, 'and it is still there');

  const claim = await gateway.request('POST', '/connections', { key: bob, json: { key, platform: 'gmail' } });
  t.notOk(claim.status < 400, 'a key that belongs to another identity is not stored');
  t.equal((await gateway.request('GET', `/connections/${mine.id}`)).json.identity, 'ada');
});

t.test('a key without an identity in it that another identity stored is 409', async (t) => {
  const sandbox = await startSandbox();
  t.teardown(() => sandbox.close());
  const gateway = await startGateway(t, sandbox.url);
  await gateway.database.prisma.userConnection.create({ data: { identity: 'ada', key: 'test::gmail::default::af92b1c8d07e4f6a', platform: 'gmail', environment: 'test' } });
  const answer = await gateway.request('POST', '/connections', { headers: { 'x-user-id': 'bob' }, json: { key: 'test::gmail::default::af92b1c8d07e4f6a', platform: 'gmail' } });
  t.same([answer.status, answer.json.code], [409, 'connection_owned_by_other']);
});
